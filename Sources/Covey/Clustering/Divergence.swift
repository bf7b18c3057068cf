import CCoveyKernels

/// The distance between two maps: the Jeffreys divergence
///
///     D(p, q) = KL(p||q) + KL(q||p) = sum_c (p_c - q_c)(ln p_c - ln q_c)
///
/// in nats.  Probabilities below `floor` count as `floor` in the logarithm: near the least
/// that fp32 holds without losing digits, 1.2e-38, so that it says something of zeros alone.
/// A floor that maps reach (1e-12 was tried) brings sharp ones together.
///
/// For many pairs at once it is one matrix product and not two:
///
///     D_ij = h_i + h_j - G_ij - G_ji,  G = P L^T,  h_i = G_ii
///
/// where L is ln P less any one row v: v cancels, because the two differences
/// are what counts.  With v the mean of the rows the terms are of the size of D
/// itself rather than of ln M, which leaves fp32 some two digits more.
enum Divergence {
  static let floor: Float = 1e-37

  /// Rows of a tile of pairs.  64-bit words of a row of the neighbour bits
  /// belong to one tile, so that threads do not write the same word.
  static let tileRows = 256

  /// Columns of a product at a time, so that cancelling need not wait for rows
  /// of tens of thousands: 5 ms on a fast core, 50 on a slow one.
  static let tileColumns = 4096

  /// logs [rows, n] = ln(max(maps, floor))
  static func logarithms(
    _ maps: UnsafePointer<Float>, rows: Int, n: Int, into logs: UnsafeMutablePointer<Float>
  ) {
    cv_rows().pointee.log_rows(maps, n, rows, n, floor, logs, n)
  }

  /// logs [rows, n] = ln(max(maps, floor)) - centre, selfProducts[i] = h_i.
  static func prepare(
    _ maps: UnsafePointer<Float>, rows: Int, n: Int, centre: UnsafePointer<Float>,
    logs: UnsafeMutablePointer<Float>, selfProducts: UnsafeMutablePointer<Float>
  ) {
    let kernels = cv_rows().pointee
    logarithms(maps, rows: rows, n: n, into: logs)
    kernels.subtract(logs, n, rows, n, centre)
    for row in 0..<rows {
      selfProducts[row] = Float(kernels.dot(maps + row * n, logs + row * n, n))
    }
  }

  /// As above, v being the mean of these rows, on all threads.
  /// - Parameter middle: [n] receives the logarithm of v.
  static func prepare(
    _ maps: UnsafePointer<Float>, rows: Int, n: Int, middle: UnsafeMutablePointer<Float>,
    logs: UnsafeMutablePointer<Float>, selfProducts: UnsafeMutablePointer<Float>,
    pool: ThreadPool, monitor: Monitor
  ) throws(CoveyError) {
    let kernels = cv_rows().pointee
    middle.update(repeating: 0, count: n)
    for row in 0..<rows {
      if row % 64 == 0 { try monitor.check() }
      kernels.accumulate(maps + row * n, n, middle)
    }
    kernels.scale(middle, n, 1 / Float(rows))
    logarithms(middle, rows: 1, n: n, into: middle)
    let tiles = RowTiles(rows: rows, exactly: 16)
    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      let tile = tiles.range(index)
      let first = tile.lowerBound * n
      prepare(
        maps + first, rows: tile.count, n: n, centre: middle, logs: logs + first,
        selfProducts: selfProducts + tile.lowerBound)
      monitor.pulse(worker: worker)
    }
    try monitor.check()
  }

  /// cross [rowsA, rowsB] = G_ij + G_ji, so that D_ij = h_i + h_j - cross_ij.
  static func crossProducts(
    _ mapsA: UnsafePointer<Float>, _ logsA: UnsafePointer<Float>, rows rowsA: Int,
    _ mapsB: UnsafePointer<Float>, _ logsB: UnsafePointer<Float>, rows rowsB: Int,
    n: Int, into cross: UnsafeMutablePointer<Float>, monitor: Monitor, worker: Int
  ) {
    for first in stride(from: 0, to: n, by: tileColumns) {
      if monitor.isCancelled { return }
      let count = min(tileColumns, n - first)
      BLAS.multiply(
        rowsA, rowsB, count, mapsA + first, n, logsB + first, n, transposed: true,
        into: cross, rowsB, add: first == 0 ? 0 : 1)
      BLAS.multiply(
        rowsA, rowsB, count, logsA + first, n, mapsB + first, n, transposed: true,
        into: cross, rowsB, add: 1)
      monitor.pulse(worker: worker)
    }
  }

  /// Pair `index` of the lower triangle: (0,0), (1,0), (1,1), (2,0), ...
  static func pair(_ index: Int) -> (Int, Int) {
    var row = Int((Double(8 * index + 1).squareRoot() - 1) / 2)
    while row * (row + 1) / 2 > index { row -= 1 }
    while (row + 1) * (row + 2) / 2 <= index { row += 1 }
    return (row, index - row * (row + 1) / 2)
  }
}
