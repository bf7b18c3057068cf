import CCoveyKernels

/// One video: frames in, features kept, clustered at the end, results out.
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
  private var frames: [EncodedFrame] = []
  /// Of the frames, from finish until their results have been handed out.
  private var guides: [MaskRenderer.Guide?] = []
  private var segmentation: Segmentation?
  private var timestamps: [Int64] = []
  private var next = 0
  /// Whether a push or finish is running: its callback is given the chance to
  /// call back into the session, and must not.
  private var isBusy = false

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

  /// Bytes of the queries and keys kept.
  var featureBytes: Int {
    var bytes = 0
    for frame in frames { bytes += frame.byteCount }
    return bytes
  }

  /// Takes one frame.  Where it throws, the session is as before.
  func push(_ frame: Frame) throws(CoveyError) {
    try requireIdle()
    isBusy = true
    defer { isBusy = false }
    guard segmentation == nil else {
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
    let encoded = try encoder.encode(
      source, isKey: frames.count % settings.keyStride == 0,
      monitor: monitor)
    size = (frame.width, frame.height)
    grid = (encoder.rows, encoder.columns)
    frames.append(encoded)
    timestamps.append(frame.timestamp)
  }

  /// Clusters what was pushed.  Where it throws, the session is as before.
  func finish() throws(CoveyError) {
    try requireIdle()
    isBusy = true
    defer { isBusy = false }
    guard segmentation == nil else {
      throw CoveyError(.state, "finish: the session is finished already")
    }
    guard !frames.isEmpty else {
      throw CoveyError(.state, "finish: no frame has been pushed")
    }
    let monitor = Monitor(flag: cancelFlag, callback: callback)
    try monitor.check()
    encoder = nil  // its memory now serves the clustering
    segmentation = try Segmentation(
      frames, rows: grid.rows, columns: grid.columns, settings: settings,
      config: checkpoint.config, pool: pool, budget: budget, monitor: monitor)
    guides = frames.map { $0.guide }
    frames = []  // results need nothing else of them
  }

  enum Next {
    case result(FrameResult)
    case again
    case end
  }

  func nextResult() throws(CoveyError) -> Next {
    try requireIdle()
    guard let segmentation, let size else { return .again }
    guard next < timestamps.count else { return .end }
    isBusy = true
    defer { isBusy = false }
    // A cancel from before is for the next push or finish.
    let (flag, wasSet) = (cancelFlag, cancelFlag.isSet)
    do throws(CoveyError) {
      let result = try FrameResult(
        segmentation, frame: next, timestamp: timestamps[next], width: size.width,
        height: size.height, guide: guides[next], settings: settings, pool: pool,
        budget: budget, isCancelled: { !wasSet && flag.isSet })
      guides[next] = nil
      next += 1
      return .result(result)
    } catch {
      if error.kind == .cancelled { _ = flag.take() }
      throw error
    }
  }

  func reset() throws(CoveyError) {
    try requireIdle()
    size = nil
    encoder = nil
    frames = []
    guides = []
    timestamps = []
    segmentation = nil
    next = 0
    _ = cancelFlag.take()
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
