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
  /// Of each cluster of the bank; 0: has not been an object yet.
  private var ids: [UInt16] = []
  /// Whether its patches carry its id.
  private var isShown: [Bool] = []
  private var tracks: [Segmentation.Track] = []
  private var lastID: UInt16 = 0
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
  }

  /// The next shot: nothing is remembered of the one before but what was handed out.
  init(after other: Stream) {
    self.init(
      grid: other.grid, settings: other.settings, channels: other.channels, heads: other.heads)
    tracks = other.tracks
    lastID = other.lastID
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
      cut: settings.tau * Hierarchy.reach,
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
    for (index, frame) in frames.enumerated() {
      statistics.add(
        labels + index * patches, saliency: frame.saliency?.base, time: time + index)
    }
    time += frames.count
    // As if clusters without a patch did not exist.
    let known = statistics
    try clusters.renameNear(monitor) { known[Int($0)].patches == 0 ? -1 : $0 }
    number()
    var shown = ids
    for i in 0..<ids.count where !isShown[i] { shown[i] = 0 }
    return try Segmentation(
      clusters, ids: shown, objects: tracks, totalClusters: totalClusters, rows: rows,
      columns: columns, tau: settings.tau, shot: shot, monitor: monitor, budget: budget)
  }

  /// Statistics and ids keep in step with the bank.
  private mutating func follow(_ sighting: CentreBank.Sighting, before: Int) {
    for index in sighting.forgotten {
      statistics.remove(at: index)
      ids.remove(at: index)
      isShown.remove(at: index)
    }
    for _ in before - sighting.forgotten.count..<bank.count {
      statistics.appendCluster()
      ids.append(0)
      isShown.append(false)
      totalClusters += 1
    }
  }

  /// Gives ids to clusters that have become objects.
  private mutating func number() {
    let foreground = Foreground(statistics)
    var order: [Int] = []
    for cluster in 0..<statistics.count {
      switch settings.output {
      case .clusters:
        isShown[cluster] = statistics[cluster].patches > 0
      case .objects:
        isShown[cluster] = foreground.isObject(
          statistics[cluster], minArea: settings.minArea, wasObject: isShown[cluster])
      }
      if isShown[cluster], ids[cluster] == 0 { order.append(cluster) }
    }
    let (clusters, known) = (statistics, ids)
    order.sort { clusters.comesIntoSight($0, before: $1) }
    if settings.output == .objects {
      let room = max(0, settings.maxObjects - known.count { $0 > 0 })
      for cluster in order.dropFirst(room) { isShown[cluster] = false }
      order = Array(order.prefix(room))
    }
    for cluster in order { ids[cluster] = nextID() }
    // New ids follow each other, but for those that serve again.
    for cluster in order where Int(ids[cluster]) > tracks.count {
      tracks.append(foreground.track(statistics[cluster]))
    }
    for cluster in 0..<ids.count where ids[cluster] > 0 {
      tracks[Int(ids[cluster]) - 1] = foreground.track(statistics[cluster])
    }
  }

  /// The next higher one; after 65535 those that the bank has forgotten serve
  /// again.
  private mutating func nextID() -> UInt16 {
    repeat { lastID = lastID == .max ? 1 : lastID + 1 } while ids.contains(lastID)
    return lastID
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
    return Segmentation.byteCount(patches, settings) + PatchClusters.byteCount(patches, settings)
      + 4 * keyCount * channels + max(level, matching, assigning)
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
