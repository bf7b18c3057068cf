import CCovey

// C structs to the core's own.

func sessionOptions(
  _ pointer: UnsafePointer<covey_session_options>?
) throws(CoveyError) -> (options: SessionOptions, callback: Monitor.Callback?) {
  var options = SessionOptions()
  guard let pointer else { return (options, nil) }
  let read = try readStruct(pointer, "options", minimum: FirstSize.sessionOptions)
  options.threads = Int(read.threads)
  options.workingHeight = Int(read.working_height)
  options.workingWidth = Int(read.working_width)
  options.window = Int(read.window)
  options.keyStride = Int(read.key_stride)
  options.keyPool = Int(read.key_pool)
  options.tau = read.tau
  options.maxObjects = Int(read.max_objects)
  options.minArea = read.min_area
  options.memoryLimit = Int(clamping: read.memory_limit)
  let (rounding, output) = (
    Int32(bitPattern: read.key_rounding.rawValue), Int32(bitPattern: read.output.rawValue)
  )
  let affinity = Int32(bitPattern: read.affinity.rawValue)
  guard let rounding = SessionOptions.KeyRounding(rawValue: rounding) else {
    throw CoveyError(.argument, "options.key_rounding: expected 0 to 2, found \(rounding)")
  }
  guard let output = SessionOptions.Output(rawValue: output) else {
    throw CoveyError(.argument, "options.output: expected 0 to 2, found \(output)")
  }
  let mask = Int32(bitPattern: read.mask.rawValue)
  guard let mask = SessionOptions.Mask(rawValue: mask) else {
    throw CoveyError(.argument, "options.mask: expected 0 to 2, found \(mask)")
  }
  options.mask = mask
  options.minRegion = read.min_region
  let mode = Int32(bitPattern: read.mode.rawValue)
  guard let mode = SessionOptions.Mode(rawValue: mode) else {
    throw CoveyError(.argument, "options.mode: expected 0 or 1, found \(mode)")
  }
  options.mode = mode
  guard read.streaming == 0 || read.streaming == 1 else {
    throw CoveyError(.argument, "options.streaming: expected 0 or 1, found \(read.streaming)")
  }
  options.isStreaming = read.streaming == 1
  guard read.keep_shots == 0 || read.keep_shots == 1 else {
    throw CoveyError(.argument, "options.keep_shots: expected 0 or 1, found \(read.keep_shots)")
  }
  options.keepsShots = read.keep_shots == 1
  options.leastObjectness = read.least_objectness
  options.queryPool = Int(read.query_pool)
  options.keyBudget = Int(read.key_budget)
  options.targetClusters = Int(read.target_clusters)
  options.maxClusters = Int(read.max_clusters)
  options.bankClusters = Int(read.bank_clusters)
  guard let affinity = SessionOptions.Affinity(rawValue: affinity) else {
    throw CoveyError(.argument, "options.affinity: expected 0 to 2, found \(affinity)")
  }
  options.affinity = affinity
  options.keyRounding = rounding
  options.output = output
  guard let progress = read.progress else { return (options, nil) }
  let userData = read.user_data
  return (options, { stage, fraction in progress(userData, stage.code, fraction) == 0 })
}

extension Stage {
  var code: covey_stage {
    switch self {
    case .encode: COVEY_STAGE_ENCODE
    case .cluster: COVEY_STAGE_CLUSTER
    case .merge: COVEY_STAGE_MERGE
    case .assign: COVEY_STAGE_ASSIGN
    case .train: COVEY_STAGE_TRAIN
    }
  }
}

func frame(_ pointer: UnsafePointer<covey_frame>) throws(CoveyError) -> Frame {
  let read = try readStruct(pointer, "frame", minimum: FirstSize.frame)
  return Frame(
    format: try PixelFormat(code: Int32(bitPattern: read.format.rawValue)),
    width: Int(read.width), height: Int(read.height),
    planes: (read.planes.0, read.planes.1, read.planes.2),
    strides: (read.strides.0, read.strides.1, read.strides.2),
    timestamp: read.timestamp)
}
