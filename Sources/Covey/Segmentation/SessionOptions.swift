/// What a caller may choose for a session; 0 and nil-like values are still to be
/// filled in from the model by `Settings`.
struct SessionOptions {
  enum Output: Int32 {
    /// Ids 1.. for objects, 0 for what is no object.
    case objects = 0
    /// Ids 1.. for every cluster.
    case clusters = 1
    /// As objects, but those of one cluster have one id together.
    case kinds = 2
  }

  enum Mode: Int32 {
    /// Prototypes, a step of a mean shift, average linkage, smoothed distances.
    case edge = 0
    /// As the paper's code computes labels.
    case reference = 1
  }

  enum KeyRounding: Int32 {
    /// Floor in reference mode, else ceil.
    case ofMode = 0
    case floor = 1
    case ceil = 2
  }

  /// How labels of patches become labels of pixels.
  enum Mask: Int32 {
    /// Guided by the frame's colours.
    case refined = 0
    case bilinear = 1
    case nearest = 2
  }

  /// Whose queries and keys are compared in the maps.
  enum Affinity: Int32 {
    /// The spatio-temporal block's.
    case correlator = 0
    /// The features themselves, normalised.
    case features = 1
    /// The backbone's, of its last block.
    case attention = 2
  }

  var threads = 0
  var workingHeight = 0
  var workingWidth = 0
  var window = 0
  var keyStride = 0
  var keyPool = 0
  var keyRounding = KeyRounding.ofMode
  var tau: Float = 0
  var output = Output.objects
  /// 0: the default.
  var leastObjectness = 0.0
  var maxObjects = 0
  var minArea: Float = 0
  var memoryLimit = 0
  var mode = Mode.edge
  var isStreaming = false
  var queryPool = 0
  var keyBudget = 0
  var targetClusters = 0
  var maxClusters = 0
  var bankClusters = 0
  var mask = Mask.refined
  var minRegion: Float = 0
  var affinity = Affinity.correlator
  var keepsShots = false

  static let maximumWorkingSize = 8192
}

/// The options of a session with every default filled in, checked against the
/// model.
struct Settings {
  let patchSize: Int
  let threads: Int
  let window: Int
  let keyStride: Int
  let keyPool: Int
  /// Floor or ceil.
  let keyRounding: SessionOptions.KeyRounding
  let tau: Float
  /// Nats: what maps differ by within one thing.  The model's tau, so that it does not
  /// depend on where the session cuts; within a factor of two of the session's, so that
  /// a quite different tau, as another affinity needs, finds what it asks for.
  let scale: Float
  let output: SessionOptions.Output
  let leastObjectness: Float
  let maxObjects: Int
  let minArea: Float
  let memoryLimit: Int
  let mode: SessionOptions.Mode
  let isStreaming: Bool
  /// Queries are averaged over blocks of so many patches a side; `edge` only.
  let queryPool: Int
  /// Key frames at most.
  let keyBudget: Int
  let targetClusters: Int  // 0: as tau says
  let maxClusters: Int  // 0: any number
  /// Clusters a stream remembers.
  let bankClusters: Int
  let mask: SessionOptions.Mask
  /// Regions of less than this fraction of a frame go to their surroundings; 0:
  /// holes and specks of drawn masks (`Specks`), below: none.
  let minRegion: Float
  let affinity: SessionOptions.Affinity
  private let isCutLeftOpen: Bool
  /// Whether shots are found, and each is clustered on its own; `edge` only.
  let splitsShots: Bool
  /// Whether frames are encoded at their own size.
  let isOfFrame: Bool
  private let workingHeight: Int
  private let workingWidth: Int

  /// What the options leave open.
  struct Defaults {
    let patchSize: Int
    let tau: Float
    let referenceTau: Float
    let window: Int
    let keyStride: Int
    let keyPool: Int
  }

