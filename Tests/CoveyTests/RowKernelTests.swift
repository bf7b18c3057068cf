import CCoveyKernels
import Foundation
import Testing

/// Half a unit in the last place of 1: what one rounding to fp32 loses.
private let u = 0x1p-24

/// Below, at and above the widths of vectors and of blocks of sums, and what
/// models have.
private let lengths = [1, 2, 15, 16, 17, 31, 48, 144, 511, 512, 513, 2401, 16800]

/// Rows with something between them that must stay as it is.
private struct Matrix: Equatable {
  let rows: Int
  let n: Int
  let stride: Int
  var values: [Float]
  private static let padding: Float = -77.25

  init(_ rows: Int, _ n: Int, padding: Int = 0, _ value: (_ row: Int, _ column: Int) -> Float) {
    (self.rows, self.n, stride) = (rows, n, n + padding)
    values = Array(repeating: Matrix.padding, count: rows * stride)
    for row in 0..<rows {
      for column in 0..<n { values[row * stride + column] = value(row, column) }
    }
  }

  subscript(row: Int, column: Int) -> Float { values[row * stride + column] }

  func row(_ row: Int) -> [Double] { (0..<n).map { Double(self[row, $0]) } }

  var paddingIsUntouched: Bool {
    (0..<rows).allSatisfy { row in
      (n..<max(n, stride)).allSatisfy { self[row, $0] == Matrix.padding }
    }
  }

  var bits: [UInt32] { values.map(\.bitPattern) }
}

/// Runs the body for every instruction set, checks each result, and that all
/// are the same bits.
private func onEachSet(
  _ run: (cv_row_kernels) -> Matrix, check: (Matrix, String) -> Void,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  var first: [UInt32]?
  for kernels in RowSets.all {
    let result = run(kernels)
    #expect(result.paddingIsUntouched, "\(RowSets.name(kernels))", sourceLocation: sourceLocation)
    check(result, RowSets.name(kernels))
    if let first {
      #expect(
        first == result.bits, "\(RowSets.name(kernels)): other bits", sourceLocation: sourceLocation
      )
    } else {
      first = result.bits
    }
  }
}

@Suite struct RowKernelTests {
  @Test func thePortableSetIsFirstAndTheChosenOneLast() {
    #expect(RowSets.all.first.map(RowSets.name) == "portable")
    #expect(RowSets.all.last.map(RowSets.name) == String(cString: cv_rows().pointee.name))
    #expect(Set(RowSets.all.map(RowSets.name)).count == RowSets.all.count)
  }

  // ---- layer_norm ---------------------------------------------------------------

