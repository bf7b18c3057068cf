import CCoveyKernels
import Foundation
import Testing

/// Half a unit in the last place of 1: what one rounding to fp32 loses.
private let u = 0x1p-24

@Suite struct RowSumTests {
  // ---- Sums and simple rows -----------------------------------------------------

  /// One rounding each, as Swift's own.
  @Test(arguments: rowLengths)
  func elementwise(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    let x = RowMatrix(3, n, padding: 4) { _, _ in Float(random.normal()) }
    let row = RowMatrix(1, n) { _, _ in Float(random.normal()) }
    func expect(
      _ expected: (Float, Float) -> Float, _ run: (cv_row_kernels, inout RowMatrix) -> Void
    ) {
      onEachRowSet { kernels in
        var y = x
        run(kernels, &y)
        return y
      } check: { y, set in
        let right = RowMatrix(3, n, padding: 4) { expected(x[$0, $1], row[0, $1]) }
        #expect(y == right, "\(set), n \(n)")
      }
    }
    expect(+) { $0.bias_add(&$1.values, $1.stride, 3, n, row.values) }
    expect(-) { $0.subtract(&$1.values, $1.stride, 3, n, row.values) }
    for kernels in RowSets.all {
      var sum = row.values
      kernels.accumulate(x.values, n, &sum)
      #expect(sum == (0..<n).map { row[0, $0] + x[0, $0] })
      kernels.scale(&sum, n, 0.3)
      #expect(sum == (0..<n).map { (row[0, $0] + x[0, $0]) * 0.3 })
    }
  }

