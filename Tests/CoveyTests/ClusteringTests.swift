import Foundation
import Testing

@testable import Covey

@Suite struct ClusteringTests {
  /// How far from tau, and from the second centre, the oracle's distances must
  /// lie for no rounding to decide: DivergenceTests has the error of D, which
  /// is at most `bound` (1 + D), with D at tau; means of maps are no worse than
  /// maps, and a difference of two distances has twice the error.
  private func isStrict(_ outcome: NaiveClustering.Outcome, _ tau: Float) -> Bool {
    let bound = DivergenceTests.bound * (1 + Double(tau))
    return outcome.closest > bound && outcome.margin > 2 * bound
  }

  /// Near `wanted`, in the middle of the widest gap between the distances that
  /// level 1 compares with it: so that most runs are strict.
  private func tauInGap(_ scene: TestScene, window: Int, near wanted: Double) -> Float {
    let maps = scene.naive.frames.map { scene.naive.maps(of: $0) }
    var distances = [0.9 * wanted, 1.1 * wanted]
    for start in stride(from: 0, to: maps.count, by: window) {
      let all = maps[start..<min(start + window, maps.count)].flatMap { $0 }
      distances += NaiveClustering.distances(all, all).flatMap { $0 }.filter {
        $0 > 0.9 * wanted && $0 < 1.1 * wanted
      }
    }
    distances.sort()
    let gap = zip(distances, distances.dropFirst()).max { $0.1 - $0.0 < $1.1 - $1.0 }!
    return Float((gap.0 + gap.1) / 2)
  }

  private func expectConfidence(
    _ found: TestScene.Clusters, _ naive: NaiveClustering.Outcome, _ text: String
  ) {
    var worst = 0.0
    for (i, (best, second)) in naive.nearest.enumerated() {
      // 1 - best / second, each with the error of a distance.
      let error =
        second.isFinite
        ? DivergenceTests.bound * ((1 + best) + (1 + second) * best / second) / second + 2e-7 : 0
      let difference = abs(Double(found.confidence[i]) - Double(naive.confidence[i]))
      worst = max(difference / max(error, 1e-12), worst)
      if difference.isNaN { worst = .infinity }
    }
    #expect(worst <= 1, "\(text): confidence off by \(worst) of its bound")
    #expect(found.confidence.allSatisfy { $0 >= 0 && $0 <= 1 })
  }

  /// Random videos of all kinds and shapes.  Where the oracle decided nothing
  /// within rounding: the same labels.  Elsewhere, at most a tenth of the runs,
  /// nearly the same.  Observed: 155 of 160 are strict, 93 of these have several
  /// clusters, up to 458; the five others have the same labels too.
  @Test func agreesWithDouble() throws {
    let runs = 160
    var (strict, several) = (0, 0)
    for run in 0..<runs {
      var random = SeededRandom(seed: UInt64(1000 + run))
      func pick<T>(_ values: [T]) -> T { values[Int(random.next() % UInt64(values.count))] }
      let kind = TestScene.Kind.allCases[run % 4]
      let (rows, columns) = pick([
        (1, 1), (1, 2), (2, 3), (5, 4), (1, 17), (7, 9), (8, 8), (12, 16), (20, 10),
      ])
      let large = rows * columns > 100
      let frames = 1 + Int(random.next() % (large ? 3 : 10))
      let scene = TestScene(
        kind, frames: frames, rows: rows, columns: columns, heads: pick([1, 2, 3, 4]),
        headDim: pick([4, 6, 9]), keyCount: pick([nil, 1, 2, 5, 17, 63, 129, 255]),
        gain: pick([4, 8, 16]), seed: UInt64(run))
      let window = pick([1, 2, 3, 4])
      let tau = tauInGap(scene, window: window, near: pick([0.05, 0.2, 0.5, 1]))
      let naive = scene.naive.run(window: window, tau: tau)
      let found = try scene.clusters(window: window, tau: tau, threads: pick([1, 2, 3]))
      let text = "run \(run): \(kind), \(frames) x \(rows) x \(columns), tau \(tau)"
      if isStrict(naive, tau) {
        strict += 1
        if naive.clusters > 1 { several += 1 }
        #expect(found.labels == naive.labels, "\(text)")
        #expect(found.count == naive.clusters, "\(text)")
        expectConfidence(found, naive, text)
      } else {
        let index = NaiveClustering.adjustedRandIndex(found.labels, naive.labels)
        #expect(index >= 0.95, "\(text)")
      }
    }
    #expect(strict >= runs * 9 / 10, "\(strict) of \(runs) runs are strict")
    // Not all of one cluster, where little can go wrong.
    #expect(several >= runs / 2, "\(several) strict runs have several clusters")
  }

