/// The outcome for a whole video: who owns which patch.
struct Segmentation {
  let rows: Int
  let columns: Int
  /// [T, N]: ids 1.. of objects (or of all clusters), 0 elsewhere.
  let ids: Buffer<UInt16>
  /// [T, N], in [0, 1].
  let confidence: Buffer<Float>
  let totalClusters: Int
  /// Of id 1, 2, ...
  let objects: [Track]

  /// One object over the whole video.
  struct Track {
    let objectness: Float
    let firstFrame: Int
  }

  /// - Parameter frames: at least one.
  init(
    _ frames: [EncodedFrame], rows: Int, columns: Int, settings: Settings,
    config: ModelConfig, pool: ThreadPool, budget: Budget, monitor: Monitor
  ) throws(CoveyError) {
    let patches = rows * columns
    self.rows = rows
    self.columns = columns
    ids = try Buffer(frames.count * patches, budget: budget, for: "label grids")
    confidence = try Buffer(frames.count * patches, budget: budget, for: "confidences")
    let labels = try Buffer<Int32>(frames.count * patches, budget: budget, for: "cluster labels")
    let keys = try Segmentation.gatherKeys(
      frames, settings, rows: rows, columns: columns, channels: config.embedDim, budget)

    defer { withExtendedLifetime((keys, frames)) {} }
    BLAS.claim()
    defer { BLAS.release() }
    let clustering = Clustering(
      queries: frames.map { UnsafePointer($0.queries.base) }, patches: patches,
      affinity: Affinity(
        keys: keys.base, keyCount: keys.count / config.embedDim,
        channels: config.embedDim, heads: settings.affinityHeads(config)),
      window: settings.window, tau: settings.tau, pool: pool, budget: budget, monitor: monitor)
    totalClusters = try clustering.run(labels: labels.base, confidence: confidence.base)

    let clusters = ClusterStatistics(
      labels.base, clusters: totalClusters, frames: frames, rows: rows, columns: columns)
    let numbering = try Numbering(clusters, settings)
    let (ids, numbers) = (ids.base, numbering.ids)
    for i in 0..<labels.count { ids[i] = numbers[Int(labels[i])] }
    objects = numbering.tracks
  }

  /// The keys of all key frames, one after the other: [M, C].
  private static func gatherKeys(
    _ frames: [EncodedFrame], _ settings: Settings, rows: Int, columns: Int, channels: Int,
    _ budget: Budget
  ) throws(CoveyError) -> Buffer<Float> {
    let each = settings.keysPerFrame(rows: rows, columns: columns) * channels
    let count = settings.keyFrameCount(frames.count)
    guard count * each / channels <= Int(Int32.max) else {
      throw CoveyError(
        .unsupported,
        "\(count) key frames of \(each / channels) keys: more than 2^31 keys in all; "
          + "a larger key_stride or key_pool gives fewer")
    }
    let all = try Buffer<Float>(count * each, budget: budget, for: "keys of the video")
    for index in 0..<count {
      guard let keys = frames[index * settings.keyStride].keys, keys.count == each else {
        throw CoveyError(.internalError, "frame \(index * settings.keyStride) has no keys")
      }
      (all.base + index * each).update(from: keys.base, count: each)
    }
    return all
  }

  static func byteCount(
    frames: Int, rows: Int, columns: Int, channels: Int, settings: Settings, threads: Int
  ) -> Int {
    let patches = rows * columns
    let keyCount =
      settings.keyFrameCount(frames) * settings.keysPerFrame(rows: rows, columns: columns)
    return frames * patches * (2 + 4 + 4) + 4 * keyCount * channels
      + Clustering.byteCount(
        frames: frames, patches: patches, window: settings.window, keyCount: keyCount,
        threads: threads)
  }
}

/// Which cluster gets which id, by the rules of the options.
private struct Numbering {
  /// Of each cluster; 0 for background.
  let ids: [UInt16]
  /// Of id 1, 2, ...
  let tracks: [Segmentation.Track]

  init(_ clusters: ClusterStatistics, _ settings: Settings) throws(CoveyError) {
    let foreground = Foreground(clusters)
    var chosen: [Int]
    switch settings.output {
    case .clusters:
      chosen = Array(0..<clusters.count)
    case .objects:
      chosen = (0..<clusters.count).filter {
        foreground.isObject[$0] && clusters[$0].largestShare > settings.minArea
      }
      if chosen.count > settings.maxObjects {
        chosen.sort { foreground.ranks($0, before: $1) }
        chosen.removeLast(chosen.count - settings.maxObjects)
      }
    }
    guard chosen.count <= Int(UInt16.max) else {
      throw CoveyError(
        .capacity,
        "\(chosen.count) clusters at tau \(NumberText.of(settings.tau)): a label map holds "
          + "\(UInt16.max); a larger tau gives fewer")
    }
    // In the order in which they come into sight, large ones first.
    chosen.sort { a, b in
      let (a, b) = (clusters[a], clusters[b])
      if a.firstFrame != b.firstFrame { return a.firstFrame < b.firstFrame }
      if a.firstArea != b.firstArea { return a.firstArea > b.firstArea }
      return a.index < b.index
    }
    var ids = [UInt16](repeating: 0, count: clusters.count)
    for (position, cluster) in chosen.enumerated() { ids[cluster] = UInt16(position + 1) }
    self.ids = ids
    tracks = chosen.map {
      Segmentation.Track(
        objectness: foreground.objectness[$0], firstFrame: clusters[$0].firstFrame)
    }
  }
}
