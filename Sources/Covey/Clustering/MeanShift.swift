import CCoveyKernels

/// Level 1 of the clustering, first half, for the P = frames * N maps of one
/// window: every map moves to the mean of its neighbourhood,
///
///     m_i = sum of A_j over all j with D(A_i, A_j) <= tau, scaled to sum 1,
///
/// j = i included.  Two sets of rows suffice: the maps and their logarithms, and
/// then the logarithms' place is taken by the shifted maps, and the maps' by the
/// logarithms of these.
struct MeanShift {
  let capacity: Int  // P at most
  let keyCount: Int  // M
  private let first: Buffer<Float>  // [P, M]
  private let second: Buffer<Float>  // [P, M]
  private let selfProducts: Buffer<Float>  // [P]
  private let middle: Buffer<Float>  // [2, M]: a mean map, its logarithm
  private let neighbours: Buffer<UInt64>  // [P, words] bits
  private let words: Int
  private let tileScratch: Buffer<Float>  // [threads, scratchSize]
  private let scratchSize: Int
  private let sketch: Sketch
  private let sums: NeighbourSums
  private let pool: ThreadPool
  private let monitor: Monitor

  /// What `run` gives: [P, M].
  var shifted: Buffer<Float> { second }
  var logs: Buffer<Float> { first }

  /// Pairs of a tile that the sketch leaves open are measured one by one up to so
  /// many of them; above, all of the tile at once is faster.
  private static let openShare = 8
  /// Of a distance, beside what the rests allow for: h_i and h_j are rounded too.
  private static let rounding: Float = 1e-5

  init(
    capacity: Int, keyCount: Int, pool: ThreadPool, monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    self.capacity = capacity
    self.keyCount = keyCount
    self.pool = pool
    self.monitor = monitor
    words = (capacity + 63) / 64
    scratchSize = MeanShift.scratchSize(keyCount)
    first = try Buffer(capacity * keyCount, budget: budget, for: "maps of a window")
    second = try Buffer(capacity * keyCount, budget: budget, for: "logarithms of the maps")
    selfProducts = try Buffer(capacity, budget: budget, for: "self products")
    middle = try Buffer(2 * keyCount, budget: budget, for: "mean map")
    neighbours = try Buffer(capacity * words, budget: budget, for: "neighbour bits")
    tileScratch = try Buffer(
      scratchSize * pool.threads, budget: budget, for: "distance tiles of the threads")
    sketch = try Sketch(count: capacity, keyCount: keyCount, budget: budget)
    sums = try NeighbourSums(
      count: capacity, keyCount: keyCount, pool: pool, monitor: monitor, budget: budget)
  }

  /// Scores of a tile of maps, or products of a tile of pairs and the list of
  /// those that are open.
  private static func scratchSize(_ keyCount: Int) -> Int {
    let pairs = Divergence.tileRows * Divergence.tileRows
    return max(2 * pairs, Affinity.tileRows * keyCount)
  }

  static func byteCount(capacity: Int, keyCount: Int, threads: Int) -> Int {
    4 * (2 * capacity * keyCount + capacity + 2 * keyCount + threads * scratchSize(keyCount))
      + 8 * capacity * ((capacity + 63) / 64)
      + Sketch.byteCount(count: capacity, keyCount: keyCount)
      + NeighbourSums.byteCount(count: capacity, keyCount: keyCount, threads: threads)
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
    makeMiddle(count)
    let rank = sketch.choose(
      first.base, count: count, mean: middle.base, centre: middle.base + keyCount,
      monitor: monitor)
    try monitor.check()
    takeLogarithms(count, rank)
    try monitor.check()
    guard cv_first_not_finite(selfProducts.base, count) == count else {
      throw CoveyError(
        .argument, "attention maps: not finite; products of queries and keys overflow")
    }
    findNeighbours(count, tau, rank)
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
    let (maps, keyCount, monitor) = (first.base, keyCount, monitor)
    let (scratch, scratchSize) = (tileScratch.base, scratchSize)
    pool.run(tileCount(count)) { index, worker in
      let tile = MeanShift.tile(index, count)
      // A tile may reach over the border of two frames.
      var row = tile.lowerBound
      while row < tile.upperBound {
        let (frame, patch) = row.quotientAndRemainder(dividingBy: patches)
        let rows = min(tile.upperBound - row, patches - patch)
        affinity.maps(
          queries[frame] + patch * affinity.channels, count: rows,
          into: maps + row * keyCount, scores: scratch + worker * scratchSize, monitor: monitor,
          worker: worker)
        row += rows
      }
      monitor.advance(worker: worker)
    }
  }

