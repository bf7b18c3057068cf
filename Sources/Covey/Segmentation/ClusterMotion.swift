/// How much the patches of each cluster move, all over the video: things that look alike
/// mostly are alike.
struct ClusterMotion {
  private var sums: [(told: Double, evidence: Double)] = []

  /// What a stream saw before counts less.
  mutating func fade(frames: Int) {
    for _ in 0..<frames {
      for cluster in sums.indices {
        sums[cluster].told *= MotionScale.memory
        sums[cluster].evidence *= MotionScale.memory
      }
    }
  }

  /// - Parameter labels: of `count` patches, their clusters.
  mutating func add(_ labels: UnsafePointer<Int32>, _ motion: Motion, count: Int) {
    for patch in 0..<count {
      let cluster = Int(labels[patch])
      while sums.count <= cluster { sums.append((0, 0)) }
      sums[cluster].told += 1
      sums[cluster].evidence += Double(motion.evidence.base[patch])
    }
  }

  /// Of the mean patch; nil where nothing is known.
  func evidence(_ cluster: Int32) -> Double? {
    guard sums.indices.contains(Int(cluster)), sums[Int(cluster)].told > 0 else { return nil }
    return sums[Int(cluster)].evidence / sums[Int(cluster)].told
  }

  /// Those behind it move up.
  mutating func forgetCluster(_ cluster: Int32) {
    if sums.indices.contains(Int(cluster)) { sums.remove(at: Int(cluster)) }
  }
}
