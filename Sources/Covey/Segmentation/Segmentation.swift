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
  var totalClusters: Int
  /// Of the video, from 0 on.
  let shot: Int
  let tau: Float  // of the cut by which the clusters were found
  /// Of id 1, 2, ..., those of earlier shots included.
  var objects: [Track]

  /// One object over the whole video.
  struct Track {
    let objectness: Float
    let firstFrame: Int
  }

  /// Of clusters.
  ///
  /// - Parameters:
  ///   - patches: with their clusters.
  ///   - numbering: of the clusters.
  ///   - tau: at which the tree has these clusters.
  init(
    clusters patches: PatchClusters, _ numbering: Numbering, totalClusters: Int, rows: Int,
    columns: Int, tau: Float, shot: Int, monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    let (labels, numbers) = (patches.labels.base, numbering.ids)
    try self.init(
      patches, objects: numbering.tracks, totalClusters: totalClusters, rows: rows,
      columns: columns, tau: tau, shot: shot, monitor: monitor, budget: budget,
      id: { numbers[Int(labels[$0])] }, labels: { _ in { cluster, _ in numbers[cluster] } })
  }

  /// Of instances.
  ///
  /// - Parameters:
  ///   - instances: [T, N], of each patch, -1: none.
  ///   - numbering: of the instances.
  ///   - tau: at which the tree has these clusters.
  init(
    _ instances: Buffer<Int32>, of patches: PatchClusters, _ numbering: Numbering,
    totalClusters: Int, rows: Int, columns: Int, tau: Float, shot: Int, monitor: Monitor,
    budget: Budget
  ) throws(CoveyError) {
    let (found, clusters, numbers) = (instances.base, patches.labels.base, numbering.ids)
    try self.init(
      patches, objects: numbering.tracks, totalClusters: totalClusters, rows: rows,
      columns: columns, tau: tau, shot: shot, monitor: monitor, budget: budget,
      id: { found[$0] < 0 ? 0 : numbers[Int(found[$0])] },
      labels: { ids in
        NearbyLabels(clusters: clusters, ids: ids, rows: rows, columns: columns).label
      })
    withExtendedLifetime(instances) {}
  }

  /// - Parameters:
  ///   - id: of a patch of all.
  ///   - labels: given the ids of all patches, that of a cluster near a patch.
  private init(
    _ patches: PatchClusters, objects: [Track], totalClusters: Int, rows: Int, columns: Int,
    tau: Float, shot: Int, monitor: Monitor, budget: Budget, id: (Int) -> UInt16,
    labels: (UnsafePointer<UInt16>) -> (_ cluster: Int, _ patch: Int) -> UInt16
  ) throws(CoveyError) {
    self.rows = rows
    self.columns = columns
    self.totalClusters = totalClusters
    self.tau = tau
    self.objects = objects
    self.shot = shot
    let count = patches.labels.count
    confidence = patches.confidence
    ids = try Buffer(count, budget: budget, for: "label grids")
    let target = ids.base
    for i in 0..<count {
      if i % (1 << 16) == 0 { try monitor.check() }
      target[i] = id(i)
    }
    let label = labels(target)
    soft = try patches.near.map { near throws(CoveyError) in
      try SoftLabels(
        near.base, count: count, tau: tau, monitor: monitor, budget: budget, label: label)
    }
    withExtendedLifetime(patches) {}
  }

  /// Bytes of what is left when all is done: ids, confidences, soft labels.
  static func byteCount(_ patches: Int, _ settings: Settings) -> Int {
    patches * (2 + 4)
      + (settings.mask == .nearest ? 0 : SoftLabels.byteCount(patches))
  }
}

/// To which id a cluster belongs where it is near a patch, as one cluster may be of several
/// objects and of the background: that of the nearest patch of that cluster.
private struct NearbyLabels {
  let clusters: UnsafePointer<Int32>  // [T, N]
  let ids: UnsafePointer<UInt16>  // [T, N]
  let rows: Int
  let columns: Int

  /// Patches away: beyond, it is background.
  private static let reach = 2

  func label(_ cluster: Int, _ patch: Int) -> UInt16 {
    if Int(clusters[patch]) == cluster { return ids[patch] }
    let frame = patch / (rows * columns) * rows * columns
    let (row, column) = ((patch - frame) / columns, (patch - frame) % columns)
    let reach = NearbyLabels.reach
    var (found, nearest) = (UInt16(0), Int.max)
    for y in max(row - reach, 0)...min(row + reach, rows - 1) {
      for x in max(column - reach, 0)...min(column + reach, columns - 1) {
        let other = frame + y * columns + x
        let distance = (y - row) * (y - row) + (x - column) * (x - column)
        if Int(clusters[other]) == cluster, distance < nearest {
          (found, nearest) = (ids[other], distance)
        }
      }
    }
    return found
  }
}

extension PatchClusters {
  init(_ patches: Int, _ settings: Settings, budget: Budget) throws(CoveyError) {
    try self.init(patches, hasNear: settings.mask != .nearest, budget: budget)
  }

  static func byteCount(_ patches: Int, _ settings: Settings) -> Int {
    byteCount(patches, hasNear: settings.mask != .nearest)
  }
}
