/// The outcome for frames that were clustered together (a whole video, or a
/// window of a stream): who owns which patch.
struct Segmentation {
  let rows: Int
  let columns: Int
  /// [T, N]: ids 1.. of objects (or of all clusters), 0 elsewhere.
  let ids: Buffer<UInt16>
  /// [T, N], in [0, 1].
  let confidence: Buffer<Float>
  /// Of [T, N] patches, unless masks are drawn from `ids` alone.
  let soft: SoftLabels?
  let totalClusters: Int
  let tau: Float  // with which the clusters were found
  /// Of id 1, 2, ...
  let objects: [Track]

  /// One object over the whole video.
  struct Track {
    let objectness: Float
    let firstFrame: Int
  }

  /// - Parameters:
  ///   - patches: with their clusters.
  ///   - ids: of each cluster; 0 for background.
  init(
    _ patches: PatchClusters, ids numbers: [UInt16], objects: [Track], totalClusters: Int,
    rows: Int, columns: Int, tau: Float, monitor: Monitor = Monitor(), budget: Budget
  ) throws(CoveyError) {
    self.rows = rows
    self.columns = columns
    self.totalClusters = totalClusters
    self.tau = tau
    self.objects = objects
    let count = patches.labels.count
    confidence = patches.confidence
    ids = try Buffer(count, budget: budget, for: "label grids")
    let (ids, labels) = (ids.base, patches.labels.base)
    for i in 0..<count {
      if i % (1 << 16) == 0 { try monitor.check() }
      ids[i] = numbers[Int(labels[i])]
    }
    soft = try patches.near.map { near throws(CoveyError) in
      try SoftLabels(
        near.base, count: count, labels: numbers, tau: tau, monitor: monitor, budget: budget)
    }
    withExtendedLifetime(patches) {}
  }

  /// Bytes of what is left when all is done: ids, confidences, soft labels.
  static func byteCount(_ patches: Int, _ settings: Settings) -> Int {
    patches * (2 + 4)
      + (settings.mask == .nearest ? 0 : SoftLabels.byteCount(patches))
  }
}

/// Clusters of the patches of T frames, before clusters have ids.
struct PatchClusters {
  let labels: Buffer<Int32>  // [T, N], clusters
  let confidence: Buffer<Float>  // [T, N], in [0, 1]
  let near: Buffer<NearCentre>?  // [T, N, SoftLabels.depth], where masks need it

  init(_ patches: Int, _ settings: Settings, budget: Budget) throws(CoveyError) {
    labels = try Buffer(patches, budget: budget, for: "cluster labels")
    confidence = try Buffer(patches, budget: budget, for: "confidences")
    near =
      settings.mask == .nearest
      ? nil
      : try Buffer(patches * SoftLabels.depth, budget: budget, for: "nearest centres")
  }

  /// But for the confidences, which go into the outcome.
  static func byteCount(_ patches: Int, _ settings: Settings) -> Int {
    let near = settings.mask == .nearest ? 0 : SoftLabels.depth * MemoryLayout<NearCentre>.stride
    return patches * (4 + near)
  }
}
