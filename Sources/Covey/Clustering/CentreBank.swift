import CCoveyKernels

/// The clusters of a stream, those in sight and those remembered.
///
/// A cluster is a handful of prototypes.  The prototypes of a new window are drawn
/// to and linked with the clusters of the bank, of which no two draw each other or
/// ever join: what links with one of them belongs to it, and what links with none
/// is new.  So a cluster that has not been seen for long is found again by the same
/// rule, as long as the bank remembers it.
struct CentreBank {
  private struct Cluster {
    var prototypes: Prototypes
    var lastSeen: Int  // the window
  }

  /// What a window did to the bank.
  struct Sighting {
    /// Indices, before the window, of the clusters forgotten, falling.
    var forgotten: [Int] = []
    /// Indices, after it, of the clusters that have patches in the window.
    var seen: [Int] = []
    /// Of the clusters seen, in that order.
    var centres: Centres
  }

  /// Clusters remembered at most.
  let capacity: Int
  private var clusters: [Cluster] = []
  private var windows = 0

  /// Prototypes of a cluster.
  private static let mostPrototypes = 4
  /// What earlier prototypes of a cluster still weigh a window later: a cluster
  /// follows what slowly changes.
  private static let persistence: Float = 0.9

  var count: Int { clusters.count }

  init(capacity: Int) {
    self.capacity = capacity
  }

  /// - Parameters:
  ///   - window: prototypes of the patches of one window.
  ///   - scale: nats, as of `Hierarchy`.
  ///   - cut: nats, the mean distance up to which prototypes join.
  ///   - most: clusters that there may be, in sight or remembered.  Unlike for
  ///     want of capacity, none is forgotten for new ones, unless nothing of the
  ///     window belongs to one of the bank.
  mutating func take(
    _ window: Prototypes, affinity: Affinity, scale: Float, cut: Float, most: Int, pool: ThreadPool,
    budget: Budget, monitor: Monitor
  ) throws(CoveyError) -> Sighting {
    var all = try Prototypes(channels: window.channels, budget: budget)
    var owner: [Int] = []
    for (index, cluster) in clusters.enumerated() {
      try all.append(cluster.prototypes)
      for _ in 0..<cluster.prototypes.count { owner.append(index) }
    }
    let known = all.count
    try all.append(window)
    for index in 0..<window.count { owner.append(clusters.count + index) }
    monitor.begin(.merge, total: MapSet.piecesShifted(all.count))
    let set = try MapSet(
      all.queries.base, count: all.count, affinity: affinity, pool: pool, monitor: monitor,
      budget: budget)
    let distances = try set.distancesShifted(
      all.weights, owners: owner.map { $0 < clusters.count ? Int32($0) : -1 }, radius: scale,
      pool: pool, monitor: monitor, budget: budget)
    defer { withExtendedLifetime((all.queries, set.maps, distances)) {} }

    let tree = try linked(all, owner, distances.base, budget, monitor)
    let partition = tree.partition(merging: tree.mergeCount(upTo: cut))
    var sighting = Sighting(
      centres: try Centres(keyCount: affinity.keyCount, budget: budget))
    let groups = admitted(partition, of: window, owner: owner, known: known, most: most)
    var updated = clusters
    var born: [Cluster] = []
    var seen: [Int] = []
    for group in groups {
      var members: [Int] = []
      for row in 0..<all.count {
        // The items of the tree are the owners.
        if Int(partition.groups[owner[row]]) == group { members.append(row) }
      }
      let prototypes = try merged(
        members, of: all, known: known, set, distances.base, into: sighting.centres.append(),
        budget, monitor)
      let cluster = Cluster(prototypes: prototypes, lastSeen: windows)
      if group < clusters.count {
        updated[group] = cluster
        seen.append(group)
      } else {
        seen.append(clusters.count + born.count)
        born.append(cluster)
      }
    }
    try monitor.end()
    // Room for the new ones: those seen longest ago go.
    while updated.count - sighting.forgotten.count + born.count > min(capacity, most) {
      var oldest = -1
      for index in 0..<updated.count
      where updated[index].lastSeen != windows && !sighting.forgotten.contains(index) {
        if oldest < 0 || updated[index].lastSeen < updated[oldest].lastSeen { oldest = index }
      }
      guard oldest >= 0 else { break }
      sighting.forgotten.append(oldest)
    }
    sighting.forgotten.sort { $0 > $1 }
    for index in sighting.forgotten { updated.remove(at: index) }
    sighting.seen = seen.map { index in
      index - sighting.forgotten.count { $0 < index }
    }
    clusters = updated + born
    windows += 1
    return sighting
  }

