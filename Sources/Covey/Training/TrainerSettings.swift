/// What a caller may choose for a trainer; 0 is still to be filled in by
/// `TrainerSettings`.
struct TrainerOptions {
  var threads = 0
  var start = BlockParameters.Start.model
  var clipLength = 0
  var clipsPerStep = 0
  var totalSteps = 0
  var positions = 0
  var weighting = EntropyWeighting.motion
  var isAugmented = true
  var workingHeight = 0
  var workingWidth = 0
  var learningRate: Float = 0
  var weightDecay: Float = 0
  var clipNorm: Float = 0
  var attentionDropout: Float = 0
  var dropout: Float = 0
  var seed: UInt64 = 0
  var memoryLimit = 0
}

/// The options of a trainer with every default filled in, checked against the model.
struct TrainerSettings {
  let threads: Int
  let start: BlockParameters.Start
  let clipLength: Int  // T, frames of a clip
  let clipsPerStep: Int
  let totalSteps: Int
  let positions: Int  // queries of a frame
  let weighting: EntropyWeighting
  let isAugmented: Bool
  /// Of frames that lie; see `Settings.workingSize`.
  let workingHeight: Int
  let workingWidth: Int
  let learningRate: Float
  let weightDecay: Float
  let clipNorm: Float  // 0: any
  let rates: DropoutRates
  let seed: UInt64
  let memoryLimit: Int
  private let sizes: Settings

  /// - Throws: `.argument`.
  init(_ options: TrainerOptions, _ config: ModelConfig) throws(CoveyError) {
    func check(
      _ name: StaticString, _ value: Int, _ range: ClosedRange<Int>, else standard: Int
    ) throws(CoveyError) -> Int {
      guard value == 0 || range.contains(value) else {
        throw CoveyError(
          .argument,
          "options.\(name): expected 0 or \(range.lowerBound) to \(range.upperBound), found "
            + "\(value)")
      }
      return value == 0 ? standard : value
    }
    /// Comparisons refuse NaN too.
    func check(
      _ name: StaticString, _ value: Float, upTo maximum: Float, else standard: Float,
      isSigned: Bool = true
    ) throws(CoveyError) -> Float {
      guard value <= maximum, isSigned || value >= 0 else {
        throw CoveyError(
          .argument,
          "options.\(name): expected \(isSigned ? "" : "0 or more, ")at most "
            + "\(NumberText.of(maximum)), found \(NumberText.of(value))")
      }
      return value == 0 ? standard : max(value, 0)
    }
    let most = Int(Int32.max)
    clipLength = try check("clip_length", options.clipLength, 2...16, else: 3)
    clipsPerStep = try check("clips_per_step", options.clipsPerStep, 1...1024, else: 1)
    totalSteps = try check("total_steps", options.totalSteps, 1...most, else: 10_000)
    (start, weighting, isAugmented) = (options.start, options.weighting, options.isAugmented)
    learningRate = try check(
      "learning_rate", options.learningRate, upTo: 1, else: 1e-4, isSigned: false)
    weightDecay = try check("weight_decay", options.weightDecay, upTo: 1, else: 0.1)
    clipNorm = try check(
      "clip_norm", options.clipNorm, upTo: .greatestFiniteMagnitude, else: 0, isSigned: false)
    let dropout = try check("dropout", options.dropout, upTo: 0.99, else: 0.1)
    rates = DropoutRates(
      attention: try check(
        "attention_dropout", options.attentionDropout, upTo: 0.99, else: 0.4),
      projection: dropout, mlp: dropout)
    seed = options.seed

    var session = SessionOptions()
    session.threads = options.threads
    session.memoryLimit = options.memoryLimit
    (session.workingHeight, session.workingWidth) = (options.workingHeight, options.workingWidth)
    guard (options.workingHeight == 0) == (options.workingWidth == 0) else {
      throw CoveyError(
        .argument,
        "options.working_height, working_width: expected both or none, found "
          + "\(options.workingHeight) and \(options.workingWidth)")
    }
    sizes = try Settings(session, config.defaults)
    guard !sizes.isOfFrame else {
      throw CoveyError(
        .argument,
        "options.working_height, working_width: expected one size for all clips, found -1 and -1")
    }
    (threads, memoryLimit) = (sizes.threads, sizes.memoryLimit)
    let isGiven = options.workingHeight > 0
    workingHeight = isGiven ? options.workingHeight : config.workingHeight
    workingWidth = isGiven ? options.workingWidth : config.workingWidth
    let patches = workingHeight / config.patchSize * (workingWidth / config.patchSize)
    positions = try check(
      "positions", options.positions, 1...min(patches, 4096), else: min(8, patches))
  }

  /// The size at which frames of this size are encoded, which a session has too: of as
  /// many patches for all of them.
  func workingSize(
    frameWidth: Int, frameHeight: Int, _ config: ModelConfig
  ) -> (height: Int, width: Int) {
    sizes.workingSize(frameWidth: frameWidth, frameHeight: frameHeight, config)
  }

  /// Frames, patches and, where the backbone has one that means something, the CLS token.
  func shape(_ checkpoint: Checkpoint) throws(CoveyError) -> ClipShape {
    let patch = checkpoint.config.patchSize
    return try ClipShape(
      frames: clipLength, patches: workingHeight / patch * (workingWidth / patch),
      hasClass: ClassFeature.exists(checkpoint))
  }
}