  /// Ten coefficients, each between two, then three sums of up to four: with
  /// coefficients below 1 and colours below 1/2 no term is above 1, and there are
  /// fewer than 40 roundings.
  @Test(arguments: rowLengths)
  func weightsOfColours(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    let (near, far) = (
      (0..<10 * n).map { _ in Float(2 * random.uniform() - 1) },
      (0..<10 * n).map { _ in Float(2 * random.uniform() - 1) }
    )
    let plane = n + 3
    let pixels = (0..<3 * plane).map { _ in UInt8(random.uniform() * 256) }
    for weight: Float in [0, 0.3, 1] {
      let expected = (0..<n).map { i -> Double in
        func a(_ k: Int) -> Double {
          Double(near[k * n + i]) * (1 - Double(weight)) + Double(far[k * n + i]) * Double(weight)
        }
        let c = (0..<3).map { Double(pixels[$0 * plane + i]) / 255 - 0.5 }
        var (sum, place) = (a(9), 3)
        for j in 0..<3 {
          sum += a(j) * c[j]
          for k in j..<3 {
            sum += 2 * a(place) * c[j] * c[k]
            place += 1
          }
        }
        return sum
      }
      var bits: [UInt32]?
      for kernels in RowSets.all {
        var found = [Float](repeating: -77.25, count: n + 1)
        kernels.colour_weights(near, far, weight, pixels, plane, n, &found)
        #expect(found[n] == -77.25)
        for i in 0..<n { #expect(abs(Double(found[i]) - expected[i]) <= 40 * u) }
        bits = bits ?? found.map(\.bitPattern)
        #expect(found.map(\.bitPattern) == bits, "\(RowSets.name(kernels)), n \(n)")
      }
    }
  }

  @Test(arguments: rowLengths)
  func contests(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    // Halves and quarters: exact, and with ties, which the earlier label keeps.
    func values() -> [Float] { (0..<n).map { _ in Float(Int(random.uniform() * 4)) } }
    let rows = (0..<6).map { _ in values() }
    for kernels in RowSets.all {
      var best = [Float](repeating: -.infinity, count: n + 1)
      var owners = [UInt16](repeating: 9, count: n + 1)
      for label in 0..<3 {
        kernels.contest(
          rows[2 * label], rows[2 * label + 1], 0.25, UInt16(label + 40000), n, &best, &owners)
      }
      #expect(best[n] == -.infinity && owners[n] == 9)
      for i in 0..<n {
        let weights: [Float] = (0..<3).map { label in
          let (near, far) = (rows[2 * label][i], rows[2 * label + 1][i])
          return 0.75 * near + 0.25 * far
        }
        #expect(best[i] == weights.max())
        #expect(owners[i] == UInt16(weights.firstIndex(of: best[i])! + 40000))
      }
    }
  }

  /// A lane takes 32 terms, the lanes of a block are added in four steps and
  /// the blocks in double; a term of `jeffreys` is three roundings.
  /// Observed: at most 0.08 of the bounds.
  @Test(arguments: rowLengths)
  func sums(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    for spread in [1.0, 6] {
      func map() -> [Float] {
        let scores = (0..<n).map { _ in exp(spread * random.normal()) }
        let sum = scores.reduce(0, +)
        return scores.map { Float($0 / sum) }
      }
      let (p, q) = (map(), map())
      let shift = (0..<n).map { _ in Float(random.normal()) }
      let lp = zip(p, shift).map { Float(log(Double($0))) - $1 }
      let lq = zip(q, shift).map { Float(log(Double($0))) - $1 }
      let d = { (x: Float) in Double(x) }
      let products = zip(p, lq).map { d($0) * d($1) }
      let terms = (0..<n).map { (d(p[$0]) - d(q[$0])) * (d(lp[$0]) - d(lq[$0])) }
      func close(_ found: Double, _ terms: [Double], _ roundings: Double, _ text: String) {
        let size = terms.reduce(0) { $0 + abs($1) }
        let bound = (32 + 4 + roundings) * u * size
        #expect(abs(found - terms.reduce(0, +)) <= bound, "\(text), n \(n)")
      }
      var bits: [[UInt64]] = []
      for kernels in RowSets.all {
        let found = [
          kernels.sum(lp, n), kernels.dot(p, lq, n), kernels.jeffreys(p, lp, q, lq, n),
        ]
        close(found[0], lp.map(d), 0, "\(RowSets.name(kernels)) sum")
        close(found[1], products, 1, "\(RowSets.name(kernels)) dot")
        close(found[2], terms, 3, "\(RowSets.name(kernels)) jeffreys")
        #expect(kernels.jeffreys(p, lp, p, lp, n) == 0)
        #expect(kernels.jeffreys(q, lq, p, lp, n) == found[2])
        bits.append(found.map(\.bitPattern))
      }
      #expect(Set(bits).count == 1)
    }
  }

  /// A term of `weighted_square` is two roundings.
  @Test(arguments: rowLengths)
  func weightedSquare(n: Int) {
    var random = SeededRandom(seed: UInt64(n) + 9)
    let x = (0..<n).map { _ in Float(random.normal()) }
    let weights = (0..<n).map { _ in Float(exp(5 * random.normal())) }
    let exact = zip(x, weights).reduce(0.0) { $0 + Double($1.0) * Double($1.0) * Double($1.1) }
    let found = RowSets.all.map { $0.weighted_square(x, weights, n) }
    #expect(abs(found[0] - exact) <= (32 + 4 + 2) * u * exact)
    #expect(Set(found.map(\.bitPattern)).count == 1)
  }

  /// Numbers of so few bits that sums are exact; then ones whose sums are the same
  /// bits everywhere.
  @Test(arguments: [1, 15, 16, 17, 31, 32, 33, 64, 131])
  func addRows(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    for count in [0, 1, 3, 4, 5, 8, 131] {
      let rows = (0..<count).map { _ in UInt32(random.next() % 50) }
      let x = RowMatrix(50, n, padding: 3) { _, _ in Float(Int(random.next() % 2001) - 1000) }
      let rough = RowMatrix(50, n, padding: 3) { _, _ in Float(random.normal()) }
      let before = (0..<n).map { Float($0) }
      let expected = (0..<n).map { column in
        rows.reduce(before[column]) { $0 + x[Int($1), column] }
      }
      var bits: Set<[UInt32]> = []
      for kernels in RowSets.all {
        var sum = before + [-1]
        kernels.add_rows(x.values, x.stride, rows, count, n, &sum)
        #expect(sum == expected + [-1], "\(RowSets.name(kernels)), \(count) rows")
        kernels.add_rows(rough.values, rough.stride, rows, count, n, &sum)
        bits.insert(sum.map(\.bitPattern))
      }
      #expect(bits.count == 1)
    }
  }

  @Test func differingBits() {
    var random = SeededRandom(seed: 11)
    for words in [0, 1, 2, 7, 8, 9, 54] {
      let (a, b) = ((0..<words).map { _ in random.next() }, (0..<words).map { _ in random.next() })
      let exact = zip(a, b).reduce(0) { $0 + ($1.0 ^ $1.1).nonzeroBitCount }
      for kernels in RowSets.all {
        #expect(kernels.differing(a, b, words) == exact)
        #expect(kernels.differing(a, a, words) == 0)
      }
    }
  }

  @Test func firstNotFinite() {
    for n in [0, 1, 4095, 4096, 4097, 10_000] {
      var x = [Float](repeating: .greatestFiniteMagnitude, count: n)
      #expect(cv_first_not_finite(x, n) == n)
      for (index, value) in [(n - 1, Float.nan), (n / 2, -.infinity), (0, .infinity)]
      where n > 0 {
        x[index] = value
        #expect(cv_first_not_finite(x, n) == index)
      }
    }
  }
}
