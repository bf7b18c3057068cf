@testable import Covey

/// Frames in which every patch shows one of a few kinds of things, each with a
/// direction of its own in feature space: encoded, as a stream takes them.
struct TestThings {
  let rows: Int
  let columns: Int
  let channels = 16
  let heads = 2
  var noise = 0.05

  /// Of kinds, by number; 0 is what is behind all.
  private func direction(_ kind: Int) -> [Double] {
    var random = SeededRandom(seed: UInt64(90_000 + kind))
    return (0..<channels).map { _ in 1.7 * random.normal() }
  }

  /// Each thing a square of 4 x 4 patches; place i is the i-th such square.
  func kinds(_ things: [(kind: Int, place: Int)]) -> [Int] {
    var kinds = [Int](repeating: 0, count: rows * columns)
    for thing in things {
      for i in 0..<16 { kinds[corner(thing.place) + i / 4 * columns + i % 4] = thing.kind }
    }
    return kinds
  }

  private func corner(_ place: Int) -> Int {
    place / (columns / 4) * 4 * columns + place % (columns / 4) * 4
  }

  /// Inside that square: where neighbours do not matter.
  func middle(_ place: Int) -> Int { corner(place) + columns + 1 }

  func queries(_ kinds: [Int], seed: Int) -> [Float] {
    var random = SeededRandom(seed: UInt64(seed))
    return kinds.flatMap { kind in
      direction(kind).map { Float($0 + noise * random.normal()) }
    }
  }

  func frame(_ kinds: [Int], isKey: Bool, seed: Int) throws -> EncodedFrame {
    try frame(queries(kinds, seed: seed), isKey: isKey)
  }

  func frame(_ values: [Float], isKey: Bool) throws -> EncodedFrame {
    func copied() throws -> Buffer<Float> {
      let buffer = try Buffer<Float>(values.count, for: "test")
      for (i, value) in values.enumerated() { buffer[i] = value }
      return buffer
    }
    return EncodedFrame(
      queries: try copied(), keys: isKey ? try copied() : nil, saliency: nil, guide: nil, motion: nil)
  }

  func stream(_ change: (inout SessionOptions) -> Void = { _ in }) throws -> Stream {
    var options = SessionOptions()
    (options.isStreaming, options.output, options.mask) = (true, .clusters, .nearest)
    (options.queryPool, options.tau) = (2, 1)
    change(&options)
    let settings = try Settings(
      options,
      Settings.Defaults(
        patchSize: 8, tau: 1, referenceTau: 1, window: 3, keyStride: 3, keyPool: 1))
    return Stream(grid: (rows, columns), settings: settings, channels: channels, heads: heads)
  }
}
