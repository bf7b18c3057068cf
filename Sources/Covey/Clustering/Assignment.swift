import CCoveyKernels

/// The last step: every map to its nearest centre,
///
///     label_i = argmin over centres s of D(centre_s, A_i), the first on ties,
///
/// and how sure that is: 1 - nearest / second nearest distance, in [0, 1]; 1
/// where there is only one centre.
///
/// With smoothing, the distances of a patch are first averaged with those of its
/// eight neighbours in the frame, with weights .1 .8 .1 in both directions: a patch
/// on its own seldom belongs to something else than all around it.
struct Assignment {
  private let centres: Centres
  private let logs: Buffer<Float>  // [S, M], less `middle`
  private let selfProducts: Buffer<Float>  // [S]
  private let middle: Buffer<Float>  // [M]
  private let scratch: Buffer<Float>
  private let scratchSize: Int
  /// [N, S], of one frame, where they are smoothed.
  private let distances: Buffer<Float>?
  private let grid: (rows: Int, columns: Int)
  private let pool: ThreadPool
  private let monitor: Monitor

  /// - Parameter smoothing: the grid of patches of a frame; nil: none.
  init(
    _ centres: Centres, smoothing: (rows: Int, columns: Int)? = nil, pool: ThreadPool,
    monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    self.centres = centres
    self.pool = pool
    self.monitor = monitor
    let (count, n) = (centres.count, centres.keyCount)
    logs = try Buffer(count * n, budget: budget, for: "logarithms of the centres")
    selfProducts = try Buffer(count, budget: budget, for: "self products of the centres")
    middle = try Buffer(n, budget: budget, for: "mean centre")
    grid = smoothing ?? (0, 0)
    distances =
      smoothing == nil
      ? nil
      : try Buffer(grid.rows * grid.columns * count, budget: budget, for: "distances to centres")
    scratchSize = Assignment.scratchSize(n, count)
    scratch = try Buffer(scratchSize * pool.threads, budget: budget, for: "maps of the threads")

    try Divergence.prepare(
      centres.maps, rows: count, n: n, middle: middle.base, logs: logs.base,
      selfProducts: selfProducts.base, pool: pool, monitor: monitor)
  }

  /// maps, and scores before logarithms [tile, M]; self products [tile], products
  /// with the centres [tile, S].
  private static func scratchSize(_ keyCount: Int, _ centres: Int) -> Int {
    let tile = Affinity.tileRows
    return (2 * tile * keyCount + tile + tile * centres + 15) / 16 * 16
  }

  /// - Parameter smoothing: patches of a frame whose distances are smoothed.
  static func byteCount(keyCount: Int, centres: Int, threads: Int, smoothing: Int = 0) -> Int {
    4 * (smoothing * centres + centres * keyCount + centres + keyCount)
      + 4 * threads * scratchSize(keyCount, centres)
  }

  private static func pieces(patches: Int) -> Int {
    (patches + Affinity.tileRows - 1) / Affinity.tileRows
  }

  /// Every patch of these frames, each with queries [N, C], to its nearest centre:
  /// a stage of its own.
  static func run(
    _ frames: [UnsafePointer<Float>], patches: Int, affinity: Affinity, to centres: Centres,
    smoothing: (rows: Int, columns: Int)? = nil, pool: ThreadPool, monitor: Monitor,
    budget: Budget, into clusters: PatchClusters
  ) throws(CoveyError) {
    defer { withExtendedLifetime(clusters) {} }
    monitor.begin(.assign, total: frames.count * pieces(patches: patches))
    let assignment = try Assignment(
      centres, smoothing: smoothing, pool: pool, monitor: monitor, budget: budget)
    for (index, queries) in frames.enumerated() {
      let first = index * patches
      try assignment.run(
        queries, patches: patches, affinity: affinity, labels: clusters.labels.base + first,
        confidence: clusters.confidence.base + first,
        near: clusters.near.map { $0.base + first * NearCentre.depth })
    }
    try monitor.end()
  }

