import CCoveyKernels
import Foundation
import Testing

@testable import Covey

/// What the mean shift leaves out, and that it may.
@Suite struct SketchTests {
  /// Maps [count, n] near `kinds` prototypes.
  private func maps(
    count: Int, n: Int, kinds: Int, spread: Double, seed: UInt64
  ) -> [[Double]] {
    var random = SeededRandom(seed: seed)
    let prototypes = (0..<kinds).map { _ in (0..<n).map { _ in 2 * random.normal() } }
    return (0..<count).map { index in
      let scores = prototypes[index % kinds].map { exp($0 + spread * random.normal()) }
      let sum = scores.reduce(0, +)
      return scores.map { $0 / sum }
    }
  }

  /// The interval that the sketches give holds the distance, of every pair, however
  /// badly the basis fits; and is narrow where it fits.
  @Test(arguments: [(3, 0.02), (40, 0.3), (300, 1.5)])
  func boundsHold(kinds: Int, spread: Double) throws {
    let (count, n) = (333, 517)
    let exact = maps(count: count, n: n, kinds: kinds, spread: spread, seed: UInt64(kinds))
    let maps = exact.flatMap { $0.map { Float($0) } }
    let sketch = try Sketch(count: 400, keyCount: n, budget: Budget())
    try #require(sketch.capacity == 50)
    let kernels = cv_rows().pointee
    var mean = [Float](repeating: 0, count: n)
    for row in 0..<count { kernels.accumulate(Array(maps[row * n..<(row + 1) * n]), n, &mean) }
    kernels.scale(&mean, n, 1 / Float(count))
    var centre = mean
    kernels.log_rows(mean, n, 1, n, Divergence.floor, &centre, n)
    var logs = maps
    var products = [Float](repeating: 0, count: count)
    var cross = [Float](repeating: .nan, count: count * count)
    logs.withUnsafeMutableBufferPointer {
      Divergence.prepare(
        maps, rows: count, n: n, centre: centre, logs: $0.baseAddress!, selfProducts: &products)
    }
    BLAS.claim()
    let rank = sketch.choose(maps, count: count, mean: mean, centre: centre, monitor: Monitor())
    #expect(rank > 0 && rank <= 42)
    // In two pieces, as tiles are.
    for (first, rows) in [(0, 200), (200, 133)] {
      sketch.add(
        Array(maps[(first * n)...]), Array(logs[(first * n)...]), first: first, rows: rows,
        rank: rank, monitor: Monitor(), worker: 0)
    }
    sketch.crossProducts(0..<count, 0..<count, rank: rank, into: &cross)
    BLAS.release()

    let distances = NaiveClustering.distances(exact, exact)
    var (worst, doubts) = (0.0, [Double]())
    for i in 0..<count {
      for j in 0..<count {
        let middle = Double(products[i] + products[j] - cross[i * count + j])
        let doubt = Double(
          sketch.mapRests[i] * sketch.logRests[j] + sketch.logRests[i] * sketch.mapRests[j]) + 1e-5
        worst = max(abs(middle - distances[i][j]) / doubt, worst)
        doubts.append(doubt)
      }
    }
    #expect(worst <= 1, "\(worst) of the bound")
    // Not true by being wide.
    doubts.sort()
    let median = doubts[doubts.count / 2]
    if kinds == 3 { #expect(median < 0.05, "\(median)") }
  }

  /// Few rows or keys: none is made, and none is needed.
  @Test func smallOnesHaveNone() throws {
    #expect(Sketch.capacity(count: 255, keyCount: 5000) == 0)
    #expect(Sketch.capacity(count: 5000, keyCount: 255) == 0)
    #expect(Sketch.capacity(count: 256, keyCount: 256) == 32)
    #expect(Sketch.capacity(count: 3456, keyCount: 2304) == 128)
    #expect(Sketch.byteCount(count: 255, keyCount: 255) == 0)
    let samples = (0..<50).map { Sketch.spread($0, of: 50, among: 333) }
    #expect(Set(samples).count == 50 && samples.allSatisfy { $0 >= 0 && $0 < 333 })
    #expect(Sketch.spread(0, of: 1, among: 1) == 0)
  }

  /// The bits that sketches decide are those of the distances; where they decide
  /// most pairs, and where they decide so few that tiles are measured whole.
  @Test(arguments: [TestScene.Kind.soft, .hard, .ramp, .noisy])
  func meanShiftWithSketches(kind: TestScene.Kind) throws {
    let gain = kind == .noisy ? 12.0 : 3
    let scene = TestScene(
      kind, frames: 2, rows: 12, columns: 12, heads: 3, keyCount: 300, gain: gain, seed: 31)
    let count = 288
    try #require(Sketch.capacity(count: count, keyCount: 300) > 0)
    let all = scene.naive.frames.flatMap { scene.naive.maps(of: $0) }
    // In the widest gap, so that rounding decides nothing.
    let sorted = NaiveClustering.distances(all, all).flatMap { $0 }.sorted()
    let near = sorted[sorted.count / 5..<sorted.count * 4 / 5]
    let gap = zip(near, near.dropFirst()).max { $0.1 - $0.0 < $1.1 - $1.0 }!
    let tau = (gap.0 + gap.1) / 2
    try #require(gap.1 - gap.0 > 4 * DivergenceTests.bound * (1 + tau))
    var closest = Double.infinity
    let exact = NaiveClustering.meanShift(all, Double(Float(tau)), &closest)

    var bits: [[UInt32]] = []
    for threads in [1, 3] {
      let pool = try ThreadPool(threads: threads)
      let shift = try MeanShift(
        capacity: 400, keyCount: 300, pool: pool, monitor: Monitor(), budget: Budget())
      BLAS.claim()
      defer { BLAS.release() }
      let queries = scene.frames.flatMap { $0 }
      try queries.withUnsafeBufferPointer { queries in
        try scene.keys.withUnsafeBufferPointer { keys in
          let affinity = Affinity(
            keys: keys.baseAddress!, keyCount: 300, channels: scene.channels, heads: 3)
          try shift.run(
            (0..<2).map { queries.baseAddress! + $0 * 144 * scene.channels }, patches: 144,
            affinity: affinity, tau: Float(tau))
        }
      }
      var worst = 0.0
      for (i, map) in exact.enumerated() {
        for (c, value) in map.enumerated() where value > 1e-20 {
          worst = max(abs(Double(shift.shifted[i * 300 + c]) / value - 1), worst)
        }
      }
      // As for the maps (DivergenceTests): a pair decided wrongly gives 1e-3 or more.
      #expect(worst <= 2e-5, "\(threads) threads")
      bits.append((0..<count * 300).map { shift.shifted[$0].bitPattern })
    }
    #expect(bits[0] == bits[1])
  }

  /// Sums by parts are the plain sums, whatever the neighbourhoods: all alike, all
  /// different, groups, and random ones that have nothing in common: of 700 maps
  /// these take several rounds.
  @Test(arguments: [1, 5, 64, 131, 700])
  func neighbourSums(count: Int) throws {
    let n = 101
    var random = SeededRandom(seed: UInt64(count))
    let words = (count + 5 + 63) / 64
    let maps = (0..<count * n).map { _ in Float(random.uniform()) }
    let kinds: [(String, (Int, Int) -> Bool)] = [
      ("all", { _, _ in true }), ("none", { _, _ in false }),
      ("groups", { $0 % 3 == $1 % 3 }), ("band", { abs($0 - $1) < 20 }),
      ("random", { ($0 &* 2_654_435_761 ^ $1 &* 40503) % 7 < 3 }),
    ]
    for (name, near) in kinds {
      var bits = [UInt64](repeating: 0, count: count * words)
      var exact = [Double](repeating: 0, count: count * n)
      for i in 0..<count {
        for j in 0..<count where i == j || near(i, j) {
          bits[i * words + j / 64] |= 1 << UInt64(j % 64)
          for c in 0..<n { exact[i * n + c] += Double(maps[j * n + c]) }
        }
      }
      var found = [Float](repeating: .nan, count: count * n)
      let pool = try ThreadPool(threads: 2)
      let sums = try NeighbourSums(
        count: count + 5, keyCount: n, pool: pool, monitor: Monitor(), budget: Budget())
      bits.withUnsafeMutableBufferPointer { bits in
        found.withUnsafeMutableBufferPointer { found in
          sums.run(bits.baseAddress!, maps: maps, count: count, n: n, into: found.baseAddress!)
        }
      }
      let worst = zip(found, exact).reduce(0.0) { max($0, abs(Double($1.0) / $1.1 - 1)) }
      // A sum of up to 700 terms, a quarter of them roundings of the whole.
      #expect(worst <= 5e-6, "\(name), \(count)")
    }
  }
}
