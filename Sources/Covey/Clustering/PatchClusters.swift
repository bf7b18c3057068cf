/// Clusters of the patches of T frames, before clusters have ids.
struct PatchClusters {
  let labels: Buffer<Int32>  // [T, N], clusters
  let confidence: Buffer<Float>  // [T, N], in [0, 1]
  let near: Buffer<NearCentre>?  // [T, N, NearCentre.depth], where masks need it

  init(_ patches: Int, hasNear: Bool, budget: Budget) throws(CoveyError) {
    labels = try Buffer(patches, budget: budget, for: "cluster labels")
    confidence = try Buffer(patches, budget: budget, for: "confidences")
    near =
      hasNear
      ? try Buffer(patches * NearCentre.depth, budget: budget, for: "nearest centres") : nil
  }

  /// Clusters that own no patch vanish; the others keep their order.
  /// - Parameter count: of the clusters there are.
  /// - Returns: how many are left.
  func renumber(clusters count: Int, monitor: Monitor) throws(CoveyError) -> Int {
    defer { withExtendedLifetime(self) {} }
    let labels = labels.base
    var numbers = [Int32](repeating: -1, count: count)
    for i in 0..<self.labels.count {
      if i % PatchClusters.patchesAtOnce == 0 { try monitor.check() }
      numbers[Int(labels[i])] = 0
    }
    var next: Int32 = 0
    for cluster in 0..<count where numbers[cluster] == 0 {
      numbers[cluster] = next
      next += 1
    }
    for i in 0..<self.labels.count {
      if i % PatchClusters.patchesAtOnce == 0 { try monitor.check() }
      labels[i] = numbers[Int(labels[i])]
    }
    try renameNear(monitor) { numbers[Int($0)] }
    return Int(next)
  }

  /// Calls `name` for every cluster among the nearest, -1 for one that vanishes.
  func renameNear(_ monitor: Monitor, _ name: (Int32) -> Int32) throws(CoveyError) {
    guard let near else { return }
    defer { withExtendedLifetime(near) {} }
    let entries = near.base
    for i in 0..<near.count {
      if i % PatchClusters.patchesAtOnce == 0 { try monitor.check() }
      if entries[i].cluster >= 0 { entries[i].cluster = name(entries[i].cluster) }
    }
  }

  /// Between two looks at whether the call has been cancelled.
  private static let patchesAtOnce = 1 << 16

  /// But for the confidences, which go into what comes out.
  static func byteCount(_ patches: Int, hasNear: Bool) -> Int {
    patches * (4 + (hasNear ? NearCentre.depth * MemoryLayout<NearCentre>.stride : 0))
  }
}
