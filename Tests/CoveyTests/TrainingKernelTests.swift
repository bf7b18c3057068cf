import CCoveyKernels
import Foundation
import Testing

@testable import Covey

private let u = 0x1p-24
private let lengths = [1, 15, 16, 17, 48, 127, 128, 129, 300]

/// Kernels of training against Double, and the same bits from every instruction set.
@Suite struct TrainingKernelTests {
  private let scale: Float = 0.7

  /// Scores of some rows, with a stride of n + 3.
  private func scores(_ rows: Int, _ n: Int, _ seed: Int, spread: Double = 3) -> [Float] {
    var random = SeededRandom(seed: UInt64(seed))
    return (0..<rows * (n + 3)).map { _ in Float(spread * random.normal()) }
  }

  private func mask(_ dropout: cv_dropout, row: Int, n: Int) -> [Double] {
    var out = [Float](repeating: 1, count: n)
    withUnsafePointer(to: dropout) {
      RowSets.all[0].dropout(out, n, 1, n, $0, UInt32(row), 0, &out, n)
    }
    return out.map { Double($0) }
  }

  private func softmax(_ row: ArraySlice<Float>) -> (p: [Double], lse: Double) {
    let scaled = row.map { Double($0) * Double(scale) }
    let top = scaled.max() ?? 0
    let lse = top + log(scaled.reduce(0) { $0 + exp($1 - top) })
    return (scaled.map { exp($0 - lse) }, lse)
  }

  private func sameBits(_ results: [[Float]]) -> Bool {
    results.allSatisfy { $0.map(\.bitPattern) == results[0].map(\.bitPattern) }
  }

  /// exp loses 2 ulp and what the rounding of its argument, below 20, makes of it.
  /// Observed 1.6e-6.
  @Test(arguments: lengths, [Float(0), 0.4])
  func softmaxWithDropout(n: Int, rate: Float) {
    let (rows, stride, first) = (3, n + 3, 7)
    let dropout = CounterRandom(seed: 5, step: 2).dropout(rate, .attention, 1)
    let given = scores(rows, n, n)
    var (results, sums, maps): ([[Float]], [[Float]], [[Float]]) = ([], [], [])
    for kernels in RowSets.all {
      var (s, lse) = (given, [Float](repeating: 0, count: rows))
      var map = [Float](repeating: 0.25, count: n)
      withUnsafePointer(to: dropout) {
        kernels.softmax_dropout(&s, stride, rows, n, scale, $0, UInt32(first), &lse)
        kernels.map_add(given, n, scale, $0, UInt32(first), lse[0], 0.5, 1, &map)
      }
      results.append(s)
      sums.append(lse)
      maps.append(map)
    }
    #expect(sameBits(results) && sameBits(sums) && sameBits(maps))
    for row in 0..<rows {
      let truth = softmax(given[row * stride..<row * stride + n])
      #expect(abs(Double(sums[0][row]) - truth.lse) < 4e-6)
      let keep = mask(dropout, row: first + row, n: n)
      for column in 0..<n {
        let expected = truth.p[column] * keep[column]
        #expect(abs(Double(results[0][row * stride + column]) - expected) <= 5e-6 * expected)
        guard row == 0 else { continue }
        #expect(abs(Double(maps[0][column]) - 0.25 - expected / 2) <= 5e-6 * expected + u)
      }
      for index in row * stride + n..<(row + 1) * stride {
        #expect(results[0][index] == given[index])
      }
    }
  }

