import CCoveyKernels

/// What is kept of a frame: all that the clustering needs of it.
struct EncodedFrame {
  let queries: Buffer<Float>  // [N, C]
  let keys: Buffer<Float>?  // [keys of a frame, C], of key frames
  let saliency: Buffer<Float>?  // [N], where the model has a meaningful CLS
  let guide: MaskRenderer.Guide?  // where masks are refined
  let motion: Motion?  // where objects are told, of all frames but the first

  var byteCount: Int {
    queries.byteCount + (keys?.byteCount ?? 0) + (saliency?.byteCount ?? 0)
      + (guide?.planes.byteCount ?? 0) + (motion?.byteCount ?? 0)
  }

  func withoutKeys() -> EncodedFrame {
    EncodedFrame(queries: queries, keys: nil, saliency: saliency, guide: guide, motion: motion)
  }
}

/// Frames of one size to queries and keys: resample, vision transformer, and
/// what the affinity asks for: the correlator, the features themselves, or the
/// vision transformer's own queries and keys.
struct FrameEncoder {
  var rows: Int { transformer.rows }
  var columns: Int { transformer.columns }
  private let settings: Settings
  private let hasSaliency: Bool
  private let mean: SIMD3<Float>
  private let std: SIMD3<Float>
  private let resample: ResamplePlan
  private let transformer: VisionTransformer
  private let correlator: Correlator
  private let identity: IdentityCorrelator?  // where the features are compared
  private let planes: Buffer<Float>  // [3, H, W]
  private let features: Buffer<Float>  // [N, C]
  private let fullKeys: Buffer<Float>?  // [N, C], the correlator's where they are pooled
  private let pool: ThreadPool
  private let budget: Budget

  init(
    _ checkpoint: Checkpoint, _ settings: Settings, frameWidth: Int, frameHeight: Int,
    pool: ThreadPool, budget: Budget
  ) throws(CoveyError) {
    let config = checkpoint.config
    self.settings = settings
    self.pool = pool
    self.budget = budget
    hasSaliency = config.hasClsSaliency
    (mean, std) = (config.mean, config.std)
    let (height, width) = settings.workingSize(
      frameWidth: frameWidth, frameHeight: frameHeight, config)
    resample = try ResamplePlan(
      frameWidth: frameWidth, frameHeight: frameHeight, outWidth: width, outHeight: height,
      mean: config.mean, std: config.std, workers: pool.threads, budget: budget)
    planes = try Buffer(3 * height * width, budget: budget, for: "input planes")
    transformer = try VisionTransformer(
      checkpoint, height: height, width: width, pool: pool, budget: budget)
    correlator = Correlator(checkpoint)
    identity =
      settings.affinity == .features ? try IdentityCorrelator(config, budget: budget) : nil
    let count = transformer.patches * transformer.channels
    features = try Buffer(count, budget: budget, for: "features")
    fullKeys =
      FrameEncoder.keepsFullKeys(settings)
      ? try Buffer(count, budget: budget, for: "keys") : nil
  }

  func accepts(_ frame: Frame) -> Bool {
    resample.frameWidth == frame.width && resample.frameHeight == frame.height
  }

  private static func keepsFullKeys(_ settings: Settings) -> Bool {
    settings.affinity == .correlator && settings.keyPool > 1
  }

  static func byteCount(
    _ checkpoint: Checkpoint, _ settings: Settings, frameWidth: Int, frameHeight: Int,
    threads: Int
  ) -> Int {
    let config = checkpoint.config
    let (height, width) = settings.workingSize(
      frameWidth: frameWidth, frameHeight: frameHeight, config)
    let patches = (height / config.patchSize) * (width / config.patchSize)
    return ResamplePlan.byteCount(
      frameWidth: frameWidth, outWidth: width, outHeight: height, workers: threads)
      + 4 * (3 * height * width + (keepsFullKeys(settings) ? 2 : 1) * patches * config.embedDim)
      + (settings.affinity == .features ? IdentityCorrelator.byteCount(config) : 0)
      + VisionTransformer.byteCount(
        checkpoint, height: height, width: width, threads: threads)
  }

  /// The keys of the last block, into `keys` [N, C], and on request its
  /// queries [N, C] and the saliency [N].
  func keysOfLastBlock(
    _ source: PixelSource, into keys: UnsafeMutablePointer<Float>,
    queries: UnsafeMutablePointer<Float>? = nil, saliency: UnsafeMutablePointer<Float>?,
    monitor: Monitor
  ) throws(CoveyError) {
    try BLAS.claim(for: pool)
    defer { BLAS.release() }
    monitor.begin(.encode, total: transformer.pieces)
    resample.run(source, on: pool, into: planes.base)
    try transformer.encode(
      planes.base, keys: keys, queries: queries, saliency: saliency, monitor: monitor)
    let count = transformer.patches * transformer.channels
    let bad = cv_first_not_finite(keys, count)
    guard bad == count else {
      throw CoveyError(
        .format,
        "features: patch \(bad / transformer.channels), channel \(bad % transformer.channels) is "
          + "not a finite number; the weights seem damaged")
    }
    try monitor.end()
  }

