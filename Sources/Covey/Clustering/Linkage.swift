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
    /// all are infinitely far.
    var nearest = [Int](repeating: -1, count: n)
    for i in 0..<n {
      if i % 64 == 0 { try monitor.check() }
      nearest[i] = nearestOther(of: i, active, distances + i * n)
    }
    while active.count > 1 {
      if monitor.isCancelled { break }
      monitor.pulse(worker: 0)
      var (a, least) = (-1, Float.infinity)
      for i in active where nearest[i] >= 0 {
        let distance = distances[i * n + nearest[i]]
        if distance < least { (a, least) = (i, distance) }
      }
      guard a >= 0 else { break }  // none may join
      // The lower one stays.
      let (kept, gone) = (min(a, nearest[a]), max(a, nearest[a]))
      tree.append(MergeTree.Merge(a: nodes[kept], b: nodes[gone], distance: least))
      join(kept, gone, active, distances, n, &weights)
      nodes[kept] = Int32(n + tree.merges.count - 1)
      active.remove(at: place(of: gone, in: active))
      for i in active {
        let row = distances + i * n
        if i == kept || nearest[i] == kept || nearest[i] == gone {
          nearest[i] = nearestOther(of: i, active, row)
        } else if row[kept] < .infinity {
          // A mean is never nearer than the nearer of its two: only a tie can
          // make an earlier cluster the nearest one.
          let current = nearest[i] < 0 ? Float.infinity : row[nearest[i]]
          if row[kept] < current || (row[kept] == current && kept < nearest[i]) {
            nearest[i] = kept
          }
        }
      }
    }
    try monitor.check()
    return tree
  }

  private static func nearestOther(
    of i: Int, _ active: [Int], _ row: UnsafePointer<Float>
  ) -> Int {
    var (best, least) = (-1, Float.infinity)
    for other in active where other != i && row[other] < least {
      (best, least) = (other, row[other])
    }
    return best
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
