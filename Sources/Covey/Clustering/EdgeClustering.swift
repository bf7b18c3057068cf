import CCoveyKernels

/// The clustering of the maps of a whole video at a cost that a board can bear
/// ("edge" in docs/ALGORITHM.md): window by window to prototypes, these to a
/// tree, the tree cut, then every patch to its nearest centre.
struct EdgeClustering {
  /// Of every frame [N, C].
  let queries: [UnsafePointer<Float>]
  let rows: Int
  let columns: Int
  let affinity: Affinity
  let window: Int  // frames
  let queryPool: Int
  /// Nats: what maps differ by within one thing.  Where the tree is cut is said by tau;
  /// what it is made of does not depend on that.
  let scale: Float
  let pool: ThreadPool
  let budget: Budget
  let monitor: Monitor

  func hierarchy() throws(CoveyError) -> Hierarchy {
    let level = Prototyping(
      rows: rows, columns: columns, affinity: affinity, queryPool: queryPool,
      scale: scale, pool: pool, monitor: monitor, budget: budget)
    let starts = stride(from: 0, to: queries.count, by: window)
    var pieces = 0
    for start in starts { pieces += level.pieces(min(window, queries.count - start)) }
    monitor.begin(.cluster, total: pieces)
    var list = try Prototypes(channels: affinity.channels, budget: budget)
    for start in starts {
      let frames = queries[start..<min(start + window, queries.count)]
      try list.append(level.prototypes(frames))
      if list.count > Prototyping.mostPrototypes { list = try level.condensed(list) }
    }
    try monitor.end()
    monitor.begin(.merge, total: MapSet.piecesShifted(list.count))
    let hierarchy = try Hierarchy(
      list, affinity: affinity, scale: scale, pool: pool, monitor: monitor, budget: budget)
    try monitor.end()
    return hierarchy
  }

  /// As `ReferenceClustering.run`, for a cut of the hierarchy.
  func assign(
    _ hierarchy: Hierarchy, _ cut: Hierarchy.Cut, into clusters: PatchClusters
  ) throws(CoveyError) -> Int {
    try assign(hierarchy.centres(cut, monitor: monitor, budget: budget), into: clusters)
  }

  /// Of all patches, to the nearest of some centres.
  func assign(
    _ centres: Centres, into clusters: PatchClusters
  ) throws(CoveyError) -> Int {
    try Assignment.run(
      queries, patches: rows * columns, affinity: affinity, to: centres,
      smoothing: (rows, columns), pool: pool, monitor: monitor, budget: budget, into: clusters)
    return try clusters.renumber(clusters: centres.count, monitor: monitor)
  }

  static func hierarchyByteCount(
    frames: Int, rows: Int, columns: Int, window: Int, queryPool: Int, keyCount: Int,
    channels: Int, threads: Int
  ) -> Int {
    let window = min(window, frames)
    let each = likelyPrototypes(
      window * Prototyping.blocks(rows: rows, columns: columns, queryPool))
    let windows = (frames + window - 1) / window
    let listed = min(windows * each, Prototyping.mostPrototypes + each)
    let level = Prototyping.byteCount(
      rows: rows, columns: columns, window: window, queryPool: queryPool, keyCount: keyCount,
      channels: channels, threads: threads)
    // Of the whole list, or before that of what is to be condensed.
    let linking = MapSet.shiftedByteCount(listed, keyCount: keyCount, threads: threads)
    return Prototypes.byteCount(listed, channels: channels) + max(level, linking)
  }

  static func assignByteCount(
    frames: Int, rows: Int, columns: Int, window: Int, queryPool: Int, keyCount: Int, threads: Int
  ) -> Int {
    let prototypes = treePrototypes(frames, rows, columns, window, queryPool)
    let centres = min(prototypes, Hierarchy.mostClusters)
    return 4 * (prototypes + centres) * keyCount
      + Assignment.byteCount(
        keyCount: keyCount, centres: centres, threads: threads, smoothing: rows * columns)
  }

  /// Of what the hierarchies of the shots keep.
  static func treeByteCount(
    frames: Int, shots: Int, rows: Int, columns: Int, window: Int, queryPool: Int, keyCount: Int
  ) -> Int {
    4 * treePrototypes(frames, rows, columns, window, queryPool, shots: shots) * keyCount
  }

  private static func treePrototypes(
    _ frames: Int, _ rows: Int, _ columns: Int, _ window: Int, _ queryPool: Int, shots: Int = 1
  ) -> Int {
    let window = min(window, frames)
    let blocks = window * Prototyping.blocks(rows: rows, columns: columns, queryPool)
    return min(
      ((frames + window - 1) / window + shots - 1) * likelyPrototypes(blocks),
      shots * Prototyping.mostPrototypes)
  }

  /// What the memory estimate reckons with: prototypes of the blocks of a window.
  static func likelyPrototypes(_ blocks: Int) -> Int { min(blocks, max(96, blocks / 4 + 32)) }
}