  /// dL/ds = scale p (keep dy - sum p keep dy).  Observed 8e-7 of the row's largest.
  @Test(arguments: lengths, [Float(0), 0.4])
  func softmaxBackward(n: Int, rate: Float) {
    let (rows, stride, first) = (3, n + 3, 130)
    let dropout = CounterRandom(seed: 6, step: 3).dropout(rate, .attention, 2)
    let (given, slopes) = (scores(rows, n, n + 1), scores(rows, n, n + 2, spread: 1))
    let truth = (0..<rows).map { softmax(given[$0 * stride..<$0 * stride + n]) }
    let lse = truth.map { Float($0.lse) }
    var (results, outputs): ([[Float]], [[Float]]) = ([], [])
    for kernels in RowSets.all {
      var (s, d) = (given, slopes)
      withUnsafePointer(to: dropout) {
        kernels.softmax_backward(&s, &d, stride, rows, n, scale, $0, UInt32(first), lse)
      }
      results.append(d)
      outputs.append(s)
    }
    #expect(sameBits(results) && sameBits(outputs))
    for row in 0..<rows {
      let keep = mask(dropout, row: first + row, n: n)
      let p = truth[row].p
      let slope = (0..<n).map { Double(slopes[row * stride + $0]) * keep[$0] }
      let delta = zip(p, slope).reduce(0) { $0 + $1.0 * $1.1 }
      let expected = (0..<n).map { Double(scale) * p[$0] * (slope[$0] - delta) }
      let size = (0..<n).map { Double(scale) * p[$0] * (abs(slope[$0]) + abs(delta)) }.max() ?? 0
      for column in 0..<n {
        #expect(abs(Double(results[0][row * stride + column]) - expected[column]) <= 4e-6 * size)
        let y = p[column] * keep[column]
        #expect(abs(Double(outputs[0][row * stride + column]) - y) <= 5e-6 * y)
      }
    }
  }

  @Test(arguments: lengths)
  func layerNormBackward(n: Int) {
    let (rows, stride) = (4, n + 3)
    let (x, dy) = (scores(rows, n, n + 3), scores(rows, n, n + 4, spread: 1))
    let weight = Array(scores(1, n, n + 5, spread: 1)[..<n])
    let eps = 1e-5
    var results: [[Float]] = []
    for kernels in RowSets.all {
      var dx = [Float](repeating: 0.5, count: rows * stride)
      var (dw, db) = ([Float](repeating: 0, count: n), [Float](repeating: 0, count: n))
      kernels.layer_norm_backward(
        x, stride, dy, stride, rows, n, weight, Float(eps), &dx, stride, &dw, &db)
      results.append(dx + dw + db)
    }
    #expect(sameBits(results))
    var (dw, db) = ([Double](repeating: 0, count: n), [Double](repeating: 0, count: n))
    for row in 0..<rows {
      let v = (0..<n).map { Double(x[row * stride + $0]) }
      let d = (0..<n).map { Double(dy[row * stride + $0]) }
      let mean = v.reduce(0, +) / Double(n)
      let variance = v.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)
      let factor = 1 / (variance + eps).squareRoot()
      let h = v.map { ($0 - mean) * factor }
      let g = (0..<n).map { d[$0] * Double(weight[$0]) }
      let gMean = g.reduce(0, +) / Double(n)
      let ghMean = zip(g, h).reduce(0) { $0 + $1.0 * $1.1 } / Double(n)
      let size = factor * (g.map { abs($0) }.max() ?? 0) + 1
      for i in 0..<n {
        let expected = 0.5 + factor * (g[i] - gMean - h[i] * ghMean)
        #expect(abs(Double(results[0][row * stride + i]) - expected) < 2e-5 * size)
        dw[i] += d[i] * h[i]
        db[i] += d[i]
      }
    }
    for i in 0..<n {
      #expect(abs(Double(results[0][rows * stride + i]) - dw[i]) < 1e-4)
      #expect(abs(Double(results[0][rows * stride + n + i]) - db[i]) < 1e-5)
    }
  }

  /// Phi within 4e-7, its density within 1e-7; times x, up to 12.  Observed 1.2e-6.
  @Test(arguments: lengths)
  func geluBackward(n: Int) {
    let (x, bias) = (scores(2, n, n + 6), Array(scores(1, n, n + 7, spread: 0.5)[..<n]))
    var results: [[Float]] = []
    for kernels in RowSets.all {
      var (h, d) = (x, [Float](repeating: 1, count: x.count))
      kernels.gelu_backward(&h, &d, n + 3, 2, n, bias)
      results.append(h + d)
    }
    #expect(sameBits(results))
    for row in 0..<2 {
      for i in 0..<n {
        let v = Double(x[row * (n + 3) + i] + bias[i])
        let phi = 0.5 * erfc(-v / 2.0.squareRoot())
        let density = exp(-v * v / 2) / (2 * Double.pi).squareRoot()
        #expect(abs(Double(results[0][row * (n + 3) + i]) - v * phi) < 5e-6)
        #expect(abs(Double(results[0][x.count + row * (n + 3) + i]) - phi - v * density) < 5e-6)
      }
    }
  }
}
