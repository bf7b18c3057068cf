public import CCovey
import CCoveyKernels

/// What a covey_trainer pointer points at.
private func trainer(_ pointer: OpaquePointer?) throws(CoveyError) -> Trainer {
  let pointer = try required(pointer, "trainer")
  return Unmanaged<Trainer>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue()
}

@c @implementation
public func covey_trainer_options_init(
  _ options: UnsafeMutablePointer<covey_trainer_options>!, _ struct_size: Int
) {
  initialise(options, struct_size)
}

@c @implementation
public func covey_trainer_create(
  _ model: OpaquePointer!, _ options: UnsafePointer<covey_trainer_options>!,
  _ out_trainer: UnsafeMutablePointer<OpaquePointer?>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let out = try required(out_trainer, "out_trainer")
    out.pointee = nil
    let model = try ModelHandle.of(model)
    let (options, callback) = try trainerOptions(options)
    let trainer = try Trainer(model.checkpoint, options, callback: callback)
    out.pointee = OpaquePointer(Unmanaged.passRetained(trainer).toOpaque())
    return COVEY_OK
  }
}

@c @implementation
public func covey_trainer_free(_ pointer: OpaquePointer!) {
  guard let pointer else { return }
  Unmanaged<Trainer>.fromOpaque(UnsafeRawPointer(pointer)).release()
}

@c @implementation
public func covey_trainer_cancel(_ pointer: OpaquePointer!) {
  // Nothing but the flag may be touched here, from another thread.
  guard let pointer else { return }
  Unmanaged<Trainer>.fromOpaque(UnsafeRawPointer(pointer))._withUnsafeGuaranteedRef {
    $0.cancelFlag.set()
  }
}

@c @implementation
public func covey_trainer_get_info(
  _ pointer: OpaquePointer!, _ info: UnsafeMutablePointer<covey_trainer_info>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let trainer = try trainer(pointer)
    let info = try required(info, "info")
    var filled = covey_trainer_info()
    filled.has_cls = trainer.shape.hasClass ? 1 : 0
    filled.clip_frames = Int32(trainer.settings.clipLength)
    filled.clips_per_step = Int32(trainer.settings.clipsPerStep)
    filled.feature_count = Int64(trainer.featureCount)
    filled.step = Int64(trainer.optimiser.step)
    filled.total_steps = Int64(trainer.settings.totalSteps)
    filled.memory = Int64(trainer.budget.current)
    filled.memory_peak = Int64(trainer.budget.peak)
    try writeStruct(filled, to: info, "info", minimum: FirstSize.trainerInfo)
    return COVEY_OK
  }
}

@c @implementation
public func covey_trainer_encode(
  _ pointer: OpaquePointer!, _ frames: UnsafePointer<covey_frame>!, _ frame_count: Int,
  _ draw: UInt64, _ features: UnsafeMutablePointer<Float>!, _ feature_count: Int
) -> covey_status {
  reporting { () throws(CoveyError) in
    let trainer = try trainer(pointer)
    let frames = try required(frames, "frames")
    let features = try required(features, "features")
    let clip = try clipFrames(frames, frame_count, expected: trainer.settings.clipLength)
    try check("feature_count", feature_count, trainer.featureCount)
    try trainer.encode(clip, draw: draw, into: features)
    return COVEY_OK
  }
}

@c @implementation
public func covey_trainer_step_features(
  _ pointer: OpaquePointer!, _ features: UnsafePointer<Float>!, _ feature_count: Int,
  _ metrics: UnsafeMutablePointer<covey_train_metrics>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let trainer = try trainer(pointer)
    let features = try required(features, "features")
    try check(
      "feature_count", feature_count, trainer.settings.clipsPerStep * trainer.featureCount)
    try requireFinite(features, feature_count, "features")
    if let metrics {
      try checkStruct(metrics, "metrics", minimum: FirstSize.trainMetrics)
    }
    try deliver(trainer.step(features: features), to: metrics)
    return COVEY_OK
  }
}

@c @implementation
public func covey_trainer_step(
  _ pointer: OpaquePointer!, _ frames: UnsafePointer<covey_frame>!, _ frame_count: Int,
  _ metrics: UnsafeMutablePointer<covey_train_metrics>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let trainer = try trainer(pointer)
    let frames = try required(frames, "frames")
    let clips = try clipFrames(
      frames, frame_count,
      expected: trainer.settings.clipsPerStep * trainer.settings.clipLength)
    if let metrics {
      try checkStruct(metrics, "metrics", minimum: FirstSize.trainMetrics)
    }
    try deliver(trainer.step(frames: clips), to: metrics)
    return COVEY_OK
  }
}

