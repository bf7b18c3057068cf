import CCoveyKernels

/// Clips of frames of one size to the features that the block is trained on:
/// resampled as for inference, augmented, and through the backbone.
struct ClipEncoder {
  let frameWidth: Int
  let frameHeight: Int
  private let shape: ClipShape
  private let channels: Int
  private let mean: SIMD3<Float>
  private let std: SIMD3<Float>
  private let resample: ResamplePlan
  private let augmenter: Augmenter?
  private let transformer: VisionTransformer
  private let classFeature: ClassFeature?
  private let planes: Buffer<Float>  // [3, H, W]
  private let pool: ThreadPool

  /// - Parameters:
  ///   - shape: of the clips, of which the working size has the patches.
  ///   - classFeature: where the clips have a CLS token.
  /// - Throws: `.argument` for sizes beyond 1 to 32768, `.memory`.
  init(
    _ checkpoint: Checkpoint, _ settings: TrainerSettings, _ shape: ClipShape,
    frameWidth: Int, frameHeight: Int, classFeature: ClassFeature?, pool: ThreadPool,
    budget: Budget
  ) throws(CoveyError) {
    let config = checkpoint.config
    (self.frameWidth, self.frameHeight) = (frameWidth, frameHeight)
    (self.shape, self.classFeature, self.pool) = (shape, classFeature, pool)
    (channels, mean, std) = (config.embedDim, config.mean, config.std)
    let (height, width) = settings.workingSize(
      frameWidth: frameWidth, frameHeight: frameHeight, config)
    // Augmentations are of colours in 0...1: what they leave is normalised after them.
    resample = try ResamplePlan(
      frameWidth: frameWidth, frameHeight: frameHeight, outWidth: width, outHeight: height,
      mean: settings.isAugmented ? SIMD3(repeating: 0) : config.mean,
      std: settings.isAugmented ? SIMD3(repeating: 1) : config.std, workers: pool.threads,
      budget: budget)
    augmenter =
      settings.isAugmented
      ? try Augmenter(height: height, width: width, pool: pool, budget: budget) : nil
    planes = try Buffer(3 * height * width, budget: budget, for: "input planes")
    transformer = try VisionTransformer(
      checkpoint, height: height, width: width, pool: pool, budget: budget)
  }

  /// - Parameters:
  ///   - sources: the T frames of a clip.
  ///   - augmentation: of all of them.
  ///   - out: [T, N or N + 1, C]: of every frame the CLS token, if any, then the keys
  ///     of the last block.
  /// - Throws: `.cancelled`; `.format` where features are not finite.
  func run(
    _ sources: [PixelSource], _ augmentation: Augmentation,
    into out: UnsafeMutablePointer<Float>, monitor: Monitor
  ) throws(CoveyError) {
    defer { withExtendedLifetime(self) {} }
    monitor.begin(.encode, total: shape.frames * transformer.pieces)
    for (frame, source) in sources.enumerated() {
      resample.run(source, on: pool, into: planes.base)
      if let augmenter {
        augmenter.run(augmentation, planes.base)
        normalise()
      }
      let keys = out + shape.firstPatch(frame) * channels
      try transformer.encode(planes.base, keys: keys, monitor: monitor)
      classFeature?.run(transformer.stream, keys: keys, into: keys - channels)
    }
    let count = shape.tokens * channels
    let bad = cv_first_not_finite(out, count)
    guard bad == count else {
      throw CoveyError(
        .format,
        "features: token \(bad / channels), channel \(bad % channels) is not a finite number; the "
          + "weights seem damaged")
    }
    try monitor.end()
  }

  private func normalise() {
    let count = resample.outHeight * resample.outWidth
    for channel in 0..<3 {
      let plane = planes.base + channel * count
      let (mean, scale) = (mean[channel], 1 / std[channel])
      for pixel in 0..<count { plane[pixel] = (plane[pixel] - mean) * scale }
    }
  }
}