  /// Windows of more than three tiles of 256 maps, tiles over the borders of
  /// frames, and a last window that is shorter; the same bits whatever the
  /// number of threads.
  @Test(arguments: [TestScene.Kind.soft, .hard])
  func severalTiles(kind: TestScene.Kind) throws {
    let scene = TestScene(
      kind, frames: 4, rows: 24, columns: 16, heads: 2, keyCount: 131, seed: 77)
    let tau = tauInGap(scene, window: 3, near: 0.5)
    let naive = scene.naive.run(window: 3, tau: tau)
    let one = try scene.clusters(window: 3, tau: tau, threads: 1)
    if isStrict(naive, tau) {
      #expect(one.labels == naive.labels)
      expectConfidence(one, naive, "\(kind)")
    } else {
      #expect(NaiveClustering.adjustedRandIndex(one.labels, naive.labels) >= 0.95)
    }
    #expect(one.count > 1)
    for threads in [2, 3, 4] {
      let more = try scene.clusters(window: 3, tau: tau, threads: threads)
      #expect(more == one, "\(threads) threads")
    }
  }

  /// The shifted maps themselves, and the bits that say who is near.
  /// Products go over 4096 keys at a time.
  @Test(arguments: [(1, 61), (3, 61), (2, 4500)])
  func meanShiftAgreesWithDouble(frames: Int, keyCount: Int) throws {
    let scene = TestScene(
      .soft, frames: frames, rows: 11, columns: 12, heads: 3, keyCount: keyCount, seed: 5)
    let tau = tauInGap(scene, window: frames, near: 0.4)
    var closest = Double.infinity
    let maps = scene.naive.frames.flatMap { scene.naive.maps(of: $0) }
    let exact = NaiveClustering.meanShift(maps, Double(tau), &closest)
    try #require(closest > 2 * DivergenceTests.bound * (1 + Double(tau)))
    let pool = try ThreadPool(threads: 2)
    // Room for more than there is: rows of bits are then longer than needed.
    let shift = try MeanShift(
      capacity: 500, keyCount: scene.keyCount, pool: pool, monitor: Monitor(), budget: Budget())
    let queries = scene.frames.flatMap { $0 }
    BLAS.claim()
    defer { BLAS.release() }
    try queries.withUnsafeBufferPointer { queries in
      try scene.keys.withUnsafeBufferPointer { keys in
        let affinity = Affinity(
          keys: keys.baseAddress!, keyCount: scene.keyCount, channels: scene.channels,
          heads: scene.heads)
        try shift.run(
          (0..<frames).map { queries.baseAddress! + $0 * scene.patches * scene.channels },
          patches: scene.patches, affinity: affinity, tau: tau)
      }
    }
    var (worst, logs) = (0.0, 0.0)
    for (i, map) in exact.enumerated() {
      for (c, value) in map.enumerated() {
        let index = i * scene.keyCount + c
        if value > 1e-20 { worst = max(abs(Double(shift.shifted[index]) / value - 1), worst) }
        logs = max(abs(Double(shift.logs[index]) - log(max(value, 1e-37))), logs)
      }
    }
    #expect(logs <= 2e-5)
    // As for the maps (DivergenceTests).
    #expect(worst <= 2e-5)
  }

  // ---- Borders ------------------------------------------------------------------

  @Test func onePatch() throws {
    let scene = TestScene(.soft, frames: 1, rows: 1, columns: 1, heads: 2, seed: 1)
    let found = try scene.clusters(window: 3, tau: 1)
    #expect(found == TestScene.Clusters(labels: [0], confidence: [1], count: 1))
  }

  /// Equal patches have distance 0, and equal centres of windows of different
  /// lengths, whose sums are rounded differently, one of 1e-14 or so.
  @Test func constantFrames() throws {
    let patch: [Float] = [0.3, -1.2, 2, 0.7]
    let frame = (0..<70).flatMap { _ in patch }
    let scene = TestScene(
      frames: Array(repeating: frame, count: 5), keys: frame, patches: 70, channels: 4, heads: 2)
    for tau in [Float(1e-6), 1, 1000] {
      let found = try scene.clusters(window: 2, tau: tau)
      #expect(found.count == 1 && found.labels.allSatisfy { $0 == 0 }, "tau \(tau)")
      #expect(found.confidence.allSatisfy { $0 == 1 })
    }
  }

