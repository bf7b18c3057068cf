import Foundation
import Testing

@testable import Covey

/// The samples of a frame, and the same laid out in memory as the format
/// wants it.  The oracle looks at the samples only.
private final class Picture {
  enum Rows {
    case tight, padded, bottomUp
  }

  let format: PixelFormat
  let width: Int
  let height: Int
  /// Three (RGB, YUV) or one (gray) channels of samples, [rows][columns].
  private var channels: [[[UInt8]]] = []
  /// Of formats of words the bytes below them.
  private var finer: [[[UInt8]]] = []
  private var memory: [UnsafeMutableBufferPointer<UInt8>] = []
  private(set) var frame: Frame

  init(_ format: PixelFormat, _ width: Int, _ height: Int, _ rows: Rows, seed: UInt64) {
    self.format = format
    self.width = width
    self.height = height
    frame = Frame(
      format: format, width: width, height: height, planes: (nil, nil, nil),
      strides: (0, 0, 0), timestamp: 0)
    var random = Random(state: seed)
    let half = ((width + 1) / 2, (height + 1) / 2)
    let sizes: [(columns: Int, rows: Int)] =
      switch format {
      case .rgb8, .bgr8, .rgba8, .bgra8: Array(repeating: (width, height), count: 3)
      case .gray8: [(width, height)]
      case .i420, .nv12, .p010: [(width, height), half, half]
      case .yuyv: [(width, height), (half.0, height), (half.0, height)]
      }
    channels = sizes.map { size in
      (0..<size.rows).map { _ in (0..<size.columns).map { _ in random.byte() } }
    }
    if format == .p010 {
      finer = channels.map { $0.map { $0.map { _ in random.byte() } } }
    }
    let (c, f) = (channels, finer)
    let planes: [[[UInt8]]] =
      switch format {
      case .rgb8: [pack(height, width) { y, x in [c[0][y][x], c[1][y][x], c[2][y][x]] }]
      case .bgr8: [pack(height, width) { y, x in [c[2][y][x], c[1][y][x], c[0][y][x]] }]
      case .rgba8: [pack(height, width) { y, x in [c[0][y][x], c[1][y][x], c[2][y][x], 77] }]
      case .bgra8: [pack(height, width) { y, x in [c[2][y][x], c[1][y][x], c[0][y][x], 77] }]
      case .gray8, .i420: c
      case .nv12: [c[0], pack(half.1, half.0) { y, x in [c[1][y][x], c[2][y][x]] }]
      case .p010:
        [
          pack(height, width) { y, x in [f[0][y][x], c[0][y][x]] },
          pack(half.1, half.0) { y, x in [f[1][y][x], c[1][y][x], f[2][y][x], c[2][y][x]] },
        ]
      case .yuyv:
        [
          pack(height, width / 2) { y, x in
            [c[0][y][2 * x], c[1][y][x], c[0][y][2 * x + 1], c[2][y][x]]
          }
        ]
      }
    let placed = planes.map { place($0, rows, &random) }
    frame.planes = (
      placed[0].base, placed.count > 1 ? placed[1].base : nil,
      placed.count > 2 ? placed[2].base : nil
    )
    frame.strides = (
      placed[0].stride, placed.count > 1 ? placed[1].stride : 0,
      placed.count > 2 ? placed[2].stride : 0
    )
  }

  deinit {
    memory.forEach { $0.deallocate() }
  }

  private func pack(_ rows: Int, _ columns: Int, _ pixel: (Int, Int) -> [UInt8]) -> [[UInt8]] {
    (0..<rows).map { y in (0..<columns).flatMap { x in pixel(y, x) } }
  }

  /// Memory that ends with the last byte of the last row, and has noise
  /// between the rows.
  private func place(
    _ rows: [[UInt8]], _ layout: Rows, _ random: inout Random
  ) -> (base: UnsafePointer<UInt8>, stride: Int) {
    let length = rows[0].count
    let distance = layout == .tight ? length : length + 5
    let bytes = UnsafeMutableBufferPointer<UInt8>.allocate(
      capacity: distance * (rows.count - 1) + length)
    memory.append(bytes)
    for index in bytes.indices { bytes[index] = random.byte() }
    for (y, row) in rows.enumerated() {
      let line = layout == .bottomUp ? rows.count - 1 - y : y
      for (x, byte) in row.enumerated() { bytes[line * distance + x] = byte }
    }
    let base = UnsafePointer(bytes.baseAddress!)
    return switch layout {
    case .tight: (base, 0)
    case .padded: (base, distance)
    case .bottomUp: (base + distance * (rows.count - 1), -distance)
    }
  }