  init(_ options: SessionOptions, _ defaults: Defaults) throws(CoveyError) {
    func check(
      _ name: StaticString, _ value: Int, _ maximum: Int, else standard: Int
    ) throws(CoveyError) -> Int {
      guard value >= 0, value <= maximum else {
        throw CoveyError(.argument, "options.\(name): expected 0 to \(maximum), found \(value)")
      }
      return value == 0 ? standard : value
    }
    patchSize = defaults.patchSize
    threads = try check("threads", options.threads, ThreadPool.maximumThreads, else: 0)
    window = try check("window", options.window, 64, else: defaults.window)
    keyStride = try check("key_stride", options.keyStride, 10_000, else: defaults.keyStride)
    mode = options.mode
    isStreaming = options.isStreaming
    let isReference = mode == .reference
    keyPool = try check(
      "key_pool", options.keyPool, 64, else: isReference ? 1 : defaults.keyPool)
    keyRounding =
      options.keyRounding == .ofMode ? (isReference ? .floor : .ceil) : options.keyRounding
    queryPool = try check("query_pool", options.queryPool, 64, else: isReference ? 1 : 4)
    keyBudget = try check(
      "key_budget", options.keyBudget, 1_000_000, else: isReference ? .max : 8)
    targetClusters = try check("target_clusters", options.targetClusters, 1024, else: 0)
    maxClusters = try check("max_clusters", options.maxClusters, 65_535, else: 0)
    bankClusters = try check("bank_clusters", options.bankClusters, 1024, else: 64)
    if isReference {
      let refused: StaticString? =
        if options.isStreaming { "streaming" } else if options.queryPool > 1 { "query_pool" }
        else if options.targetClusters > 0 { "target_clusters" }
        else if options.maxClusters > 0 { "max_clusters" } else { nil }
      if let refused {
        throw CoveyError(
          .argument, "options.\(refused): expected 0 in reference mode, which has none of it")
      }
    }
    guard !isStreaming || targetClusters == 0 else {
      throw CoveyError(
        .argument,
        "options.target_clusters: expected 0 for a stream, whose clusters are found as they "
          + "come, found \(targetClusters); max_clusters limits them")
    }
    guard options.tau >= 0, options.tau <= 1000 else {
      throw CoveyError(
        .argument, "options.tau: expected 0 to 1000, found \(NumberText.of(options.tau))")
    }
    let modeTau = isReference ? defaults.referenceTau : defaults.tau
    tau = options.tau == 0 ? modeTau : options.tau
    scale = min(max(defaults.tau, tau / 2), 2 * tau)
    output = options.output
    isCutLeftOpen =
      output != .clusters && mode == .edge && options.tau == 0 && targetClusters == 0
      && maxClusters == 0
    maxObjects = try check("max_objects", options.maxObjects, 65_535, else: 65_535)
    guard options.minArea < 1 else {  // also refuses NaN
      throw CoveyError(
        .argument, "options.min_area: expected less than 1, found \(NumberText.of(options.minArea))"
      )
    }
    guard options.leastObjectness >= 0, options.leastObjectness < 1 else {
      throw CoveyError(
        .argument,
        "options.least_objectness: expected 0 to less than 1, found "
          + "\(NumberText.of(Float(options.leastObjectness)))")
    }
    leastObjectness =
      options.leastObjectness == 0
      ? Foreground.leastObjectness : max(Float(options.leastObjectness), .leastNormalMagnitude)
    minArea = options.minArea == 0 ? 0.001 : max(options.minArea, 0)
    guard options.memoryLimit >= 0 else {
      throw CoveyError(
        .argument, "options.memory_limit: expected 0 or more, found \(options.memoryLimit)")
    }
    memoryLimit = options.memoryLimit == 0 ? .max : options.memoryLimit
    affinity = options.affinity
    splitsShots = !options.keepsShots && !isReference
    mask = options.mask
    guard options.minRegion < 1 else {  // also refuses NaN
      throw CoveyError(
        .argument,
        "options.min_region: expected less than 1, found \(NumberText.of(options.minRegion))")
    }
    minRegion = options.minRegion

    isOfFrame = (options.workingHeight, options.workingWidth) == (-1, -1)
    let size = SessionOptions.maximumWorkingSize
    workingHeight =
      isOfFrame ? 0 : try check("working_height", options.workingHeight, size, else: 0)
    workingWidth = isOfFrame ? 0 : try check("working_width", options.workingWidth, size, else: 0)
    let patch = defaults.patchSize
    guard workingHeight % patch == 0, workingWidth % patch == 0 else {
      throw CoveyError(
        .argument,
        "options.working_height, working_width: expected multiples of the patch size \(patch), "
          + "found \(workingHeight) and \(workingWidth)")
    }
  }

