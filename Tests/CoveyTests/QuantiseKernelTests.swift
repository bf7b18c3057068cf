import CCoveyKernels
import Foundation
import Testing

/// Half a unit in the last place of 1: what one rounding to fp32 loses.
private let u = 0x1p-24

/// Below, at and above the width of vectors, and what models have.
private let lengths = [1, 2, 3, 4, 15, 16, 17, 31, 48, 64, 100, 384, 1536]

/// Rows of bytes with their scales, as the kernels that quantise leave them.
private struct Quantised: Equatable {
  let (rows, n, stride): (Int, Int, Int)
  var bytes: [UInt8]
  var scale: [UInt32]  // bits: NaNs are equal then

  private let zero: UInt8

  /// Runs a kernel that has a stride of `extra` more than n, rounded up to four.
  init(
    _ rows: Int, _ n: Int, extra: Int, zero: UInt8 = 128,
    _ run: (
      _ bytes: UnsafeMutablePointer<UInt8>, _ stride: Int, _ scale: UnsafeMutablePointer<Float>
    ) -> Void
  ) {
    (self.rows, self.n, self.zero) = (rows, n, zero)
    stride = (n + 3) / 4 * 4 + extra
    bytes = Array(repeating: 7, count: rows * stride + 9)
    var scales = [Float](repeating: -77.25, count: rows + 1)
    run(&bytes, stride, &scales)
    scale = scales.map(\.bitPattern)
  }

  func scale(_ row: Int) -> Double { Double(Float(bitPattern: scale[row])) }

  func value(_ row: Int, _ i: Int) -> Double { Double(bytes[row * stride + i]) - 128 }

  /// Behind a row's elements the byte of zero, as far as the stride; behind the last row what
  /// was there.
  var paddingIsRight: Bool {
    (0..<rows).allSatisfy { row in
      (n..<stride).allSatisfy { bytes[row * stride + $0] == zero }
    } && bytes.suffix(9) == Array(repeating: 7, count: 9)
      && scale.last == Float(-77.25).bitPattern
  }
}

/// Runs the body for every instruction set, and checks that all give the same.
private func onEachSet(
  _ run: (cv_row_kernels) -> Quantised, check: (Quantised, String) -> Void,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  var first: Quantised?
  for kernels in RowSets.all {
    let result = run(kernels)
    #expect(result.paddingIsRight, "\(RowSets.name(kernels))", sourceLocation: sourceLocation)
    check(result, RowSets.name(kernels))
    if let first {
      #expect(
        first == result, "\(RowSets.name(kernels)): other bits", sourceLocation: sourceLocation)
    } else {
      first = result
    }
  }
}

/// Bytes and scale of a row whose numbers are known to within `error` each: the
/// integers are the nearest, but for that, and three roundings of up to 127.
private func expectNearest(
  _ found: Quantised, _ row: Int, _ exact: [Double], error: [Double], _ text: String,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  let most = exact.map { abs($0) }.max() ?? 0
  let mostError = zip(exact, error).map { abs($0) * 2 * u + $1 }.max() ?? 0
  let scale = found.scale(row)
  let isScaled = abs(127 * scale - most) <= mostError
  #expect(isScaled, "\(text): scale \(scale)", sourceLocation: sourceLocation)
  var worst = 0.0
  for i in exact.indices {
    let bound = 0.5 * scale + most * 3 * u + error[i] + mostError
    worst = max(worst, abs(scale * found.value(row, i) - exact[i]) / bound)
  }
  #expect(worst <= 1, "\(text): \(worst) of the bound", sourceLocation: sourceLocation)
  // Never -128; and all the range is used.
  let values = exact.indices.map { abs(found.value(row, $0)) }
  #expect(values.max() == 127, "\(text)", sourceLocation: sourceLocation)
}

@Suite struct QuantiseKernelTests {
  private func rows(_ n: Int, stride: Int, _ value: (Int, Int) -> Double) -> [Float] {
    (0..<4 * stride).map { $0 % stride < n ? Float(value($0 / stride, $0 % stride)) : 1e30 }
  }

  private func row(_ x: [Float], _ row: Int, _ n: Int, stride: Int) -> [Double] {
    (0..<n).map { Double(x[row * stride + $0]) }
  }

  // ---- quantise -----------------------------------------------------------------

