import Foundation
import Testing

@testable import Covey

/// What a frame gives to be compared, with each affinity, against its formula in
/// double.
@Suite struct AffinityTests {
  private static let model = TestCheckpoint(
    patch: 4, channels: 24, depth: 3, heads: 4, mlp: 50, correlatorHeads: 2, rows: 5, columns: 7,
    seed: 21)

  /// A frame of the working size, so that nothing is resampled, and its planes.
  private func frame() -> (pixels: [UInt8], planes: [Float]) {
    let (model, video) = (Self.model, TestVideo(frames: 1, width: 28, height: 20, seed: 3))
    #expect(video.height == model.rows * model.patch && video.width == model.columns * model.patch)
    let pixels = video.frames[0]
    let count = video.width * video.height
    let planes = (0..<3 * count).map { place in
      let channel = place / count
      let value = Float(pixels[3 * (place % count) + channel]) / 255
      return (value - TestCheckpoint.mean[channel]) / TestCheckpoint.std[channel]
    }
    return (pixels, planes)
  }

  /// Queries and keys [N, C] of all patches.
  private func expected(
    _ affinity: SessionOptions.Affinity, _ planes: [Float], quantised: Bool
  ) -> (queries: [[Double]], keys: [[Double]]) {
    let model = Self.model
    let c = model.channels
    let found = NaiveVisionTransformer(model, quantised: quantised).run(
      planes, rows: model.rows, columns: model.columns)
    func rows(_ values: [Double]) -> [[Double]] {
      stride(from: 0, to: values.count, by: c).map { Array(values[$0..<$0 + c]) }
    }
    if affinity == .attention { return (rows(found.queries), rows(found.keys)) }
    let normal = rows(found.keys).map { x in
      let mean = x.reduce(0, +) / Double(c)
      let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(c)
      return x.map { ($0 - mean) / (variance + Double(model.correlatorEpsilon)).squareRoot() }
    }
    if affinity == .features { return (normal, normal) }
    let weights = model.weights(quantised: quantised)
    let (gain, bias) = (
      weights["correlator.norm1.weight"]!, weights["correlator.norm1.bias"]!
    )
    let matrix = weights["correlator.attn.qkv.weight"]!
    func product(_ part: Int, _ z: [Double]) -> [Double] {
      (0..<c).map { output in
        (0..<c).reduce(0) { $0 + matrix[(part * c + output) * c + $1] * z[$1] }
      }
    }
    let z = normal.map { row in row.indices.map { row[$0] * gain[$0] + bias[$0] } }
    return (z.map { product(0, $0) }, z.map { product(1, $0) })
  }

  /// Means over blocks of patches, the ones at the border of what they have.
  private func pooled(_ keys: [[Double]], _ size: Int) -> [Double] {
    let (rows, columns) = (Self.model.rows, Self.model.columns)
    return stride(from: 0, to: rows, by: size).flatMap { top in
      stride(from: 0, to: columns, by: size).flatMap { left -> [Double] in
        let block = (top..<min(top + size, rows)).flatMap { row in
          (left..<min(left + size, columns)).map { keys[row * columns + $0] }
        }
        return block[0].indices.map { channel in
          block.reduce(0) { $0 + $1[channel] } / Double(block.count)
        }
      }
    }
  }

  /// Root of the mean square of the errors, relative to that of the numbers.
  private func error(_ found: Buffer<Float>, _ exact: [Double]) -> Double {
    guard found.count == exact.count else { return .infinity }
    let lost = exact.indices.reduce(0) { $0 + pow(Double(found[$1]) - exact[$1], 2) }
    return (lost / exact.reduce(0) { $0 + $1 * $1 }).squareRoot()
  }

  /// Observed: 4.2e-7 and, in int8, .013 to .016.
  @Test(
    arguments: [SessionOptions.Affinity.correlator, .features, .attention], [false, true])
  func agreesWithDouble(affinity: SessionOptions.Affinity, quantised: Bool) throws {
    let model = Self.model
    let checkpoint = try quantised ? model.loadQuantised() : model.load()
    let (pixels, planes) = frame()
    let exact = expected(affinity, planes, quantised: quantised)
    let tolerance = quantised ? 0.03 : 2e-6
    for pool in [1, 2, 3] {
      for threads in [1, 3] {
        var options = SessionOptions()
        (options.keyPool, options.affinity) = (pool, affinity)
        let settings = try Settings(options, checkpoint.config.defaults)
        let budget = Budget()
        let encoder = try FrameEncoder(
          checkpoint, settings, frameWidth: 28, frameHeight: 20,
          pool: try ThreadPool(threads: threads), budget: budget)
        #expect(
          budget.current
            == FrameEncoder.byteCount(
              checkpoint, settings, frameWidth: 28, frameHeight: 20, threads: threads))
        for isKey in [true, false] {
          let found = try pixels.withUnsafeBufferPointer {
            try encoder.encode(
              Frame(
                format: .rgb8, width: 28, height: 20, planes: ($0.baseAddress, nil, nil),
                strides: (0, 0, 0), timestamp: 0
              ).validate(), isKey: isKey, after: nil, monitor: Monitor()
            ).frame
          }
          #expect(error(found.queries, exact.queries.flatMap { $0 }) <= tolerance)
          #expect((found.keys != nil) == isKey)
          if let keys = found.keys { #expect(error(keys, pooled(exact.keys, pool)) <= tolerance) }
        }
      }
    }
    // They are three.
    for other in [SessionOptions.Affinity.correlator, .features, .attention]
    where other != affinity {
      let wrong = expected(other, planes, quantised: quantised).queries.flatMap { $0 }
      let right = exact.queries.flatMap { $0 }
      #expect(zip(wrong, right).contains { abs($0 - $1) > 0.5 })
    }
  }

  @Test func headsAreThoseOfWhatIsCompared() throws {
    let checkpoint = try Self.model.load()
    for (affinity, heads) in [
      (SessionOptions.Affinity.correlator, 2), (.features, 2), (.attention, 4),
    ] {
      var options = SessionOptions()
      options.affinity = affinity
      let settings = try Settings(options, checkpoint.config.defaults)
      #expect(settings.affinityHeads(checkpoint.config) == heads)
    }
  }
}
