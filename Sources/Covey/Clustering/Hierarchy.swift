import CCoveyKernels

/// The upper levels of the `edge` clustering: all prototypes linked to one tree,
/// the tree cut, and the centres of the clusters that are large enough.
///
/// The tree does not depend on where it is cut: another tau, or another number
/// of clusters, is another cut.
struct Hierarchy {
  let tree: MergeTree
  private let prototypes: MapSet

  /// Where the tree is cut.
  struct Cut {
    var tau: Float
    /// 0: as tau says.
    var targetClusters = 0
    /// 0: any number.
    var maxClusters = 0
  }

  /// Mean distances within a cluster are up to this many tau.  In the reference
  /// all members of a cluster are within tau of its leader, which is not at its
  /// middle: their mean distance to each other may be somewhat more
  /// (docs/ALGORITHM.md has what was measured).
  static let reach: Float = 1.25
  /// Of all patches; smaller clusters give their patches to the others.
  static let leastShare: Float = 0.005
  /// No cut has more.
  static let mostClusters = Int((1 / leastShare).rounded())
  /// Rounds in which prototypes move to the nearest centre, and centres to the
  /// mean of their prototypes.
  private static let rounds = 8

  init(
    _ list: Prototypes, affinity: Affinity, pool: ThreadPool, monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    prototypes = try MapSet(
      list.queries.base, count: list.count, affinity: affinity, pool: pool, monitor: monitor,
      budget: budget)
    let distances = try prototypes.distances(pool: pool, monitor: monitor, budget: budget)
    defer { withExtendedLifetime((list.queries, distances)) {} }
    tree = try Linkage.tree(distances.base, weights: list.weights, monitor: monitor)
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
    }
    if cut.maxClusters > 0 {
      while count < tree.merges.count, clusters(merging: count).count > cut.maxClusters {
        try monitor.check()
        count += 1
      }
    }
    return count
  }

  /// The clusters of a cut that are large enough, in order of their first
  /// prototype; prototypes of the others are in group -1.
  func clusters(merging count: Int) -> MergeTree.Partition {
    tree.partition(merging: count).dropping(below: Hierarchy.leastShare)
  }

  func centres(
    _ cut: Cut, pool: ThreadPool, monitor: Monitor, budget: Budget
  ) throws(CoveyError) -> Centres {
    var partition = clusters(merging: try mergeCount(cut, monitor: monitor))
    let n = prototypes.keyCount
    let centres = try Centres(keyCount: n, capacity: partition.count, budget: budget)
    for _ in 0..<partition.count { _ = try centres.append() }
    let logs = try Buffer<Float>(
      partition.count * n, budget: budget, for: "logarithms of the centres")
    defer { withExtendedLifetime((logs, prototypes.maps)) {} }
    Prototypes.means(
      prototypes.maps.base, tree.weights, partition, width: n, into: centres.maps)
    for _ in 0..<Hierarchy.rounds {
      let moved = try nearest(centres, logs.base, pool, monitor)
      if moved == partition.groups { break }
      // A cluster left without prototypes keeps its centre.
      var weights = [Float](repeating: 0, count: partition.count)
      for (leaf, group) in moved.enumerated() { weights[Int(group)] += tree.weights[leaf] }
      partition = MergeTree.Partition(groups: moved, weights: weights)
      Prototypes.means(
        prototypes.maps.base, tree.weights, partition, width: n, into: centres.maps)
    }
    return centres
  }

  /// Of every prototype the nearest centre, the first on ties.
  private func nearest(
    _ centres: Centres, _ centreLogs: UnsafeMutablePointer<Float>, _ pool: ThreadPool,
    _ monitor: Monitor
  ) throws(CoveyError) -> [Int32] {
    let (n, count) = (prototypes.keyCount, centres.count)
    let (maps, logs, centreMaps) = (prototypes.maps.base, prototypes.logs.base, centres.maps)
    let middle = prototypes.middle.base
    let kernels = cv_rows().pointee
    Divergence.logarithms(centreMaps, rows: count, n: n, into: centreLogs)
    kernels.subtract(centreLogs, n, count, n, middle)
    var groups = [Int32](repeating: 0, count: prototypes.count)
    groups.withUnsafeMutableBufferPointer { groups in
      let groups = groups.baseAddress!
      let leaves = prototypes.count
      let size = 16
      pool.run((leaves + size - 1) / size) { index, worker in
        if monitor.isCancelled { return }
        for leaf in index * size..<min(leaves, (index + 1) * size) {
          var least = Double.infinity
          for centre in 0..<count {
            let distance = Double(
              kernels.jeffreys(
                maps + leaf * n, logs + leaf * n, centreMaps + centre * n,
                centreLogs + centre * n, n))
            if distance < least { (groups[leaf], least) = (Int32(centre), distance) }
          }
        }
        monitor.pulse(worker: worker)
      }
    }
    try monitor.check()
    return groups
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
