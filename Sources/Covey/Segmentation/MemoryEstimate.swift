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
    // 12 bytes for each pair of a centre and a key are the largest term that
    // grows with the square of the length.
    let keys = Double(settings.keysPerFrame(rows: rows, columns: columns))
    let pairs = Double(frames) * Double(patches) / 16 * (Double(frames) * keys + 1)
    let whole = 24 * pairs + 16 * Double(frames) * Double(patches) * Double(config.embedDim)
    guard whole < 0x1p62 else {
      throw CoveyError(.memory, "\(frames) frames would need more than 2^62 bytes")
    }
    let keyFrames = (frames + settings.keyStride - 1) / settings.keyStride
    weights = checkpoint.residentBytes
    features =
      4 * frames * patches * (config.embedDim + (config.hasClsSaliency ? 1 : 0))
      + 4 * keyFrames * settings.keysPerFrame(rows: rows, columns: columns) * config.embedDim
    let encoding = FrameEncoder.byteCount(
      config, settings, frameWidth: frameWidth, frameHeight: frameHeight, threads: threads)
    let clustering = Segmentation.byteCount(
      frames: frames, rows: rows, columns: columns, channels: config.embedDim,
      settings: settings, threads: threads)
    workspace = max(encoding, clustering)
  }
}
