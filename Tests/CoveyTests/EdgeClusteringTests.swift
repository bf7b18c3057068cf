import Testing

@testable import Covey

@Suite struct EdgeClusteringTests {
  /// As for the reference (ClusteringTests): what is farther from a threshold, or
  /// from the second best, than rounding reaches is the same in Double.  Distances
  /// are means of distances, or of means of maps.
  private func isStrict(_ outcome: NaiveEdge.Outcome, _ tau: Float) -> Bool {
    outcome.margin > 2 * DivergenceTests.bound * (1 + 2 * Double(tau))
  }

  /// Random videos, on grids that blocks of 4 divide and do not.  Observed: 78 of
  /// 80 runs are strict, 42 of these have several clusters, up to 23.
  @Test func agreesWithDouble() throws {
    let runs = 80
    var (strict, several, most) = (0, 0, 0)
    for run in 0..<runs {
      var random = SeededRandom(seed: UInt64(7000 + run))
      func pick<T>(_ values: [T]) -> T { values[Int(random.next() % UInt64(values.count))] }
      let (rows, columns) = pick([
        (1, 1), (1, 2), (3, 3), (5, 6), (1, 17), (7, 9), (8, 8), (12, 16), (11, 15),
      ])
      let frames = 1 + Int(random.next() % 8)
      let scene = TestScene(
        TestScene.Kind.allCases[run % 4], frames: frames, rows: rows, columns: columns,
        heads: pick([1, 2, 3]), headDim: pick([4, 6, 9]), keyCount: pick([nil, 2, 5, 17, 63, 129]),
        gain: pick([4, 8, 16]), seed: UInt64(run))
      let (window, tau) = (pick([1, 2, 3, 4]), pick([Float(0.02), 0.05, 0.1, 0.3]))
      let scale = pick([tau, tau / 2, 2 * tau])
      let pool = rows * columns < 40 ? pick([1, 2, 4]) : pick([2, 3, 4, 64])
      let naive = NaiveEdge(
        scene: scene, rows: rows, columns: columns, window: window, queryPool: pool,
        scale: Double(scale), tau: Double(tau)
      ).run()
      let found = try scene.edgeClusters(
        rows: rows, columns: columns, window: window, queryPool: pool, scale: scale,
        tau: tau, threads: pick([1, 2, 3]))
      let text = "run \(run): \(frames) x \(rows) x \(columns), pool \(pool), tau \(tau)"
      guard isStrict(naive, tau) else {
        #expect(
          NaiveClustering.adjustedRandIndex(found.labels, naive.labels) >= 0.9, "\(text)")
        continue
      }
      strict += 1
      if naive.clusters > 1 { several += 1 }
      most = max(most, naive.clusters)
      #expect(found.labels == naive.labels, "\(text)")
      #expect(found.count == naive.clusters, "\(text)")
      // 1 - best / second: the second best is often small, and its error with it.
      var worst = 0.0
      for (confidence, exact) in zip(found.confidence, naive.confidence) {
        #expect(confidence >= 0 && confidence <= 1)
        worst = max(worst, abs(Double(confidence) - exact))
      }
      #expect(worst <= 5e-3, "\(text): \(worst)")
    }
    #expect(strict >= runs * 8 / 10, "\(strict) of \(runs) runs are strict")
    #expect(several >= runs / 2, "\(several) strict runs have several clusters")
    #expect(most >= 8, "\(most)")
  }

  private let clear = TestScene(
    .hard, frames: 7, rows: 11, columns: 14, heads: 2, keyCount: 60, gain: 8, seed: 12)

  @Test func threadsDoNotMatter() throws {
    for tau: Float in [0.1, 0.5] {
      let one = try clear.edgeClusters(rows: 11, columns: 14, tau: tau, threads: 1)
      #expect(one.count > 1)
      for threads in 2...4 {
        #expect(
          try clear.edgeClusters(rows: 11, columns: 14, tau: tau, threads: threads) == one)
      }
    }
  }

  // ---- How many ------------------------------------------------------------------

  /// Every number of clusters that some cut of the tree has is had by asking for
  /// it, and no number of clusters is above what was allowed.
  @Test func numbersOfClusters() throws {
    let scene = TestScene(
      .noisy, frames: 6, rows: 12, columns: 16, heads: 2, keyCount: 60, gain: 8, seed: 3)
    try scene.edge(rows: 12, columns: 16, queryPool: 2, scale: 0.2) { clustering, hierarchy in
      let counts = (0...hierarchy.tree.merges.count).map { hierarchy.clusters(merging: $0).count }
      let largest = counts.max()!
      try #require(largest >= 8)
      for target in 1...largest + 20 {
        let cut = Hierarchy.Cut(tau: 0.2, targetClusters: target)
        let merges = try hierarchy.mergeCount(cut)
        #expect(counts[merges] == min(target, largest))
        // Of several such cuts the coarsest: what is above it has fewer.
        #expect(counts[(merges + 1)...].allSatisfy { $0 < min(target, largest) })
        let both = Hierarchy.Cut(tau: 0.2, targetClusters: target, maxClusters: 5)
        #expect(counts[try hierarchy.mergeCount(both)] <= 5)
      }
      for most in 1...largest + 3 {
        for tau: Float in [0.01, 0.2, 1] {
          let cut = Hierarchy.Cut(tau: tau, maxClusters: most)
          let free = try hierarchy.mergeCount(Hierarchy.Cut(tau: tau))
          let merges = try hierarchy.mergeCount(cut)
          #expect(merges >= free && counts[merges] <= most)
          if counts[free] <= most { #expect(merges == free) }
        }
      }
      for target in [1, 2, 5] {
        let found = try scene.assigned(
          clustering, hierarchy, Hierarchy.Cut(tau: 0.2, targetClusters: target))
        #expect(found.count >= 1 && found.count <= target)
        #expect(Set(found.labels).count == found.count)
      }
    }
  }

  /// More tau, fewer merges undone: cuts are nested, whatever tau the prototypes
  /// were made for.
  @Test func cutsAreNested() throws {
    try clear.edge(rows: 11, columns: 14, queryPool: 2, scale: 0.2) { _, hierarchy in
      let tree = hierarchy.tree
      #expect(
        zip(tree.merges, tree.merges.dropFirst()).allSatisfy {
          $0.distance <= $1.distance * 1.0001
        })
      var last = 0
      for tau: Float in [0, 0.01, 0.1, 0.2, 0.5, 2, 1000] {
        let count = try hierarchy.mergeCount(Hierarchy.Cut(tau: tau))
        #expect(count >= last)
        last = count
      }
      #expect(last == tree.leafCount - 1)
      #expect(abs(tree.share(ofMerge: last - 1) - 1) < 1e-6)
      #expect(tree.weights.reduce(0, +) == Float(7 * 11 * 14))
    }
  }

  /// Prototypes above the limit are joined, and stand for as many patches.
  @Test func manyPrototypesAreCondensed() throws {
    let scene = TestScene(
      .noisy, frames: 9, rows: 12, columns: 12, heads: 2, keyCount: 40, gain: 16, seed: 30)
    for threads in [1, 3] {
      try scene.edge(
        rows: 12, columns: 12, queryPool: 1, scale: 1e-4, threads: threads
      ) { clustering, hierarchy in
        // 432 of the first window, 864 of two, 1296 of three: half of the limit.
        #expect(hierarchy.tree.leafCount == 512)
        #expect(hierarchy.tree.weights.reduce(0, +) == 9 * 144)
        let found = try scene.assigned(clustering, hierarchy, Hierarchy.Cut(tau: 1))
        #expect(found.count >= 1 && found.labels.allSatisfy { $0 >= 0 && $0 < found.count })
      }
    }
  }

  // ---- Borders -------------------------------------------------------------------

  @Test func onePatch() throws {
    let scene = TestScene(.soft, frames: 1, rows: 1, columns: 1, heads: 2, seed: 1)
    let found = try scene.edgeClusters(rows: 1, columns: 1, tau: 1)
    #expect(found == TestScene.Clusters(labels: [0], confidence: [1], count: 1))
  }

  @Test func constantFrames() throws {
    let patch: [Float] = [0.3, -1.2, 2, 0.7]
    let frame = (0..<70).flatMap { _ in patch }
    let scene = TestScene(
      frames: Array(repeating: frame, count: 5), keys: frame, patches: 70, channels: 4, heads: 2)
    // Blocks cut off by the border have means that are rounded otherwise, and
    // windows of 2 and 1 frames: distances of rounding, 1e-12 and less.
    for tau: Float in [1e-6, 1, 1000] {
      let found = try scene.edgeClusters(rows: 7, columns: 10, window: 2, tau: tau)
      #expect(found.count == 1 && found.labels.allSatisfy { $0 == 0 }, "tau \(tau)")
      #expect(found.confidence.allSatisfy { $0 == 1 })
    }
  }

  @Test func duplicateFrames() throws {
    let doubled = TestScene(
      frames: clear.frames + clear.frames, keys: clear.keys, patches: clear.patches,
      channels: clear.channels, heads: 2)
    let found = try doubled.edgeClusters(rows: 11, columns: 14, tau: 0.3)
    let half = 7 * 11 * 14
    #expect(Array(found.labels.prefix(half)) == Array(found.labels.suffix(half)))
    #expect(Array(found.confidence.prefix(half)) == Array(found.confidence.suffix(half)))
  }

  @Test func hugeTauIsOneCluster() throws {
    let found = try clear.edgeClusters(rows: 11, columns: 14, tau: 1000)
    #expect(found.count == 1 && found.labels.allSatisfy { $0 == 0 })
  }

  // ---- Refusals ------------------------------------------------------------------

  @Test func memoryLimits() throws {
    let free = Budget()
    let expected = try clear.edgeClusters(rows: 11, columns: 14, tau: 0.3, budget: free)
    #expect(free.current == 0)
    for step in 0...20 {
      let budget = Budget(limit: free.peak * step / 20)
      do {
        let found = try clear.edgeClusters(rows: 11, columns: 14, tau: 0.3, budget: budget)
        #expect(found == expected && step == 20)
      } catch let error as CoveyError {
        #expect(error.kind == .memory && step < 20)
      }
      #expect(budget.current == 0 && budget.peak <= budget.limit)
    }
  }

  /// The estimate is no less than what is taken.
  @Test func estimateHolds() throws {
    for (pool, window, tau) in [(4, 3, Float(0.3)), (2, 7, 0.1), (1, 2, 0.3), (64, 1, 1)] {
      let budget = Budget()
      let found = try clear.edgeClusters(
        rows: 11, columns: 14, window: window, queryPool: pool, tau: tau, budget: budget)
      #expect(found.count <= Hierarchy.mostClusters)
      let estimate = max(
        EdgeClustering.hierarchyByteCount(
          frames: 7, rows: 11, columns: 14, window: window, queryPool: pool, keyCount: 60,
          channels: clear.channels, threads: 2),
        EdgeClustering.assignByteCount(
          frames: 7, rows: 11, columns: 14, window: window, queryPool: pool, keyCount: 60,
          threads: 2))
      #expect(budget.peak <= estimate, "pool \(pool): \(budget.peak) of \(estimate)")
    }
  }

  @Test func overflow() throws {
    let huge = [Float](repeating: 3e38, count: 4 * 8)
    let scene = TestScene(frames: [huge], keys: huge, patches: 8, channels: 4, heads: 1)
    do {
      _ = try scene.edgeClusters(rows: 2, columns: 4, tau: 1)
      Issue.record("clustered")
    } catch let error as CoveyError {
      #expect(error.kind == .argument)
    }
  }
}
