/// Which clusters joined, and at which distance: the outcome of a linkage.
///
/// Nodes 0 ..< leafCount are the leaves; merge i makes node leafCount + i.
/// Merges are in the order in which they were made, by rising distance, so that
/// the first so many of them are a cut of the tree.
struct MergeTree {
  struct Merge: BitwiseCopyable {
    var a: Int32
    var b: Int32
    var distance: Float
  }

  /// Leaves in groups, numbered by their first leaf.
  struct Partition {
    var groups: [Int32]  // of each leaf
    var weights: [Float]  // of each group

    var count: Int { weights.count }
  }

  let weights: [Float]  // of the leaves
  private(set) var merges: [Merge] = []
  private var sizes: [Float] = []  // of merges

  var leafCount: Int { weights.count }

  init(weights: [Float]) {
    self.weights = weights
    merges.reserveCapacity(weights.count)
  }

  mutating func append(_ merge: Merge) {
    var merge = merge
    // Of an average linkage distances rise, but for rounding.
    if let last = merges.last { merge.distance = max(merge.distance, last.distance) }
    merges.append(merge)
    sizes.append(size(of: merge.a) + size(of: merge.b))
  }

  private func size(of node: Int32) -> Float {
    Int(node) < leafCount ? weights[Int(node)] : sizes[Int(node) - leafCount]
  }

  /// The part of all leaves, by weight, that merge `index` brings together.
  func share(ofMerge index: Int) -> Float {
    var total: Float = 0
    for weight in weights { total += weight }
    return sizes[index] / total
  }

  /// How many merges there are up to a distance.
  func mergeCount(upTo distance: Float) -> Int {
    var count = 0
    while count < merges.count, merges[count].distance <= distance { count += 1 }
    return count
  }

  /// The leaves after the first `count` merges.
  func partition(merging count: Int) -> Partition {
    partition(merging: [Bool](repeating: true, count: count))
  }

  /// The leaves after some merges, each of them after all below it.
  func partition(merging isMade: [Bool]) -> Partition {
    // The node in which each node has gone up.
    let count = isMade.count
    var parent = [Int32](repeating: -1, count: leafCount + count)
    for index in 0..<count where isMade[index] {
      parent[Int(merges[index].a)] = Int32(leafCount + index)
      parent[Int(merges[index].b)] = Int32(leafCount + index)
    }
    // Parents come after their children: from the last node down, every node
    // learns its root from its parent.
    var root = [Int32](repeating: 0, count: parent.count)
    for node in stride(from: parent.count - 1, through: 0, by: -1) {
      root[node] = parent[node] < 0 ? Int32(node) : root[Int(parent[node])]
    }
    var number = [Int32](repeating: -1, count: parent.count)
    var partition = Partition(groups: [], weights: [])
    partition.groups.reserveCapacity(leafCount)
    for leaf in 0..<leafCount {
      let node = Int(root[leaf])
      if number[node] < 0 {
        number[node] = Int32(partition.weights.count)
        partition.weights.append(0)
      }
      partition.groups.append(number[node])
      partition.weights[Int(number[node])] += weights[leaf]
    }
    return partition
  }
}
