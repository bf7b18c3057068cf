import CCoveyKernels

/// Level 1 of the clustering, first half, for the P = frames * N maps of one
/// window: every map moves to the mean of its neighbourhood,
///
///     m_i = sum of A_j over all j with D(A_i, A_j) <= tau, scaled to sum 1,
///
/// j = i included.  In place on the maps' storage is impossible, so there are
/// two sets, and a third that holds the logarithms of the one in use.
struct MeanShift {
  let capacity: Int  // P at most
  let keyCount: Int  // M
  let maps: Buffer<Float>  // [P, M]
  let logs: Buffer<Float>  // [P, M]; afterwards of the shifted maps
  let shifted: Buffer<Float>  // [P, M]
  private let selfProducts: Buffer<Float>  // [P]
  private let centre: Buffer<Float>  // [M]
  private let neighbours: Buffer<UInt64>  // [P, words] bits
  private let words: Int
  private let tileScratch: Buffer<Float>  // [threads, tile, max(tile, M of affinity)]
  private let scratchSize: Int
  private let pool: ThreadPool
  private let monitor: Monitor

  init(
    capacity: Int, keyCount: Int, pool: ThreadPool, monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    self.capacity = capacity
    self.keyCount = keyCount
    self.pool = pool
    self.monitor = monitor
    words = (capacity + 63) / 64
    scratchSize = MeanShift.scratchSize(keyCount)
    maps = try Buffer(capacity * keyCount, budget: budget, for: "maps of a window")
    logs = try Buffer(capacity * keyCount, budget: budget, for: "logarithms of the maps")
    shifted = try Buffer(capacity * keyCount, budget: budget, for: "shifted maps")
    selfProducts = try Buffer(capacity, budget: budget, for: "self products")
    centre = try Buffer(keyCount, budget: budget, for: "mean logarithm")
    neighbours = try Buffer(capacity * words, budget: budget, for: "neighbour bits")
    tileScratch = try Buffer(
      scratchSize * pool.threads, budget: budget, for: "distance tiles of the threads")
  }

  private static func scratchSize(_ keyCount: Int) -> Int {
    max(Divergence.tileRows * Divergence.tileRows, Affinity.tileRows * keyCount)
  }

  static func byteCount(capacity: Int, keyCount: Int, threads: Int) -> Int {
    4 * (3 * capacity * keyCount + capacity + keyCount + threads * scratchSize(keyCount))
      + 8 * capacity * ((capacity + 63) / 64)
  }

  /// Pieces of work `run` reports for a window of `count` maps.
  static func pieces(_ count: Int) -> Int {
    let tiles = (count + Divergence.tileRows - 1) / Divergence.tileRows
    return 3 * tiles + tiles * (tiles + 1) / 2
  }

  /// Fills `shifted` [count, M] and `logs`, its logarithms.
  /// - Parameter queries: of each frame of the window, [N, C]
  func run(
    _ queries: [UnsafePointer<Float>], patches: Int, affinity: Affinity, tau: Float
  ) throws(CoveyError) {
    let count = queries.count * patches
    makeMaps(queries, patches, affinity)
    try monitor.check()
    takeLogarithms(count)
    try monitor.check()
    guard cv_first_not_finite(selfProducts.base, count) == count else {
      throw CoveyError(
        .argument, "attention maps: not finite; products of queries and keys overflow")
    }
    findNeighbours(count, tau)
    try monitor.check()
    shift(count)
    try monitor.check()
  }

  private func tileCount(_ count: Int) -> Int {
    (count + Divergence.tileRows - 1) / Divergence.tileRows
  }

  private static func tile(_ index: Int, _ count: Int) -> Range<Int> {
    index * Divergence.tileRows..<min(count, (index + 1) * Divergence.tileRows)
  }

  private func makeMaps(_ queries: [UnsafePointer<Float>], _ patches: Int, _ affinity: Affinity) {
    let count = queries.count * patches
    let (maps, keyCount, monitor) = (maps.base, keyCount, monitor)
    let (scratch, scratchSize) = (tileScratch.base, scratchSize)
    pool.run(tileCount(count)) { index, worker in
      let tile = MeanShift.tile(index, count)
      // A tile may reach over the border of two frames.
      var first = tile.lowerBound
      while first < tile.upperBound {
        let (frame, patch) = first.quotientAndRemainder(dividingBy: patches)
        let rows = min(tile.upperBound - first, patches - patch)
        affinity.maps(
          queries[frame] + patch * affinity.channels, count: rows,
          into: maps + first * keyCount, scores: scratch + worker * scratchSize, monitor: monitor,
          worker: worker)
        first += rows
      }
      monitor.advance(worker: worker)
    }
  }