  /// R, G, B in 0...255 of one pixel.
  func rgb(_ x: Int, _ y: Int) -> [Double] {
    func sample(_ channel: Int, _ x: Int, _ y: Int) -> Double {
      Double(channels[channel][y][x]) + (finer.isEmpty ? 0 : Double(finer[channel][y][x]) / 256)
    }
    switch format {
    case .rgb8, .bgr8, .rgba8, .bgra8: return (0..<3).map { sample($0, x, y) }
    case .gray8: return Array(repeating: sample(0, x, y), count: 3)
    case .i420, .nv12, .yuyv, .p010:
      let row = format == .yuyv ? y : y / 2
      let luma = 255 / 219.0 * (sample(0, x, y) - 16)
      let pb = (sample(1, x / 2, row) - 128) / 224
      let pr = (sample(2, x / 2, row) - 128) / 224
      // ITU-R BT.601, 2.5: R' - Y' = 1.402 P_R, B' - Y' = 1.772 P_B, and
      // Y' = 0.299 R' + 0.587 G' + 0.114 B'.
      let red = luma + 255 * 1.402 * pr
      let blue = luma + 255 * 1.772 * pb
      let green = (luma - 0.299 * red - 0.114 * blue) / 0.587
      return [red, green, blue].map { min(max($0, 0), 255) }
    }
  }

  /// [3, height, width], straight from the definition.
  func resized(_ outWidth: Int, _ outHeight: Int) -> [Double] {
    var output = [Double](repeating: 0, count: 3 * outHeight * outWidth)
    for y in 0..<outHeight {
      let sy = max(0, (Double(y) + 0.5) * Double(height) / Double(outHeight) - 0.5)
      let top = min(Int(sy), height - 1)
      for x in 0..<outWidth {
        let sx = max(0, (Double(x) + 0.5) * Double(width) / Double(outWidth) - 0.5)
        let left = min(Int(sx), width - 1)
        for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
          let fy = dy == 1 ? sy - Double(top) : 1 - (sy - Double(top))
          let fx = dx == 1 ? sx - Double(left) : 1 - (sx - Double(left))
          let colour = rgb(min(left + dx, width - 1), min(top + dy, height - 1))
          for c in 0..<3 {
            output[(c * outHeight + y) * outWidth + x] += fy * fx * colour[c]
          }
        }
      }
    }
    for index in output.indices {
      let c = index / (outHeight * outWidth)
      output[index] = (output[index] / 255 - Double(mean[c])) / Double(std[c])
    }
    return output
  }
}

private struct Random {
  var state: UInt64

  mutating func byte() -> UInt8 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return UInt8(truncatingIfNeeded: state >> 56)
  }
}

private let mean = SIMD3<Float>(0.485, 0.456, 0.406)
private let std = SIMD3<Float>(0.229, 0.224, 0.225)

/// Samples are whole numbers below 256 and so exact.  From there on, some ten
/// roundings of at most half an ulp of 255 (2^-17), and the last few of values
/// of up to 2.7: 10 * 2^-17 / (255 * 0.224) + 3 * 2^-23 = 1.7e-6.
private let tolerance = 2e-6

private func resample(
  _ frame: Frame, _ outWidth: Int, _ outHeight: Int, bands: Int = 1
) throws -> [Float] {
  let plan = try ResamplePlan(
    frameWidth: frame.width, frameHeight: frame.height, outWidth: outWidth,
    outHeight: outHeight, mean: mean, std: std, workers: 1)
  let source = try frame.validate()
  var output = [Float](repeating: .nan, count: 3 * outHeight * outWidth)
  output.withUnsafeMutableBufferPointer { output in
    for band in 0..<bands {
      plan.rows(
        outHeight * band / bands..<outHeight * (band + 1) / bands, of: source, worker: 0,
        into: output.baseAddress!)
    }
  }
  return output
}

/// NaN, for what was never written, is infinitely far.
private func distance(_ a: [Float], _ b: [Double]) -> Double {
  guard a.count == b.count else { return .infinity }
  return zip(a, b).map { $0.isNaN ? .infinity : abs(Double($0) - $1) }.max() ?? 0
}

private let allFormats = (1...9).map { PixelFormat(rawValue: $0)! }