  /// Any row serves as the centre of the logarithms as long as every pair uses the
  /// same; here that of the mean of some maps from all over the window.
  private func makeMiddle(_ count: Int) {
    let kernels = cv_rows().pointee
    let samples = min(count, 512)
    let mean = middle.base
    mean.update(repeating: 0, count: keyCount)
    for sample in 0..<samples {
      let row = Sketch.spread(sample, of: samples, among: count)
      kernels.accumulate(first.base + row * keyCount, keyCount, mean)
    }
    kernels.scale(mean, keyCount, 1 / Float(samples))
    Divergence.logarithms(mean, rows: 1, n: keyCount, into: mean + keyCount)
  }

  private func takeLogarithms(_ count: Int, _ rank: Int) {
    let (maps, logs, centre, keyCount, monitor) = (
      first.base, second.base, middle.base + keyCount, keyCount, monitor
    )
    let (selfProducts, sketch) = (selfProducts.base, sketch)
    pool.run(tileCount(count)) { index, worker in
      if monitor.isCancelled { return }
      let tile = MeanShift.tile(index, count)
      let (maps, logs) = (maps + tile.lowerBound * keyCount, logs + tile.lowerBound * keyCount)
      Divergence.prepare(
        maps, rows: tile.count, n: keyCount, centre: centre, logs: logs,
        selfProducts: selfProducts + tile.lowerBound)
      if rank > 0 {
        monitor.pulse(worker: worker)
        sketch.add(
          maps, logs, first: tile.lowerBound, rows: tile.count, rank: rank, monitor: monitor,
          worker: worker)
      }
      monitor.advance(worker: worker)
    }
  }

  /// Sets bit j of row i where D(A_i, A_j) <= tau.  D is symmetric: half of
  /// the tiles are computed and both triangles written.
  private func findNeighbours(_ count: Int, _ tau: Float, _ rank: Int) {
    let (neighbours, words, monitor) = (neighbours.base, words, monitor)
    let (scratch, scratchSize) = (tileScratch.base, scratchSize)
    neighbours.update(repeating: 0, count: count * words)
    let tiles = tileCount(count)
    let pairs = self.pairs(tau)
    pool.run(tiles * (tiles + 1) / 2) { index, worker in
      if monitor.isCancelled { return }
      let (tileA, tileB) = Divergence.pair(index)
      let (a, b) = (MeanShift.tile(tileA, count), MeanShift.tile(tileB, count))
      let cross = scratch + worker * scratchSize
      let near = { (i: Int, j: Int) in
        neighbours[i * words + j / 64] |= 1 << UInt64(j % 64)
        if tileA != tileB { neighbours[j * words + i / 64] |= 1 << UInt64(i % 64) }
      }
      if rank > 0 {
        pairs.bound(a, b, rank, cross, worker, near)
      } else {
        pairs.measure(a, b, cross, worker, near)
      }
      monitor.advance(worker: worker)
    }
    for i in 0..<count { neighbours[i * words + i / 64] |= 1 << UInt64(i % 64) }
  }

  private func pairs(_ tau: Float) -> Pairs {
    Pairs(
      maps: first.base, logs: second.base, selfProducts: selfProducts.base, sketch: sketch,
      n: keyCount, tau: tau, monitor: monitor)
  }

  /// Decides which pairs of two tiles are within tau.
  private struct Pairs {
    let maps: UnsafePointer<Float>
    let logs: UnsafePointer<Float>
    let selfProducts: UnsafePointer<Float>
    let sketch: Sketch
    let n: Int
    let tau: Float
    let monitor: Monitor

