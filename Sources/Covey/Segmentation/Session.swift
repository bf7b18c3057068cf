import CCoveyKernels

/// One video: frames in, results out: after the last frame, or, of a stream, as
/// windows fill up.
final class Session {
  let cancelFlag = CancelFlag()
  let budget: Budget
  private let checkpoint: Checkpoint
  private let settings: Settings
  private let callback: Monitor.Callback?
  private let pool: ThreadPool

  private var size: (width: Int, height: Int)?  // of the frames
  private var grid = (rows: 0, columns: 0)
  private var encoder: FrameEncoder?
  /// Those that are not clustered yet.
  private var frames: [EncodedFrame] = []
  private var timestamps: [Int64] = []  // of `frames`
  private var luma: LumaPyramid?  // of the last frame
  private var pushed = 0
  private var isFinished = false
  private var stream: Stream?
  private var video: WholeVideo?  // finished, where it can be cut again
  private var outcomes: [Outcome] = []
  private var next = 0  // frame of the first of `outcomes`
  /// Whether a call is running: its callback is given the chance to call back
  /// into the session, and must not.
  private var isBusy = false

  /// Frames that have been clustered and not been handed out.
  private struct Outcome {
    let segmentation: Segmentation
    let firstFrame: Int
    let guides: [MaskRenderer.Guide?]
    let timestamps: [Int64]
  }

  convenience init(
    _ checkpoint: Checkpoint, _ options: SessionOptions, callback: Monitor.Callback?
  ) throws(CoveyError) {
    let settings = try Settings(options, checkpoint.config.defaults)
    self.init(
      checkpoint, settings, callback, try ThreadPool(threads: settings.threads))
  }

  private init(
    _ checkpoint: Checkpoint, _ settings: Settings, _ callback: Monitor.Callback?,
    _ pool: ThreadPool
  ) {
    self.checkpoint = checkpoint
    self.settings = settings
    self.callback = callback
    self.pool = pool
    budget = Budget(limit: settings.memoryLimit)
  }

  var weightBytes: Int { checkpoint.residentBytes }

  /// Bytes of the queries and keys kept, and of the frames to refine masks by.
  var featureBytes: Int {
    var bytes = stream?.keyBytes ?? 0
    for frame in frames { bytes += frame.byteCount }
    if let video { return bytes + video.featureBytes }
    for outcome in outcomes {
      for guide in outcome.guides { bytes += guide?.planes.byteCount ?? 0 }
    }
    return bytes
  }

  /// Takes one frame.  Where it throws, the session is as before.
  func push(_ frame: Frame) throws(CoveyError) {
    try begin()
    defer { isBusy = false }
    guard !isFinished else {
      throw CoveyError(.state, "push: after finish; reset the session for another video")
    }
    let source = try frame.validate()
    if let size, size != (frame.width, frame.height) {
      throw CoveyError(
        .argument,
        "frame: expected \(size.width)x\(size.height) like the first one, "
          + "found \(frame.width)x\(frame.height)")
    }
    let monitor = Monitor(flag: cancelFlag, callback: callback)
    try monitor.check()
    let encoder = try encoder(for: frame)
    let (encoded, luma) = try encoder.encode(
      source, isKey: pushed % settings.keyStride == 0, after: self.luma, monitor: monitor)
    grid = (encoder.rows, encoder.columns)
    frames.append(encoded)
    timestamps.append(frame.timestamp)
    if settings.isStreaming, frames.count == settings.window {
      do throws(CoveyError) {
        try clusterWindow(monitor)
      } catch {
        frames.removeLast()
        timestamps.removeLast()
        throw error
      }
    }
    size = (frame.width, frame.height)
    self.luma = luma
    pushed += 1
  }

  /// Clusters what was pushed and is not clustered yet.  Where it throws, the
  /// session is as before.
  func finish() throws(CoveyError) {
    try begin()
    defer { isBusy = false }
    guard !isFinished else {
      throw CoveyError(.state, "finish: the session is finished already")
    }
    guard pushed > 0 else {
      throw CoveyError(.state, "finish: no frame has been pushed")
    }
    let monitor = Monitor(flag: cancelFlag, callback: callback)
    try monitor.check()
    if settings.isStreaming {
      if !frames.isEmpty { try clusterWindow(monitor) }
      encoder = nil
    } else {
      encoder = nil  // its memory now serves the clustering
      let config = checkpoint.config
      let video = try WholeVideo(
        frames, grid: grid, settings: settings, channels: config.embedDim,
        heads: settings.affinityHeads(config), pool: pool, budget: budget, monitor: monitor)
      try label(
        video, settings.cut, guides: frames.map { $0.guide }, timestamps: timestamps, monitor)
      // Without a tree nothing but results is asked for.
      if video.hierarchy != nil { self.video = video }
      frames = []
      timestamps = []
    }
    luma = nil
    isFinished = true
  }

