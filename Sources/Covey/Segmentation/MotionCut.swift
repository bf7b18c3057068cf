/// A cut of the tree for the objects of a video: the clusters of a plain cut, and of these
/// some parted further, where that tells what moves by itself from what does not.
///
/// A regression tree (Breiman, Friedman, Olshen, Stone: Classification and Regression
/// Trees, 1984): the nodes between a fine cut and the plain one are pruned by what they
/// leave unexplained of the patches' evidence of motion, and a price for every cluster.
struct MotionCut {
  /// Evidence of the patches of a cluster.
  private struct Sums {
    var patches = 0.0
    var evidence = 0.0
    var squares = 0.0

    mutating func add(_ other: Sums) {
      patches += other.patches
      evidence += other.evidence
      squares += other.squares
    }

    /// Squared deviations from the mean.
    var unexplained: Double {
      patches > 0 ? max(squares - evidence * evidence / patches, 0) : 0
    }
  }

  private let tree: MergeTree
  let fine: Int  // merges made by the fine cut
  let coarse: Int  // and by the plain one
  /// The clusters of the fine cut.
  let groups: MergeTree.Partition
  private var sums: [Sums]

  /// Clusters of the fine cut, and the distance up to which they are not told apart, as a
  /// part of the plain cut's.
  private static let finest = 64
  private static let finestShare: Float = 0.3
  /// What a further cluster costs, as a part of the squared deviations of all patches.
  static let price = 0.003
  /// Squared deviation of a patch where nothing moves.
  static let noise = 0.0025
  /// Frames whose patches tell, at most.
  private static let frames = 32

  /// Nil where the fine cut is none finer.
  init?(_ hierarchy: Hierarchy, _ cut: Hierarchy.Cut, monitor: Monitor) throws(CoveyError) {
    var finer = cut
    finer.targetClusters = MotionCut.finest
    finer.leastDistance *= MotionCut.finestShare
    fine = try hierarchy.mergeCount(finer, monitor: monitor)
    coarse = try hierarchy.mergeCount(cut, monitor: monitor)
    guard fine < coarse else { return nil }
    tree = hierarchy.tree
    groups = hierarchy.clusters(merging: fine)
    sums = [Sums](repeating: Sums(), count: groups.count)
  }

  /// Evenly spaced.
  static func sample(of count: Int) -> [Int] {
    let step = max(1, (count + frames - 1) / frames)
    return Array(stride(from: 0, to: count, by: step))
  }

  /// - Parameters:
  ///   - labels: clusters of the fine cut.
  ///   - evidence: of motion; both of `count` patches.
  mutating func add(
    _ labels: UnsafePointer<Int32>, _ evidence: UnsafePointer<Float>, count: Int
  ) {
    for patch in 0..<count {
      let value = Double(evidence[patch])
      sums[Int(labels[patch])].add(Sums(patches: 1, evidence: value, squares: value * value))
    }
  }

  func partition() -> MergeTree.Partition {
    tree.partition(merging: merges()).dropping(below: Hierarchy.leastShare)
  }

  /// Whether each merge that the plain cut makes is made.
  func merges() -> [Bool] {
    let leaves = tree.leafCount
    var parent = [Int](repeating: -1, count: leaves + coarse)
    for index in 0..<coarse {
      parent[Int(tree.merges[index].a)] = leaves + index
      parent[Int(tree.merges[index].b)] = leaves + index
    }
    var own = [Sums](repeating: Sums(), count: leaves + coarse)
    var all = Sums()
    var isPlaced = [Bool](repeating: false, count: groups.count)
    for leaf in 0..<leaves where groups.groups[leaf] >= 0 {
      let group = Int(groups.groups[leaf])
      guard !isPlaced[group] else { continue }
      isPlaced[group] = true
      // Where the fine cut has brought it.
      var node = leaf
      while parent[node] >= 0, parent[node] < leaves + fine { node = parent[node] }
      own[node] = sums[group]
      all.add(sums[group])
    }
    let price = MotionCut.price * max(all.unexplained, MotionCut.noise * all.patches)
    var cost = own.map { $0.patches > 0 ? $0.unexplained + price : 0 }
    var isMade = [Bool](repeating: true, count: coarse)
    for index in fine..<coarse {
      let (a, b) = (Int(tree.merges[index].a), Int(tree.merges[index].b))
      let node = leaves + index
      own[node].add(own[a])
      own[node].add(own[b])
      let whole = own[node].patches > 0 ? own[node].unexplained + price : 0
      isMade[index] = whole <= cost[a] + cost[b]
      cost[node] = min(whole, cost[a] + cost[b])
    }
    // What is below a node that stays whole is whole.
    for index in stride(from: coarse - 1, through: fine, by: -1) {
      let above = parent[leaves + index]
      if above >= 0, isMade[above - leaves] { isMade[index] = true }
    }
    return isMade
  }
}