    /// By their distances.
    func measure(
      _ a: Range<Int>, _ b: Range<Int>, _ cross: UnsafeMutablePointer<Float>, _ worker: Int,
      _ near: (Int, Int) -> Void
    ) {
      products(a, b, cross, worker)
      if monitor.isCancelled { return }
      for i in a {
        let row = cross + (i - a.lowerBound) * b.count
        let least = selfProducts[i] - tau
        for j in b where row[j - b.lowerBound] >= least + selfProducts[j] { near(i, j) }
      }
    }

    /// By the sketches where these suffice.
    func bound(
      _ a: Range<Int>, _ b: Range<Int>, _ rank: Int, _ cross: UnsafeMutablePointer<Float>,
      _ worker: Int, _ near: (Int, Int) -> Void
    ) {
      let (mapRests, logRests) = (sketch.mapRests, sketch.logRests)
      sketch.crossProducts(a, b, rank: rank, into: cross)
      let width = b.count
      let size = a.count * width
      let open = UnsafeMutableRawPointer(cross + size).assumingMemoryBound(to: UInt32.self)
      var left = 0
      for i in a {
        let row = cross + (i - a.lowerBound) * width
        let least = selfProducts[i] - tau
        let (mapRest, logRest) = (mapRests[i], logRests[i])
        for j in b {
          let over = row[j - b.lowerBound] - (least + selfProducts[j])
          let doubt = mapRest * logRests[j] + logRest * mapRests[j] + MeanShift.rounding
          if over >= doubt {
            near(i, j)
          } else if !(over <= -doubt) {
            open[left] = UInt32(truncatingIfNeeded: (i - a.lowerBound) * width + j - b.lowerBound)
            left += 1
          }
        }
      }
      monitor.pulse(worker: worker)
      if left * MeanShift.openShare > size {
        products(a, b, cross, worker)
        if monitor.isCancelled { return }
        for index in 0..<left {
          let (i, j) = Int(open[index]).quotientAndRemainder(dividingBy: width)
          let (own, other) = (selfProducts[a.lowerBound + i], selfProducts[b.lowerBound + j])
          if cross[Int(open[index])] >= own - tau + other {
            near(a.lowerBound + i, b.lowerBound + j)
          }
        }
        return
      }
      let kernels = cv_rows().pointee
      for index in 0..<left {
        if index % 128 == 0 {
          if monitor.isCancelled { return }
          monitor.pulse(worker: worker)
        }
        let (row, column) = Int(open[index]).quotientAndRemainder(dividingBy: width)
        let (i, j) = (a.lowerBound + row, b.lowerBound + column)
        let distance = kernels.jeffreys(
          maps + i * n, logs + i * n, maps + j * n, logs + j * n, n)
        if Float(distance) <= tau { near(i, j) }
      }
    }

    private func products(
      _ a: Range<Int>, _ b: Range<Int>, _ cross: UnsafeMutablePointer<Float>, _ worker: Int
    ) {
      Divergence.crossProducts(
        maps + a.lowerBound * n, logs + a.lowerBound * n, rows: a.count,
        maps + b.lowerBound * n, logs + b.lowerBound * n, rows: b.count,
        n: n, into: cross, monitor: monitor, worker: worker)
    }
  }

  /// shifted = neighbours * maps, rows scaled to sum 1; then its logarithms.
  private func shift(_ count: Int) {
    let (maps, shifted, keyCount, monitor) = (first.base, second.base, keyCount, monitor)
    let kernels = cv_rows().pointee
    sums.run(neighbours.base, maps: maps, count: count, n: keyCount, into: shifted)
    if monitor.isCancelled { return }
    pool.run(tileCount(count)) { index, worker in
      if monitor.isCancelled { return }
      let tile = MeanShift.tile(index, count)
      for i in tile {
        let row = shifted + i * keyCount
        kernels.scale(row, keyCount, Float(1 / kernels.sum(row, keyCount)))
      }
      Divergence.logarithms(
        shifted + tile.lowerBound * keyCount, rows: tile.count, n: keyCount,
        into: maps + tile.lowerBound * keyCount)
      monitor.advance(worker: worker)
    }
  }
}
