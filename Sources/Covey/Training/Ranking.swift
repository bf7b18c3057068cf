/// The patches of key frames in the order in which queries attend to them.
///
/// For a query (frame t, position u) and a key frame b, the N entries of the mean
/// map a[(t, u), (b, .)] by decreasing size, ties by patch: the first are its
/// positives there, the last its negatives.
struct Ranking {
  /// Of the losses; cut down to N each where a frame has fewer patches, and then a
  /// patch may be both.
  struct Counts {
    var positives = 30  // semantic consistency, in every key frame
    var negatives = 200
    var motionPositives = 10  // motion consistency, in the query's own frame
    var motionNegatives = 50

    func cut(_ patches: Int) -> Counts {
      Counts(
        positives: min(positives, patches), negatives: min(negatives, patches),
        motionPositives: min(motionPositives, patches),
        motionNegatives: min(motionNegatives, patches))
    }
  }

  let shape: ClipShape
  let counts: Counts
  let perFrame: Int  // queries of a frame, at the same positions in all
  let queries: Buffer<Int32>  // [Q] tokens, frame by frame
  /// [Q, T, positives + negatives] tokens.
  let semantic: Buffer<Int32>
  /// [Q, motionPositives + motionNegatives] tokens of the query's frame.
  let motion: Buffer<Int32>
  private let keys: Buffer<UInt64>  // [T, N]

  init(
    _ shape: ClipShape, positions: Int, _ counts: Counts, budget: Budget?
  ) throws(CoveyError) {
    self.shape = shape
    self.counts = counts.cut(shape.patches)
    perFrame = positions
    let count = shape.frames * positions
    let ranked = self.counts.positives + self.counts.negatives
    let moved = self.counts.motionPositives + self.counts.motionNegatives
    queries = try Buffer(count, budget: budget, for: "queries of a clip")
    semantic = try Buffer(count * shape.frames * ranked, budget: budget, for: "ranks of patches")
    motion = try Buffer(count * moved, budget: budget, for: "ranks of patches")
    keys = try Buffer(shape.frames * shape.patches, budget: budget, for: "patches to be ranked")
  }

  var queryCount: Int { queries.count }  // Q

  func place(_ positions: UnsafePointer<Int32>) {
    for index in 0..<queryCount {
      queries.base[index] = Int32(
        shape.token(index / perFrame, Int(positions[index % perFrame])))
    }
  }

  /// - Parameter maps: [Q, n], of `queries`
  func rank(_ maps: UnsafePointer<Float>, pool: ThreadPool, monitor: Monitor) {
    let (shape, counts, perFrame, n) = (shape, counts, perFrame, shape.tokens)
    let (semantic, motion, queries) = (semantic.base, motion.base, queryCount)
    let (patches, scratch) = (shape.patches, keys.base)
    let ranked = counts.positives + counts.negatives
    let moved = counts.motionPositives + counts.motionNegatives
    pool.run(shape.frames) { frame, worker in
      let first = shape.firstPatch(frame)
      let keys = UnsafeMutableBufferPointer(start: scratch + frame * patches, count: patches)
      for query in 0..<queries where !monitor.isCancelled {
        let row = maps + query * n + first
        let best = semantic + (query * shape.frames + frame) * ranked
        let moving = query / perFrame == frame ? motion + query * moved : nil

        // No map is negative, so its bits are in the order of its values; of equal ones
        // the patch with the smaller index ranks higher.
        for patch in 0..<patches {
          keys[patch] = UInt64(~row[patch].bitPattern) << 32 | UInt64(patch)
        }
        sortSmallest(keys, count: max(counts.positives, moving == nil ? 0 : counts.motionPositives))
        func patch(_ rank: Int) -> Int32 { Int32(first + Int(keys[rank] & 0xffff_ffff)) }
        for rank in 0..<counts.positives { best[rank] = patch(rank) }
        if let moving { for rank in 0..<counts.motionPositives { moving[rank] = patch(rank) } }

        // The same from behind: the last is the smallest complement.
        for patch in 0..<patches {
          keys[patch] = UInt64(row[patch].bitPattern) << 32 | UInt64(~UInt32(patch))
        }
        sortSmallest(keys, count: max(counts.negatives, moving == nil ? 0 : counts.motionNegatives))
        func last(_ rank: Int) -> Int32 { Int32(first + Int(~UInt32(truncatingIfNeeded: keys[rank]))) }
        for rank in 0..<counts.negatives { best[ranked - 1 - rank] = last(rank) }
        if let moving {
          for rank in 0..<counts.motionNegatives { moving[moved - 1 - rank] = last(rank) }
        }
        monitor.pulse(worker: worker)
      }
    }
    withExtendedLifetime(self) {}
  }
}
