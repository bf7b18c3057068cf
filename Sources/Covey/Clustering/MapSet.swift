import CCoveyKernels

/// Maps of many queries, and the distances between all of them: what a linkage
/// starts from.
struct MapSet {
  let count: Int
  let keyCount: Int  // M
  let maps: Buffer<Float>  // [count, M]
  private let logs: Buffer<Float>  // [count, M], less the logarithm of the mean map
  private let selfProducts: Buffer<Float>  // [count]

  /// 17 GB of distances.
  private static let mostLinked = 1 << 16

  /// Rows of a tile of maps or of pairs.
  private static let tileRows = 64
  /// Columns of a tile of shifted maps, between looks at whether to go on.
  private static let tileColumns = 1024

  /// The maps of queries [count, C].
  init(
    _ queries: UnsafePointer<Float>, count: Int, affinity: Affinity, pool: ThreadPool,
    monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    try self.init(count, affinity.keyCount, pool, monitor, budget) { rows, maps, scores, worker in
      affinity.maps(
        queries + rows.lowerBound * affinity.channels, count: rows.count, into: maps,
        scores: scores, monitor: monitor, worker: worker)
    }
    guard cv_first_not_finite(selfProducts.base, count) == count else {
      throw CoveyError(
        .argument, "attention maps: not finite; products of queries and keys overflow")
    }
  }

