@testable import Covey

/// The edge clustering written out plainly in Double: blocks, prototypes, their
/// shift, tree, cut, smoothed assignment.
struct NaiveEdge {
  let scene: TestScene
  let rows: Int
  let columns: Int
  let window: Int
  let queryPool: Int
  let scale: Double
  let tau: Double

  struct Outcome {
    var labels: [Int32] = []
    var confidence: [Double] = []
    var clusters = 0
    var prototypes = 0
    /// How near anything came to being decided otherwise.
    var margin = Double.infinity
  }

  private var channels: Int { scene.channels }

  /// Mean queries of blocks of one frame, and the patches of each.
  private func blocks(_ frame: [Double]) -> [(query: [Double], weight: Double)] {
    var all: [(query: [Double], weight: Double)] = []
    for top in stride(from: 0, to: rows, by: queryPool) {
      for left in stride(from: 0, to: columns, by: queryPool) {
        var (sum, count) = ([Double](repeating: 0, count: channels), 0.0)
        for y in top..<min(top + queryPool, rows) {
          for x in left..<min(left + queryPool, columns) {
            for c in 0..<channels { sum[c] += frame[(y * columns + x) * channels + c] }
            count += 1
          }
        }
        all.append((sum.map { $0 / count }, count))
      }
    }
    return all
  }

  /// Of the rows of each group the mean, by weight.
  private func means(
    _ rows: [[Double]], _ weights: [Double], _ groups: [Int], count: Int
  ) -> [[Double]] {
    var sums = [[Double]](
      repeating: [Double](repeating: 0, count: rows[0].count), count: count)
    var totals = [Double](repeating: 0, count: count)
    for (row, group) in groups.enumerated() where group >= 0 {
      totals[group] += weights[row]
      for c in rows[row].indices { sums[group][c] += weights[row] * rows[row][c] }
    }
    return zip(sums, totals).map { sum, total in sum.map { $0 / total } }
  }

  /// Every map moved to the mean of those within the scale.
  private func shifted(
    _ maps: [[Double]], _ weights: [Double], _ margin: inout Double
  ) -> [[Double]] {
    NaiveClustering.distances(maps, maps).map { row in
      for distance in row { margin = min(margin, abs(distance - scale)) }
      let near = row.indices.map { row[$0] <= scale ? 0 : -1 }
      return means(maps, weights, near, count: 1)[0]
    }
  }

  /// Prototypes of all windows.
  func prototypes(_ margin: inout Double) -> (queries: [[Double]], weights: [Double]) {
    var (queries, weights): ([[Double]], [Double]) = ([], [])
    let radius = 0.5 * scale
    for start in stride(from: 0, to: scene.frames.count, by: window) {
      let leaves = scene.naive.frames[start..<min(start + window, scene.frames.count)].flatMap {
        blocks($0)
      }
      let maps = scene.naive.maps(of: leaves.flatMap(\.query))
      let tree = NaiveLinkage(
        NaiveClustering.distances(maps, maps), weights: leaves.map(\.weight))
      for merge in tree.merges { margin = min(margin, abs(merge.distance - radius)) }
      let groups = tree.groups(merging: tree.mergeCount(upTo: radius))
      let count = groups.max()! + 1
      queries += means(leaves.map(\.query), leaves.map(\.weight), groups, count: count)
      for group in 0..<count {
        weights.append(
          leaves.indices.reduce(0) { $0 + (groups[$1] == group ? leaves[$1].weight : 0) })
      }
    }
    return (queries, weights)
  }

  /// Groups of at least 1/200 of all, the largest in any case; -1 for the others.
  static func large(_ groups: [Int], _ weights: [Double]) -> (groups: [Int], count: Int) {
    var sizes = [Double](repeating: 0, count: groups.max()! + 1)
    for (leaf, group) in groups.enumerated() { sizes[group] += weights[leaf] }
    let (total, largest) = (weights.reduce(0, +), sizes.firstIndex(of: sizes.max()!)!)
    var numbers = [Int](repeating: -1, count: sizes.count)
    var count = 0
    for group in sizes.indices where group == largest || sizes[group] >= 0.005 * total {
      numbers[group] = count
      count += 1
    }
    return (groups.map { numbers[$0] }, count)
  }

