import Foundation

@testable import Covey

/// Queries and keys of a made-up video: blobs that move over a background, each
/// with a direction of its own in feature space.
final class TestScene {
  let frames: [[Float]]  // queries [N, C]
  let keys: [Float]  // [M, C]
  let patches: Int
  let channels: Int
  let heads: Int
  var keyCount: Int { keys.count / channels }

  init(frames: [[Float]], keys: [Float], patches: Int, channels: Int, heads: Int) {
    self.frames = frames
    self.keys = keys
    self.patches = patches
    self.channels = channels
    self.heads = heads
  }

  enum Kind: CaseIterable {
    /// Blobs that fade into each other.
    case soft
    /// Blobs with a border.
    case hard
    /// Nothing but a direction that changes over the frame.
    case ramp
    /// Blobs on a rough background.
    case noisy
  }

  /// - Parameter keyCount: taken from patches all over the video; nil for all
  ///   patches of every second frame.
  convenience init(
    _ kind: Kind, frames count: Int, rows: Int, columns: Int, heads: Int, headDim: Int = 6,
    keyCount: Int? = nil, gain: Double = 3, seed: UInt64
  ) {
    var random = SeededRandom(seed: seed)
    let channels = heads * headDim
    func direction() -> [Double] { (0..<channels).map { _ in random.normal() } }
    let background = (direction(), direction())
    let blobs = (0..<3).map { _ in
      (
        direction(), x: random.uniform(), y: random.uniform(), dx: 0.06 * random.normal(),
        dy: 0.06 * random.normal(), size: 0.1 + 0.15 * random.uniform()
      )
    }
    let noise = kind == .noisy ? 0.25 : 0.02
    var features: [[[Double]]] = []  // frame, patch, channel
    for time in 0..<count {
      var frame: [[Double]] = []
      for row in 0..<rows {
        for column in 0..<columns {
          let (x, y) = (
            (Double(column) + 0.5) / Double(columns), (Double(row) + 0.5) / Double(rows)
          )
          var f = zip(background.0, background.1).map { $0 + (kind == .ramp ? 2 : 0.3) * x * $1 }
          if kind != .ramp {
            for blob in blobs {
              let (dx, dy) = (
                x - blob.x - Double(time) * blob.dx, y - blob.y - Double(time) * blob.dy
              )
              let square = (dx * dx + dy * dy) / (blob.size * blob.size)
              let share = kind == .hard ? (square < 1 ? 1 : 0) : exp(-square)
              for c in f.indices { f[c] += share * (blob.0[c] - f[c]) }
            }
          }
          frame.append(f.map { $0 + noise * random.normal() })
        }
      }
      features.append(frame)
    }
    // Queries and keys of norms that trained ones have: scores of a few units.
    let scale = (gain / Double(headDim).squareRoot()).squareRoot()
    func floats(_ patches: [[Double]]) -> [Float] {
      patches.flatMap { $0.map { Float(scale * $0) } }
    }
    let all = features.flatMap { $0 }
    let keys =
      keyCount.map { m in (0..<m).map { _ in all[Int(random.next() % UInt64(all.count))] } }
      ?? stride(from: 0, to: count, by: 2).flatMap { features[$0] }
    self.init(
      frames: features.map(floats), keys: floats(keys), patches: rows * columns,
      channels: channels, heads: heads)
  }

  var naive: NaiveClustering {
    NaiveClustering(frames: frames, keys: keys, channels: channels, heads: heads)
  }

  struct Clusters: Equatable {
    var labels: [Int32]
    var confidence: [Float]
    var count: Int

    init(labels: [Int32], confidence: [Float], count: Int) {
      (self.labels, self.confidence, self.count) = (labels, confidence, count)
    }

    init(_ found: PatchClusters, count: Int) {
      self.init(
        labels: (0..<found.labels.count).map { found.labels[$0] },
        confidence: (0..<found.confidence.count).map { found.confidence[$0] }, count: count)
    }
  }

  /// What the library makes of it.
  func clusters(
    window: Int, tau: Float, threads: Int = 2, budget: Budget = Budget(),
    monitor: Monitor = Monitor()
  ) throws -> Clusters {
    let queries = frames.flatMap { $0 }
    let found = try PatchClusters(frames.count * patches, hasNear: false, budget: Budget())
    let pool = try ThreadPool(threads: threads)
    BLAS.claim()
    defer { BLAS.release() }
    let count = try queries.withUnsafeBufferPointer { queries in
      try keys.withUnsafeBufferPointer { keys in
        let clustering = ReferenceClustering(
          queries: frames.indices.map { queries.baseAddress! + $0 * patches * channels },
          patches: patches,
          affinity: Affinity(
            keys: keys.baseAddress!, keyCount: keyCount, channels: channels, heads: heads),
          window: window, tau: tau, pool: pool, budget: budget, monitor: monitor)
        return try clustering.run(into: found)
      }
    }
    return Clusters(found, count: count)
  }
}
