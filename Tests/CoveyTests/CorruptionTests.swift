import Foundation
import Testing

@testable import Covey

private typealias Sample = WeightFileSample

/// Whatever is done to a file, it is loaded or refused; nothing crashes, and
/// everything that a loaded checkpoint points to can be read.
@Suite struct CorruptionTests {
  private static let rounds = 10_000

  @Test func mutations() throws {
    try Sample.withFolder { try mutations(folder: $0) }
  }

  private func mutations(folder: String) throws {
    var originals: [[UInt8]] = []
    for half in [false, true] {
      var sample = Sample(half: half, whole: half)
      var crc = CRC32()
      sample.data.withUnsafeBytes { crc.append($0) }
      sample.set("covey.checksum.crc32", crc.value)
      originals.append(sample.file)
    }
    originals.append(Sample(whole: false).quantized().completed().file)
    for name in ["tiny-f32", "tiny-f16", "tiny-q8"] {
      let url = Sample.goldenFolder.appendingPathComponent("\(name).gguf")
      originals.append(Array(try Data(contentsOf: url)))
    }

    var random = SeededRandom(seed: 20_231_117)
    var (loaded, refused) = ([0, 0], [0, 0])  // unverified, verified
    var messages = Set<String>()
    for round in 0..<Self.rounds {
      var file = originals[Int.random(in: 0..<originals.count, using: &random)]
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        Self.mutate(&file, &random)
      }
      let verify = round % 2 == 0
      // Memory of just this size, at any address: a checker of addresses sees
      // every byte read that is not the file's.
      let shift = Int.random(in: 0..<4, using: &random)
      let memory = UnsafeMutableRawBufferPointer.allocate(
        byteCount: file.count + shift, alignment: 16)
      defer { memory.deallocate() }
      let bytes = UnsafeMutableRawBufferPointer(rebasing: memory[shift...])
      bytes.copyBytes(from: file)
      do throws(CoveyError) {
        let model = try Checkpoint(
          bytes: UnsafeRawBufferPointer(bytes), copy: false, verify: verify)
        defer { withExtendedLifetime(model) {} }
        loaded[verify ? 1 : 0] += 1
        let count = model.inferenceWeights.values.reduce(0) { $0 + $1.count }
        #expect(count > 0 && count <= model.parameterCount)
        #expect(model.metadata.allSatisfy { !$0.key.isEmpty && $0.value.text.utf8.count < 1 << 20 })
        let dtype = [WeightType.f16, .q8, .f32][round % 3]
        if round % 16 < 2, Sample.save(model, path: "\(folder)/a", dtype) == nil {
          #expect(Sample.load(path: "\(folder)/a").error == nil)
        }
      } catch {
        refused[verify ? 1 : 0] += 1
        #expect(!error.message.isEmpty)
        messages.insert(String(error.message.prefix { !$0.isNumber }))
      }
    }
    // A reader that refused all, or looked at nothing, would pass otherwise.
    // Found: 1417 of 5000 loaded unverified, 259 verified (one of the six files
    // has no checksum, and the others tell of damaged data only), 335 messages.
    #expect(
      loaded[0] > 500 && refused[0] > 500, "unverified: \(loaded[0]) loaded, \(refused[0]) refused")
    #expect(
      loaded[1] < loaded[0] / 2 && refused[1] > 2500,
      "verified: \(loaded[1]) loaded, \(refused[1]) refused")
    #expect(messages.count > 50, "\(messages.count) different messages")
  }

  private static func mutate(_ file: inout [UInt8], _ random: inout SeededRandom) {
    guard file.count > 16 else { return }
    // Half of the time in the header, which is the smaller part.
    let end = Bool.random(using: &random) ? min(file.count, 3500) : file.count
    let place = Int.random(in: 0..<(end - 8), using: &random)
    switch Int.random(in: 0..<8, using: &random) {
    case 0, 1:
      file[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
    case 2:
      file[place] = UInt8.random(in: 0...255, using: &random)
    case 3:
      let extremes: [UInt64] = [
        0, 1, .max, .max - 1, 1 << 63, 1 << 62, 1 << 32, 1 << 31, 0x7FF0_0000_0000_0000,
        0x7F80_0000_7F80_0000, UInt64(file.count), UInt64(file.count) - 1,
      ]
      let value = extremes[Int.random(in: 0..<extremes.count, using: &random)]
      file.replaceSubrange(place..<(place + 8), with: Sample.bytes(value))
    case 4:
      let value = UInt32(
        truncatingIfNeeded: random.next() >> UInt64.random(in: 32..<64, using: &random))
      file.replaceSubrange(place..<(place + 4), with: Sample.bytes(value))
    case 5:
      // A piece of the file put somewhere else in it.
      let from = Int.random(in: 0..<end, using: &random)
      let length = min(Int.random(in: 1...64, using: &random), end - max(from, place))
      file.replaceSubrange(place..<(place + length), with: Array(file[from..<(from + length)]))
    case 6:
      // Bytes put in or taken out: all that follows moves.
      if Bool.random(using: &random) {
        file.insert(UInt8.random(in: 0...255, using: &random), at: place)
      } else {
        file.removeSubrange(place..<(place + Int.random(in: 1...8, using: &random)))
      }
    default:
      file.removeLast(
        Int.random(
          in: 0..<min(file.count, 1 << Int.random(in: 1...16, using: &random)), using: &random))
    }
  }
}
