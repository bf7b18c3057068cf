import CCoveyKernels
import Foundation
import Testing

@testable import Covey

@Suite struct ChecksumTests {
  private func crc(_ bytes: [UInt8], split: Int = 0) -> UInt32 {
    var crc = CRC32()
    bytes.withUnsafeBytes { bytes in
      crc.append(UnsafeRawBufferPointer(rebasing: bytes[..<split]))
      crc.append(UnsafeRawBufferPointer(rebasing: bytes[split...]))
    }
    return crc.value
  }

  /// The check values of the catalogue of parametrised CRC algorithms
  /// (CRC-32/ISO-HDLC), and what zlib gives for nothing and for zeros.
  @Test func knownValues() {
    #expect(crc(Array("123456789".utf8)) == 0xCBF4_3926)
    #expect(crc([]) == 0)
    #expect(crc([UInt8](repeating: 0, count: 32)) == 0x190A_55AD)
  }

  /// Against one bit at a time, for every length and every split.
  @Test func agreesWithOneBitAtATime() {
    var random = SeededRandom(seed: 1)
    for length in 0..<40 {
      let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
      var naive: UInt32 = .max
      for byte in bytes {
        naive ^= UInt32(byte)
        for _ in 0..<8 { naive = (naive >> 1) ^ (naive & 1 == 1 ? 0xEDB8_8320 : 0) }
      }
      for split in 0...length {
        #expect(crc(bytes, split: split) == ~naive)
      }
    }
  }

  /// What the CPU has an instruction for, against tables: around and beyond blocks of 16
  /// and 64 bytes, at every address.
  @Test func agreesWithTables() {
    var random = SeededRandom(seed: 2)
    let bytes = (0..<1500).map { _ in UInt8.random(in: 0...255, using: &random) }
    bytes.withUnsafeBytes { bytes in
      for length in Array(0...300) + [511, 512, 513, 1024, 1400] {
        for start in [0, 1, 2, 3, 7, 8, 15, 31, 64, 99] {
          let base = bytes.baseAddress! + start
          let expected = cv_crc32_by_tables(0, base, length)
          #expect(cv_crc32(0, base, length) == expected)
          let split = length / 3
          #expect(cv_crc32(cv_crc32(0, base, split), base + split, length - split) == expected)
        }
      }
    }
  }

  /// The first bad one of every kind, across blocks of 4096, at odd addresses; all others.
  @Test func badWeightsAreFound() {
    let kinds: [(bytes: Int, bad: [UInt32], good: [UInt32])] = [
      (4, [0x7F80_0000, 0xFF80_0000, 0x7FC0_0000, 0xFF80_0001], [0x7F7F_FFFF, 0x8000_0000]),
      (2, [0x7C00, 0xFC00, 0x7E00, 0xFC01], [0x7BFF, 0x8000]),
      (1, [0x80], [0x7F, 0x81, 0xFF]),
    ]
    for kind in kinds {
      for count in [0, 1, 3, 4095, 4096, 4097, 9001] {
        for offset in [0, 1] {
          let storage = UnsafeMutableRawPointer.allocate(
            byteCount: count * kind.bytes + 16, alignment: 16)
          defer { storage.deallocate() }
          let base = storage + offset
          func set(_ index: Int, _ bits: UInt32) {
            withUnsafeBytes(of: bits.littleEndian) {
              (base + index * kind.bytes).copyMemory(from: $0.baseAddress!, byteCount: kind.bytes)
            }
          }
          for index in 0..<count { set(index, kind.good[index % kind.good.count]) }
          #expect(cv_first_bad_weight(base, count, kind.bytes) == count)
          for index in [0, 1, 2, 4094, 4095, 4096, 8999, 9000] where index < count {
            for bad in kind.bad {
              set(index, bad)
              if index + 5 < count { set(index + 5, bad) }
              #expect(cv_first_bad_weight(base, count, kind.bytes) == index)
              if index + 5 < count { set(index + 5, kind.good[0]) }
            }
            set(index, kind.good[0])
          }
        }
      }
    }
  }
}

@Suite struct HalfTests {
  /// All 65,536 of them, against the compiler's own.
  @Test func widensEveryHalf() {
    var wrong = 0
    for bits in UInt16.min...UInt16.max {
      let expected = Float(Float16(bitPattern: bits))
      let found = Half.widened(bits)
      if expected.isNaN {
        wrong += found.isNaN ? 0 : 1
      } else {
        wrong += found.bitPattern == expected.bitPattern ? 0 : 1
        wrong += Half.narrowed(found) == bits ? 0 : 1
      }
    }
    #expect(wrong == 0)
  }

