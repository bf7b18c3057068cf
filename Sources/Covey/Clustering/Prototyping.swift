import CCoveyKernels

/// Level 1 of the `edge` clustering: the patches of a window to prototypes.
///
/// Queries are averaged over blocks of patches, whose maps are linked and cut
/// well within the scale: what looks alike within the window becomes one prototype.
/// Blocks are fixed in place, so that no noise can move them.
struct Prototyping {
  let rows: Int
  let columns: Int
  let affinity: Affinity
  /// Blocks of queryPool x queryPool patches.
  let queryPool: Int
  /// Nats: what the affinity's maps differ by within one thing.
  let scale: Float
  let pool: ThreadPool
  let monitor: Monitor
  let budget: Budget

  /// The part of the scale up to which blocks of a window are one prototype.
  private static let radiusShare: Float = 0.5
  /// More than this many prototypes become half of it.
  static let mostPrototypes = 1024

  /// - Parameter frames: queries of each frame of the window [N, C]
  func prototypes(_ frames: ArraySlice<UnsafePointer<Float>>) throws(CoveyError) -> Prototypes {
    let channels = affinity.channels
    let each = Prototyping.blocks(rows: rows, columns: columns, queryPool)
    let leaves = try Buffer<Float>(
      frames.count * each * channels, budget: budget, for: "queries of blocks")
    defer { withExtendedLifetime(leaves) {} }
    var target = leaves.base
    for frame in frames {
      Correlator.averageBlocks(
        frame, rows: rows, columns: columns, channels: channels, pool: queryPool, into: target)
      target += each * channels
    }
    let sizes = blockSizes()
    var weights: [Float] = []
    for _ in frames { weights += sizes }
    return try linked(leaves.base, weights) {
      $0.mergeCount(upTo: scale * Prototyping.radiusShare)
    }
  }

  /// Half of the most there may be, those joined that are nearest to each other.
  func condensed(_ prototypes: Prototypes) throws(CoveyError) -> Prototypes {
    monitor.isCounting = false
    defer {
      monitor.isCounting = true
      withExtendedLifetime(prototypes.queries) {}
    }
    return try linked(prototypes.queries.base, prototypes.weights) { tree in
      min(tree.merges.count, tree.leafCount - Prototyping.mostPrototypes / 2)
    }
  }

  private func linked(
    _ queries: UnsafePointer<Float>, _ weights: [Float], cut: (MergeTree) -> Int
  ) throws(CoveyError) -> Prototypes {
    let set = try MapSet(
      queries, count: weights.count, affinity: affinity, pool: pool, monitor: monitor,
      budget: budget)
    let distances = try set.distances(pool: pool, monitor: monitor, budget: budget)
    defer { withExtendedLifetime(distances) {} }
    let tree = try Linkage.tree(distances.base, weights: weights, monitor: monitor)
    return try Prototypes(
      meansOf: queries, weights, tree.partition(merging: cut(tree)),
      channels: affinity.channels, budget: budget)
  }

  /// Patches of each block; those cut off by the border have fewer.
  private func blockSizes() -> [Float] {
    var sizes: [Float] = []
    for top in stride(from: 0, to: rows, by: queryPool) {
      for left in stride(from: 0, to: columns, by: queryPool) {
        let height = min(queryPool, rows - top)
        sizes.append(Float(height * min(queryPool, columns - left)))
      }
    }
    return sizes
  }

  static func blocks(rows: Int, columns: Int, _ size: Int) -> Int {
    ((rows + size - 1) / size) * ((columns + size - 1) / size)
  }

  /// Pieces of work that `prototypes` reports for so many frames.
  func pieces(_ frames: Int) -> Int {
    MapSet.pieces(frames * Prototyping.blocks(rows: rows, columns: columns, queryPool))
  }

  static func byteCount(
    rows: Int, columns: Int, window: Int, queryPool: Int, keyCount: Int, channels: Int,
    threads: Int
  ) -> Int {
    let leaves = window * blocks(rows: rows, columns: columns, queryPool)
    return 4 * 2 * leaves * channels
      + MapSet.byteCount(leaves, keyCount: keyCount, threads: threads)
  }
}
