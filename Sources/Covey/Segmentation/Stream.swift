/// A video without end: clustered window by window, with a memory of fixed size.
///
/// A value: whoever takes in a window on a copy, and keeps the copy only if that
/// succeeded, never has half a window.
struct Stream {
  private let grid: (rows: Int, columns: Int)
  private let settings: Settings
  private let channels: Int
  private let heads: Int
  private var keys: KeyBank
  private var bank: CentreBank
  private var statistics: ClusterStatistics
  private var finder: ObjectFinder
  /// Of the clusters of the bank, or of the instances.
  private var numbering = StreamNumbering()
  private var totalClusters = 0
  private var shot = 0
  private(set) var time = 0  // frames taken in

  init(grid: (rows: Int, columns: Int), settings: Settings, channels: Int, heads: Int) {
    self.grid = grid
    self.settings = settings
    self.channels = channels
    self.heads = heads
    keys = KeyBank(budget: settings.keyBudget)
    bank = CentreBank(capacity: settings.bankClusters)
    statistics = ClusterStatistics(rows: grid.rows, columns: grid.columns, clusters: 0)
    finder = ObjectFinder(rows: grid.rows, columns: grid.columns, settings)
  }

  /// The next shot: nothing is remembered of the one before but what was handed out.
  init(after other: Stream) {
    self.init(
      grid: other.grid, settings: other.settings, channels: other.channels, heads: other.heads)
    numbering = StreamNumbering(after: other.numbering)
    totalClusters = other.totalClusters
    shot = other.shot + 1
    time = other.time
  }

  /// Of the key frames that serve for what is to come.
  var keyBytes: Int {
    var bytes = 0
    for frame in keys.frames { bytes += frame.keys.byteCount }
    return bytes
  }

  /// - Parameter frames: of the next window, at least one.
  mutating func take(
    _ frames: [EncodedFrame], pool: ThreadPool, budget: Budget, monitor: Monitor
  ) throws(CoveyError) -> Segmentation {
    let (rows, columns) = grid
    let patches = rows * columns
    for (index, frame) in frames.enumerated() {
      if let key = frame.keys { keys.append(key, time: time + index) }
    }
    let gathered = try gatherKeys(keys.frames.map { $0.keys }, channels: channels, budget)
    let affinity = Affinity(
      keys: gathered.base, keyCount: gathered.count / channels, channels: channels, heads: heads)
    let clusters = try PatchClusters(frames.count * patches, settings, budget: budget)
    defer { withExtendedLifetime((gathered, frames, clusters)) {} }
    try BLAS.claim(for: pool)
    defer { BLAS.release() }

    let level = Prototyping(
      rows: rows, columns: columns, affinity: affinity, queryPool: settings.queryPool,
      scale: settings.scale, pool: pool, monitor: monitor, budget: budget)
    let queries = frames.map { UnsafePointer($0.queries.base) }
    monitor.begin(.cluster, total: level.pieces(frames.count))
    let prototypes = try level.prototypes(queries[...])
    try monitor.end()
    let before = bank.count
    let sighting = try bank.take(
      prototypes, affinity: affinity, scale: settings.scale,
      cut: settings.streamCut,
      most: settings.maxClusters == 0 ? .max : settings.maxClusters, pool: pool,
      budget: budget, monitor: monitor)
    follow(sighting, before: before)

    try Assignment.run(
      queries, patches: patches, affinity: affinity, to: sighting.centres, smoothing: grid,
      pool: pool, monitor: monitor, budget: budget, into: clusters)
    let labels = clusters.labels.base
    // From places among the centres to places in the bank.
    for i in 0..<clusters.labels.count { labels[i] = Int32(sighting.seen[Int(labels[i])]) }
    try clusters.renameNear(monitor) { Int32(sighting.seen[Int($0)]) }
    let found = try finder.take(
      frames.enumerated().map { index, frame in
        ObjectFinder.Frame(
          labels: labels + index * patches, saliency: frame.saliency?.base, motion: frame.motion)
      }, time: time, patchSize: settings.patchSize, monitor: monitor, budget: budget)
    for index in frames.indices {
      statistics.add(
        labels + index * patches, probability: found.probability.base + index * patches,
        time: time + index)
    }
    time += frames.count
    // As if clusters without a patch did not exist.
    let known = statistics
    try clusters.renameNear(monitor) { known[Int($0)].patches == 0 ? -1 : $0 }
    let tau = settings.streamCut / Hierarchy.reach
    let segmentation =
      switch settings.output {
      case .objects:
        try Segmentation(
          found.instances, of: clusters, numberedInstances(), totalClusters: totalClusters,
          rows: rows, columns: columns, tau: tau, shot: shot, monitor: monitor, budget: budget)
      case .kinds:
        try Segmentation(
          found.instances, of: clusters, numberedKinds(), totalClusters: totalClusters,
          rows: rows, columns: columns, tau: tau, shot: shot, monitor: monitor, budget: budget)
      case .clusters:
        try Segmentation(
          clusters: clusters, numberedClusters(), totalClusters: totalClusters, rows: rows,
          columns: columns, tau: tau, shot: shot, monitor: monitor, budget: budget)
      }
    for index in finder.instances.forget(before: time) where settings.output == .objects {
      numbering.remove(at: index)
    }
    return segmentation
  }

