/// Agglomerative clustering by average linkage: the two clusters with the least
/// mean distance between their members join, again and again.
///
/// The mean is over pairs of members, weighted: after a and b have joined,
///
///     D(a + b, c) = (w_a D(a, c) + w_b D(b, c)) / (w_a + w_b)
///
/// (Lance and Williams).  Every distance counts a little and none decides alone,
/// so that noise moves the distances of the tree by no more than itself.
enum Linkage {
  /// - Parameters:
  ///   - distances: [n, n], symmetric; infinite for pairs that must never be in
  ///     one cluster.  Overwritten.
  ///   - weights: of the n leaves, above 0.
  static func tree(
    _ distances: UnsafeMutablePointer<Float>, weights leaves: [Float], monitor: Monitor
  ) throws(CoveyError) -> MergeTree {
    let n = leaves.count
    var tree = MergeTree(weights: leaves)
    var weights = leaves
    var nodes = (0..<n).map { Int32($0) }
    var active = Array(0..<n)
    /// Of every active cluster the nearest other one, the first on ties; -1 where
    /// all are infinitely far.  And how far that is.
    var nearest = [Int](repeating: -1, count: n)
    var least = [Float](repeating: .infinity, count: n)
    for i in 0..<n {
      if i % 64 == 0 { try monitor.check() }
      (nearest[i], least[i]) = nearestOther(of: i, active, distances + i * n)
    }
    while active.count > 1 {
      if monitor.isCancelled { break }
      monitor.pulse(worker: 0)
      var a = -1
      for i in active where nearest[i] >= 0 && (a < 0 || least[i] < least[a]) { a = i }
      guard a >= 0 else { break }  // none may join
      // The lower one stays.
      let (kept, gone) = (min(a, nearest[a]), max(a, nearest[a]))
      tree.append(MergeTree.Merge(a: nodes[kept], b: nodes[gone], distance: least[a]))
      join(kept, gone, active, distances, n, &weights)
      nodes[kept] = Int32(n + tree.merges.count - 1)
      active.remove(at: place(of: gone, in: active))
      for i in active {
        let row = distances + i * n
        // A mean is never nearer than the nearer of its two, but for rounding: where
        // it is as near as the nearest one was, that one is still the nearest, or,
        // on a tie, comes after it.
        if i != kept, row[kept] < least[i] || (row[kept] == least[i] && kept <= nearest[i]) {
          (nearest[i], least[i]) = (kept, row[kept])
        } else if i == kept || nearest[i] == kept || nearest[i] == gone {
          (nearest[i], least[i]) = nearestOther(of: i, active, row)
        }
      }
    }
    try monitor.check()
    return tree
  }

  private static func nearestOther(
    of i: Int, _ active: [Int], _ row: UnsafePointer<Float>
  ) -> (Int, Float) {
    var (best, least) = (-1, Float.infinity)
    for other in active where other != i && row[other] < least {
      (best, least) = (other, row[other])
    }
    return (best, least)
  }

  private static func join(
    _ a: Int, _ b: Int, _ active: [Int], _ distances: UnsafeMutablePointer<Float>, _ n: Int,
    _ weights: inout [Float]
  ) {
    let total = weights[a] + weights[b]
    let (shareA, shareB) = (weights[a] / total, weights[b] / total)
    for other in active where other != a && other != b {
      let mean = shareA * distances[a * n + other] + shareB * distances[b * n + other]
      distances[a * n + other] = mean
      distances[other * n + a] = mean
    }
    weights[a] = total
  }

  /// In a rising list.
  private static func place(of value: Int, in list: [Int]) -> Int {
    var (low, high) = (0, list.count)
    while low < high {
      let middle = (low + high) / 2
      if list[middle] < value { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