@Suite struct ResampleTests {
  @Test(arguments: allFormats)
  func agreesWithTheDefinition(format: PixelFormat) throws {
    let sizes = [
      (1, 1, 1, 1), (1, 1, 4, 3), (2, 1, 5, 2), (1, 9, 3, 4), (7, 5, 7, 5), (6, 4, 3, 2),
      (9, 6, 3, 2), (5, 3, 16, 11), (33, 21, 8, 8), (34, 22, 40, 16), (16, 40, 50, 3),
      (854, 480, 64, 32),
    ]
    var seed: UInt64 = 1
    for (w, h, outWidth, outHeight) in sizes {
      let width = format == .yuyv ? (w + 1) / 2 * 2 : w
      for rows in [Picture.Rows.tight, .padded, .bottomUp] {
        seed += 1
        let picture = Picture(format, width, h, rows, seed: seed)
        let found = try resample(picture.frame, outWidth, outHeight)
        let error = distance(found, picture.resized(outWidth, outHeight))
        #expect(error < tolerance, "\(width)x\(h) to \(outWidth)x\(outHeight), \(rows)")
      }
    }
  }

  /// Tests/golden/make_resample.py.
  @Test func agreesWithPyTorch() throws {
    let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../golden/resample.txt")
    let lines = try String(contentsOf: golden, encoding: .utf8).split(separator: "\n")
    var cases = 0
    for (index, line) in lines.enumerated() where line.hasPrefix("case ") {
      let n = line.split(separator: " ").dropFirst().compactMap { Int($0) }
      let (width, height, outWidth, outHeight, seed, step) = (n[0], n[1], n[2], n[3], n[4], n[5])
      let bytes = (0..<width * height * 3).map { i -> UInt8 in
        var x = UInt32(truncatingIfNeeded: i + seed * 1_000_003)
        x = (x ^ x >> 16) &* 0x7FEB_352D
        x = (x ^ x >> 15) &* 0x846C_A68B
        return UInt8(x >> 24)
      }
      let found = try bytes.withUnsafeBufferPointer { bytes in
        try resample(
          Frame(
            format: .rgb8, width: width, height: height, planes: (bytes.baseAddress, nil, nil),
            strides: (0, 0, 0), timestamp: 0),
          outWidth, outHeight)
      }
      let expected = lines[index + 1].split(separator: " ").compactMap { Double($0) }
      let every = stride(from: 0, to: found.count, by: step).map { found[$0] }
      #expect(distance(every, expected) < tolerance, "\(line)")
      cases += 1
    }
    #expect(cases == 12)
  }

  /// The colour bars of BT.601 at full level, as they are in 8-bit video: 16 to
  /// 235 for Y, 16 to 240 for chroma.
  @Test func knowsTheColoursOfVideo() throws {
    let colours: [(yuv: [UInt8], rgb: [Double])] = [
      ([16, 128, 128], [0, 0, 0]), ([235, 128, 128], [255, 255, 255]),
      ([81, 90, 240], [255, 0, 0]), ([145, 54, 34], [0, 255, 0]),
      ([41, 240, 110], [0, 0, 255]), ([210, 16, 146], [255, 255, 0]),
      ([0, 128, 128], [0, 0, 0]), ([255, 128, 128], [255, 255, 255]),
    ]
    for (yuv, rgb) in colours {
      let found = try yuv.withUnsafeBufferPointer { bytes in
        let base = bytes.baseAddress!
        return try resample(
          Frame(
            format: .i420, width: 1, height: 1, planes: (base, base + 1, base + 2),
            strides: (0, 0, 0), timestamp: 0), 1, 1)
      }
      for c in 0..<3 {
        let level = (Double(found[c]) * Double(std[c]) + Double(mean[c])) * 255
        // The table rounds Y, U and V by up to 1/2 each, which comes to at most
        // (1.164 + 2.017) / 2 = 1.59 in a channel.
        #expect(abs(level - rgb[c]) < 1.6, "\(yuv) channel \(c)")
      }
    }
  }

  @Test func givesTheSameBitsHoweverRowsAreGrouped() throws {
    for (outWidth, outHeight) in [(48, 40), (20, 13)] {
      let picture = Picture(.nv12, 31, 19, .padded, seed: 3)
      let whole = try resample(picture.frame, outWidth, outHeight)
      for bands in [2, 3, outHeight] {
        #expect(try resample(picture.frame, outWidth, outHeight, bands: bands) == whole)
      }
      let pool = try ThreadPool(threads: 3)
      let plan = try ResamplePlan(
        frameWidth: 31, frameHeight: 19, outWidth: outWidth, outHeight: outHeight, mean: mean,
        std: std, workers: pool.threads)
      let source = try picture.frame.validate()
      var output = [Float](repeating: .nan, count: whole.count)
      output.withUnsafeMutableBufferPointer { output in
        plan.run(source, on: pool, into: output.baseAddress!)
      }
      #expect(output == whole)
    }
  }