  func run() -> Outcome {
    var outcome = Outcome()
    let (queries, weights) = prototypes(&outcome.margin)
    outcome.prototypes = queries.count
    let maps = scene.naive.maps(of: queries.flatMap { $0 })
    let moved = shifted(maps, weights, &outcome.margin)
    let (before, after) = (
      NaiveClustering.distances(maps, maps), NaiveClustering.distances(moved, moved)
    )
    let distances = zip(before, after).map { zip($0, $1).map { 0.01 * $0 + $1 } }
    let tree = NaiveLinkage(distances, weights: weights)
    let cut = 0.67 * tau
    for merge in tree.merges {
      outcome.margin = min(outcome.margin, abs(merge.distance - cut))
    }
    let (groups, count) = Self.large(
      tree.groups(merging: tree.mergeCount(upTo: cut)), weights)
    let centres = means(maps, weights, groups, count: count)
    assign(to: centres, &outcome)
    return outcome
  }

  private func assign(to centres: [[Double]], _ outcome: inout Outcome) {
    var raw: [Int] = []
    for frame in scene.naive.frames {
      let distances = NaiveClustering.distances(scene.naive.maps(of: frame), centres)
      for y in 0..<rows {
        for x in 0..<columns {
          var smooth = [Double](repeating: 0, count: centres.count)
          for (dy, wy) in [(-1, 0.1), (0, 0.8), (1, 0.1)] {
            for (dx, wx) in [(-1, 0.1), (0, 0.8), (1, 0.1)] {
              let near = min(max(y + dy, 0), rows - 1) * columns + min(max(x + dx, 0), columns - 1)
              for s in centres.indices { smooth[s] += wy * wx * distances[near][s] }
            }
          }
          let sorted = smooth.sorted()
          if centres.count > 1 {
            outcome.margin = min(outcome.margin, sorted[1] - sorted[0])
            outcome.confidence.append(1 - sorted[0] / sorted[1])
          } else {
            outcome.confidence.append(1)
          }
          raw.append(smooth.indices.min { smooth[$0] < smooth[$1] }!)
        }
      }
    }
    var numbers = [Int32](repeating: -1, count: centres.count)
    for label in raw { numbers[label] = 0 }
    for s in centres.indices where numbers[s] == 0 {
      numbers[s] = Int32(outcome.clusters)
      outcome.clusters += 1
    }
    outcome.labels = raw.map { numbers[$0] }
  }
}

extension TestScene {
  /// What the library makes of it in edge mode.
  func edge<Result>(
    rows: Int, columns: Int, window: Int = 3, queryPool: Int = 4, scale: Float,
    threads: Int = 2, budget: Budget = Budget(), monitor: Monitor = Monitor(),
    _ body: (EdgeClustering, Hierarchy) throws -> Result
  ) throws -> Result {
    let queries = frames.flatMap { $0 }
    let pool = try ThreadPool(threads: threads)
    BLAS.claim()
    defer { BLAS.release() }
    return try queries.withUnsafeBufferPointer { queries in
      try keys.withUnsafeBufferPointer { keys in
        let clustering = EdgeClustering(
          queries: frames.indices.map { queries.baseAddress! + $0 * patches * channels },
          rows: rows, columns: columns,
          affinity: Affinity(
            keys: keys.baseAddress!, keyCount: keyCount, channels: channels, heads: heads),
          window: window, queryPool: queryPool, scale: scale, pool: pool, budget: budget,
          monitor: monitor)
        return try body(clustering, try clustering.hierarchy())
      }
    }
  }

  func assigned(
    _ clustering: EdgeClustering, _ hierarchy: Hierarchy, _ cut: Hierarchy.Cut
  ) throws -> Clusters {
    let found = try PatchClusters(frames.count * patches, hasNear: false, budget: Budget())
    return Clusters(found, count: try clustering.assign(hierarchy, cut, into: found))
  }

  /// - Parameter scale: tau where none is given.
  func edgeClusters(
    rows: Int, columns: Int, window: Int = 3, queryPool: Int = 4, scale: Float? = nil,
    tau: Float, threads: Int = 2, budget: Budget = Budget(), monitor: Monitor = Monitor()
  ) throws -> Clusters {
    try edge(
      rows: rows, columns: columns, window: window, queryPool: queryPool, scale: scale ?? tau,
      threads: threads, budget: budget, monitor: monitor
    ) { clustering, hierarchy in
      try assigned(clustering, hierarchy, Hierarchy.Cut(tau: tau))
    }
  }
}
