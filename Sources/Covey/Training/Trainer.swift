import CCoveyKernels

/// Adapts the spatio-temporal block of a model to clips of video, without labels.
///
///     frames -> ClipEncoder -> features        once, or again for each augmentation
///     features -> TrainingStep -> gradients    summed over the clips of a step
///     gradients -> norm, clipping -> AdamW     the only place where weights change
///
/// So a step that fails or is cancelled has changed nothing.  All memory but the
/// encoder's, which waits for the size of the frames, is had at once.
final class Trainer {
  let cancelFlag = CancelFlag()
  let budget: Budget
  let checkpoint: Checkpoint
  let settings: TrainerSettings
  let shape: ClipShape
  let parameters: BlockParameters
  var optimiser: AdamW
  private let callback: Monitor.Callback?
  private let pool: ThreadPool
  private let gradients: Buffer<Float>  // [layout.count]
  private let positions: Buffer<Int32>
  private var core: TrainingStep
  private let classFeature: ClassFeature?
  private var encoder: ClipEncoder?
  private var clip: Buffer<Float>?  // features of one clip, for steps on frames
  /// Whether a call is running, whose callback must not call back.
  private var isBusy = false

  /// What one step has to tell.
  struct Metrics {
    var step = 0  // made, this one included
    var losses = TrainingStep.Losses()  // means over the clips
    var rate = 0.0
    var norm = 0.0  // of the gradients, before clipping
  }

  /// - Throws: `.argument`, `.memory`.
  convenience init(
    _ checkpoint: Checkpoint, _ options: TrainerOptions, callback: Monitor.Callback? = nil
  ) throws(CoveyError) {
    let settings = try TrainerSettings(options, checkpoint.config)
    let budget = Budget(limit: settings.memoryLimit)
    let pool = try ThreadPool(threads: settings.threads)
    let shape = try settings.shape(checkpoint)
    let parameters = try BlockParameters(
      settings.start, checkpoint, seed: settings.seed, budget: budget)
    let layout = parameters.layout
    var optimiser = try AdamW(layout, budget: budget)
    optimiser.decay = Double(settings.weightDecay)
    var step = TrainingStep.Options()
    (step.rates, step.weighting) = (settings.rates, settings.weighting)
    let core = try TrainingStep(
      layout, shape, positions: settings.positions, step, threads: pool.threads, budget: budget)
    let classFeature =
      shape.hasClass
      ? try ClassFeature(checkpoint, patches: shape.patches, budget: budget) : nil
    self.init(
      checkpoint, settings, callback, budget: budget, pool: pool, shape: shape,
      parameters: parameters, optimiser: optimiser, core: core, classFeature: classFeature,
      gradients: try Buffer(layout.count, budget: budget, for: "gradients of the block"),
      positions: try Buffer(settings.positions, budget: budget, for: "positions"))
  }

  private init(
    _ checkpoint: Checkpoint, _ settings: TrainerSettings, _ callback: Monitor.Callback?,
    budget: Budget, pool: ThreadPool, shape: ClipShape, parameters: BlockParameters,
    optimiser: AdamW, core: TrainingStep, classFeature: ClassFeature?,
    gradients: Buffer<Float>, positions: Buffer<Int32>
  ) {
    (self.checkpoint, self.settings, self.callback) = (checkpoint, settings, callback)
    (self.budget, self.pool, self.shape) = (budget, pool, shape)
    (self.parameters, self.optimiser, self.core) = (parameters, optimiser, core)
    (self.classFeature, self.gradients, self.positions) = (classFeature, gradients, positions)
  }

  /// Floats of a clip's features.
  var featureCount: Int { shape.tokens * parameters.layout.channels }

  // ---- Features -------------------------------------------------------------------

  /// - Parameters:
  ///   - frames: of one clip.
  ///   - draw: number of the augmentation.
  ///   - out: [featureCount]
  func encode(
    _ frames: [Frame], draw: UInt64, into out: UnsafeMutablePointer<Float>
  ) throws(CoveyError) {
    try begin()
    defer { end() }
    let monitor = Monitor(flag: cancelFlag, callback: callback)
    try monitor.check()
    try BLAS.claim(for: pool)
    defer { BLAS.release() }
    try encode(frames[...], draw: draw, into: out, monitor)
  }

  private func encode(
    _ frames: ArraySlice<Frame>, draw: UInt64, into out: UnsafeMutablePointer<Float>,
    _ monitor: Monitor
  ) throws(CoveyError) {
    guard frames.count == settings.clipLength, let first = frames.first else {
      throw CoveyError(
        .argument, "frame_count: expected \(settings.clipLength), found \(frames.count)")
    }
    var sources: [PixelSource] = []
    for frame in frames {
      guard (frame.width, frame.height) == (first.width, first.height) else {
        throw CoveyError(
          .argument,
          "frames: expected \(first.width)x\(first.height) like the first of the clip, found "
            + "\(frame.width)x\(frame.height)")
      }
      sources.append(try frame.validate())
    }
    try encoder(for: first).run(
      sources, settings.isAugmented ? Augmentation(seed: settings.seed, draw: draw) : Augmentation(),
      into: out, monitor: monitor)
  }

