import CCoveyKernels

/// Semantic consistency: in every key frame, the patches that a query attends to
/// most should have an output like its own, those it attends to least should not.
///
///     L = mean relu(0.9 - cos(s_j, s_q)) over positives j
///       + mean relu(cos(s_j, s_q) - 0.1) over negatives j
///
/// over queries, key frames and patches; s: the block's output.  Gradients flow
/// through both sides.
struct SemanticLoss {
  static let positiveMargin: Float = 0.9
  static let negativeMargin: Float = 0.1

  private let layout: BlockLayout
  private let shape: ClipShape
  private let inverseNorms: Buffer<Float>  // [n]
  private let dQueries: Buffer<Float>  // [T, Q, C]: from each key frame
  private let losses: Buffer<Double>  // [T]

  init(
    _ layout: BlockLayout, _ ranking: Ranking, budget: Budget?
  ) throws(CoveyError) {
    (self.layout, shape) = (layout, ranking.shape)
    inverseNorms = try Buffer(shape.tokens, budget: budget, for: "norms of the outputs")
    dQueries = try Buffer(
      shape.frames * ranking.queryCount * layout.channels, budget: budget,
      for: "gradients of the queries")
    losses = try Buffer(shape.frames, budget: budget, for: "losses of the frames")
  }

  /// - Parameters:
  ///   - outputs: s [n, C]
  ///   - weights: [Q], those of a frame adding up to 1; nil for equal ones
  ///   - gradients: [n, C], set to `scale` times the loss's
  /// - Throws: `.cancelled`.
  func run(
    _ outputs: UnsafePointer<Float>, _ ranking: Ranking, weights: UnsafePointer<Float>?,
    scale: Float, gradients: UnsafeMutablePointer<Float>, pool: ThreadPool, monitor: Monitor
  ) throws(CoveyError) -> Double {
    let (shape, counts, c) = (shape, ranking.counts, layout.channels)
    let (n, queries, perFrame) = (shape.tokens, ranking.queryCount, ranking.perFrame)
    let (norms, dQueries, losses) = (inverseNorms.base, dQueries.base, losses.base)
    let (tokens, ranked) = (ranking.queries.base, ranking.semantic.base)
    let each = counts.positives + counts.negatives
    let kernels = cv_rows().pointee

    let tiles = RowTiles(rows: n, exactly: 256)
    pool.run(tiles.count) { index, _ in
      for token in tiles.range(index) {
        let row = outputs + token * c
        norms[token] = Float(1 / max(kernels.dot(row, row, c).squareRoot(), 1e-12))
        (gradients + token * c).update(repeating: 0, count: c)
      }
    }

    // A frame's patches are written by its task alone.
    pool.run(shape.frames) { frame, worker in
      let dFrame = dQueries + frame * queries * c
      dFrame.update(repeating: 0, count: queries * c)
      var loss = 0.0
      for query in 0..<queries where !monitor.isCancelled {
        let token = Int(tokens[query])
        let (own, ownNorm) = (outputs + token * c, norms[token])
        let weight = weights.map { Double($0[query]) } ?? 1 / Double(perFrame)
        let share = weight / Double(shape.frames * shape.frames)
        for rank in 0..<each {
          let other = Int(ranked[(query * shape.frames + frame) * each + rank])
          let (row, norm) = (outputs + other * c, norms[other])
          let cosine = Float(kernels.dot(own, row, c)) * ownNorm * norm
          let isPositive = rank < counts.positives
          let hinge =
            isPositive ? SemanticLoss.positiveMargin - cosine : cosine - SemanticLoss.negativeMargin
          guard hinge > 0 || hinge.isNaN else { continue }
          let part = share / Double(isPositive ? counts.positives : counts.negatives)
          loss += Double(hinge) * part
          // d cos / d s_j = (s_q / |s_q| - cos s_j / |s_j|) / |s_j|
          let slope = Float(isPositive ? -part : part) * scale
          let target = gradients + other * c
          kernels.add_scaled(own, c, slope * ownNorm * norm, target)
          kernels.add_scaled(row, c, -slope * cosine * norm * norm, target)
          kernels.add_scaled(row, c, slope * ownNorm * norm, dFrame + query * c)
          kernels.add_scaled(own, c, -slope * cosine * ownNorm * ownNorm, dFrame + query * c)
        }
        monitor.pulse(worker: worker)
      }
      losses[frame] = loss
    }
    try monitor.check()
    var loss = 0.0
    for frame in 0..<shape.frames {
      loss += losses[frame]
      for query in 0..<queries {
        kernels.accumulate(
          dQueries + (frame * queries + query) * c, c, gradients + Int(tokens[query]) * c)
      }
    }
    withExtendedLifetime((self, ranking)) {}
    return loss
  }
}