  /// The mean loses (n / 16 + 6) u of the mean size of x: sixteen lanes are
  /// summed one by one.  The variance loses as much, and four roundings.
  /// Observed: at most 0.27 of the bound.
  @Test(arguments: lengths)
  func layerNorm(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    for (offset, spread, eps) in [
      (0.0, 1.0, 1e-6), (3, 0.5, 1e-5), (-40, 0.01, 1e-6), (0, 3e4, 1e-6),
    ] {
      let x = Matrix(3, n, padding: 5) { _, _ in Float(offset + spread * random.normal()) }
      let weight = Matrix(1, n) { _, _ in Float(1 + random.normal()) }
      let bias = Matrix(1, n) { _, _ in Float(random.normal()) }
      onEachSet { kernels in
        var y = Matrix(3, n, padding: 2) { _, _ in 0 }
        kernels.layer_norm(
          x.values, x.stride, 3, n, weight.values, bias.values, Float(eps), &y.values, y.stride)
        return y
      } check: { y, set in
        for row in 0..<3 {
          let values = x.row(row)
          let mean = values.reduce(0, +) / Double(n)
          let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)
          let factor = 1 / (variance + Double(Float(eps))).squareRoot()
          let size = values.reduce(0) { $0 + abs($1) } / Double(n)
          let sums = (Double(n) / 16 + 6) * u
          var worst = 0.0
          for i in 0..<n {
            let (w, b) = (Double(weight[0, i]), Double(bias[0, i]))
            let normal = (values[i] - mean) * factor
            // The mean's own error enters the variance by its square.
            let shift = sums * size * factor
            let bound =
              abs(w) * (shift + abs(normal) * (sums + shift * shift + 6 * u)) + abs(b) * u
              + abs(normal * w + b) * 2 * u
            worst = max(worst, abs(Double(y[row, i]) - normal * w - b) / bound)
          }
          #expect(worst <= 1, "\(set), n \(n), offset \(offset), row \(row)")
        }
      }
    }
  }

  /// x may be y; a row of equal values gives the bias.
  @Test func layerNormInPlaceAndOfEqualValues() {
    let n = 37
    for kernels in RowSets.all {
      var x = Matrix(2, n) { row, column in row == 0 ? 3.25 : Float(column) }
      let bias = [Float](repeating: 0.5, count: n)
      let weight = [Float](repeating: 2, count: n)
      var apart = Matrix(2, n) { _, _ in 0 }
      kernels.layer_norm(x.values, n, 2, n, weight, bias, 1e-6, &apart.values, n)
      x.values.withUnsafeMutableBufferPointer { x in
        kernels.layer_norm(x.baseAddress, n, 2, n, weight, bias, 1e-6, x.baseAddress, n)
      }
      #expect(x == apart)
      // 3.25 * 37 is exact, and so is its mean.
      #expect((0..<n).allSatisfy { x[0, $0] == 0.5 })
    }
  }

  // ---- softmax ------------------------------------------------------------------

  /// exp itself: beside a score of 0 twenty below -21 do not change the sum,
  /// which is 1, so what comes out is exp(x) as it is.  Observed: 0.96 ulp.
  @Test func exponentialIsWithinTwoUlp() {
    let inputs = (0..<140_000).map { -21 - Float($0) * (60 - 21) / 140_000 }
    for kernels in RowSets.all {
      var worst = 0.0
      for start in stride(from: 0, to: inputs.count, by: 20) {
        var row = [0] + inputs[start..<start + 20]
        kernels.softmax(&row, 21, 1, 21, 1)
        #expect(row[0] == 1)
        for i in 0..<20 {
          let exact = exp(Double(inputs[start + i]))
          worst = max(worst, abs(Double(row[i + 1]) - exact) / Double(Float(exact).ulp))
        }
      }
      #expect(worst <= 2, "\(RowSets.name(kernels)): \(worst) ulp")
      for below: Float in [-60.01, -87, -100, -1e30, -.infinity] {
        var row = [0, below]
        kernels.softmax(&row, 2, 1, 2, 1)
        #expect(row == [1, 0])
      }
    }
  }

  /// Relative error: exp 4 u (2 ulp) and |x| u for its argument, the sum
  /// (n / 16 + 6) u, 2 u for the division.  Observed: at most 0.44 of the bound.
  @Test(arguments: lengths)
  func softmax(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    for (spread, scale) in [(1.0, 1.0), (8, 0.125), (30, 0.14433756), (300, 1), (1e-3, 1)] {
      let s = Matrix(3, n, padding: 3) { row, _ in Float(spread * random.normal() + 5 * Double(row))
      }
      let (weight, old) = (1.0 / 3, Matrix(3, n, padding: 4) { _, _ in Float(random.normal()) })
      let expected = (0..<3).map { row -> [(value: Double, bound: Double)] in
        let values = s.row(row)
        let top = values.max() ?? 0
        let exponents = values.map { ($0 - top) * Double(Float(scale)) }
        let sum = exponents.reduce(0) { $0 + exp($1) }
        return exponents.map {
          let value = exp($0) / sum
          let relative = (4 + 3 * abs($0) + Double(n) / 16 + 6 + 3) * u
          // Below exp(-60) it is 0; a rounding decides which it is there.
          return (value, $0 > -59.99 ? value * relative : exp(-60) / sum)
        }
      }
      func check(_ result: Matrix, _ set: String, _ factor: Double, _ added: Matrix?) {
        var worst = 0.0
        for row in 0..<3 {
          for i in 0..<n {
            let before = added.map { Double($0[row, i]) } ?? 0
            let value = before + factor * expected[row][i].value
            let bound = factor * expected[row][i].bound + (factor == 1 ? 0 : 3 * u * abs(value))
            worst = max(worst, abs(Double(result[row, i]) - value) / bound)
          }
        }
        #expect(worst <= 1, "\(set), n \(n), spread \(spread): \(worst) of the bound")
      }
      onEachSet { kernels in
        var out = s
        kernels.softmax(&out.values, s.stride, 3, n, Float(scale))
        return out
      } check: { out, set in
        check(out, set, 1, nil)
      }
      for add in [false, true] {
        onEachSet { kernels in
          var (scores, out) = (s, old)
          kernels.softmax_mean(
            &scores.values, s.stride, 3, n, Float(scale), Float(weight), add ? 1 : 0,
            &out.values, out.stride)
          #expect(scores.paddingIsUntouched)
          return out
        } check: { out, set in
          check(out, set, weight, add ? old : nil)
        }
      }
    }
  }

  @Test(arguments: lengths)
  func softmaxOfExtremes(n: Int) {
    let largest = Float.greatestFiniteMagnitude
    let cases: [(String, (Int) -> Float)] = [
      ("equal", { _ in -1234.5 }),
      ("equal and huge", { _ in largest }),
      ("the last far above", { $0 == n - 1 ? 1e30 : -1e30 }),
      ("the first far above, to the limits", { $0 == 0 ? largest : -largest }),
      ("infinitely far below", { $0 == 0 ? 0 : -.infinity }),
    ]
    for (text, value) in cases {
      onEachSet { kernels in
        var row = Matrix(1, n, padding: 1) { _, i in value(i) }
        kernels.softmax(&row.values, row.stride, 1, n, 0.5)
        return row
      } check: { row, set in
        let sum = row.row(0).reduce(0, +)
        #expect(abs(sum - 1) <= (Double(n) / 16 + 8) * u, "\(set), n \(n), \(text)")
        if text.hasPrefix("equal") {
          // 1 / n, rounded once: the sum of up to 2^24 ones is exact.
          #expect((0..<n).allSatisfy { row[0, $0] == 1 / Float(n) }, "\(set), n \(n), \(text)")
        } else {
          let top = text.contains("last") ? n - 1 : 0
          #expect(row[0, top] == 1, "\(set), n \(n), \(text)")
          // Not a subnormal number, which would be slow to compute with.
          #expect((0..<n).allSatisfy { $0 == top || row[0, $0] == 0 })
        }
      }
    }
  }

  /// What has overflowed must not look like a map: later checks count on it.
  @Test(arguments: lengths)
  func softmaxPassesNaNsOn(n: Int) {
    for (value, place) in [(Float.nan, 0), (.nan, n - 1), (.nan, n / 2), (.infinity, n / 2)] {
      for kernels in RowSets.all {
        var row = (0..<n).map { $0 == place ? value : Float($0 % 7) }
        var (scores, mean) = (row, row)
        kernels.softmax(&row, n, 1, n, 0.5)
        #expect(row.allSatisfy { $0.isNaN }, "\(RowSets.name(kernels)), \(value) at \(place)")
        kernels.softmax_mean(&scores, n, 1, n, 0.5, 1, 0, &mean, n)
        #expect(mean.allSatisfy { $0.isNaN }, "\(RowSets.name(kernels)), \(value) at \(place)")
      }
    }
  }

  // ---- gelu and log -------------------------------------------------------------

  /// Of Phi, absolute, as the header has it.
  private let geluBound = 4e-7

  /// Observed: 3.4e-7 near 0.04, where the polynomial's terms cancel most.
  @Test func geluIsWithinItsBound() {
    let (least, most) = (Float(1e-6).bitPattern, Float(20).bitPattern)
    let sizes = stride(from: least, to: most, by: 499).map { Float(bitPattern: $0) }
    let inputs = sizes.map { -$0 } + [-20, 0, 20] + sizes
    let n = inputs.count
    for kernels in RowSets.all {
      var y = inputs
      kernels.bias_gelu(&y, n, 1, n, [Float](repeating: 0, count: n))
      var worst = 0.0
      for (x, y) in zip(inputs, y) where x != 0 {
        let phi = erfc(-Double(x) / 2.0.squareRoot()) / 2
        worst = max(worst, abs(Double(y) / Double(x) - phi))
      }
      #expect(worst <= geluBound, "\(RowSets.name(kernels)): \(worst)")
      let middle = sizes.count
      #expect(y[middle + 1] == 0 && y[middle + 2] == 20 && y[middle].magnitude < 1e-36)
    }
  }

  @Test(arguments: lengths)
  func biasGelu(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    let x = Matrix(3, n, padding: 2) { _, _ in Float(3 * random.normal()) }
    let bias = Matrix(1, n) { _, _ in Float(random.normal()) }
    onEachSet { kernels in
      var y = x
      kernels.bias_gelu(&y.values, y.stride, 3, n, bias.values)
      return y
    } check: { y, set in
      var worst = 0.0
      for row in 0..<3 {
        for i in 0..<n {
          let sum = Double(x[row, i] + bias[0, i])
          let phi = erfc(-sum / 2.0.squareRoot()) / 2
          worst = max(worst, abs(Double(y[row, i]) / sum - phi))
        }
      }
      #expect(worst <= geluBound, "\(set), n \(n): \(worst)")
    }
  }

  /// 2 ulp or 1e-7, whichever is larger, over all binades from the least floor
  /// on.  Observed: at most 0.36 of that.
  @Test func logarithmIsWithinItsBound() {
    let (least, most) = (Float(1e-37).bitPattern, Float(1e6).bitPattern)
    let inputs =
      stride(from: least, through: most, by: 9973).map { Float(bitPattern: $0) }
      + [1, Float(1).nextUp, Float(1).nextDown, 0.70710678, 0.7071068, 1.4142135, 1.4142137, 2]
    for kernels in RowSets.all {
      var logs = [Float](repeating: 0, count: inputs.count)
      kernels.log_rows(
        inputs, inputs.count, 1, inputs.count, 1e-37, &logs, inputs.count)
      var worst = 0.0
      for (x, y) in zip(inputs, logs) {
        let exact = log(Double(x))
        worst = max(worst, abs(Double(y) - exact) / max(2 * Double(Float(exact).ulp), 1e-7))
      }
      #expect(worst <= 1, "\(RowSets.name(kernels)): \(worst) of the bound")
    }
  }

  @Test(arguments: lengths)
  func logRows(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    let floor: Float = 1e-37
    let p = Matrix(3, n, padding: 3) { _, i in
      // At the floor, below it, a denormal, zero, and what a softmax gives.
      switch i % 7 {
      case 0: floor
      case 1: floor.nextDown
      case 2: .leastNonzeroMagnitude * 7000
      case 3: 0
      default: Float(exp(-80 * random.uniform()))
      }
    }
    onEachSet { kernels in
      var logs = Matrix(3, n, padding: 1) { _, _ in 0 }
      kernels.log_rows(p.values, p.stride, 3, n, floor, &logs.values, logs.stride)
      return logs
    } check: { logs, set in
      var worst = 0.0
      for row in 0..<3 {
        for i in 0..<n {
          let exact = log(Double(max(p[row, i], floor)))
          let bound = max(2 * Double(Float(exact).ulp), 1e-7)
          worst = max(worst, abs(Double(logs[row, i]) - exact) / bound)
        }
      }
      #expect(worst <= 1, "\(set), n \(n): \(worst) of the bound")
      #expect((0..<n).allSatisfy { $0 % 7 > 3 || logs[1, $0] == logs[1, 0] })
    }
  }

  // ---- Sums and simple rows -----------------------------------------------------

  /// One rounding each, as Swift's own.
  @Test(arguments: lengths)
  func elementwise(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    let x = Matrix(3, n, padding: 4) { _, _ in Float(random.normal()) }
    let row = Matrix(1, n) { _, _ in Float(random.normal()) }
    func expect(
      _ expected: (Float, Float) -> Float, _ run: (cv_row_kernels, inout Matrix) -> Void
    ) {
      onEachSet { kernels in
        var y = x
        run(kernels, &y)
        return y
      } check: { y, set in
        let right = Matrix(3, n, padding: 4) { expected(x[$0, $1], row[0, $1]) }
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
  @Test(arguments: lengths)
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

  @Test(arguments: lengths)
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
  @Test(arguments: lengths)
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
  @Test(arguments: lengths)
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
      let x = Matrix(50, n, padding: 3) { _, _ in Float(Int(random.next() % 2001) - 1000) }
      let rough = Matrix(50, n, padding: 3) { _, _ in Float(random.normal()) }
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