  private func encoder(for frame: Frame) throws(CoveyError) -> ClipEncoder {
    if let encoder, encoder.frameWidth == frame.width, encoder.frameHeight == frame.height {
      return encoder
    }
    encoder = nil  // its memory serves the next
    let made = try ClipEncoder(
      checkpoint, settings, shape, frameWidth: frame.width, frameHeight: frame.height,
      classFeature: classFeature, pool: pool, budget: budget)
    encoder = made
    return made
  }

  // ---- Steps ----------------------------------------------------------------------

  /// - Parameter features: [clipsPerStep, featureCount], finite
  func step(features: UnsafePointer<Float>) throws(CoveyError) -> Metrics {
    try begin()
    defer { end() }
    return try step { (index, _) throws(CoveyError) in features + index * featureCount }
  }

  /// - Parameter frames: clip after clip.
  func step(frames: [Frame]) throws(CoveyError) -> Metrics {
    try begin()
    defer { end() }
    let (length, clips) = (settings.clipLength, settings.clipsPerStep)
    guard frames.count == clips * length else {
      throw CoveyError(
        .argument,
        "frame_count: expected \(clips) x \(length) = \(clips * length), found \(frames.count)")
    }
    let clip: Buffer<Float>
    if let kept = self.clip {
      clip = kept
    } else {
      clip = try Buffer(featureCount, budget: budget, for: "features of a clip")
      self.clip = clip
    }
    return try step { (index, monitor) throws(CoveyError) in
      try encode(
        frames[index * length..<(index + 1) * length],
        draw: UInt64(optimiser.step * clips + index), into: clip.base, monitor)
      return UnsafePointer(clip.base)
    }
  }

  /// - Parameter clip: the features of clip `index` of the step.
  private func step(
    _ clip: (_ index: Int, _ monitor: Monitor) throws(CoveyError) -> UnsafePointer<Float>
  ) throws(CoveyError) -> Metrics {
    defer { withExtendedLifetime(self) {} }
    let monitor = Monitor(flag: cancelFlag, callback: callback)
    try monitor.check()
    try BLAS.claim(for: pool)
    defer { BLAS.release() }
    let clips = settings.clipsPerStep
    var metrics = Metrics()
    gradients.fill(0)
    for index in 0..<clips {
      let features = try clip(index, monitor)
      monitor.begin(.train, total: clips)
      monitor.advance(index, worker: 0)
      let random = CounterRandom(
        seed: settings.seed, step: UInt32(truncatingIfNeeded: optimiser.step * clips + index))
      random.draw(settings.positions, below: shape.patches, into: positions.base)
      let losses = try core.run(
        parameters.values.base, features: features, positions: positions.base, random,
        scale: 1 / Float(clips), into: gradients.base, pool: pool, monitor: monitor)
      metrics.losses.semantic += losses.semantic / Double(clips)
      metrics.losses.motion += losses.motion / Double(clips)
    }
    try monitor.end()

    let count = parameters.layout.count
    metrics.norm = GradientNorm.clip(
      gradients.base, count: count,
      limit: settings.clipNorm > 0 ? Double(settings.clipNorm) : .infinity)
    guard metrics.norm.isFinite, metrics.losses.total.isFinite else {
      throw CoveyError(
        .argument,
        "features: losses and gradients of step \(optimiser.step) are not finite; features or "
          + "learning rate are too large")
    }
    metrics.rate = CosineSchedule(
      base: Double(settings.learningRate), steps: settings.totalSteps
    ).rate(optimiser.step)
    optimiser.update(parameters.values.base, gradients: gradients.base, rate: metrics.rate)
    metrics.step = optimiser.step
    return metrics
  }

  // ---- Result ---------------------------------------------------------------------

  /// The model with the block as it is now, stored as the model is.
  /// - Parameter tau: nil for the model's.
  /// - Throws: `.state` where weights are not finite; as `Checkpoint.changed`.
  func export(tau: Float?) throws(CoveyError) -> Checkpoint {
    try requireIdle()
    defer { withExtendedLifetime(self) {} }
    try requireFinite()
    var changes = Checkpoint.Changes()
    changes.tau = tau
    changes.provenance =
      "block adapted to video without labels, \(optimiser.step) steps, seed \(settings.seed)"
    for tensor in parameters.layout.tensors {
      let bytes = UnsafeRawBufferPointer(
        start: parameters.values.base + tensor.offset, count: 4 * tensor.count)
      let name = UnsafeRawBufferPointer(
        start: tensor.name.utf8Start, count: tensor.name.utf8CodeUnitCount)
      changes.tensors.append(
        (
          "correlator.\(tensor.name)",
          StoredTensor(
            tensor: GGUFTensor(
              nameBytes: name, shape: tensor.shape, element: .f32, count: tensor.count, offset: 0,
              data: bytes),
            scale: nil)
        ))
    }
    return try checkpoint.changed(changes)
  }

  /// Throws from within the callback of a call that is running.
  func begin() throws(CoveyError) {
    try requireIdle()
    isBusy = true
  }

  func end() { isBusy = false }

  func requireIdle() throws(CoveyError) {
    guard !isBusy else {
      throw CoveyError(.state, "trainer: called from its own progress callback")
    }
  }
}

extension BlockLayout.Tensor {
  /// As in a weight file.
  var shape: [Int] { isMatrix ? [rows, columns] : [rows] }
}