  /// Statistics and ids keep in step with the bank.
  private mutating func follow(_ sighting: CentreBank.Sighting, before: Int) {
    for index in sighting.forgotten {
      statistics.remove(at: index)
      finder.forgetCluster(index)
      if settings.output != .objects { numbering.remove(at: index) }
    }
    for _ in before - sighting.forgotten.count..<bank.count {
      statistics.appendCluster()
      totalClusters += 1
    }
  }

  /// The clusters that have had a patch.
  private mutating func numberedClusters() -> Numbering {
    let clusters = statistics
    return numbering.update(
      count: clusters.count, most: .max, isShown: { clusters[$0].patches > 0 },
      precedes: { clusters.comesIntoSight($0, before: $1) }, track: { clusters[$0].track })
  }

  private mutating func numberedInstances() -> Numbering {
    let (instances, settings, patches, time) = (
      finder.instances.instances, settings, grid.rows * grid.columns, time
    )
    return numbering.update(
      count: instances.count, most: settings.maxObjects,
      isShown: { instances[$0].isThing(settings, patches: patches, frames: time) },
      precedes: { instances[$0].comesIntoSight(before: instances[$1], else: $0 < $1) },
      track: { instances[$0].track })
  }

  /// Of the instances, those of the cluster that most of one is of.
  private mutating func numberedKinds() -> Numbering {
    let (instances, settings, patches, time) = (
      finder.instances.instances, settings, grid.rows * grid.columns, time
    )
    let things = instances.map {
      $0.kind >= 0 && $0.isThing(settings, patches: patches, frames: time)
    }
    var isShown = [Bool](repeating: false, count: statistics.count)
    for index in instances.indices where things[index] {
      isShown[Int(instances[index].kind)] = true
    }
    let clusters = statistics
    let kinds = numbering.update(
      count: clusters.count, most: settings.maxObjects, isShown: { isShown[$0] },
      precedes: { clusters.comesIntoSight($0, before: $1) }, track: { clusters[$0].track })
    return Numbering(
      ids: instances.indices.map {
        things[$0] ? kinds.ids[Int(instances[$0].kind)] : 0
      }, tracks: kinds.tracks)
  }

  /// While a window is taken in, beside its frames and the bank.
  static func byteCount(
    frames: Int, rows: Int, columns: Int, channels: Int, settings: Settings, threads: Int
  ) -> Int {
    let window = min(settings.window, frames)
    let patches = window * rows * columns
    let keyCount =
      settings.keyFrameCount(frames) * settings.keysPerFrame(rows: rows, columns: columns)
    let prototypes = likelyPrototypes(frames: frames, rows: rows, columns: columns, settings)
    let level = Prototyping.byteCount(
      rows: rows, columns: columns, window: window, queryPool: settings.queryPool,
      keyCount: keyCount, channels: channels, threads: threads)
    let centres = min(settings.bankClusters, prototypes)
    let matching = CentreBank.byteCount(
      capacity: settings.bankClusters, windows: (frames - 1) / window, window: prototypes,
      keyCount: keyCount, channels: channels, threads: threads)
    let assigning =
      Centres.byteCount(keyCount: keyCount, centres: centres)
      + Assignment.byteCount(
        keyCount: keyCount, centres: centres, threads: threads, smoothing: rows * columns)
    let finding = ObjectFinder.byteCount(frames: window, patches: rows * columns)
    return Segmentation.byteCount(patches, settings) + PatchClusters.byteCount(patches, settings)
      + 4 * keyCount * channels + max(level, matching, assigning, finding)
  }

  /// Of the bank, before a window and after.
  static func bankByteCount(
    frames: Int, rows: Int, columns: Int, channels: Int, settings: Settings
  ) -> Int {
    let prototypes = likelyPrototypes(frames: frames, rows: rows, columns: columns, settings)
    return 2 * 4 * channels
      * CentreBank.mostKnown(
        capacity: settings.bankClusters,
        windows: (frames + settings.window - 1) / settings.window, window: prototypes)
  }

  private static func likelyPrototypes(
    frames: Int, rows: Int, columns: Int, _ settings: Settings
  ) -> Int {
    EdgeClustering.likelyPrototypes(
      min(settings.window, frames)
        * Prototyping.blocks(rows: rows, columns: columns, settings.queryPool))
  }
}