  /// Frames that are there twice: each copy of a patch has its label, also
  /// across windows.
  @Test func duplicateFrames() throws {
    let scene = TestScene(.hard, frames: 3, rows: 8, columns: 9, heads: 2, keyCount: 41, seed: 3)
    let doubled = TestScene(
      frames: scene.frames + scene.frames, keys: scene.keys, patches: 72,
      channels: scene.channels, heads: 2)
    let tau = tauInGap(scene, window: 3, near: 0.5)
    let once = try scene.clusters(window: 3, tau: tau)
    let twice = try doubled.clusters(window: 3, tau: tau)
    #expect(Array(twice.labels.prefix(216)) == Array(twice.labels.suffix(216)))
    #expect(Array(twice.confidence.prefix(216)) == Array(twice.confidence.suffix(216)))
    // Merging a centre with its equal changes nothing.
    #expect(twice.labels.prefix(216) == once.labels[...] && twice.count == once.count)
  }

  /// Every patch a cluster of its own, in their order; and all in one.
  @Test func tinyAndHugeTau() throws {
    let scene = TestScene(
      .noisy, frames: 3, rows: 5, columns: 7, heads: 2, keyCount: 29, gain: 5, seed: 4)
    let tiny = try scene.clusters(window: 2, tau: 1e-4)
    let naive = scene.naive.run(window: 2, tau: 1e-4)
    try #require(naive.closest > 1e-3 && naive.clusters == 105)
    #expect(tiny.labels == (0..<105).map { Int32($0) })
    // Each is its own centre: distance 0 but for rounding.
    #expect(tiny.confidence.allSatisfy { $0 > 0.99 })
    let huge = try scene.clusters(window: 2, tau: 1000)
    #expect(huge.count == 1 && huge.labels.allSatisfy { $0 == 0 })
    #expect(huge.confidence.allSatisfy { $0 == 1 })
  }

  @Test func emptyClustersVanish() throws {
    let found = try PatchClusters(6, hasNear: true, budget: Budget())
    for (patch, label) in [5, 2, 2, 7, 5, 0].enumerated() { found.labels[patch] = Int32(label) }
    let near = try #require(found.near)
    near.fill(.none)
    for (place, cluster) in [5, 7, 1, 8, 0].enumerated() {
      near[place] = NearCentre(cluster: Int32(cluster), distance: Float(place))
    }
    #expect(try found.renumber(clusters: 9, monitor: Monitor()) == 4)
    #expect((0..<6).map { found.labels[$0] } == [2, 1, 1, 3, 2, 0])
    #expect((0..<6).map { near[$0].cluster } == [2, 3, -1, -1, 0, -1])
    #expect((0..<5).map { near[$0].distance } == [0, 1, 2, 3, 4])
    let flag = CancelFlag()
    flag.set()
    #expect(throws: CoveyError.self) {
      try found.renumber(clusters: 4, monitor: Monitor(flag: flag))
    }
  }

  /// Products that overflow are an error and no labels.
  @Test func overflow() throws {
    let huge = [Float](repeating: 3e38, count: 4 * 8)
    let scene = TestScene(frames: [huge], keys: huge, patches: 8, channels: 4, heads: 1)
    do {
      _ = try scene.clusters(window: 3, tau: 1)
      Issue.record("clustered")
    } catch let error as CoveyError {
      #expect(error.kind == .argument)
    }
  }

  /// What is refused leaves nothing behind, at any limit; what is granted stays
  /// within it and has the same labels.
  @Test func memoryLimits() throws {
    let scene = TestScene(.soft, frames: 4, rows: 6, columns: 7, heads: 2, keyCount: 33, seed: 6)
    let free = Budget()
    let expected = try scene.clusters(window: 3, tau: 0.3, budget: free)
    #expect(free.current == 0)
    var refused = 0
    for step in 0...40 {
      let budget = Budget(limit: free.peak * step / 40)
      do {
        let found = try scene.clusters(window: 3, tau: 0.3, budget: budget)
        #expect(found == expected && step == 40)
      } catch let error as CoveyError {
        #expect(error.kind == .memory)
        refused += 1
      }
      #expect(budget.current == 0 && budget.peak <= budget.limit)
    }
    #expect(refused == 40)
  }
}
