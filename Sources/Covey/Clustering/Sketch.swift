import CCoveyKernels

/// Maps in few numbers, which bound the distance of any two of them from both
/// sides: most pairs are far from tau, and need not be measured over all keys.
///
/// With weights v and the logarithms L centred (Divergence), let a_i = A_i / sqrt v
/// and b_i = L_i sqrt v, so that G_ij = a_i . b_j.  Orthonormal rows Q split both:
/// a_i = x_i Q + e_i and b_i = y_i Q + f_i, where the rests e and f are orthogonal
/// to Q.  Then G_ij = x_i . y_j + e_i . f_j, and by Cauchy and Schwarz
///
///     D_ij = h_i + h_j - x_i . y_j - y_i . x_j  +- (|e_i| |f_j| + |f_i| |e_j|).
///
/// Q is made of some maps and some logarithms of the window itself, which the
/// others resemble: with 128 rows, .5 to 1.5 % of all pairs remain undecided.
/// Any weights and any Q give true bounds; v near the mean of the maps and a Q
/// that fits give narrow ones.
struct Sketch {
  /// Rows of Q at most; 0 where measuring every pair is as cheap.
  let capacity: Int
  private let keyCount: Int  // M
  private let basis: Buffer<Float>  // [2, capacity, M]: Q / sqrt v, Q sqrt v
  private let weights: Buffer<Float>  // [2, M]: v, 1 / v
  private let coordinates: Buffer<Float>  // [P, 2, capacity]: x, y
  private let rests: Buffer<Float>  // [2, P]: |e|, |f|
  private let count: Int  // P at most

  private static let mostRows = 128
  private static let fewestRows = 32

  /// Of 1: what fp32 loses in squares and products, and a little more.
  private static let rounding: Float = 4e-6

  static func capacity(count: Int, keyCount: Int) -> Int {
    let rows = min(mostRows, count / 8, keyCount / 8) / 2 * 2
    return rows < fewestRows ? 0 : rows
  }

  init(count: Int, keyCount: Int, budget: Budget) throws(CoveyError) {
    self.count = count
    self.keyCount = keyCount
    capacity = Sketch.capacity(count: count, keyCount: keyCount)
    let size = capacity > 0 ? 1 : 0
    basis = try Buffer(2 * capacity * keyCount, budget: budget, for: "basis of the maps")
    weights = try Buffer(size * 2 * keyCount, budget: budget, for: "weights of the keys")
    coordinates = try Buffer(2 * count * capacity, budget: budget, for: "sketches of the maps")
    rests = try Buffer(size * 2 * count, budget: budget, for: "rests of the maps")
  }

  static func byteCount(count: Int, keyCount: Int) -> Int {
    let rows = capacity(count: count, keyCount: keyCount)
    guard rows > 0 else { return 0 }
    return 4 * (2 * rows * keyCount + 2 * keyCount + 2 * count * rows + 2 * count)
  }

  /// Index `sample` of `samples` among `count`, evenly spread but not in step with
  /// the columns of a grid.
  static func spread(_ sample: Int, of samples: Int, among count: Int) -> Int {
    let golden = Double(sample) * 0.6180339887498949
    return min(
      Int((Double(sample) + golden - golden.rounded(.down)) * Double(count) / Double(samples)),
      count - 1)
  }