  /// - Parameter before: the frame before, nil for the first one.
  /// - Returns: what is kept of it, and its brightness, for the frame after.
  func encode(
    _ source: PixelSource, isKey: Bool, after before: LumaPyramid?, monitor: Monitor
  ) throws(CoveyError) -> (frame: EncodedFrame, luma: LumaPyramid) {
    let (patches, channels) = (transformer.patches, transformer.channels)
    let queries = try Buffer<Float>(patches * channels, budget: budget, for: "queries of a frame")
    let keys = isKey ? try keyBuffer() : nil
    var saliency: Buffer<Float>?
    if hasSaliency { saliency = try Buffer(patches, budget: budget, for: "saliency of a frame") }

    try keysOfLastBlock(
      source, into: features.base, queries: settings.affinity == .attention ? queries.base : nil,
      saliency: saliency?.base, monitor: monitor)
    try BLAS.claim(for: pool)
    defer { BLAS.release() }
    switch settings.affinity {
    case .correlator:
      correlator.project(
        features.base, count: patches, queries: queries.base,
        keys: (keys == nil ? nil : fullKeys ?? keys)?.base, pool: pool, monitor: monitor)
    case .features:
      identity?.project(
        features.base, count: patches, into: queries.base, pool: pool, monitor: monitor)
    case .attention: break
    }
    try monitor.check()
    if let keys { average(queries, into: keys) }
    let guide = try guide(monitor)
    let luma = try LumaPyramid(
      guide.planes.base, width: guide.width, height: guide.height, budget: budget)
    let motion = try before.map { before throws(CoveyError) in
      try Motion(
        of: luma, since: before, rows: rows, columns: columns, pool: pool, monitor: monitor,
        budget: budget)
    }
    return (
      EncodedFrame(
        queries: queries, keys: keys, saliency: saliency,
        guide: settings.mask == .refined ? guide : nil, motion: motion), luma
    )
  }

  private func keyBuffer() throws(CoveyError) -> Buffer<Float> {
    let count = settings.keysPerFrame(rows: rows, columns: columns)
    return try Buffer(count * transformer.channels, budget: budget, for: "keys of a frame")
  }

  /// The keys of all patches over blocks, unless they are in their place.
  private func average(_ queries: Buffer<Float>, into keys: Buffer<Float>) {
    let allKeys: Buffer<Float>? =
      switch settings.affinity {
      case .correlator: fullKeys
      case .features: queries
      case .attention: features
      }
    guard let allKeys else { return }
    defer { withExtendedLifetime((allKeys, keys)) {} }
    Correlator.averageBlocks(
      allKeys.base, rows: rows, columns: columns, channels: transformer.channels,
      pool: settings.keyPool, into: keys.base)
  }

  /// The frame that was encoded last, with its keys: to the bit those that it would have
  /// as a key frame.
  func withKeys(_ frame: EncodedFrame, monitor: Monitor) throws(CoveyError) -> EncodedFrame {
    let keys = try keyBuffer()
    if settings.affinity == .correlator {
      try BLAS.claim(for: pool)
      defer { BLAS.release() }
      correlator.project(
        features.base, count: transformer.patches, isNormalised: true, queries: nil,
        keys: (fullKeys ?? keys).base, pool: pool, monitor: monitor)
      try monitor.check()
    }
    average(frame.queries, into: keys)
    return EncodedFrame(
      queries: frame.queries, keys: keys, saliency: frame.saliency, guide: frame.guide,
      motion: frame.motion)
  }

  /// Of the frame that was encoded last.
  func summary(of frame: EncodedFrame, monitor: Monitor) throws(CoveyError) -> FrameSummary {
    defer { withExtendedLifetime((frame.queries, planes)) {} }
    return try FrameSummary(
      queries: frame.queries.base, rows: rows, columns: columns, channels: transformer.channels,
      planes: planes.base, height: resample.outHeight, width: resample.outWidth, scale: std,
      budget: budget, monitor: monitor)
  }

  /// With BLAS.
  func claimed<Value>(_ body: () -> Value) throws(CoveyError) -> Value {
    try BLAS.claim(for: pool)
    defer { BLAS.release() }
    return body()
  }

  /// The frame at the working size, from the planes of the transformer's input.
  private func guide(_ monitor: Monitor) throws(CoveyError) -> MaskRenderer.Guide {
    let (height, width) = (resample.outHeight, resample.outWidth)
    let count = height * width
    let bytes = try Buffer<UInt8>(3 * count, budget: budget, for: "guide of a frame")
    for channel in 0..<3 {
      let (from, to) = (planes.base + channel * count, bytes.base + channel * count)
      let (scale, offset) = (255 * std[channel], 255 * mean[channel] + 0.5)
      for pixel in 0..<count {
        if pixel % (1 << 18) == 0 { try monitor.check() }
        let value = from[pixel] * scale + offset
        to[pixel] = UInt8(value > 0 ? min(value, 255) : 0)
      }
    }
    return MaskRenderer.Guide(planes: bytes, height: height, width: width)
  }
}
