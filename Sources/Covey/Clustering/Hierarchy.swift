/// The upper levels of the `edge` clustering: all prototypes drawn together and
/// linked to one tree, the tree cut, and the centres of the clusters that are large
/// enough.
///
/// The tree does not depend on where it is cut: another tau, or another number
/// of clusters, is another cut.
struct Hierarchy {
  let tree: MergeTree
  private let keyCount: Int  // M
  private let maps: Buffer<Float>  // of the prototypes [leaves, M]

  /// Where the tree is cut.
  struct Cut {
    var tau: Float
    /// 0: as tau says.
    var targetClusters = 0
    /// 0: any number.
    var maxClusters = 0
    /// Where a number of clusters decides, merges up to this distance, in nats, are made
    /// all the same.
    var leastDistance: Float = 0
    /// Whether clusters are parted further where motion says so (`MotionCut`).
    var isLeftOpen = false
  }

  /// Mean distances within a cluster are up to this many tau: less than in the
  /// reference, whose clusters reach tau from a leader, because they are those of
  /// prototypes that have been drawn together (docs/ALGORITHM.md has what was
  /// measured).
  static let reach: Float = 0.67
  /// Of all patches; smaller clusters give their patches to the others.
  static let leastShare: Float = 0.005
  /// No cut has more.
  static var mostClusters: Int { Int((1 / leastShare).rounded()) }

  /// - Parameter scale: nats; prototypes within it of each other draw together.
  init(
    _ list: Prototypes, affinity: Affinity, scale: Float, pool: ThreadPool, monitor: Monitor,
    budget: Budget
  ) throws(CoveyError) {
    let prototypes = try MapSet(
      list.queries.base, count: list.count, affinity: affinity, pool: pool, monitor: monitor,
      budget: budget)
    let distances = try prototypes.distancesShifted(
      list.weights, radius: scale, pool: pool, monitor: monitor, budget: budget)
    defer { withExtendedLifetime((list.queries, distances)) {} }
    tree = try Linkage.tree(distances.base, weights: list.weights, monitor: monitor)
    (maps, keyCount) = (prototypes.maps, prototypes.keyCount)
  }

  /// How many merges a cut makes.
  func mergeCount(_ cut: Cut, monitor: Monitor = Monitor()) throws(CoveyError) -> Int {
    var count = tree.mergeCount(upTo: cut.tau * Hierarchy.reach)
    if cut.targetClusters > 0 {
      // As many as asked for, or as many as there can be: undoing a merge makes
      // one cluster more, none more, or, where the parts are too small, one less.
      var most = 0
      for merges in stride(from: tree.merges.count, through: 0, by: -1) {
        try monitor.check()
        let found = clusters(merging: merges).count
        if found > most { (count, most) = (merges, found) }
        if found >= cut.targetClusters { break }
      }
      count = max(count, tree.mergeCount(upTo: cut.leastDistance))
    }
    if cut.maxClusters > 0 {
      while count < tree.merges.count, clusters(merging: count).count > cut.maxClusters {
        try monitor.check()
        count += 1
      }
    }
    return count
  }

  /// The least tau at which a cut makes `count` merges (or more, where several are at
  /// the same distance); 0 where that is none.
  func tau(merging count: Int) -> Float {
    guard count > 0 else { return 0 }
    let distance = tree.merges[count - 1].distance
    var tau = distance / Hierarchy.reach
    while tau * Hierarchy.reach < distance { tau = tau.nextUp }
    return tau
  }

  /// That of the cut, or, where a number of clusters decides, the least one at which
  /// as many merges are made.
  func tau(of cut: Cut, monitor: Monitor) throws(CoveyError) -> Float {
    let count = try mergeCount(cut, monitor: monitor)
    let isByTau =
      cut.targetClusters == 0 && count == tree.mergeCount(upTo: cut.tau * Hierarchy.reach)
    return isByTau ? cut.tau : tau(merging: count)
  }

  /// The clusters of a cut that are large enough, in order of their first
  /// prototype; prototypes of the others are in group -1.
  func clusters(merging count: Int) -> MergeTree.Partition {
    tree.partition(merging: count).dropping(below: Hierarchy.leastShare)
  }

  func centres(_ cut: Cut, monitor: Monitor, budget: Budget) throws(CoveyError) -> Centres {
    try centres(clusters(merging: try mergeCount(cut, monitor: monitor)), budget: budget)
  }

  func centres(
    _ partition: MergeTree.Partition, budget: Budget
  ) throws(CoveyError) -> Centres {
    let centres = try Centres(keyCount: keyCount, count: partition.count, budget: budget)
    defer { withExtendedLifetime(maps) {} }
    Prototypes.means(maps.base, tree.weights, partition, width: keyCount, into: centres.maps)
    return centres
  }
}

extension MergeTree.Partition {
  /// Groups of less than a share of the whole become -1; the largest one stays
  /// in any case.
  func dropping(below share: Float) -> MergeTree.Partition {
    var total: Float = 0
    var largest = 0
    for group in 0..<count {
      total += weights[group]
      if weights[group] > weights[largest] { largest = group }
    }
    var numbers = [Int32](repeating: -1, count: count)
    var kept = MergeTree.Partition(groups: [], weights: [])
    for group in 0..<count where group == largest || weights[group] >= share * total {
      numbers[group] = Int32(kept.weights.count)
      kept.weights.append(weights[group])
    }
    kept.groups = groups.map { numbers[Int($0)] }
    return kept
  }
}