@c @implementation
public func covey_trainer_save(
  _ pointer: OpaquePointer!, _ path: UnsafePointer<CChar>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let trainer = try trainer(pointer)
    try trainer.save(path: try required(path, "path"))
    return COVEY_OK
  }
}

@c @implementation
public func covey_trainer_restore(
  _ pointer: OpaquePointer!, _ path: UnsafePointer<CChar>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let trainer = try trainer(pointer)
    try trainer.restore(path: try required(path, "path"))
    return COVEY_OK
  }
}

@c @implementation
public func covey_trainer_export(
  _ pointer: OpaquePointer!, _ tau: Float, _ out_model: UnsafeMutablePointer<OpaquePointer?>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let out = try required(out_model, "out_model")
    out.pointee = nil
    let trainer = try trainer(pointer)
    guard tau >= 0, tau <= 1000 else {
      throw CoveyError(.argument, "tau: expected 0 to 1000, found \(NumberText.of(tau))")
    }
    let checkpoint = try trainer.export(tau: tau == 0 ? nil : tau)
    let model = try ModelHandle(checkpoint)
    out.pointee = OpaquePointer(Unmanaged.passRetained(model).toOpaque())
    return COVEY_OK
  }
}

// ---- Parameters -----------------------------------------------------------------

private func trainerOptions(
  _ pointer: UnsafePointer<covey_trainer_options>?
) throws(CoveyError) -> (options: TrainerOptions, callback: Monitor.Callback?) {
  var options = TrainerOptions()
  guard let pointer else { return (options, nil) }
  let read = try readStruct(pointer, "options", minimum: FirstSize.trainerOptions)
  let start = Int32(bitPattern: read.start.rawValue)
  guard let start = BlockParameters.Start(rawValue: start) else {
    throw CoveyError(.argument, "options.start: expected 0 to 2, found \(start)")
  }
  guard let weighting = EntropyWeighting(rawValue: read.weigh_both) else {
    throw CoveyError(.argument, "options.weigh_both: expected 0 or 1, found \(read.weigh_both)")
  }
  guard read.augmentation == 0 || read.augmentation == -1 else {
    throw CoveyError(
      .argument, "options.augmentation: expected 0 or -1, found \(read.augmentation)")
  }
  (options.start, options.weighting) = (start, weighting)
  options.isAugmented = read.augmentation == 0
  options.threads = Int(read.threads)
  options.clipLength = Int(read.clip_length)
  options.clipsPerStep = Int(read.clips_per_step)
  options.totalSteps = Int(read.total_steps)
  options.positions = Int(read.positions)
  options.workingHeight = Int(read.working_height)
  options.workingWidth = Int(read.working_width)
  options.learningRate = read.learning_rate
  options.weightDecay = read.weight_decay
  options.clipNorm = read.clip_norm
  options.attentionDropout = read.attention_dropout
  options.dropout = read.dropout
  options.seed = read.seed
  options.memoryLimit = Int(clamping: read.memory_limit)
  guard let progress = read.progress else { return (options, nil) }
  let userData = read.user_data
  return (options, { stage, fraction in progress(userData, stage.code, fraction) == 0 })
}

/// `count` frames whose stride is the struct_size of the first.
private func clipFrames(
  _ frames: UnsafePointer<covey_frame>, _ count: Int, expected: Int
) throws(CoveyError) -> [Frame] {
  try check("frame_count", count, expected)
  let stride = Int(frames.pointee.struct_size)
  var read: [Frame] = []
  for index in 0..<count {
    let place = UnsafeRawPointer(frames).advanced(by: index * stride)
      .assumingMemoryBound(to: covey_frame.self)
    do throws(CoveyError) {
      let frame = try frame(place)
      try frame.validate()
      read.append(frame)
    } catch {
      throw CoveyError(error.kind, "frames[\(index)]: \(error.message)")
    }
  }
  return read
}

private func check(
  _ name: StaticString, _ found: Int, _ expected: Int
) throws(CoveyError) {
  guard found == expected else {
    throw CoveyError(
      .argument, "\(name): expected \(expected), found \(UInt(bitPattern: found))")
  }
}

private func deliver(
  _ found: Trainer.Metrics, to metrics: UnsafeMutablePointer<covey_train_metrics>?
) throws(CoveyError) {
  guard let metrics else { return }
  var filled = covey_train_metrics()
  filled.step = Int64(found.step)
  filled.semantic_loss = found.losses.semantic
  filled.motion_loss = found.losses.motion
  filled.total_loss = found.losses.total
  filled.learning_rate = found.rate
  filled.gradient_norm = found.norm
  try writeStruct(filled, to: metrics, "metrics", minimum: FirstSize.trainMetrics)
}