  /// Floats of any bits, and those at and beside the ties between two halves.
  @Test func narrowsToTheNearest() {
    var random = SeededRandom(seed: 2)
    var floats = (0..<1_000_000).map { _ in
      Float(bitPattern: UInt32(truncatingIfNeeded: random.next()))
    }
    for bits in UInt16.min..<0x7C00 {
      let low = Half.widened(bits)
      // From the largest half on, the next one would be 65536.
      let high = bits == 0x7BFF ? 65536 : Half.widened(bits + 1)
      let tie = low + (high - low) / 2
      floats += [tie, tie.nextUp, tie.nextDown, -tie, -tie.nextUp, -tie.nextDown]
    }
    var wrong = 0
    for float in floats {
      let expected = Float16(float)
      let found = Float16(bitPattern: Half.narrowed(float))
      wrong +=
        expected.isNaN ? (found.isNaN ? 0 : 1) : found.bitPattern == expected.bitPattern ? 0 : 1
    }
    #expect(wrong == 0)
  }

  /// The loops over many, at every alignment of a half's address.
  @Test func convertsRuns() throws {
    let halves = (0..<1000).map { UInt16($0 * 31) }  // up to 30969: finite
    let floats = try Buffer<Float>(1000, for: "test")
    let bytes = halves.flatMap { WeightFileSample.bytes($0) }
    for shift in 0..<2 {
      let shifted = [UInt8](repeating: 0, count: shift) + bytes
      shifted.withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress else { return }
        Half.widen(base + shift, to: floats.base, count: 1000)
      }
      #expect((0..<1000).allSatisfy { floats[$0] == Float(Float16(bitPattern: halves[$0])) })
    }
    let back = try Buffer<UInt16>(1000, for: "test")
    Half.narrow(floats.base, to: back.base, count: 1000)
    #expect((0..<1000).allSatisfy { back[$0] == halves[$0] })
  }
}

@Suite struct UTF8Tests {
  private func agrees(_ bytes: [UInt8]) -> Bool {
    bytes.withUnsafeBytes { isUTF8($0) } == (String(validating: bytes, as: UTF8.self) != nil)
  }

  /// Every sequence of one and two bytes; every lead with every second byte and
  /// the borders of the further ones.
  @Test func agreesWithTheStandardLibrary() {
    var wrong = agrees([]) ? 0 : 1
    let borders: [UInt8] = [0x00, 0x7F, 0x80, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF]
    for first in UInt8.min...UInt8.max {
      wrong += agrees([first]) ? 0 : 1
      for second in UInt8.min...UInt8.max {
        wrong += agrees([first, second]) ? 0 : 1
        guard first >= 0xC0 else { continue }
        for third in borders {
          wrong += agrees([first, second, third]) ? 0 : 1
          for fourth in borders {
            wrong += agrees([first, second, third, fourth]) ? 0 : 1
          }
        }
      }
    }
    #expect(wrong == 0)
  }
}

@Suite struct GGUFReaderTests {
  private func error(_ change: (inout WeightFileSample) -> Void) -> CoveyError? {
    var sample = WeightFileSample()
    change(&sample)
    return WeightFileSample.load(sample.file).error
  }

  @Test func magicAndVersion() {
    #expect(error { $0.magic = Array("GGML".utf8) }?.kind == .format)
    #expect(error { $0.magic = Array("FUGG".utf8) }?.kind == .unsupported)
    #expect(error { $0.version = 3 << 24 }?.message.contains("big-endian") == true)
    #expect(error { $0.version = 3 << 24 }?.kind == .unsupported)
    #expect(error { $0.version = 2 }?.kind == .unsupported)
    #expect(error { $0.version = 4 }?.kind == .version)
    #expect(error { $0.version = 0 }?.kind == .unsupported)
    #expect(WeightFileSample.load([]).error?.kind == .format)
    #expect(WeightFileSample.load(Array("PK\u{3}\u{4} something else".utf8)).error?.kind == .format)
  }