  /// The tree over the clusters of the bank and the prototypes of the window.
  private func linked(
    _ all: Prototypes, _ owner: [Int], _ distances: UnsafePointer<Float>, _ budget: Budget,
    _ monitor: Monitor
  ) throws(CoveyError) -> MergeTree {
    let items = (owner.last ?? -1) + 1
    var weights = [Float](repeating: 0, count: items)
    for (row, item) in owner.enumerated() { weights[item] += all.weights[row] }
    let means = try Buffer<Float>(items * items, budget: budget, for: "distances to clusters")
    defer { withExtendedLifetime(means) {} }
    means.fill(0)
    let (out, rows, known) = (means.base, owner.count, clusters.count)
    let shares = (0..<rows).map { all.weights[$0] / weights[owner[$0]] }
    for a in 0..<rows {
      try monitor.check()
      let row = out + owner[a] * items
      for b in 0..<rows { row[owner[b]] += shares[a] * shares[b] * distances[a * rows + b] }
    }
    for a in 0..<known {
      for b in 0..<known { out[a * items + b] = .infinity }
    }
    return try Linkage.tree(out, weights: weights, monitor: monitor)
  }

  /// The groups that are clusters in this window: those with a cluster of the
  /// bank and something of the window, and new ones that are large enough.
  private func admitted(
    _ partition: MergeTree.Partition, of window: Prototypes, owner: [Int], known: Int, most: Int
  ) -> [Int] {
    var sizes = [Float](repeating: 0, count: partition.count)
    var total: Float = 0
    for (index, weight) in window.weights.enumerated() {
      sizes[Int(partition.groups[owner[known + index]])] += weight
      total += weight
    }
    // No two clusters of the bank are in one group, so group i is cluster i.
    let found = (0..<clusters.count).filter { sizes[$0] > 0 }
    var new = (clusters.count..<max(partition.count, clusters.count)).filter {
      sizes[$0] >= Hierarchy.leastShare * total
    }
    if found.isEmpty, new.isEmpty {
      var largest = clusters.count
      for group in clusters.count..<partition.count where sizes[group] > sizes[largest] {
        largest = group
      }
      new = [largest]
    }
    let room =
      most < capacity ? most - clusters.count : capacity - found.count
    let allowed = max(room, found.isEmpty ? 1 : 0)
    if new.count > allowed {
      new.sort { sizes[$0] != sizes[$1] ? sizes[$0] > sizes[$1] : $0 < $1 }
      new.removeLast(new.count - allowed)
      new.sort()
    }
    return found + new
  }

  /// The prototypes of one cluster, at most so many, and its centre [M].
  private func merged(
    _ members: [Int], of all: Prototypes, known: Int, _ set: MapSet,
    _ distances: UnsafePointer<Float>, into centre: UnsafeMutablePointer<Float>,
    _ budget: Budget, _ monitor: Monitor
  ) throws(CoveyError) -> Prototypes {
    let (count, width) = (members.count, all.channels)
    var group = MergeTree.Partition(
      groups: [Int32](repeating: -1, count: all.count), weights: [0])
    var allWeights = all.weights
    for member in members {
      if member < known { allWeights[member] *= CentreBank.persistence }
      group.groups[member] = 0
      group.weights[0] += allWeights[member]
    }
    let weights = members.map { allWeights[$0] }
    Prototypes.means(set.maps.base, allWeights, group, width: set.keyCount, into: centre)
    let queries = try Buffer<Float>(count * width, budget: budget, for: "prototypes")
    let among = try Buffer<Float>(count * count, budget: budget, for: "distances in a cluster")
    defer { withExtendedLifetime((queries, among)) {} }
    for (place, member) in members.enumerated() {
      (queries.base + place * width).copy(
        from: all.queries.base + member * width, count: width)
      for (other, second) in members.enumerated() {
        among.base[place * count + other] = distances[member * all.count + second]
      }
    }
    let tree = try Linkage.tree(among.base, weights: weights, monitor: monitor)
    let merges = min(tree.merges.count, max(0, count - CentreBank.mostPrototypes))
    return try Prototypes(
      meansOf: queries.base, weights, tree.partition(merging: merges), channels: width,
      budget: budget)
  }

  /// Beside the clusters, before and after.
  /// - Parameter windows: that have been before.
  static func byteCount(
    capacity: Int, windows: Int, window prototypes: Int, keyCount: Int, channels: Int, threads: Int
  ) -> Int {
    let all = mostKnown(capacity: capacity, windows: windows, window: prototypes) + prototypes
    return Prototypes.byteCount(all, channels: channels)
      + MapSet.shiftedByteCount(all, keyCount: keyCount, threads: threads)
      + 4 * (capacity + prototypes) * (capacity + prototypes)
      + Centres.byteCount(keyCount: keyCount, centres: min(capacity, prototypes))
  }

  /// Prototypes of the bank after so many windows.
  static func mostKnown(capacity: Int, windows: Int, window prototypes: Int) -> Int {
    min(capacity * mostPrototypes, windows * prototypes)
  }
}