  @Test(arguments: lengths)
  func quantise(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    for (size, extra) in [(1.0, 0), (1e-20, 4), (3e37, 9), (1e-3, 64)] {
      let stride = n + 3
      let x = rows(n, stride: stride) { _, _ in size * random.normal() }
      onEachSet { kernels in
        Quantised(4, n, extra: extra) { kernels.quantise(x, stride, 4, n, $0, $1, $2) }
      } check: { found, set in
        for row in 0..<4 {
          let exact = self.row(x, row, n, stride: stride)
          let none = [Double](repeating: 0, count: n)
          expectNearest(found, row, exact, error: none, "\(set), n \(n), size \(size)")
          let most = Float(exact.map { abs($0) }.max() ?? 0)
          #expect(found.scale[row] == (most / 127).bitPattern)
        }
      }
    }
  }

  /// Halves go to the even one: a scale of exactly 1.
  @Test func ties() {
    let x: [Float] = [
      127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, 3.4999998, -127, 0, -0.0,
    ]
    let expected: [Double] = [127, 0, 2, 2, 0, -2, -2, 126, -126, 3, -127, 0, 0]
    onEachSet { kernels in
      Quantised(1, 13, extra: 0) { kernels.quantise(x, 13, 1, 13, $0, $1, $2) }
    } check: { found, set in
      #expect((0..<13).map { found.value(0, $0) } == expected, "\(set)")
    }
  }

  /// Rows of zeros, and of next to nothing, become zeros; all else keeps its place.
  @Test(arguments: [1, 13, 16, 50])
  func smallRows(n: Int) {
    let sizes = [0, 1e-44, 9e-31, 2e-30]
    let x = rows(n, stride: n) { row, i in sizes[row] * (i % 2 == 0 ? -1 : 0.5) }
    onEachSet { kernels in
      Quantised(4, n, extra: 4) { kernels.quantise(x, n, 4, n, $0, $1, $2) }
    } check: { found, set in
      for row in 0..<4 {
        #expect(found.scale[row] == (Float(sizes[row]) / 127).bitPattern, "\(set)")
        let values = (0..<n).map { found.value(row, $0) }
        let expected = (0..<n).map { row < 3 ? 0.0 : $0 % 2 == 0 ? -127 : 64 }
        #expect(values == expected, "\(set), \(sizes[row])")
      }
    }
  }

