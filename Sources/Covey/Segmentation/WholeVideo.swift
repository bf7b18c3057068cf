/// A video whose frames are all there, or a shot of one: clustered as one.
struct WholeVideo {
  private let frames: [EncodedFrame]  // without their keys
  private let grid: (rows: Int, columns: Int)
  private let settings: Settings
  private let affinity: Affinity
  private let keys: Buffer<Float>  // [M, C]
  /// In `edge` mode; the reference's merges have no distances that another cut
  /// could use.
  let hierarchy: Hierarchy?

  /// - Parameters:
  ///   - frames: at least one.
  ///   - heads: of the affinity.
  init(
    _ frames: [EncodedFrame], grid: (rows: Int, columns: Int), settings: Settings, channels: Int,
    heads: Int, pool: ThreadPool, budget: Budget, monitor: Monitor
  ) throws(CoveyError) {
    self.frames = frames.map { $0.withoutKeys() }
    self.grid = grid
    self.settings = settings
    let each = settings.keysPerFrame(rows: grid.rows, columns: grid.columns)
    keys = try gatherKeys(
      try settings.keyFrames(frames.count).map { index throws(CoveyError) in
        guard let keys = frames[index].keys, keys.count == each * channels else {
          throw CoveyError(.internalError, "frame \(index) has no keys")
        }
        return keys
      }, channels: channels, budget)
    affinity = Affinity(
      keys: keys.base, keyCount: keys.count / channels, channels: channels, heads: heads)
    try BLAS.claim(for: pool)
    defer { BLAS.release() }
    hierarchy =
      settings.mode == .reference
      ? nil
      : try WholeVideo.edge(frames, grid, affinity, settings, pool, budget, monitor).hierarchy()
    withExtendedLifetime((keys, frames)) {}
  }

  /// Bytes of the queries and keys kept.
  var featureBytes: Int {
    var bytes = keys.byteCount
    for frame in frames { bytes += frame.byteCount }
    return bytes
  }

  /// - Parameters:
  ///   - shot: of the video, with its first frame.
  ///   - last: id that earlier shots have.
  func segmentation(
    _ cut: Hierarchy.Cut, shot: Int = 0, firstFrame: Int = 0, after last: Int = 0,
    pool: ThreadPool, budget: Budget, monitor: Monitor
  ) throws(CoveyError) -> Segmentation {
    let (rows, columns) = grid
    try BLAS.claim(for: pool)
    defer { BLAS.release() }
    let centres = try hierarchy.map { hierarchy throws(CoveyError) in
      try self.centres(hierarchy, cut, pool, budget, monitor)
    }
    let patches = try PatchClusters(frames.count * rows * columns, settings, budget: budget)
    defer { withExtendedLifetime((keys, frames, patches)) {} }
    let count =
      if let centres {
        try WholeVideo.edge(frames, grid, affinity, settings, pool, budget, monitor).assign(
          centres, into: patches)
      } else {
        try ReferenceClustering(
          queries: WholeVideo.queries(frames), patches: rows * columns, affinity: affinity,
          window: settings.window, tau: settings.tau, pool: pool, budget: budget,
          monitor: monitor
        ).run(into: patches)
      }

    let tau = try hierarchy.map { hierarchy throws(CoveyError) in
      try hierarchy.tau(of: cut, monitor: monitor)
    } ?? cut.tau
    let number = rows * columns
    var finder = ObjectFinder(rows: rows, columns: columns, settings)
    let found = try finder.take(
      frames.enumerated().map { time, frame in
        ObjectFinder.Frame(
          labels: patches.labels.base + time * number, saliency: frame.saliency?.base,
          motion: frame.motion)
      }, time: firstFrame, patchSize: settings.patchSize, monitor: monitor, budget: budget)
    switch settings.output {
    case .objects, .kinds:
      let instances = finder.instances.instances
      var numbering = try Numbering(
        instances, settings, patches: number, frames: frames.count, tau: tau, after: last)
      if settings.output == .kinds {
        numbering = Numbering(kinds: instances, of: numbering, after: last)
      }
      return try Segmentation(
        found.instances, of: patches, numbering, totalClusters: count, rows: rows,
        columns: columns, tau: tau, shot: shot, monitor: monitor, budget: budget)
    case .clusters:
      var clusters = ClusterStatistics(rows: rows, columns: columns, clusters: count)
      for time in frames.indices {
        try monitor.check()
        clusters.add(
          patches.labels.base + time * number,
          probability: found.probability.base + time * number, time: firstFrame + time)
      }
      return try Segmentation(
        clusters: patches, Numbering(clusters, tau: tau, after: last), totalClusters: count,
        rows: rows, columns: columns, tau: tau, shot: shot, monitor: monitor, budget: budget)
    }
  }

