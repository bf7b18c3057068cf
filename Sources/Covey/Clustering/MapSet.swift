import CCoveyKernels

/// Maps of many queries, and the distances between all of them: what a linkage
/// starts from.
struct MapSet {
  let count: Int
  let keyCount: Int  // M
  let maps: Buffer<Float>  // [count, M]
  let logs: Buffer<Float>  // [count, M], less `middle`
  let middle: Buffer<Float>  // [M], that row: the logarithm of the mean map
  private let selfProducts: Buffer<Float>  // [count]

  /// 17 GB of distances.
  private static let mostLinked = 1 << 16

  /// Rows of a tile of maps or of pairs.
  private static let tileRows = 64

  /// The maps of queries [count, C].
  init(
    _ queries: UnsafePointer<Float>, count: Int, affinity: Affinity, pool: ThreadPool,
    monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    let n = affinity.keyCount
    self.count = count
    keyCount = n
    maps = try Buffer(count * n, budget: budget, for: "maps to be linked")
    logs = try Buffer(count * n, budget: budget, for: "logarithms of the maps")
    selfProducts = try Buffer(count, budget: budget, for: "self products")
    middle = try Buffer(n, budget: budget, for: "mean map")
    let (maps, logs, products, mean) = (maps.base, logs.base, selfProducts.base, middle.base)
    let tile = MapSet.tileRows
    let tiles = (count + tile - 1) / tile
    pool.run(tiles) { index, worker in
      let first = index * tile
      // The logarithms come later: their place serves for the scores.
      affinity.maps(
        queries + first * affinity.channels, count: min(tile, count - first),
        into: maps + first * n, scores: logs + first * n, monitor: monitor, worker: worker)
      monitor.advance(MapSet.piecesOfMaps, worker: worker)
    }
    try monitor.check()
    try Divergence.prepare(
      maps, rows: count, n: n, middle: mean, logs: logs, selfProducts: products, pool: pool,
      monitor: monitor)
    guard cv_first_not_finite(products, count) == count else {
      throw CoveyError(
        .argument, "attention maps: not finite; products of queries and keys overflow")
    }
  }

  /// D of all pairs: [count, count], symmetric, 0 on the diagonal.
  func distances(
    pool: ThreadPool, monitor: Monitor, budget: Budget
  ) throws(CoveyError) -> Buffer<Float> {
    let (count, n, tile) = (count, keyCount, MapSet.tileRows)
    guard count <= MapSet.mostLinked else {
      throw CoveyError(
        .memory,
        "\(count) maps to be linked: expected at most \(MapSet.mostLinked); a larger query_pool "
          + "or a shorter window gives fewer")
    }
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

  /// Pieces of work that the maps and the distances report.
  static func pieces(_ count: Int) -> Int {
    let tiles = (count + tileRows - 1) / tileRows
    return piecesOfMaps * tiles + tiles * (tiles + 1) / 2
  }

  /// A tile of maps takes about as long as so many tiles of pairs.
  private static let piecesOfMaps = 2

  static func keptByteCount(_ count: Int, keyCount: Int) -> Int {
    4 * (2 * count * keyCount + count + keyCount)
  }

  /// With the distances.
  static func byteCount(_ count: Int, keyCount: Int, threads: Int) -> Int {
    keptByteCount(count, keyCount: keyCount)
      + 4 * (count * count + threads * tileRows * tileRows)
  }
}