  private func takeLogarithms(_ count: Int) {
    let (maps, logs, centre, keyCount, monitor) = (
      maps.base, logs.base, centre.base, keyCount, monitor
    )
    let selfProducts = selfProducts.base
    // Any row serves as the centre as long as every pair uses the same; here
    // the logarithm of the mean of some maps from all over the window.
    let kernels = cv_rows().pointee
    let step = (count + Divergence.tileRows - 1) / Divergence.tileRows
    let sampled = stride(from: 0, to: count, by: step)
    centre.update(repeating: 0, count: keyCount)
    var rows = 0
    for row in sampled {
      kernels.accumulate(maps + row * keyCount, keyCount, centre)
      rows += 1
    }
    kernels.scale(centre, keyCount, 1 / Float(rows))
    kernels.log_rows(centre, keyCount, 1, keyCount, Divergence.floor, centre, keyCount)
    pool.run(tileCount(count)) { index, worker in
      if monitor.isCancelled { return }
      let tile = MeanShift.tile(index, count)
      Divergence.prepare(
        maps + tile.lowerBound * keyCount, rows: tile.count, n: keyCount, centre: centre,
        logs: logs + tile.lowerBound * keyCount, selfProducts: selfProducts + tile.lowerBound)
      monitor.advance(worker: worker)
    }
  }

  /// Sets bit j of row i where D(A_i, A_j) <= tau.  D is symmetric: half of
  /// the tiles are computed and both triangles written.
  private func findNeighbours(_ count: Int, _ tau: Float) {
    let (maps, logs, selfProducts) = (maps.base, logs.base, selfProducts.base)
    let (neighbours, words, keyCount, monitor) = (neighbours.base, words, keyCount, monitor)
    let (scratch, scratchSize) = (tileScratch.base, scratchSize)
    neighbours.update(repeating: 0, count: count * words)
    let tiles = tileCount(count)
    pool.run(tiles * (tiles + 1) / 2) { index, worker in
      if monitor.isCancelled { return }
      let (tileA, tileB) = MeanShift.pair(index)
      let (a, b) = (MeanShift.tile(tileA, count), MeanShift.tile(tileB, count))
      let cross = scratch + worker * scratchSize
      Divergence.crossProducts(
        maps + a.lowerBound * keyCount, logs + a.lowerBound * keyCount, rows: a.count,
        maps + b.lowerBound * keyCount, logs + b.lowerBound * keyCount, rows: b.count,
        n: keyCount, into: cross, monitor: monitor, worker: worker)
      if monitor.isCancelled { return }
      let width = b.count
      for i in a {
        let row = cross + (i - a.lowerBound) * width
        let least = selfProducts[i] - tau
        for j in b {
          if row[j - b.lowerBound] >= least + selfProducts[j] || i == j {
            neighbours[i * words + j / 64] |= 1 << UInt64(j % 64)
            if tileA != tileB { neighbours[j * words + i / 64] |= 1 << UInt64(i % 64) }
          }
        }
      }
      monitor.advance(worker: worker)
    }
  }

  /// Pair `index` of the lower triangle: (0,0), (1,0), (1,1), (2,0), ...
  static func pair(_ index: Int) -> (Int, Int) {
    var row = Int((Double(8 * index + 1).squareRoot() - 1) / 2)
    while row * (row + 1) / 2 > index { row -= 1 }
    while (row + 1) * (row + 2) / 2 <= index { row += 1 }
    return (row, index - row * (row + 1) / 2)
  }

  /// shifted = neighbours * maps, rows scaled to sum 1; then its logarithms.
  private func shift(_ count: Int) {
    let (maps, logs, shifted) = (maps.base, logs.base, shifted.base)
    let (neighbours, words, keyCount, monitor) = (neighbours.base, words, keyCount, monitor)
    let (scratch, scratchSize) = (tileScratch.base, scratchSize)
    let kernels = cv_rows().pointee
    let tiles = tileCount(count)
    pool.run(tiles) { index, worker in
      if monitor.isCancelled { return }
      let rows = MeanShift.tile(index, count)
      let out = shifted + rows.lowerBound * keyCount
      let bits = scratch + worker * scratchSize
      out.update(repeating: 0, count: rows.count * keyCount)
      for other in 0..<tiles {
        if monitor.isCancelled { return }
        let columns = MeanShift.tile(other, count)
        var any = false
        for i in rows {
          let row = bits + (i - rows.lowerBound) * columns.count
          for j in columns {
            let set = neighbours[i * words + j / 64] >> UInt64(j % 64) & 1
            any = any || set != 0
            row[j - columns.lowerBound] = Float(set)
          }
        }
        if !any { continue }
        for first in stride(from: 0, to: keyCount, by: Divergence.tileColumns) {
          if monitor.isCancelled { return }
          BLAS.multiply(
            rows.count, min(Divergence.tileColumns, keyCount - first), columns.count,
            bits, columns.count, maps + columns.lowerBound * keyCount + first, keyCount,
            transposed: false, into: out + first, keyCount, add: 1)
          monitor.pulse(worker: worker)
        }
      }
      for i in 0..<rows.count {
        kernels.scale(
          out + i * keyCount, keyCount, Float(1 / kernels.sum(out + i * keyCount, keyCount)))
      }
      // The logarithms of the maps are no longer read by anyone.
      kernels.log_rows(
        out, keyCount, rows.count, keyCount, Divergence.floor,
        logs + rows.lowerBound * keyCount, keyCount)
      monitor.advance(worker: worker)
    }
  }
}
