public import CCovey
import CCoveyKernels

// The numerical core of training, for oracles and experiments.

@c @implementation
public func covey_train_gradients(
  _ given: UnsafePointer<covey_train_clip>!, _ options: UnsafePointer<covey_train_options>!,
  _ weights: UnsafePointer<Float>!, _ weight_count: Int,
  _ gradients: UnsafeMutablePointer<Float>!, _ losses: UnsafeMutablePointer<covey_train_losses>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let clip = try readStruct(try required(given, "clip"), "clip", minimum: FirstSize.trainClip)
    let settings = try TrainSettings(options)
    let weights = try required(weights, "weights")
    let gradients = try required(gradients, "gradients")
    let losses = try required(losses, "losses")
    let features = try required(clip.features, "clip.features")
    let layout = try BlockLayout(
      channels: Int(clip.channels), heads: Int(clip.heads), hidden: Int(clip.hidden),
      epsilon: clip.layer_norm_eps == 0 ? 1e-5 : clip.layer_norm_eps)
    guard clip.without_cls == 0 || clip.without_cls == 1 else {
      throw CoveyError(
        .argument, "clip.without_cls: expected 0 or 1, found \(clip.without_cls)")
    }
    let shape = try ClipShape(
      frames: Int(clip.frames), patches: Int(clip.patches), hasClass: clip.without_cls == 0)
    try layout.require(weight_count)
    try requireFinite(features, shape.tokens * layout.channels, "clip.features")
    try requireFinite(weights, weight_count, "weights")
    let count = Int(clip.position_count)

    let budget = Budget(limit: settings.memoryLimit)
    let pool = try ThreadPool(threads: settings.threads)
    var step = try TrainingStep(
      layout, shape, positions: count, settings.step, threads: pool.threads, budget: budget)
    let random = CounterRandom(seed: settings.seed, step: settings.number)
    let positions = try Buffer<Int32>(count, budget: budget, for: "positions")
    defer { withExtendedLifetime(positions) {} }
    if let chosen = clip.positions {
      positions.base.copy(from: chosen, count: count)
    } else {
      random.draw(count, below: shape.patches, into: positions.base)
    }
    gradients.update(repeating: 0, count: weight_count)
    try BLAS.claim(for: pool)
    defer { BLAS.release() }
    let found = try step.run(
      weights, features: features, positions: positions.base, random, into: gradients, pool: pool)
    var filled = covey_train_losses()
    (filled.semantic, filled.motion) = (found.semantic, found.motion)
    filled.peak_bytes = Int64(budget.peak)
    try writeStruct(filled, to: losses, "losses", minimum: FirstSize.trainLosses)
    return COVEY_OK
  }
}

@c @implementation
public func covey_train_apply(
  _ given: UnsafePointer<covey_train_update>!, _ weights: UnsafeMutablePointer<Float>!,
  _ gradients: UnsafeMutablePointer<Float>!, _ first: UnsafeMutablePointer<Float>!,
  _ second: UnsafeMutablePointer<Float>!, _ weight_count: Int,
  _ out_norm: UnsafeMutablePointer<Double>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let update = try readStruct(
      try required(given, "update"), "update", minimum: FirstSize.trainUpdate)
    let weights = try required(weights, "weights")
    let gradients = try required(gradients, "gradients")
    let (first, second) = (try required(first, "first"), try required(second, "second"))
    let layout = try BlockLayout(
      channels: Int(update.channels), heads: Int(update.heads), hidden: Int(update.hidden),
      epsilon: 1e-5)
    try layout.require(weight_count)
    guard update.step >= 0, update.step < .max, update.total_steps >= 0 else {
      throw CoveyError(
        .argument,
        "update.step, total_steps: expected 0 or more, found \(update.step) and "
          + "\(update.total_steps)")
    }
    guard update.learning_rate >= 0, update.weight_decay >= 0, update.clip_norm >= 0,
      update.learning_rate <= 1, update.weight_decay <= 1
    else {
      throw CoveyError(
        .argument,
        "update: expected learning_rate and weight_decay in 0 to 1 and clip_norm of 0 or more, "
          + "found \(NumberText.of(update.learning_rate)), "
          + "\(NumberText.of(update.weight_decay)) and \(NumberText.of(update.clip_norm))")
    }
    var optimiser = try AdamW(layout)
    optimiser.first.base.copy(from: first, count: weight_count)
    optimiser.second.base.copy(from: second, count: weight_count)
    optimiser.step = Int(update.step)
    optimiser.decay = update.weight_decay
    let norm = GradientNorm.clip(
      gradients, count: weight_count,
      limit: update.clip_norm == 0 ? .infinity : update.clip_norm)
    let steps = Int(update.total_steps)
    optimiser.update(
      weights, gradients: gradients,
      rate: steps == 0
        ? update.learning_rate
        : CosineSchedule(base: update.learning_rate, steps: steps).rate(Int(update.step)))
    first.copy(from: optimiser.first.base, count: weight_count)
    second.copy(from: optimiser.second.base, count: weight_count)
    out_norm?.pointee = norm
    withExtendedLifetime((optimiser.first, optimiser.second)) {}
    return COVEY_OK
  }
}

/// `covey_train_options`, zeros replaced by what they stand for.
private struct TrainSettings {
  var threads = 0
  var seed: UInt64 = 0
  var number: UInt32 = 0
  var memoryLimit = Int.max
  var step = TrainingStep.Options()

  init(_ pointer: UnsafePointer<covey_train_options>?) throws(CoveyError) {
    guard let pointer else { return }
    let read = try readStruct(pointer, "options", minimum: FirstSize.trainOptions)
    guard (0...Int32(ThreadPool.maximumThreads)).contains(read.threads) else {
      throw CoveyError(
        .argument,
        "options.threads: expected 0 to \(ThreadPool.maximumThreads), found \(read.threads)")
    }
    threads = Int(read.threads)
    (seed, number) = (read.seed, read.step)
    guard read.memory_limit >= 0 else {
      throw CoveyError(
        .argument, "options.memory_limit: expected 0 or more, found \(read.memory_limit)")
    }
    if read.memory_limit > 0 { memoryLimit = Int(clamping: read.memory_limit) }
    // Not by max(), which would take NaN for none.
    if read.attention_dropout != 0 {
      step.rates.attention = read.attention_dropout < 0 ? 0 : read.attention_dropout
    }
    if read.dropout != 0 {
      let rate = read.dropout < 0 ? 0 : read.dropout
      (step.rates.projection, step.rates.mlp) = (rate, rate)
    }
    if read.positives != 0 { step.counts.positives = Int(read.positives) }
    if read.negatives != 0 { step.counts.negatives = Int(read.negatives) }
    if read.motion_positives != 0 { step.counts.motionPositives = Int(read.motion_positives) }
    if read.motion_negatives != 0 { step.counts.motionNegatives = Int(read.motion_negatives) }
    guard let weighting = EntropyWeighting(rawValue: read.weigh_both) else {
      throw CoveyError(
        .argument, "options.weigh_both: expected 0 or 1, found \(read.weigh_both)")
    }
    step.weighting = weighting
  }
}

extension BlockLayout {
  fileprivate func require(_ count: Int) throws(CoveyError) {
    guard count == self.count else {
      throw CoveyError(.argument, "weight_count: expected \(self.count), found \(count)")
    }
  }
}
