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
  private var shots: Shots
  private var videos: [WholeVideo] = []  // the shots, finished, where they can be cut again
  private var outcomes: [Outcome] = []
  private var next = 0  // frame
  private var current = 0  // of `outcomes`, the one with that frame
  /// Whether a call is running: its callback is given the chance to call back
  /// into the session, and must not.
  private var isBusy = false

  /// Frames that have been clustered and not been handed out.
  private struct Outcome {
    let segmentation: Segmentation
    let firstFrame: Int
    let frames: [ClusteredFrame]
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
    (shots, luma) = (Shots(settings), nil)
    budget = Budget(limit: settings.memoryLimit)
  }

  var weightBytes: Int { checkpoint.residentBytes }

  /// Bytes of the queries, keys and motions kept, of the frames to refine masks by, of the
  /// last frame's brightness, and of what shots are found by.
  var featureBytes: Int {
    var bytes = (stream?.keyBytes ?? 0) + (luma?.byteCount ?? 0) + shots.byteCount
    for frame in frames { bytes += frame.byteCount }
    for video in videos { bytes += video.featureBytes }
    guard videos.isEmpty else { return bytes }
    for outcome in outcomes {
      for frame in outcome.frames { bytes += frame.byteCount }
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
      source, isKey: shots.isKey(pushed), after: self.luma, monitor: monitor)
    grid = (encoder.rows, encoder.columns)
    try restoring { () throws(CoveyError) in
      let beginning = try shots.take(
        encoded, at: pushed, of: encoder, into: &frames, monitor: monitor)
      timestamps.append(frame.timestamp)
      if settings.isStreaming { try clusterWindows(beginning, monitor) }
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
    try restoring { () throws(CoveyError) in try clusterTheRest(monitor) }
    (shots, luma) = (Shots(settings), nil)
    isFinished = true
  }

  private func clusterTheRest(_ monitor: Monitor) throws(CoveyError) {
    shots.end(at: pushed, &frames)
    if settings.isStreaming {
      while !frames.isEmpty { try clusterWindow(min(settings.window, frames.count), monitor) }
      encoder = nil
    } else {
      encoder = nil  // its memory now serves the clustering
      let config = checkpoint.config
      let ranges = shots.ranges(frames.count)
      let videos = try ranges.map { range throws(CoveyError) in
        try WholeVideo(
          Array(frames[range]), grid: grid, settings: settings, channels: config.embedDim,
          heads: settings.affinityHeads(config), pool: pool, budget: budget, monitor: monitor)
      }
      try label(videos, settings.cut, ranges.map { $0.map(clustered) }, monitor)
      // Without a tree nothing but results is asked for.
      if videos[0].hierarchy != nil { self.videos = videos }
      frames = []
      timestamps = []
    }
  }

  /// Where `body` throws, what it has done to the frames is undone.
  private func restoring(_ body: () throws(CoveyError) -> Void) throws(CoveyError) {
    let before = (frames, timestamps, stream, shots, outcomes)
    do throws(CoveyError) {
      try body()
    } catch {
      (frames, timestamps, stream, shots, outcomes) = before
      // The clustering blames whom the features are from, who is the model here.
      guard error.kind == .argument else { throw error }
      throw CoveyError(.format, "\(error.message); the weights seem damaged")
    }
  }

  /// Cuts the tree elsewhere; results start again with the first frame.  Where
  /// it throws, the session is as before.
  /// - Parameter tau: 0 for that of the session.
  func recut(tau: Float, targetClusters: Int) throws(CoveyError) {
    try begin()
    defer { isBusy = false }
    let (videos, before) = (try finishedVideos(), outcomes)
    let monitor = Monitor(flag: cancelFlag, callback: callback)
    try monitor.check()
    var cut = settings.cut
    if tau > 0 || targetClusters > 0 {
      // Nothing of a cut that was left open stays.
      cut = Hierarchy.Cut(
        tau: tau > 0 ? tau : cut.tau, targetClusters: targetClusters, maxClusters: cut.maxClusters)
    }
    try label(videos, cut, before.map { $0.frames }, monitor)
  }

  func hierarchy() throws(CoveyError) -> Hierarchy {
    try requireIdle()
    let videos = try finishedVideos()
    guard videos.count == 1 else {
      throw CoveyError(
        .unsupported,
        "merge tree: the video has \(videos.count) shots, each with a tree of its own; with "
          + "keep_shots there is one")
    }
    guard let hierarchy = videos[0].hierarchy else { throw Session.noTree }
    return hierarchy
  }

  private static var noTree: CoveyError {
    CoveyError(.unsupported, "merge tree: the reference mode has none; edge mode does")
  }

  /// Those that have a tree.
  private func finishedVideos() throws(CoveyError) -> [WholeVideo] {
    guard !settings.isStreaming else {
      throw CoveyError(
        .unsupported, "merge tree: a stream has none; its clusters, once found, never join")
    }
    guard isFinished else {
      throw CoveyError(.state, "merge tree: there is one after finish")
    }
    guard !videos.isEmpty else { throw Session.noTree }
    return videos
  }

  /// Clusters the windows that are full, and, where a shot begins, what is before it.
  /// - Parameter beginning: place of its first frame among `frames`.
  private func clusterWindows(_ beginning: Int?, _ monitor: Monitor) throws(CoveyError) {
    if let beginning {
      if beginning > 0 { try clusterWindow(beginning, monitor) }
      stream = stream.map { Stream(after: $0) }
    }
    while frames.count - (shots.isOpen ? 1 : 0) >= settings.window {
      try clusterWindow(settings.window, monitor)
    }
  }

  /// - Parameter count: of the frames, from the first on.
  private func clusterWindow(_ count: Int, _ monitor: Monitor) throws(CoveyError) {
    let config = checkpoint.config
    var advanced =
      stream
      ?? Stream(
        grid: grid, settings: settings, channels: config.embedDim,
        heads: settings.affinityHeads(config))
    let firstFrame = advanced.time
    let taken = Array(frames.prefix(count))
    let segmentation = try advanced.take(
      taken, pool: pool, budget: budget, monitor: monitor)
    outcomes.append(
      Outcome(
        segmentation: segmentation, firstFrame: firstFrame,
        frames: taken.indices.map(clustered)))
    stream = advanced
    frames.removeFirst(count)
    timestamps.removeFirst(count)
  }

  /// What is left of one of `frames`.
  private func clustered(_ index: Int) -> ClusteredFrame {
    ClusteredFrame(
      timestamp: timestamps[index], guide: frames[index].guide, motion: frames[index].motion)
  }

  private func label(
    _ videos: [WholeVideo], _ cut: Hierarchy.Cut, _ frames: [[ClusteredFrame]],
    _ monitor: Monitor
  ) throws(CoveyError) {
    var found: [Segmentation] = []
    var (tracks, clusters, first): ([Segmentation.Track], Int, Int) = ([], 0, 0)
    for (shot, video) in videos.enumerated() {
      let segmentation = try video.segmentation(
        cut, shot: shot, firstFrame: first, after: tracks.count, pool: pool, budget: budget,
        monitor: monitor)
      tracks += segmentation.objects
      clusters += segmentation.totalClusters
      first += frames[shot].count
      found.append(segmentation)
    }
    first = 0
    outcomes = found.indices.map { shot in
      found[shot].objects = tracks
      found[shot].totalClusters = clusters
      defer { first += frames[shot].count }
      return Outcome(segmentation: found[shot], firstFrame: first, frames: frames[shot])
    }
    (next, current) = (0, 0)
  }

  enum Next {
    case result(FrameResult)
    case again
    case end
  }

  func nextResult() throws(CoveyError) -> Next {
    try begin()
    defer { isBusy = false }
    guard current < outcomes.count, let size else { return isFinished ? .end : .again }
    let outcome = outcomes[current]
    let place = next - outcome.firstFrame
    // A cancel from before is for the next push or finish.
    let (flag, wasSet) = (cancelFlag, cancelFlag.isSet)
    do throws(CoveyError) {
      let result = try FrameResult(
        outcome.segmentation, place: place, frame: next, outcome.frames[place],
        width: size.width, height: size.height, settings: settings, pool: pool, budget: budget,
        isCancelled: { !wasSet && flag.isSet })
      next += 1
      if place + 1 == outcome.frames.count {
        if settings.isStreaming { outcomes.removeFirst() } else { current += 1 }
      }
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
    (shots, luma) = (Shots(settings), nil)
    videos = []
    outcomes = []
    (next, current) = (0, 0)
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