  /// Cuts the tree elsewhere; results start again with the first frame.  Where
  /// it throws, the session is as before.
  /// - Parameter tau: 0 for that of the session.
  func recut(tau: Float, targetClusters: Int) throws(CoveyError) {
    try begin()
    defer { isBusy = false }
    let (video, before) = (try finishedVideo(), outcomes[0])
    let monitor = Monitor(flag: cancelFlag, callback: callback)
    try monitor.check()
    var cut = settings.cut
    if tau > 0 { (cut.tau, cut.targetClusters) = (tau, 0) }
    if targetClusters > 0 { cut.targetClusters = targetClusters }
    try label(video, cut, guides: before.guides, timestamps: before.timestamps, monitor)
  }

  func hierarchy() throws(CoveyError) -> Hierarchy {
    try requireIdle()
    guard let hierarchy = try finishedVideo().hierarchy else { throw Session.noTree }
    return hierarchy
  }

  private static let noTree = CoveyError(
    .unsupported, "merge tree: the reference mode has none; edge mode does")

  /// One that has a tree.
  private func finishedVideo() throws(CoveyError) -> WholeVideo {
    guard !settings.isStreaming else {
      throw CoveyError(
        .unsupported, "merge tree: a stream has none; its clusters, once found, never join")
    }
    guard isFinished else {
      throw CoveyError(.state, "merge tree: there is one after finish")
    }
    guard let video else { throw Session.noTree }
    return video
  }

  private func clusterWindow(_ monitor: Monitor) throws(CoveyError) {
    let config = checkpoint.config
    var advanced =
      stream
      ?? Stream(
        grid: grid, settings: settings, channels: config.embedDim,
        heads: settings.affinityHeads(config))
    let firstFrame = advanced.time
    let segmentation = try advanced.take(
      frames, pool: pool, budget: budget, monitor: monitor)
    outcomes.append(
      Outcome(
        segmentation: segmentation, firstFrame: firstFrame,
        guides: frames.map { $0.guide }, timestamps: timestamps))
    stream = advanced
    frames = []
    timestamps = []
  }

  private func label(
    _ video: WholeVideo, _ cut: Hierarchy.Cut, guides: [MaskRenderer.Guide?],
    timestamps: [Int64], _ monitor: Monitor
  ) throws(CoveyError) {
    let segmentation = try video.segmentation(
      cut, pool: pool, budget: budget, monitor: monitor)
    outcomes = [
      Outcome(
        segmentation: segmentation, firstFrame: 0, guides: guides, timestamps: timestamps)
    ]
    next = 0
  }

  enum Next {
    case result(FrameResult)
    case again
    case end
  }

  func nextResult() throws(CoveyError) -> Next {
    try begin()
    defer { isBusy = false }
    guard let outcome = outcomes.first, let size else { return isFinished ? .end : .again }
    let place = next - outcome.firstFrame
    guard place < outcome.timestamps.count else { return .end }
    // A cancel from before is for the next push or finish.
    let (flag, wasSet) = (cancelFlag, cancelFlag.isSet)
    do throws(CoveyError) {
      let result = try FrameResult(
        outcome.segmentation, place: place, frame: next, timestamp: outcome.timestamps[place],
        width: size.width, height: size.height, guide: outcome.guides[place],
        settings: settings, pool: pool, budget: budget,
        isCancelled: { !wasSet && flag.isSet })
      next += 1
      if settings.isStreaming, place + 1 == outcome.timestamps.count { outcomes.removeFirst() }
      return .result(result)
    } catch {
      if error.kind == .cancelled { _ = flag.take() }
      throw error
    }
  }

  func reset() throws(CoveyError) {
    try requireIdle()
    size = nil
    (encoder, luma) = (nil, nil)
    frames = []
    timestamps = []
    pushed = 0
    isFinished = false
    stream = nil
    video = nil
    outcomes = []
    next = 0
    _ = cancelFlag.take()
  }

  private func begin() throws(CoveyError) {
    try requireIdle()
    isBusy = true
  }

  private func requireIdle() throws(CoveyError) {
    guard !isBusy else {
      throw CoveyError(.state, "session: called from its own progress callback")
    }
  }

  /// Made for the first frame, and again after a finish that failed.
  private func encoder(for frame: Frame) throws(CoveyError) -> FrameEncoder {
    if let encoder, encoder.accepts(frame) { return encoder }
    encoder = nil
    let made = try FrameEncoder(
      checkpoint, settings, frameWidth: frame.width, frameHeight: frame.height, pool: pool,
      budget: budget)
    encoder = made
    return made
  }
}