  @Test func counts() {
    for wrong in [-1, 1, 5000, .max, .min] as [Int64] {
      var sample = WeightFileSample(whole: false)
      sample.tensorCountError = wrong
      #expect(WeightFileSample.load(sample.file).error?.kind == .format, "tensors \(wrong)")
      // With one entry less, the rest of the header is not what it was.
      #expect(error { $0.entryCountError = wrong } != nil, "entries \(wrong)")
    }
    #expect(
      error { $0.entryCountError = 1 << 40 }?.message.contains("at most 4096 metadata entries")
        == true)
  }

  @Test func keys() {
    #expect(
      error { $0.entries[3].key = "general.name" }?.message
        == "general.name: the key is there twice")
    #expect(error { $0.set("", 1) }?.message.contains("a name of 1 to 256 bytes, found 0") == true)
    #expect(error { $0.set(String(repeating: "k", count: 257), 1) }?.kind == .format)
    #expect(error { $0.set(String(repeating: "k", count: 256), 1) } == nil)
    #expect(error { $0.set("a\0b", 1) }?.kind == .format)
    #expect(error { $0.set("a\nb", 1) }?.kind == .format)
    #expect(error { $0.set("späte.vögel", 1) } == nil)
    // A lone lead byte in place of the last letter of a key.
    var sample = WeightFileSample()
    sample.set("test.x", 1)
    var file = sample.file
    let place = Data(file).range(of: Data("test.x".utf8))
    file[(place?.upperBound ?? 0) - 1] = 0xC3
    #expect(WeightFileSample.load(file).error?.message.contains("not UTF-8") == true)
  }

  @Test func values() {
    func b32(_ number: UInt32) -> [UInt8] { WeightFileSample.bytes(number) }
    func b64(_ number: UInt64) -> [UInt8] { WeightFileSample.bytes(number) }
    #expect(error { $0.set("x", type: 13, b32(0)) }?.message == "x: there is no type of number 13")
    #expect(error { $0.set("x", type: .max, []) }?.kind == .format)
    #expect(error { $0.set("x", type: 7, [2]) }?.message.contains("bools of 0 or 1") == true)
    #expect(error { $0.set("x", type: 9, b32(7) + b64(2) + [1, 2]) }?.kind == .format)
    #expect(error { $0.set("x", type: 9, b32(9) + b64(1) + b32(4) + b64(0)) }?.kind == .unsupported)
    #expect(error { $0.set("x", type: 9, b32(13) + b64(0)) }?.kind == .format)
    #expect(error { $0.set("x", type: 8, b64(2) + [0x41, 0]) }?.kind == .format)
    #expect(error { $0.set("x", type: 8, b64(1) + [0xFF]) }?.kind == .format)
    #expect(error { $0.set("x", type: 9, b32(4) + b64(0)) } == nil)
    #expect(error { $0.set("x", type: 8, b64(0)) } == nil)
    // Lengths that do not fit the file, an Int, or an Int when multiplied.
    for length in [1 << 20, 1 << 40, 1 << 61, 1 << 62, 1 << 63, .max, .max / 8] as [UInt64] {
      for kind in UInt32(0)..<13 where kind != 9 {
        let found = error {
          $0.set("x", type: 9, b32(kind) + b64(length))
        }
        #expect(found?.kind == .format, "\(length) elements of type \(kind)")
      }
      #expect(error { $0.set("x", type: 8, b64(length)) }?.kind == .format)
    }
  }

  @Test func alignment() {
    for right in [8, 16, 32, 64, 128, 4096] as [UInt32] {
      let found = error {
        $0.set("general.alignment", right)
        $0.alignment = Int(right)
      }
      #expect(found == nil, "\(right): \(found?.message ?? "")")
    }
    for wrong in [0, 1, 4, 48, 8192, 1 << 31, .max] as [UInt32] {
      #expect(error { $0.set("general.alignment", wrong) }?.kind == .format, "\(wrong)")
    }
    #expect(
      error { $0.set("general.alignment", float: 64) }?.message
        == "general.alignment: expected u32, found f32")
    // Without the key it is 32.
    let found = error {
      $0.remove("general.alignment")
      $0.alignment = 32
    }
    #expect(found == nil)
    let other = error { sample in
      sample.remove("general.alignment")
      sample.alignment = 8
      // 20 bytes of it, so that what follows is at a multiple of 8 only.
      for (name, shape) in [("fc1.weight", [5, 24]), ("fc1.bias", [5]), ("fc2.weight", [24, 5])] {
        sample.change("correlator.mlp.\(name)") {
          $0.shape = shape
          $0.values = Array($0.values.prefix(shape.reduce(1, *)))
        }
      }
    }
    #expect(other?.message.contains("multiple of 32") == true)
  }

  /// One tensor's record, byte by byte where the fields are.
  @Test func tensorFields() throws {
    let sample = WeightFileSample()
    let file = sample.file
    let name = "encoder.blocks.0.mlp.fc1.weight"
    let found = try #require(Data(file).range(of: Data(name.utf8)))
    let (start, end) = (found.lowerBound, found.upperBound)
    func with(_ bytes: [UInt8], at place: Int) -> CoveyError? {
      var changed = file
      changed.replaceSubrange(place..<(place + bytes.count), with: bytes)
      return WeightFileSample.load(changed).error
    }
    func b64(_ number: UInt64) -> [UInt8] { WeightFileSample.bytes(number) }
    for length in [0, 65, 1 << 30, 1 << 62, .max] as [UInt64] {
      #expect(with(b64(length), at: start - 8)?.kind == .format)
    }
    for rank in [0, 1, 3, 5, .max] as [UInt32] {
      #expect(with(WeightFileSample.bytes(rank), at: end) != nil, "rank \(rank)")
    }
    for size in [0, 1, 1 << 20, 1 << 62, 1 << 63, .max] as [UInt64] {
      #expect(with(b64(size), at: end + 4)?.kind == .format, "first size \(size)")
      #expect(with(b64(size), at: end + 12)?.kind == .format, "second size \(size)")
    }
    // A product of 0 when multiplied without looking.
    #expect(with(b64(1 << 32) + b64(1 << 32), at: end + 4)?.kind == .format)
    #expect(with(b64(1 << 31) + b64(1 << 31), at: end + 4)?.kind == .format)
    #expect(
      with(WeightFileSample.bytes(UInt32(24)), at: end + 20)?.message
        == "\(name): expected F32, found I8")
    for type in [2, 8, 30, .max] as [UInt32] {
      #expect(with(WeightFileSample.bytes(type), at: end + 20)?.kind == .unsupported)
    }
    #expect(
      with(WeightFileSample.bytes(UInt32(1)), at: end + 20)?.message
        == "\(name): expected F32, found F16")
    for offset in [1 << 20, 1 << 62, 1 << 63, .max, .max - 63] as [UInt64] {
      #expect(with(b64(offset), at: end + 24)?.message.contains("beyond") == true, "\(offset)")
    }
    #expect(with(b64(1), at: end + 24)?.message.contains("multiple of 64") == true)
    #expect(with(b64(0), at: end + 24)?.message.contains("overlaps") == true)
  }

  @Test func namesOfTensors() {
    #expect(
      error { $0.tensors[5].name = "encoder.cls_token" }?.message
        == "encoder.cls_token: the tensor is there twice")
    #expect(error { $0.tensors[5].name = "encoder\0" }?.kind == .format)
    #expect(error { $0.tensors[5].name = "" }?.kind == .format)
  }

  /// Cut anywhere in the header, and at some places in the data.
  @Test func truncation() {
    let sample = WeightFileSample()
    let file = sample.file
    var loaded: [Int] = []
    for length in Array(0...sample.header.count + 64)
      + stride(from: sample.header.count + 64, to: file.count, by: 997)
    {
      let error = WeightFileSample.load(Array(file[..<length]), verify: false).error
      if error?.kind != .format { loaded.append(length) }
    }
    #expect(loaded == [])
    // Only the padding after the last tensor may be missing.
    let last = WeightFileSample.c * 4
    let padding = WeightFileSample.padded(last, 64) - last
    #expect(WeightFileSample.load(Array(file.dropLast(padding)), verify: false).error == nil)
    #expect(
      WeightFileSample.load(Array(file.dropLast(padding + 1)), verify: false).error?.kind == .format
    )
  }

  /// The most that the limits let through must not take long: what would be
  /// 8 million comparisons of pairs takes 4096 log 4096.
  @Test func hostileCounts() {
    var sample = WeightFileSample()
    for index in 0..<(4096 - sample.entries.count) {
      sample.set("test.\(String(repeating: "k", count: 240)).\(index)", UInt32(index))
    }
    #expect(WeightFileSample.load(sample.file).error == nil)
    sample.set("one.more", 1)
    #expect(WeightFileSample.load(sample.file).error?.message.contains("at most 4096") == true)
    let start = Date()
    var many = WeightFileSample()
    many.tensors = (0..<4096).map {
      .init(
        name: "\(String(repeating: "t", count: 50)).\($0)", shape: [16],
        values: [Float](repeating: 0, count: 16))
    }
    #expect(WeightFileSample.load(many.file).error?.kind == .format)
    // Some 10 ms; a machine a hundred times as busy may pass too.
    #expect(Date().timeIntervalSince(start) < 5)
  }

  /// A header may take 64 MiB and no more.
  @Test func hugeHeader() {
    var sample = WeightFileSample()
    let size = 65 << 20
    sample.set(
      "x", type: 9,
      WeightFileSample.bytes(UInt32(0)) + WeightFileSample.bytes(UInt64(size))
        + [UInt8](repeating: 0, count: size))
    let error = WeightFileSample.load(sample.file).error
    #expect(error?.kind == .format)
    #expect(
      error?.message.contains("a header of more than 67108864 bytes") == true,
      "\(error?.message ?? "")")
  }
}