  /// Of the clusters of a cut.
  private func centres(
    _ hierarchy: Hierarchy, _ cut: Hierarchy.Cut, _ pool: ThreadPool, _ budget: Budget,
    _ monitor: Monitor
  ) throws(CoveyError) -> Centres {
    guard cut.isLeftOpen, var finer = try MotionCut(hierarchy, cut, monitor: monitor) else {
      return try hierarchy.centres(cut, monitor: monitor, budget: budget)
    }
    let some = MotionCut.sample(of: frames.count).map { frames[$0] }
    let number = grid.rows * grid.columns
    let patches = try PatchClusters(some.count * number, hasNear: false, budget: budget)
    defer { withExtendedLifetime((some, patches)) {} }
    try Assignment.run(
      WholeVideo.queries(some), patches: number, affinity: affinity,
      to: hierarchy.centres(finer.groups, budget: budget), smoothing: grid, pool: pool,
      monitor: monitor, budget: budget, into: patches)
    for (index, frame) in some.enumerated() {
      guard let motion = frame.motion else { continue }
      finer.add(patches.labels.base + index * number, motion.evidence.base, count: number)
    }
    return try hierarchy.centres(finer.partition(), budget: budget)
  }

  private static func queries(_ frames: [EncodedFrame]) -> [UnsafePointer<Float>] {
    frames.map { UnsafePointer($0.queries.base) }
  }

  private static func edge(
    _ frames: [EncodedFrame], _ grid: (rows: Int, columns: Int), _ affinity: Affinity,
    _ settings: Settings, _ pool: ThreadPool, _ budget: Budget, _ monitor: Monitor
  ) -> EdgeClustering {
    EdgeClustering(
      queries: queries(frames), rows: grid.rows, columns: grid.columns, affinity: affinity,
      window: settings.window, queryPool: settings.queryPool, scale: settings.scale, pool: pool,
      budget: budget, monitor: monitor)
  }

  static func byteCount(
    frames: Int, rows: Int, columns: Int, channels: Int, settings: Settings, threads: Int
  ) -> Int {
    let patches = rows * columns
    let keyCount =
      settings.keyFrameCount(frames) * settings.keysPerFrame(rows: rows, columns: columns)
    let labels = Segmentation.byteCount(frames * patches, settings)
    let clusters = PatchClusters.byteCount(frames * patches, settings)
    let finding = ObjectFinder.byteCount(frames: frames, patches: patches)
    let keys = 4 * keyCount * channels
    guard settings.mode == .edge else {
      let clustering = ReferenceClustering.byteCount(
        frames: frames, patches: patches, window: settings.window, keyCount: keyCount,
        threads: threads)
      return clusters + keys + max(labels + clustering, labels + finding)
    }
    let building = EdgeClustering.hierarchyByteCount(
      frames: frames, rows: rows, columns: columns, window: settings.window,
      queryPool: settings.queryPool, keyCount: keyCount, channels: channels, threads: threads)
    let cutting = EdgeClustering.assignByteCount(
      frames: frames, rows: rows, columns: columns, window: settings.window,
      queryPool: settings.queryPool, keyCount: keyCount, threads: threads)
    // The first time, the frames still have the keys too; cut again, there are the
    // labels of before.
    return max(keys + building, max(keys, labels) + labels + clusters + max(cutting, finding))
  }

  /// Of what is kept to be cut again, beside features.
  static func treeByteCount(
    frames: Int, shots: Int, rows: Int, columns: Int, channels: Int, settings: Settings
  ) -> Int {
    guard settings.mode == .edge else { return 0 }
    let each = settings.keysPerFrame(rows: rows, columns: columns)
    let tree = EdgeClustering.treeByteCount(
      frames: frames, shots: shots, rows: rows, columns: columns, window: settings.window,
      queryPool: settings.queryPool, keyCount: settings.keyFrameCount(frames) * each)
    guard shots > 1 else { return tree }
    // And of all shots the keys.
    let keyFrames = (frames + settings.keyStride - 1) / settings.keyStride + shots - 1
    return tree + 4 * min(keyFrames, frames) * each * channels
  }
}

/// The keys of key frames, one after the other: [M, C].
func gatherKeys(
  _ frames: [Buffer<Float>], channels: Int, _ budget: Budget
) throws(CoveyError) -> Buffer<Float> {
  var total = 0
  for keys in frames { total += keys.count }
  guard total / channels <= Int(Int32.max) else {
    throw CoveyError(
      .unsupported,
      "\(frames.count) key frames with \(total / channels) keys: more than 2^31; a larger "
        + "key_stride or key_pool, or a key_budget, gives fewer")
  }
  let all = try Buffer<Float>(total, budget: budget, for: "keys of the video")
  var target = all.base
  for keys in frames {
    target.copy(from: keys.base, count: keys.count)
    target += keys.count
  }
  return all
}
