import Testing

@testable import Covey

/// The pruned tree against the cheapest of all cuts, tried one by one, its cost from the
/// values themselves.
@Suite struct MotionCutTests {
  private static let (rows, columns) = (11, 14)
  private let scene = TestScene(
    .hard, frames: 7, rows: rows, columns: columns, heads: 2, keyCount: 60, gain: 8, seed: 12)

  /// Calls `body` with cuts a few merges above the fine one.
  private func withCuts(
    _ body: (Hierarchy, MotionCut) throws -> Void
  ) throws {
    try scene.edge(rows: Self.rows, columns: Self.columns, queryPool: 2, scale: 0.2) {
      _, hierarchy in
      var tried = 0
      for target in 1...64 {
        let cut = Hierarchy.Cut(tau: 0.2, targetClusters: target, isLeftOpen: true)
        guard let finer = try MotionCut(hierarchy, cut, monitor: Monitor()),
          finer.coarse - finer.fine <= 10
        else { continue }
        tried += 1
        try body(hierarchy, finer)
      }
      #expect(tried > 0)
    }
  }

  /// Of every node the groups of the fine cut that are below it.
  private func members(_ hierarchy: Hierarchy, _ cut: MotionCut) -> [Set<Int>] {
    let tree = hierarchy.tree
    var members = cut.groups.groups.map { $0 < 0 ? Set<Int>() : [Int($0)] }
    for merge in tree.merges.prefix(cut.coarse) {
      members.append(members[Int(merge.a)].union(members[Int(merge.b)]))
    }
    return members
  }

  @Test(arguments: [0.0, 0.05, 0.3, 2.0])
  func theCheapestOfAllCuts(spread: Double) throws {
    var random = SeededRandom(seed: 5)
    try withCuts { hierarchy, finer in
      var cut = finer
      // Groups that move, groups that do not, and noise.
      let values = cut.groups.weights.map { _ in
        let mean = Double.random(in: 0...1, using: &random) < 0.3 ? 1.5 : 0.1
        return (0..<Int.random(in: 1...30, using: &random)).map { _ in
          Float(mean + spread * Double.random(in: -1...1, using: &random))
        }
      }
      for (group, values) in values.enumerated() {
        let labels = [Int32](repeating: Int32(group), count: values.count)
        cut.add(labels, values, count: values.count)
      }
      func deviations(_ values: [Float]) -> Double {
        let mean = values.reduce(0) { $0 + Double($1) } / Double(values.count)
        return values.reduce(0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
      }
      let all = values.flatMap { $0 }
      let price =
        MotionCut.price * max(deviations(all), MotionCut.noise * Double(all.count))
      let members = members(hierarchy, cut)
      func cost(_ node: Int) -> Double {
        let below = members[node].sorted().flatMap { values[$0] }
        return below.isEmpty ? 0 : deviations(below) + price
      }
      let (tree, leaves) = (hierarchy.tree, hierarchy.tree.leafCount)
      /// Of every way to cut below a node the cost.
      func costs(_ node: Int) -> [Double] {
        guard node >= leaves + cut.fine else { return [cost(node)] }
        let merge = tree.merges[node - leaves]
        let parted = costs(Int(merge.a)).flatMap { a in costs(Int(merge.b)).map { a + $0 } }
        return [cost(node)] + parted
      }
      let isMade = cut.merges()
      /// Of the cut that was found.
      func found(_ node: Int) -> Double {
        guard node >= leaves + cut.fine, !isMade[node - leaves] else { return cost(node) }
        let merge = tree.merges[node - leaves]
        return found(Int(merge.a)) + found(Int(merge.b))
      }
      var isBelow = [Bool](repeating: false, count: leaves + cut.coarse)
      for merge in tree.merges.prefix(cut.coarse) {
        (isBelow[Int(merge.a)], isBelow[Int(merge.b)]) = (true, true)
      }
      for node in isBelow.indices where !isBelow[node] && !members[node].isEmpty {
        let best = costs(node).min()!
        // Sums of squares in another order.
        #expect(abs(found(node) - best) <= 1e-9 * (1 + best))
      }
      // Each merge after those below it, and the fine cut whole.
      #expect(isMade.count == cut.coarse && isMade.prefix(cut.fine).allSatisfy { $0 })
      for index in cut.fine..<cut.coarse where isMade[index] {
        for child in [tree.merges[index].a, tree.merges[index].b] where Int(child) >= leaves {
          #expect(isMade[Int(child) - leaves])
        }
      }
    }
  }

  /// Where nothing moves, the plain cut stays.
  @Test func withoutMotion() throws {
    try withCuts { hierarchy, finer in
      var cut = finer
      for group in cut.groups.weights.indices {
        let evidence = [Float](repeating: 0.02, count: 9)
        cut.add([Int32](repeating: Int32(group), count: 9), evidence, count: 9)
      }
      #expect(cut.merges().allSatisfy { $0 })
      #expect(cut.partition().groups == hierarchy.clusters(merging: cut.coarse).groups)
    }
  }

  @Test func framesThatTell() {
    #expect(MotionCut.sample(of: 1) == [0])
    #expect(MotionCut.sample(of: 5) == [0, 1, 2, 3, 4])
    #expect(MotionCut.sample(of: 100) == Array(stride(from: 0, to: 100, by: 4)))
  }
}