  /// Chooses Q for the first `count` of `maps`.
  /// - Parameters:
  ///   - mean: [M], v; `centre` its logarithm
  /// - Returns: the rows that Q has; 0: no sketch.
  func choose(
    _ maps: UnsafePointer<Float>, count: Int, mean: UnsafePointer<Float>,
    centre: UnsafePointer<Float>, monitor: Monitor
  ) -> Int {
    let wanted = min(capacity, Sketch.capacity(count: count, keyCount: keyCount))
    if wanted == 0 { return 0 }
    let kernels = cv_rows().pointee
    let n = keyCount
    let (weights, inverse) = (weights.base, weights.base + n)
    for c in 0..<n {
      weights[c] = max(mean[c], Divergence.floor)
      inverse[c] = 1 / weights[c]
    }
    let rows = basis.base
    // Of what does not fit into the first half of the basis, the second is room for.
    let spare = basis.base + capacity * n
    let factors = coordinates.base
    var rank = 0
    for sample in 0..<wanted {
      if monitor.isCancelled { return 0 }
      let map = maps + Sketch.spread(sample / 2, of: wanted / 2, among: count) * n
      let row = rows + rank * n
      if sample % 2 == 0 {
        for c in 0..<n { row[c] = map[c] * inverse[c].squareRoot() }
      } else {
        Divergence.logarithms(map, rows: 1, n: n, into: row)
        kernels.subtract(row, n, 1, n, centre)
        for c in 0..<n { row[c] *= weights[c].squareRoot() }
      }
      let before = kernels.dot(row, row, n)
      // Gram and Schmidt; once more for what rounding leaves of the first time.
      if rank > 0 {
        for _ in 0..<2 {
          BLAS.multiply(1, rank, n, row, n, rows, n, transposed: true, into: factors, rank)
          BLAS.multiply(1, n, rank, factors, rank, rows, n, transposed: false, into: spare, n)
          kernels.subtract(row, n, 1, n, spare)
        }
      }
      let after = kernels.dot(row, row, n)
      // What others already say.  Not a number: not here, the maps are checked.
      guard after > 1e-6 * before else { continue }
      kernels.scale(row, n, Float(1 / after.squareRoot()))
      rank += 1
      monitor.pulse(worker: 0)
    }
    for row in 0..<rank {
      for c in 0..<n {
        let q = rows[row * n + c]
        let root = weights[c].squareRoot()
        rows[row * n + c] = q / root
        spare[row * n + c] = q * root
      }
    }
    return rank
  }

  /// Sketches of rows first ..< first + rows, whose maps and logarithms (less the
  /// centre) are given.
  func add(
    _ maps: UnsafePointer<Float>, _ logs: UnsafePointer<Float>, first: Int, rows: Int, rank: Int,
    monitor: Monitor, worker: Int
  ) {
    let kernels = cv_rows().pointee
    let n = keyCount
    let x = coordinates.base + 2 * first * capacity
    let y = x + capacity
    for column in stride(from: 0, to: n, by: Divergence.tileColumns) {
      if monitor.isCancelled { return }
      let columns = min(Divergence.tileColumns, n - column)
      let (forMaps, forLogs) = (basis.base + column, basis.base + capacity * n + column)
      BLAS.multiply(
        rows, rank, columns, maps + column, n, forMaps, n, transposed: true, into: x,
        2 * capacity, add: column == 0 ? 0 : 1)
      BLAS.multiply(
        rows, rank, columns, logs + column, n, forLogs, n, transposed: true, into: y,
        2 * capacity, add: column == 0 ? 0 : 1)
      monitor.pulse(worker: worker)
    }
    let (weights, inverse) = (weights.base, weights.base + n)
    for row in 0..<rows {
      let (x, y) = (x + 2 * row * capacity, y + 2 * row * capacity)
      rests.base[first + row] = Sketch.rest(
        kernels.weighted_square(maps + row * n, inverse, n), kernels.dot(x, x, rank))
      rests.base[count + first + row] = Sketch.rest(
        kernels.weighted_square(logs + row * n, weights, n), kernels.dot(y, y, rank))
    }
  }

  /// Length of what is left of `whole`, a square, without `part`; never less than
  /// what rounding may hide in the square or in a product.
  private static func rest(_ whole: Double, _ part: Double) -> Float {
    Float((max(whole - part, 0) + Double(rounding) * whole).squareRoot())
  }

  /// cross [a, b] = x_i . y_j + y_i . x_j
  func crossProducts(
    _ a: Range<Int>, _ b: Range<Int>, rank: Int, into cross: UnsafeMutablePointer<Float>
  ) {
    let stride = 2 * capacity
    let (rowsA, rowsB) = (
      coordinates.base + a.lowerBound * stride, coordinates.base + b.lowerBound * stride
    )
    BLAS.multiply(
      a.count, b.count, rank, rowsA, stride, rowsB + capacity, stride, transposed: true,
      into: cross, b.count)
    BLAS.multiply(
      a.count, b.count, rank, rowsA + capacity, stride, rowsB, stride, transposed: true,
      into: cross, b.count, add: 1)
  }

  var mapRests: UnsafePointer<Float> { UnsafePointer(rests.base) }
  var logRests: UnsafePointer<Float> { UnsafePointer(rests.base + count) }
}