  /// NaN and infinity show in the scale of their row alone, wherever they stand.
  @Test(arguments: [1, 13, 16, 50])
  func whatIsNotFiniteShows(n: Int) {
    let weight = [Float](repeating: 1, count: n)
    for value in [Float.nan, -.nan, .infinity, -.infinity] {
      for place in [0, n / 2, n - 1] {
        var x = rows(n, stride: n) { row, i in Double(row + 1) * (i % 2 == 0 ? 1 : -0.5) }
        x[2 * n + place] = value
        for kernels in RowSets.all {
          func expect(_ found: Quantised, _ text: String, _ isRight: (Double) -> Bool) {
            for row in 0..<4 {
              let scale = found.scale(row)
              #expect(
                row == 2 ? isRight(scale) : scale.isFinite,
                "\(RowSets.name(kernels)): \(text), \(value) at \(place) of \(n): \(scale)")
            }
          }
          let plain = Quantised(4, n, extra: 0) { kernels.quantise(x, n, 4, n, $0, $1, $2) }
          expect(plain, "quantise") { value.isNaN ? $0.isNaN : $0 == .infinity }
          let normed = Quantised(4, n, extra: 0) {
            kernels.norm_quantise(x, n, 4, n, weight, weight, 1e-6, $0, $1, $2)
          }
          expect(normed, "norm_quantise") { $0.isNaN }
          let gelu = self.gelus(kernels, x, 4, n, stride: n, extra: 0)
          expect(gelu, "gelu_quantise") { $0.isNaN }
        }
      }
    }
  }

  // ---- norm_quantise ------------------------------------------------------------

  /// The norm's own error is that of RowKernelTests.
  @Test(arguments: lengths)
  func normQuantise(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    for (offset, spread, eps) in [
      (0.0, 1.0, 1e-6), (3, 0.5, 1e-5), (0, 3e4, 1e-6), (1, 1e-3, 1e-3),
    ] {
      let stride = n + 5
      let x = rows(n, stride: stride) { _, _ in offset + spread * random.normal() }
      let weight = (0..<n).map { _ in Float(1 + random.normal()) }
      let bias = (0..<n).map { _ in Float(random.normal()) }
      onEachSet { kernels in
        Quantised(4, n, extra: n % 3 * 4) {
          kernels.norm_quantise(x, stride, 4, n, weight, bias, Float(eps), $0, $1, $2)
        }
      } check: { found, set in
        for row in 0..<4 {
          let values = self.row(x, row, n, stride: stride)
          let mean = values.reduce(0, +) / Double(n)
          let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)
          let factor = 1 / (variance + Double(Float(eps))).squareRoot()
          let size = values.reduce(0) { $0 + abs($1) } / Double(n)
          let sums = (Double(n) / 16 + 6) * u
          let shift = sums * size * factor
          var (exact, error): ([Double], [Double]) = ([], [])
          for i in 0..<n {
            let (w, b) = (Double(weight[i]), Double(bias[i]))
            let normal = (values[i] - mean) * factor
            exact.append(normal * w + b)
            error.append(
              abs(w) * (shift + abs(normal) * (sums + shift * shift + 6 * u)) + abs(b) * u
                + abs(normal * w + b) * 2 * u)
          }
          expectNearest(found, row, exact, error: error, "\(set), n \(n), offset \(offset)")
        }
      }
    }
  }

  /// Bytes of just what layer_norm gives.
  @Test(arguments: lengths)
  func normQuantiseIsNormThenQuantise(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    let x = rows(n, stride: n) { _, _ in 2 * random.normal() }
    let weight = (0..<n).map { _ in Float(1 + random.normal()) }
    let bias = (0..<n).map { _ in Float(random.normal()) }
    for kernels in RowSets.all {
      var y = x
      kernels.layer_norm(x, n, 4, n, weight, bias, 1e-6, &y, n)
      let apart = Quantised(4, n, extra: 0) { kernels.quantise(y, n, 4, n, $0, $1, $2) }
      let fused = Quantised(4, n, extra: 0) {
        kernels.norm_quantise(x, n, 4, n, weight, bias, 1e-6, $0, $1, $2)
      }
      #expect(apart == fused, "\(RowSets.name(kernels)), n \(n)")
    }
  }

  // ---- gelu_quantise ------------------------------------------------------------

  /// Of GELU itself: 3.4e-5, and 7.5e-6 x above 4.5; and what its bytes may be off:
  /// half a step, and roundings of numbers up to 255 steps.
  private func geluError(_ x: Double, scale: Double) -> Double {
    max(3.4e-5, 7.5e-6 * x) + scale * (0.5 + 255 * 4 * u)
  }

  private func gelu(_ x: Double) -> Double { x * erfc(-x / 2.0.squareRoot()) / 2 }

  /// Behind a row's elements 0.
  private func gelus(
    _ kernels: cv_row_kernels, _ x: [Float], _ rows: Int, _ n: Int, stride: Int, extra: Int
  ) -> Quantised {
    Quantised(rows, n, extra: extra, zero: 0) {
      kernels.gelu_quantise(x, stride, rows, n, $0, $1, $2)
    }
  }

  @Test(arguments: lengths)
  func geluQuantise(n: Int) {
    var random = SeededRandom(seed: UInt64(n))
    let least = Double(CV_GELU_LEAST)
    for size in [0.01, 1, 3, 40, 3e5] {
      let stride = n + 3
      // The last row has nothing over 0, and no more than its largest counts.
      let x = rows(n, stride: stride) { row, _ in
        let x = size * random.normal()
        return row == 3 ? -abs(x) : x
      }
      onEachSet { kernels in
        self.gelus(kernels, x, 4, n, stride: stride, extra: 8)
      } check: { found, set in
        for row in 0..<4 {
          let values = self.row(x, row, n, stride: stride)
          let scale = found.scale(row)
          let top = self.gelu(max(0, values.max() ?? 0)) - least
          let isScaled = abs(255 * scale - top) <= max(3.4e-5, 7.5e-6 * top) + 4 * u * top
          #expect(isScaled, "\(set), n \(n), size \(size): \(scale)")
          var worst = 0.0
          for i in 0..<n {
            let value = least + scale * (found.value(row, i) + 128)
            let error = abs(value - self.gelu(values[i]))
            worst = max(worst, error / self.geluError(values[i], scale: scale))
          }
          #expect(worst <= 1, "\(set), n \(n), size \(size), row \(row): \(worst) of the bound")
        }
      }
    }
  }

  /// Rows that are one number again and again: their bytes are the finest that
  /// there are.  Over all binades, also of what no network has.
  @Test func geluOfOneNumber() {
    let least = Double(CV_GELU_LEAST)
    let sizes = stride(from: Float(1e-6).bitPattern, to: Float(1e6).bitPattern, by: 99_991)
      .map { Float(bitPattern: $0) }
    for x in sizes + sizes.map({ -$0 }) + [0, -4.5, 4.5, -0.7518] {
      onEachSet { kernels in
        self.gelus(kernels, [Float](repeating: x, count: 5), 1, 5, stride: 5, extra: 0)
      } check: { found, set in
        let (scale, exact) = (found.scale(0), self.gelu(Double(x)))
        let value = least + scale * (found.value(0, 4) + 128)
        let isClose = abs(value - exact) <= self.geluError(Double(x), scale: scale)
        #expect(isClose, "\(set): \(x), \(value)")
        if x > 0 { #expect(found.value(0, 4) == 127, "\(set): \(x)") }
      }
    }
  }

  // ---- pack_values --------------------------------------------------------------

  @Test(arguments: [1, 3, 4, 5, 63, 64, 65, 320], [1, 13, 16, 17, 64, 65, 80, 128])
  func packValues(rows: Int, n: Int) {
    let panel = 64
    let columns = (n + panel - 1) / panel * panel
    let stride = n + 3
    var random = SeededRandom(seed: UInt64(rows * 1000 + n))
    var x = (0..<rows * stride).map { _ in Float(random.normal()) }
    // A column of zeros, one of next to nothing, one with a NaN, one with an infinity.
    let special: [(column: Int, value: Float)] = [(5, 0), (6, 1e-31), (7, .nan), (8, -.infinity)]
    for (column, value) in special where column < n {
      for row in 0..<rows where value.magnitude < 1 || row == rows / 2 {
        x[row * stride + column] = value
      }
    }
    for padded in [(rows + 3) / 4 * 4, (rows + panel - 1) / panel * panel] {
      let bytes = cv_packed_bytes(n, padded)
      var first: ([Int8], [Int32], [UInt32])?
      for kernels in RowSets.all {
        var packed = [Int8](repeating: 77, count: bytes + 8)
        var sums = [Int32](repeating: 77, count: columns + 2)
        var scale = [Float](repeating: 77, count: columns + 2)
        kernels.pack_values(x, stride, rows, n, padded, &packed, &sums, &scale)
        let text = "\(RowSets.name(kernels)), \(rows)x\(n), padded to \(padded)"
        #expect(packed.suffix(8).allSatisfy { $0 == 77 } && sums.suffix(2) == [77, 77], "\(text)")
        #expect(scale.suffix(2) == [77, 77], "\(text)")
        for column in 0..<columns {
          let values = (0..<padded).map { row -> Double in
            let group = column / panel * (padded / 4) + row / 4
            return Double(packed[(group * panel + column % panel) * 4 + row % 4])
          }
          guard column < n else {
            #expect(values.allSatisfy { $0 == 0 } && sums[column] == 0 && scale[column] == 0)
            continue
          }
          if column == 7 || column == 8 {
            let isShown = column == 7 ? scale[column].isNaN : scale[column] == .infinity
            #expect(isShown, "\(text), column \(column)")
            continue
          }
          let exact = (0..<rows).map { Double(x[$0 * stride + column]) }
          let most = Float(exact.map { abs($0) }.max() ?? 0)
          #expect(scale[column] == most / 127, "\(text), column \(column)")
          #expect(values.dropFirst(rows).allSatisfy { $0 == 0 }, "\(text), column \(column)")
          #expect(Double(sums[column]) == values.reduce(0, +), "\(text), column \(column)")
          if column == 5 || column == 6 {
            #expect(values.allSatisfy { $0 == 0 }, "\(text), column \(column)")
          } else {
            let bound = (0.5 + 127 * 4 * u) * Double(scale[column])
            let worst = zip(exact, values).map { abs($0 - $1 * Double(scale[column])) }.max() ?? 0
            #expect(worst <= bound, "\(text), column \(column)")
            #expect(values.map { abs($0) }.max() == 127, "\(text), column \(column)")
          }
        }
        // Of the columns with no scale any bytes will do, on each set.
        for column in [7, 8] where column < n {
          sums[column] = 0
          scale[column] = 0
          for row in 0..<padded {
            let group = column / panel * (padded / 4) + row / 4
            packed[(group * panel + column % panel) * 4 + row % 4] = 0
          }
        }
        let result = (packed, sums, scale.map(\.bitPattern))
        if let first {
          #expect(first == result, "\(text): other bits")
        } else {
          first = result
        }
      }
    }
  }
}
