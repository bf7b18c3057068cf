import CCoveyKernels
import Foundation
import Testing

/// Half a unit in the last place of 1: what one rounding to fp32 loses.
private let u = 0x1p-24

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
  @Test(arguments: rowLengths)
  func layerNorm(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    for (offset, spread, eps) in [
      (0.0, 1.0, 1e-6), (3, 0.5, 1e-5), (-40, 0.01, 1e-6), (0, 3e4, 1e-6),
    ] {
      let x = RowMatrix(3, n, padding: 5) { _, _ in Float(offset + spread * random.normal()) }
      let weight = RowMatrix(1, n) { _, _ in Float(1 + random.normal()) }
      let bias = RowMatrix(1, n) { _, _ in Float(random.normal()) }
      onEachRowSet { kernels in
        var y = RowMatrix(3, n, padding: 2) { _, _ in 0 }
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
      var x = RowMatrix(2, n) { row, column in row == 0 ? 3.25 : Float(column) }
      let bias = [Float](repeating: 0.5, count: n)
      let weight = [Float](repeating: 2, count: n)
      var apart = RowMatrix(2, n) { _, _ in 0 }
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
  @Test(arguments: rowLengths)
  func softmax(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    for (spread, scale) in [(1.0, 1.0), (8, 0.125), (30, 0.14433756), (300, 1), (1e-3, 1)] {
      let s = RowMatrix(3, n, padding: 3) { row, _ in Float(spread * random.normal() + 5 * Double(row))
      }
      let (weight, old) = (1.0 / 3, RowMatrix(3, n, padding: 4) { _, _ in Float(random.normal()) })
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
      func check(_ result: RowMatrix, _ set: String, _ factor: Double, _ added: RowMatrix?) {
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
      onEachRowSet { kernels in
        var out = s
        kernels.softmax(&out.values, s.stride, 3, n, Float(scale))
        return out
      } check: { out, set in
        check(out, set, 1, nil)
      }
      for add in [false, true] {
        onEachRowSet { kernels in
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

  @Test(arguments: rowLengths)
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
      onEachRowSet { kernels in
        var row = RowMatrix(1, n, padding: 1) { _, i in value(i) }
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
  @Test(arguments: rowLengths)
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

  @Test(arguments: rowLengths)
  func biasGelu(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    let x = RowMatrix(3, n, padding: 2) { _, _ in Float(3 * random.normal()) }
    let bias = RowMatrix(1, n) { _, _ in Float(random.normal()) }
    onEachRowSet { kernels in
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

  @Test(arguments: rowLengths)
  func logRows(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    let floor: Float = 1e-37
    let p = RowMatrix(3, n, padding: 3) { _, i in
      // At the floor, below it, a denormal, zero, and what a softmax gives.
      switch i % 7 {
      case 0: floor
      case 1: floor.nextDown
      case 2: .leastNonzeroMagnitude * 7000
      case 3: 0
      default: Float(exp(-80 * random.uniform()))
      }
    }
    onEachRowSet { kernels in
      var logs = RowMatrix(3, n, padding: 1) { _, _ in 0 }
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
}