  @Test func saysWhatItTakesBeforehand() throws {
    for (width, outWidth) in [(500, 48), (50, 48), (13, 48)] {
      let bytes = ResamplePlan.byteCount(
        frameWidth: width, outWidth: outWidth, outHeight: 32, workers: 2)
      func plan(_ budget: Budget) throws(CoveyError) -> ResamplePlan {
        try ResamplePlan(
          frameWidth: width, frameHeight: 70, outWidth: outWidth, outHeight: 32, mean: mean,
          std: std, workers: 2, budget: budget)
      }
      let budget = Budget()
      let held = try plan(budget)
      #expect(budget.current == bytes)
      withExtendedLifetime(held) {}
      #expect(throws: CoveyError.self) { try plan(Budget(limit: bytes - 1)) }
    }
  }
}

@Suite struct FrameTests {
  private func message(_ change: (inout Frame) -> Void) -> String {
    let byte = UnsafePointer<UInt8>(bitPattern: 64)
    var frame = Frame(
      format: .i420, width: 7, height: 5, planes: (byte, byte, byte), strides: (0, 0, 0),
      timestamp: 0)
    change(&frame)
    do throws(CoveyError) {
      try frame.validate()
      return "valid"
    } catch {
      return error.kind == .argument ? error.message : "another kind"
    }
  }

  @Test func namesWhatIsWrong() {
    #expect(message { _ in } == "valid")
    #expect(message { $0.width = 0 } == "frame.width: expected 1 to 32768, found 0")
    #expect(message { $0.height = -3 } == "frame.height: expected 1 to 32768, found -3")
    #expect(message { $0.width = 32769 } == "frame.width: expected 1 to 32768, found 32769")
    #expect(message { $0.width = 32768 } == "valid")
    #expect(
      message { $0.planes.2 = nil }
        == "frame.planes[2]: expected a pointer, as I420 has 3 planes, found NULL")
    #expect(
      message { $0.strides.1 = 3 } == "frame.strides[1]: expected 0 or 4 bytes or more from "
        + "row to row for I420 7x5, found 3")
    #expect(message { $0.strides.1 = 4 } == "valid")
    #expect(message { $0.strides.1 = -4 } == "valid")
    #expect(message { $0.strides.1 = -3 }.hasPrefix("frame.strides[1]"))
    #expect(message { $0.strides.0 = .max }.hasPrefix("frame.strides[0]"))
    #expect(message { $0.strides.0 = .min }.hasPrefix("frame.strides[0]"))
    #expect(
      message { $0.format = .yuyv }
        == "frame.width: expected an even number for YUYV, found 7")
  }

  @Test func asksForTheBytesOfEveryFormat() {
    let bytes: [(PixelFormat, [Int])] = [
      (.rgb8, [18]), (.bgr8, [18]), (.rgba8, [24]), (.bgra8, [24]), (.gray8, [6]),
      (.i420, [6, 3, 3]), (.nv12, [6, 6]), (.yuyv, [12]), (.p010, [12, 12]),
    ]
    for (format, planes) in bytes {
      for plane in 0..<3 {
        for missing in [0, 1] {
          let valid =
            message {
              $0.format = format
              $0.width = 6
              let stride = plane < planes.count ? planes[plane] - missing : 1
              switch plane {
              case 0: $0.strides.0 = stride
              case 1: $0.strides.1 = stride
              default: $0.strides.2 = stride
              }
            } == "valid"
          // Planes that a format has not are not looked at.
          #expect(valid == (missing == 0 || plane >= planes.count), "\(format) \(plane)")
        }
        let without =
          message {
            $0.format = format
            $0.width = 6
            switch plane {
            case 0: $0.planes.0 = nil
            case 1: $0.planes.1 = nil
            default: $0.planes.2 = nil
            }
          } == "valid"
        #expect(without == (plane >= planes.count), "\(format) \(plane)")
      }
    }
  }

  @Test func knowsTheNumbersOfTheInterface() throws {
    #expect(try PixelFormat(code: 7) == .nv12)
    #expect(try PixelFormat(code: 9) == .p010)
    for code: Int32 in [0, 10, -1, .max] {
      #expect(throws: CoveyError.self) { try PixelFormat(code: code) }
    }
  }
}
