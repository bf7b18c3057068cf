import CCoveyKernels

/// What one clip says about the parameters: both losses and their gradients.
///
///     features -> block -> maps of the queries -> ranks
///       -> semantic consistency of outputs, motion consistency of maps -> gradients
///
/// The rows of the maps that a loss needs are computed when it needs them; see
/// `AttentionTraining`.  Results do not depend on the number of threads.
struct TrainingStep {
  struct Options {
    var rates = DropoutRates()
    var counts = Ranking.Counts()
    var weighting = EntropyWeighting.motion
  }

  struct Losses {
    var semantic = 0.0
    var motion = 0.0
    var total: Double { semantic + motion }
  }

  let block: BlockTraining
  let options: Options
  private let ranking: Ranking
  private let queries: QueryMaps
  private let semantic: SemanticLoss
  private var motion: MotionLoss

  /// - Parameter positions: random ones of a frame, the same in all.
  /// - Throws: `.argument`, `.memory`.
  init(
    _ layout: BlockLayout, _ shape: ClipShape, positions: Int, _ options: Options,
    threads: Int, budget: Budget?
  ) throws(CoveyError) {
    guard (1...shape.patches).contains(positions), positions <= 4096 else {
      throw CoveyError(
        .argument,
        "positions: expected 1 to \(min(shape.patches, 4096)), found \(positions)")
    }
    let counts = options.counts
    for count in [
      counts.positives, counts.negatives, counts.motionPositives, counts.motionNegatives,
    ] where count < 1 {
      throw CoveyError(.argument, "positives, negatives: expected 1 or more, found \(count)")
    }
    for rate in [options.rates.attention, options.rates.projection, options.rates.mlp]
    where !(rate >= 0 && rate <= 0.99) {
      throw CoveyError(
        .argument, "dropout: expected 0 to 0.99, found \(NumberText.of(rate))")
    }
    self.options = options
    block = try BlockTraining(layout, shape, threads: threads, budget: budget)
    ranking = try Ranking(shape, positions: positions, counts, budget: budget)
    queries = try QueryMaps(shape, perFrame: positions, budget: budget)
    semantic = try SemanticLoss(layout, ranking, budget: budget)
    motion = try MotionLoss(ranking, threads: threads, budget: budget)
  }

  /// - Parameters:
  ///   - parameters: [layout.count]
  ///   - features: [n, C]; of every frame the CLS token, then its patches
  ///   - positions: different patches of a frame, as many as for `init`
  ///   - random: decides what is dropped
  ///   - scale: times this, gradients are added to `gradients` [layout.count]: one
  ///     over the clips of a step
  /// - Throws: `.argument` for positions beyond the frame; `.cancelled`, and
  ///   `gradients` are undefined then.
  mutating func run(
    _ parameters: UnsafePointer<Float>, features: UnsafePointer<Float>,
    positions: UnsafePointer<Int32>, _ random: CounterRandom, scale: Float = 1,
    into gradients: UnsafeMutablePointer<Float>, pool: ThreadPool, monitor: Monitor = Monitor()
  ) throws(CoveyError) -> Losses {
    let (layout, shape) = (block.layout, block.shape)
    for index in 0..<ranking.perFrame
    where positions[index] < 0 || positions[index] >= shape.patches {
      throw CoveyError(
        .argument,
        "positions[\(index)]: expected 0 to \(shape.patches - 1), found \(positions[index])")
    }
    let dropouts = BlockTraining.Dropouts(options.rates, random, heads: layout.heads)
    block.x.base.copy(from: features, count: shape.tokens * layout.channels)
    try block.forward(parameters, dropouts, pool: pool, monitor: monitor)

    ranking.place(positions)
    block.attention.maps(
      of: ranking.queries.base, count: ranking.queryCount, block.qkv.base, lse: block.lse.base,
      dropouts.attention, out: queries.maps.base, pool: pool, monitor: monitor)
    try monitor.check()
    ranking.rank(queries.maps.base, pool: pool, monitor: monitor)
    try monitor.check()
    queries.normalise(pool: pool)

    motion.collect(ranking)
    block.attention.maps(
      of: motion.rows.base, count: motion.rowCount, block.qkv.base, lse: block.lse.base,
      dropouts.attention, out: motion.maps.base, pool: pool, monitor: monitor)
    try monitor.check()
    var losses = Losses()
    losses.motion = try motion.run(
      queries, ranking, scale: scale, pool: pool, monitor: monitor)
    losses.semantic = try semantic.run(
      block.y.base, ranking, weights: options.weighting == .both ? queries.weights.base : nil,
      scale: scale, gradients: block.dY.base, pool: pool, monitor: monitor)

    try block.backward(
      parameters, dropouts, mapRow: motion.rowOf.base, dMaps: motion.maps.base,
      into: gradients, pool: pool, monitor: monitor)
    withExtendedLifetime(self) {}
    return losses
  }
}
