import CCoveyKernels

/// The last step: every map to its nearest centre,
///
///     label_i = argmin over centres s of D(centre_s, A_i), the first on ties,
///
/// and how sure that is: 1 - nearest / second nearest distance, in [0, 1]; 1
/// where there is only one centre.
struct Assignment {
  private let centres: Centres
  private let logs: Buffer<Float>  // [S, M], less `middle`
  private let selfProducts: Buffer<Float>  // [S]
  private let middle: Buffer<Float>  // [M]
  private let scratch: Buffer<Float>
  private let scratchSize: Int
  private let pool: ThreadPool
  private let monitor: Monitor

  init(
    _ centres: Centres, pool: ThreadPool, monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    self.centres = centres
    self.pool = pool
    self.monitor = monitor
    let (count, n) = (centres.count, centres.keyCount)
    logs = try Buffer(count * n, budget: budget, for: "logarithms of the centres")
    selfProducts = try Buffer(count, budget: budget, for: "self products of the centres")
    middle = try Buffer(n, budget: budget, for: "mean centre")
    scratchSize = Assignment.scratchSize(n, count)
    scratch = try Buffer(scratchSize * pool.threads, budget: budget, for: "maps of the threads")

    let kernels = cv_rows().pointee
    middle.fill(0)
    for row in 0..<count {
      try monitor.check()
      kernels.accumulate(centres.maps + row * n, n, middle.base)
    }
    kernels.scale(middle.base, n, 1 / Float(count))
    kernels.log_rows(middle.base, n, 1, n, Divergence.floor, middle.base, n)
    let (maps, logs, middle, products) = (centres.maps, logs.base, middle.base, selfProducts.base)
    pool.run(count) { row, worker in
      if monitor.isCancelled { return }
      Divergence.prepare(
        maps + row * n, rows: 1, n: n, centre: middle, logs: logs + row * n,
        selfProducts: products + row)
      monitor.pulse(worker: worker)
    }
    try monitor.check()
  }

  /// maps, and scores before logarithms [tile, M]; self products [tile], products
  /// with the centres [tile, S].
  private static func scratchSize(_ keyCount: Int, _ centres: Int) -> Int {
    let tile = Affinity.tileRows
    return (2 * tile * keyCount + tile + tile * centres + 15) / 16 * 16
  }

  static func byteCount(keyCount: Int, centres: Int, threads: Int) -> Int {
    4 * (centres * keyCount + centres + keyCount + threads * scratchSize(keyCount, centres))
  }

  static func pieces(patches: Int) -> Int {
    (patches + Affinity.tileRows - 1) / Affinity.tileRows
  }

  /// labels, confidence [N] of one frame with queries [N, C].
  func run(
    _ queries: UnsafePointer<Float>, patches: Int, affinity: Affinity,
    labels: UnsafeMutablePointer<Int32>, confidence: UnsafeMutablePointer<Float>
  ) throws(CoveyError) {
    let (n, count, tile) = (centres.keyCount, centres.count, Affinity.tileRows)
    let (centreMaps, centreLogs) = (centres.maps, logs.base)
    let (centreProducts, middle, monitor) = (selfProducts.base, middle.base, monitor)
    let (scratch, scratchSize) = (scratch.base, scratchSize)
    pool.run(Assignment.pieces(patches: patches)) { index, worker in
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
      for i in 0..<rows {
        var (best, nearest, second) = (0, Float.infinity, Float.infinity)
        for s in 0..<count {
          let distance = products[i] + centreProducts[s] - cross[i * count + s]
          if distance < nearest {
            second = nearest
            nearest = distance
            best = s
          } else if distance < second {
            second = distance
          }
        }
        labels[first + i] = Int32(best)
        // Rounding can leave a distance of zero a little below it.
        confidence[first + i] =
          second > 0 ? min(max(1 - max(nearest, 0) / second, 0), 1) : 0
      }
      monitor.advance(worker: worker)
    }
    try monitor.check()
  }
}