  /// - Parameter fill: makes some rows of the maps, [rows, M], with room for as much
  ///   beside.
  private init(
    _ count: Int, _ keyCount: Int, _ pool: ThreadPool, _ monitor: Monitor, _ budget: Budget,
    fill: @escaping (Range<Int>, UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>, Int)
      -> Void
  ) throws(CoveyError) {
    let n = keyCount
    guard count <= MapSet.mostLinked else {
      throw CoveyError(
        .memory,
        "\(count) maps to be linked: expected at most \(MapSet.mostLinked); a larger query_pool "
          + "or a shorter window gives fewer")
    }
    self.count = count
    self.keyCount = n
    maps = try Buffer(count * n, budget: budget, for: "maps to be linked")
    logs = try Buffer(count * n, budget: budget, for: "logarithms of the maps")
    selfProducts = try Buffer(count, budget: budget, for: "self products")
    let middle = try Buffer<Float>(n, budget: budget, for: "mean map")
    defer { withExtendedLifetime(middle) {} }
    let (maps, logs) = (maps.base, logs.base)
    let tiles = RowTiles(rows: count, exactly: MapSet.tileRows)
    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      let rows = tiles.range(index)
      let first = rows.lowerBound * n
      // The logarithms come later: until then their place is free.
      fill(rows, maps + first, logs + first, worker)
      monitor.advance(MapSet.piecesOfMaps, worker: worker)
    }
    try monitor.check()
    try Divergence.prepare(
      maps, rows: count, n: n, middle: middle.base, logs: logs,
      selfProducts: selfProducts.base, pool: pool, monitor: monitor)
  }

  /// D of all pairs: [count, count], symmetric, 0 on the diagonal.
  func distances(
    pool: ThreadPool, monitor: Monitor, budget: Budget
  ) throws(CoveyError) -> Buffer<Float> {
    let (count, n, tile) = (count, keyCount, MapSet.tileRows)
    let all = try Buffer<Float>(count * count, budget: budget, for: "distances of all pairs")
    let scratch = try Buffer<Float>(
      pool.threads * tile * tile, budget: budget, for: "distance tiles of the threads")
    defer { withExtendedLifetime(scratch) {} }
    let (maps, logs, products) = (maps.base, logs.base, selfProducts.base)
    let (out, cross) = (all.base, scratch.base)
    let tiles = (count + tile - 1) / tile
    pool.run(tiles * (tiles + 1) / 2) { index, worker in
      if monitor.isCancelled { return }
      let (tileA, tileB) = Divergence.pair(index)
      let (a, b) = (tileA * tile, tileB * tile)
      let (rowsA, rowsB) = (min(tile, count - a), min(tile, count - b))
      let cross = cross + worker * tile * tile
      Divergence.crossProducts(
        maps + a * n, logs + a * n, rows: rowsA, maps + b * n, logs + b * n, rows: rowsB, n: n,
        into: cross, monitor: monitor, worker: worker)
      if monitor.isCancelled { return }
      for i in 0..<rowsA {
        for j in 0..<rowsB where tileA != tileB || j <= i {
          // Rounding can leave a distance of zero a little below it.
          let distance =
            a + i == b + j
            ? 0 : max(0, products[a + i] + products[b + j] - cross[i * rowsB + j])
          out[(a + i) * count + b + j] = distance
          out[(b + j) * count + a + i] = distance
        }
      }
      monitor.advance(worker: worker)
    }
    try monitor.check()
    return all
  }

  /// The distances between the maps after one step of a mean shift: every map
  /// moved to the weighted mean of those within `radius` of it, itself included.
  ///
  /// What lies in the same dense region comes together, however far it reaches;
  /// what lies in different ones does not.  A linkage then need not choose between
  /// cutting long regions and joining near ones.  Maps that have the same others
  /// around them come to lie in one place; a small part of the distance before the
  /// shift is added, so that among these too the nearest join first.
  /// - Parameter owners: maps of different owners, -1 being none, do not move each
  ///   other.
  func distancesShifted(
    _ weights: [Float], owners: [Int32]? = nil, radius: Float, pool: ThreadPool,
    monitor: Monitor, budget: Budget
  ) throws(CoveyError) -> Buffer<Float> {
    let before = try distances(pool: pool, monitor: monitor, budget: budget)
    defer { withExtendedLifetime(before) {} }
    let after = try shifted(before.base, weights, owners, radius, pool, monitor, budget)
      .distances(pool: pool, monitor: monitor, budget: budget)
    for row in 0..<count {
      try monitor.check()
      for pair in row * count..<(row + 1) * count {
        after[pair] += MapSet.partOfBefore * before[pair]
      }
    }
    return after
  }

  private static let partOfBefore: Float = 0.01

  private func shifted(
    _ distances: UnsafePointer<Float>, _ weights: [Float], _ owners: [Int32]?, _ radius: Float,
    _ pool: ThreadPool, _ monitor: Monitor, _ budget: Budget
  ) throws(CoveyError) -> MapSet {
    let (count, n, maps) = (self.count, keyCount, maps.base)
    let scratch = try Buffer<Float>(
      pool.threads * MapSet.tileRows * count, budget: budget, for: "shares of neighbours")
    defer { withExtendedLifetime(scratch) {} }
    let all = scratch.base
    return try MapSet(count, n, pool, monitor, budget) { rows, target, _, worker in
      let shares = all + worker * MapSet.tileRows * count
      for (place, row) in rows.enumerated() {
        let (row, shares) = (distances + row * count, shares + place * count)
        for other in 0..<count { shares[other] = row[other] <= radius ? weights[other] : 0 }
        if let owners, owners[rows.lowerBound + place] >= 0 {
          let owner = owners[rows.lowerBound + place]
          for other in 0..<count where owners[other] >= 0 && owners[other] != owner {
            shares[other] = 0
          }
        }
        var total: Float = 0
        for other in 0..<count { total += shares[other] }
        for other in 0..<count { shares[other] /= total }
      }
      for first in stride(from: 0, to: n, by: MapSet.tileColumns) {
        if monitor.isCancelled { return }
        BLAS.multiply(
          rows.count, min(MapSet.tileColumns, n - first), count, shares, count,
          maps + first, n, transposed: false, into: target + first, n)
        monitor.pulse(worker: worker)
      }
    }
  }

  /// Pieces of work that the maps and the distances report.
  static func pieces(_ count: Int) -> Int {
    let tiles = (count + tileRows - 1) / tileRows
    return piecesOfMaps * tiles + tiles * (tiles + 1) / 2
  }

  /// With the shift between them.
  static func piecesShifted(_ count: Int) -> Int { 2 * pieces(count) }

  /// A tile of maps takes about as long as so many tiles of pairs.
  private static let piecesOfMaps = 2

  private static func keptByteCount(_ count: Int, keyCount: Int) -> Int {
    4 * (2 * count * keyCount + count + keyCount)
  }

  /// With the distances.
  static func byteCount(_ count: Int, keyCount: Int, threads: Int) -> Int {
    keptByteCount(count, keyCount: keyCount)
      + 4 * (count * count + threads * tileRows * tileRows)
  }

  /// With those after the shift.
  static func shiftedByteCount(_ count: Int, keyCount: Int, threads: Int) -> Int {
    2 * keptByteCount(count, keyCount: keyCount)
      + 4 * (2 * count * count + threads * tileRows * max(count, tileRows))
  }
}