  /// The size, in pixels, at which frames of this size are encoded.
  ///
  /// The model's default is for frames that lie; for upright ones it is turned,
  /// which a model without built-in orientation does not mind and which
  /// distorts them less.
  func workingSize(
    frameWidth: Int, frameHeight: Int, _ config: ModelConfig
  ) -> (height: Int, width: Int) {
    let patch = config.patchSize
    func scaled(_ length: Int, by numerator: Int, over denominator: Int) -> Int {
      let exact = Double(length) * Double(numerator) / Double(denominator)
      let patches = (exact / Double(patch)).rounded()
      let most = Double(SessionOptions.maximumWorkingSize / patch)
      return max(1, Int(min(patches, most))) * patch
    }
    if isOfFrame {
      return (scaled(frameHeight, by: 1, over: 1), scaled(frameWidth, by: 1, over: 1))
    }
    switch (workingHeight, workingWidth) {
    case (0, 0):
      let upright = frameHeight > frameWidth
      return upright == (config.workingHeight > config.workingWidth)
        ? (config.workingHeight, config.workingWidth)
        : (config.workingWidth, config.workingHeight)
    case (let height, 0):
      return (height, scaled(height, by: frameWidth, over: frameHeight))
    case (0, let width):
      return (scaled(width, by: frameHeight, over: frameWidth), width)
    case (let height, let width):
      return (height, width)
    }
  }

  /// Where the hierarchy is cut.  Where nothing is asked for, objects are made of finer
  /// parts than the model's clusters: motion and place say which of them belong together.
  var cut: Hierarchy.Cut {
    guard isCutLeftOpen else {
      return Hierarchy.Cut(tau: tau, targetClusters: targetClusters, maxClusters: maxClusters)
    }
    return Hierarchy.Cut(
      tau: tau, targetClusters: Settings.parts,
      leastDistance: tau * Hierarchy.reach * Settings.leastShare, isLeftOpen: true)
  }

  /// The same for a stream, nats.
  var streamCut: Float {
    tau * Hierarchy.reach * (isCutLeftOpen ? Settings.partShare : 1)
  }

  private static let parts = 16
  /// Of tau: in a plain video so many parts would be crumbs of things.
  private static let leastShare: Float = 0.11
  /// The part of tau at which videos have about so many clusters (docs/ALGORITHM.md).
  private static let partShare: Float = 0.35

  /// Heads of the queries and keys that are compared.
  func affinityHeads(_ config: ModelConfig) -> Int {
    affinity == .attention ? config.heads : config.correlatorHeads
  }

  /// How many of `frames` frames serve as keys.
  func keyFrameCount(_ frames: Int) -> Int {
    min(candidateCount(frames), keyBudget)
  }

  /// The frames of a whole video that serve as keys: of 0, r, 2r, ... as many as
  /// the budget allows, evenly.
  func keyFrames(_ frames: Int) -> [Int] {
    let (candidates, count) = (candidateCount(frames), keyFrameCount(frames))
    guard count > 1 else { return [0] }
    return (0..<count).map { keyStride * ($0 * (candidates - 1) / (count - 1)) }
  }

  private func candidateCount(_ frames: Int) -> Int {
    keyRounding == .floor && !isStreaming
      ? max(1, frames / keyStride) : (frames + keyStride - 1) / keyStride
  }

  /// Keys one key frame contributes.
  func keysPerFrame(rows: Int, columns: Int) -> Int {
    ((rows + keyPool - 1) / keyPool) * ((columns + keyPool - 1) / keyPool)
  }
}

extension ModelConfig {
  var defaults: Settings.Defaults {
    Settings.Defaults(
      patchSize: patchSize, tau: tau, referenceTau: referenceTau, window: window,
      keyStride: keyStride, keyPool: keyPool)
  }
}
