import Foundation
import Testing

@testable import Covey

@Suite struct MapSetTests {
  private func made(
    _ scene: TestScene, shift: (weights: [Float], radius: Float)? = nil, threads: Int = 2,
    budget: Budget = Budget(), monitor: Monitor = Monitor()
  ) throws -> (maps: [Float], distances: [Float]) {
    let queries = scene.frames.flatMap { $0 }
    let count = queries.count / scene.channels
    let pool = try ThreadPool(threads: threads)
    BLAS.claim()
    defer { BLAS.release() }
    return try queries.withUnsafeBufferPointer { queries in
      try scene.keys.withUnsafeBufferPointer { keys in
        let set = try MapSet(
          queries.baseAddress!, count: count,
          affinity: Affinity(
            keys: keys.baseAddress!, keyCount: scene.keyCount, channels: scene.channels,
            heads: scene.heads),
          pool: pool, monitor: monitor, budget: budget)
        let distances =
          if let shift {
            try set.distancesShifted(
              shift.weights, radius: shift.radius, pool: pool, monitor: monitor, budget: budget)
          } else {
            try set.distances(pool: pool, monitor: monitor, budget: budget)
          }
        return (
          (0..<count * scene.keyCount).map { set.maps[$0] },
          (0..<count * count).map { distances[$0] }
        )
      }
    }
  }

  /// From one map of one key to what a window of 24 x 48 patches has: 216 blocks,
  /// and 576 keys.  The bound is that of the distances of the reference, and
  /// holds for the same reason; observed: 2e-6.
  @Test(arguments: [
    (1, 1, 1, 1, 1, 4), (3, 5, 7, 33, 2, 6), (1, 8, 8, 100, 3, 5), (1, 13, 5, 4100, 2, 8),
    (3, 6, 12, 576, 6, 32),
  ])
  func agreesWithDouble(
    frames: Int, rows: Int, columns: Int, keyCount: Int, heads: Int, headDim: Int
  ) throws {
    for (kind, gain) in [(TestScene.Kind.soft, 4.0), (.noisy, 16)] {
      let scene = TestScene(
        kind, frames: frames, rows: rows, columns: columns, heads: heads, headDim: headDim,
        keyCount: keyCount, gain: gain, seed: UInt64(keyCount))
      let maps = scene.naive.frames.flatMap { scene.naive.maps(of: $0) }
      let exact = NaiveClustering.distances(maps, maps)
      let found = try made(scene)
      var (worst, worstMap, largest) = (0.0, 0.0, 0.0)
      for i in maps.indices {
        for c in 0..<keyCount {
          worstMap = max(worstMap, abs(Double(found.maps[i * keyCount + c]) - maps[i][c]))
        }
        for j in maps.indices {
          let distance = found.distances[i * maps.count + j]
          #expect(distance >= 0 && (i != j || distance == 0))
          #expect(distance == found.distances[j * maps.count + i])
          worst = max(worst, abs(Double(distance) - exact[i][j]) / (1 + exact[i][j]))
          largest = max(largest, exact[i][j])
        }
      }
      // Probabilities to 2e-5 of themselves (DivergenceTests): at most 1.
      #expect(worstMap <= 2e-5)
      #expect(worst <= DivergenceTests.bound, "\(worst)")
      if keyCount > 1 { #expect(largest > 0.05) }
    }
  }

  /// Observed: 2e-6.  A radius that no distance is near, so that rounding moves none
  /// over it, and with which some rows have company and none has all.
  @Test(arguments: [(1, 8, 8, 100), (3, 6, 12, 576)])
  func shiftsAsInDouble(frames: Int, rows: Int, columns: Int, keyCount: Int) throws {
    let scene = TestScene(
      .noisy, frames: frames, rows: rows, columns: columns, heads: 2, headDim: 8,
      keyCount: keyCount, gain: 8, seed: UInt64(rows))
    let maps = scene.naive.frames.flatMap { scene.naive.maps(of: $0) }
    let exact = NaiveClustering.distances(maps, maps)
    let sorted = Set(exact.flatMap { $0 }).sorted()
    let from = sorted.count / 20
    func width(_ index: Int) -> Double { sorted[index + 1] - sorted[index] }
    let gap = (from..<3 * from).max { width($0) < width($1) }!
    let radius = (sorted[gap] + sorted[gap + 1]) / 2
    try #require(sorted[gap + 1] - radius > DivergenceTests.bound * (1 + radius))
    let weights: [Float] = maps.indices.map { Float(1 + $0 % 5) }
    let moved: [[Double]] = exact.map { (row: [Double]) -> [Double] in
      var (sum, total) = ([Double](repeating: 0, count: keyCount), 0.0)
      for other in row.indices where row[other] <= radius {
        let weight = Double(weights[other])
        total += weight
        for c in 0..<keyCount { sum[c] += weight * maps[other][c] }
      }
      return sum.map { $0 / total }
    }
    let after = NaiveClustering.distances(moved, moved)
    let expected = zip(exact, after).map { zip($0, $1).map { 0.01 * $0 + $1 } }
    let budget = Budget()
    let found = try made(scene, shift: (weights, Float(radius)), budget: budget)
    var worst = 0.0
    for i in maps.indices {
      for j in maps.indices {
        let distance = Double(found.distances[i * maps.count + j])
        worst = max(worst, abs(distance - expected[i][j]) / (1 + expected[i][j]))
      }
    }
    #expect(worst <= DivergenceTests.bound, "\(worst)")
    #expect(
      budget.peak <= MapSet.shiftedByteCount(maps.count, keyCount: keyCount, threads: 2))
    let one = try made(scene, shift: (weights, Float(radius)), threads: 1)
    #expect(one == found)
  }