  /// labels, confidence [N] of one frame with queries [N, C]; near, where it is
  /// asked for, [N, NearCentre.depth].
  private func run(
    _ queries: UnsafePointer<Float>, patches: Int, affinity: Affinity,
    labels: UnsafeMutablePointer<Int32>, confidence: UnsafeMutablePointer<Float>,
    near: UnsafeMutablePointer<NearCentre>?
  ) throws(CoveyError) {
    let (n, count, tile) = (centres.keyCount, centres.count, Affinity.tileRows)
    let (centreMaps, centreLogs) = (centres.maps, logs.base)
    let (centreProducts, middle, monitor) = (selfProducts.base, middle.base, monitor)
    let (scratch, scratchSize) = (scratch.base, scratchSize)
    let (distances, grid) = (distances?.base, grid)
    pool.run(Assignment.pieces(patches: patches)) { [self] index, worker in
      if monitor.isCancelled { return }
      let first = index * tile
      let rows = min(tile, patches - first)
      let maps = scratch + worker * scratchSize
      let logs = maps + tile * n
      let products = logs + tile * n
      let cross = products + tile
      affinity.maps(
        queries + first * affinity.channels, count: rows, into: maps, scores: logs,
        monitor: monitor, worker: worker)
      Divergence.prepare(
        maps, rows: rows, n: n, centre: middle, logs: logs, selfProducts: products)
      Divergence.crossProducts(
        maps, logs, rows: rows, centreMaps, centreLogs, rows: count, n: n, into: cross,
        monitor: monitor, worker: worker)
      if monitor.isCancelled { return }
      let target = distances.map { $0 + first * count } ?? cross
      for i in 0..<rows {
        for s in 0..<count {
          target[i * count + s] = products[i] + centreProducts[s] - cross[i * count + s]
        }
      }
      if distances == nil {
        for i in 0..<rows {
          pick(target + i * count, first + i, labels, confidence, near)
        }
      }
      monitor.advance(worker: worker)
    }
    try monitor.check()
    guard let distances else { return }
    pool.run(grid.rows) { [self] row, worker in
      if monitor.isCancelled { return }
      let smoothed = scratch + worker * scratchSize
      for column in 0..<grid.columns {
        smooth(distances, row, column, into: smoothed)
        pick(smoothed, row * grid.columns + column, labels, confidence, near)
      }
    }
    try monitor.check()
  }

  /// The distances [S] of one patch, averaged over its surroundings; beyond the
  /// border as at it.
  private func smooth(
    _ distances: UnsafePointer<Float>, _ row: Int, _ column: Int,
    into smoothed: UnsafeMutablePointer<Float>
  ) {
    let count = centres.count
    for s in 0..<count { smoothed[s] = 0 }
    for down in -1...1 {
      for right in -1...1 {
        let y = min(max(row + down, 0), grid.rows - 1)
        let x = min(max(column + right, 0), grid.columns - 1)
        let weight: Float = (down == 0 ? 0.8 : 0.1) * (right == 0 ? 0.8 : 0.1)
        let from = distances + (y * grid.columns + x) * count
        for s in 0..<count { smoothed[s] += weight * from[s] }
      }
    }
  }

  /// Label and confidence of a patch with these distances [S].
  private func pick(
    _ distances: UnsafePointer<Float>, _ patch: Int, _ labels: UnsafeMutablePointer<Int32>,
    _ confidence: UnsafeMutablePointer<Float>, _ near: UnsafeMutablePointer<NearCentre>?
  ) {
    let count = centres.count
    var (best, nearest, second) = (0, Float.infinity, Float.infinity)
    for s in 0..<count {
      if distances[s] < nearest {
        second = nearest
        nearest = distances[s]
        best = s
      } else if distances[s] < second {
        second = distances[s]
      }
    }
    labels[patch] = Int32(best)
    // Rounding can leave a distance of zero a little below it.
    // Queries that are too large give distances that are no numbers.
    let margin = 1 - max(nearest, 0) / second
    confidence[patch] = second > 0 && margin.isFinite ? min(max(margin, 0), 1) : 0
    if let near {
      NearCentre.select(count, into: near + patch * NearCentre.depth) { distances[$0] }
    }
  }
}
