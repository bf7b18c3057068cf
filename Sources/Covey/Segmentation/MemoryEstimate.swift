/// What a session needs at most, before any of it is allocated.
struct MemoryEstimate {
  let weights: Int
  let features: Int
  let workspace: Int

  init(
    _ checkpoint: Checkpoint, _ options: SessionOptions, frameWidth: Int, frameHeight: Int,
    frames: Int
  ) throws(CoveyError) {
    let config = checkpoint.config
    let settings = try Settings(options, config.defaults)
    let sizes = 1...Frame.maximumSize
    guard sizes.contains(frameWidth), sizes.contains(frameHeight) else {
      throw CoveyError(
        .argument,
        "frame size: expected 1 to \(Frame.maximumSize), found \(frameWidth)x\(frameHeight)")
    }
    // Above, the byte counts could overflow.
    guard frames >= 1, frames <= 100_000_000 else {
      throw CoveyError(.argument, "frame count: expected 1 to 100000000, found \(frames)")
    }
    let threads = ThreadPool.count(settings.threads)
    let (height, width) = settings.workingSize(
      frameWidth: frameWidth, frameHeight: frameHeight, config)
    let (rows, columns) = (height / config.patchSize, width / config.patchSize)
    let patches = rows * columns
    // A bound of all sums below, so that none of them overflows: what goes with
    // pairs of maps or centres and keys, with pairs of maps, and with features.
    // A stream keeps the frames of a window, and a budget of key frames.
    let waiting = settings.window + (settings.splitsShots ? 1 : 0)
    let held = settings.isStreaming ? min(waiting, frames) : frames
    let maps = Double(min(settings.window, frames)) * Double(patches)
    let allMaps = Double(held) * Double(patches) + 64
    let keys =
      Double(min(frames, settings.keyBudget))
      * Double(settings.keysPerFrame(rows: rows, columns: columns))
    let bound =
      (16 * maps + 4 * allMaps + 4096 * Double(threads)) * (keys + 64)
      + maps * maps
      + 64 * allMaps * Double(config.embedDim + 64 + config.patchSize * config.patchSize)
      + 4096 * Double(patches)
    guard bound < 0x1p61 else {
      throw CoveyError(.memory, "\(frames) frames would need more than 2^61 bytes")
    }
    let shots = Shots.most(frames: frames, settings)
    let candidates = min(
      (frames + settings.keyStride - 1) / settings.keyStride + shots - 1, frames)
    // Those of the bank, and of the frames that are not in it yet.
    let fresh = (waiting + settings.keyStride - 1) / settings.keyStride + waiting - settings.window
    let keyFrames =
      settings.isStreaming ? min(settings.keyBudget + fresh, candidates) : candidates
    weights = checkpoint.residentBytes
    let summaries =
      settings.splitsShots
      ? min(frames + 1, ShotDetector.mostSummaries)
        * FrameSummary.byteCount(
          rows: rows, columns: columns, channels: config.embedDim, height: height, width: width)
      : 0
    features =
      4 * held * patches * (config.embedDim + (config.hasClsSaliency ? 1 : 0))
      + 4 * keyFrames * settings.keysPerFrame(rows: rows, columns: columns) * config.embedDim
      + (settings.mask == .refined ? 3 * held * height * width : 0) + summaries
      + min(held, frames - 1) * Motion.byteCount(patches: patches)
      + LumaPyramid.byteCount(width: width, height: height)
    let encoding =
      FrameEncoder.byteCount(
        checkpoint, settings, frameWidth: frameWidth, frameHeight: frameHeight, threads: threads)
      // Of the frame that is encoded, while the one before is there.
      + LumaPyramid.byteCount(width: width, height: height)
      + (settings.mask == .refined ? 0 : 3 * height * width)
      + Motion.scratchByteCount(patches: patches)
    let drawing =
      Segmentation.byteCount(held * patches, settings)
      + FrameResult.byteCount(
        rows: rows, columns: columns, width: frameWidth, height: frameHeight,
        guideHeight: height, guideWidth: width, settings: settings, threads: threads)
    if settings.isStreaming {
      let window = Stream.byteCount(
        frames: frames, rows: rows, columns: columns, channels: config.embedDim, settings: settings,
        threads: threads)
      let bank = Stream.bankByteCount(
        frames: frames, rows: rows, columns: columns, channels: config.embedDim, settings: settings)
      // Encoding goes on after every window.
      workspace = encoding + bank + max(window, drawing)
    } else {
      let clustering = WholeVideo.byteCount(
        frames: frames, rows: rows, columns: columns, channels: config.embedDim,
        settings: settings, threads: threads)
      let tree = WholeVideo.treeByteCount(
        frames: frames, shots: shots, rows: rows, columns: columns, channels: config.embedDim,
        settings: settings)
      // While one shot is clustered there are the trees of those before.
      let others = shots > 1 ? tree : 0
      workspace = max(encoding, clustering + others, tree + drawing)
    }
  }
}