  @Test func threadsDoNotMatter() throws {
    let scene = TestScene(.hard, frames: 3, rows: 9, columns: 8, heads: 2, keyCount: 65, seed: 9)
    let one = try made(scene, threads: 1)
    for threads in 2...4 {
      let more = try made(scene, threads: threads)
      #expect(more == one)
    }
  }

  @Test func refusals() throws {
    let huge = [Float](repeating: 3e38, count: 4 * 8)
    let overflowing = TestScene(frames: [huge], keys: huge, patches: 8, channels: 4, heads: 1)
    #expect(throws: CoveyError.self) { try made(overflowing) }
    let scene = TestScene(.soft, frames: 1, rows: 6, columns: 7, heads: 2, keyCount: 33, seed: 6)
    let flag = CancelFlag()
    flag.set()
    #expect(throws: CoveyError.self) { try made(scene, monitor: Monitor(flag: flag)) }
    let free = Budget()
    _ = try made(scene, budget: free)
    #expect(free.peak <= MapSet.byteCount(42, keyCount: 33, threads: 2))
    for step in 0..<16 {
      let budget = Budget(limit: free.peak * step / 16)
      #expect(throws: CoveyError.self) { try made(scene, budget: budget) }
      #expect(budget.current == 0)
    }
  }

  /// What the monitor is told is what was announced, but for work that is not
  /// reckoned with.
  @Test(arguments: [1, 6, 13])
  func progressAddsUp(rows: Int) throws {
    let scene = TestScene(
      .soft, frames: 2, rows: rows, columns: 7, heads: 2, keyCount: 33, seed: 6)
    let pieces = MapSet.pieces(2 * rows * 7)
    for (announced, isCounting, fraction) in [
      (pieces, true, Float(1)), (2 * pieces, true, 0.5), (pieces, false, 0),
    ] {
      var last: Float = -1
      let monitor = Monitor { _, fraction in
        last = fraction
        return true
      }
      monitor.begin(.merge, total: announced)
      monitor.isCounting = isCounting
      _ = try made(scene, threads: 1, monitor: monitor)
      usleep(11_000)  // past the throttle
      monitor.advance(0, worker: 0)
      #expect(last == fraction)
    }
  }
}
