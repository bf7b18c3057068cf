/// The clustering of the maps of a whole video, as the paper's code does it
/// ("reference" in docs/ALGORITHM.md): level 1 window by window, higher levels
/// over the centres of all windows until nothing merges, then every patch to
/// its nearest centre.
struct ReferenceClustering {
  /// Of every frame [N, C].
  let queries: [UnsafePointer<Float>]
  let patches: Int  // N
  let affinity: Affinity
  let window: Int  // frames
  let tau: Float  // nats
  let pool: ThreadPool
  let budget: Budget
  let monitor: Monitor

  /// - Parameter clusters: of [T, N] patches; receives 0 ..< the count returned, in
  ///   the order of their centres.
  /// - Returns: the number of clusters that own a patch.
  func run(into clusters: PatchClusters) throws(CoveyError) -> Int {
    let centres = try mergeLevels(levelOne())
    try Assignment.run(
      queries, patches: patches, affinity: affinity, to: centres, pool: pool, monitor: monitor,
      budget: budget, into: clusters)
    return try clusters.renumber(clusters: centres.count, monitor: monitor)
  }

  private func levelOne() throws(CoveyError) -> Centres {
    let capacity = min(window, queries.count) * patches
    let starts = stride(from: 0, to: queries.count, by: window)
    var pieces = 0
    for start in starts {
      let count = min(window, queries.count - start) * patches
      pieces += MeanShift.pieces(count) + GreedyMerge.pieces(count)
    }
    monitor.begin(.cluster, total: pieces)
    let keyCount = affinity.keyCount
    let centres = try Centres(keyCount: keyCount, budget: budget)
    let meanShift = try MeanShift(
      capacity: capacity, keyCount: keyCount, pool: pool, monitor: monitor, budget: budget)
    let merge = try GreedyMerge(
      capacity: capacity, keyCount: keyCount, pool: pool, monitor: monitor, budget: budget)
    for start in starts {
      let frames = Array(queries[start..<min(start + window, queries.count)])
      try meanShift.run(frames, patches: patches, affinity: affinity, tau: tau)
      try merge.run(
        meanShift.shifted.base, logs: meanShift.logs.base, count: frames.count * patches,
        tau: tau, pieces: GreedyMerge.pieces(frames.count * patches), into: centres)
    }
    try monitor.end()
    return centres
  }

  /// - Parameter levelOne: given up, so that its memory goes with the first
  ///   level that replaces it.
  private func mergeLevels(_ levelOne: consuming Centres) throws(CoveyError) -> Centres {
    var centres = levelOne
    let keyCount = centres.keyCount
    // How many levels there will be is not known: every one is half of what is left.
    var left = 1 << 20
    monitor.begin(.merge, total: left)
    while true {
      let (count, maps) = (centres.count, centres.maps)
      let logs = try Buffer<Float>(
        count * keyCount, budget: budget, for: "logarithms of the centres")
      let merge = try GreedyMerge(
        capacity: count, keyCount: keyCount, pool: pool, monitor: monitor, budget: budget)
      let merged = try Centres(keyCount: keyCount, budget: budget)
      defer { withExtendedLifetime(logs) {} }
      try logarithms(maps, rows: count, n: keyCount, into: logs.base)
      try merge.run(maps, logs: logs.base, count: count, tau: tau, pieces: left / 2, into: merged)
      left -= left / 2
      if merged.count == count { break }
      centres = merged
    }
    try monitor.end()
    return centres
  }

  /// On all threads: of thousands of centres this takes a while.
  private func logarithms(
    _ maps: UnsafePointer<Float>, rows: Int, n: Int, into logs: UnsafeMutablePointer<Float>
  ) throws(CoveyError) {
    let monitor = monitor
    pool.run(rows) { row, worker in
      if monitor.isCancelled { return }
      Divergence.logarithms(maps + row * n, rows: 1, n: n, into: logs + row * n)
      monitor.pulse(worker: worker)
    }
    try monitor.check()
  }

  /// Bytes `run` takes beside its arguments while no window has more than one
  /// centre for every 16 patches.
  static func byteCount(
    frames: Int, patches: Int, window: Int, keyCount: Int, threads: Int
  ) -> Int {
    let capacity = min(window, frames) * patches
    let centres = frames * patches / 16 + frames
    let list = Centres.byteCount(keyCount: keyCount, centres: centres)
    let levelOne =
      list + MeanShift.byteCount(capacity: capacity, keyCount: keyCount, threads: threads)
      + GreedyMerge.byteCount(capacity: capacity, keyCount: keyCount)
    let levels =
      2 * list + 4 * centres * keyCount
      + GreedyMerge.byteCount(capacity: centres, keyCount: keyCount)
    let assigning =
      list + Assignment.byteCount(keyCount: keyCount, centres: centres, threads: threads)
    return max(levelOne, levels, assigning)
  }
}
