import Testing

@testable import Covey

/// Masks as a session draws them.
@Suite struct MaskSessionTests {
  private let model = TestCheckpoint(
    patch: 4, sharpness: 4, rows: 6, columns: 8, tau: 0.3, keyStride: 2, seed: 41)

  private func finished(
    _ video: TestVideo, _ mask: SessionOptions.Mask = .refined, threads: Int = 2
  ) throws -> Session {
    var options = SessionOptions()
    (options.threads, options.output, options.mask) = (threads, .clusters, mask)
    let session = try Session(model.load(), options, callback: nil)
    try video.pushAll(to: session)
    try session.finish()
    return session
  }

  /// At the working size nothing is resized, and bytes come back as they went in.
  @Test func theGuideIsTheFrame() throws {
    let (width, height) = (32, 24)
    let video = TestVideo(frames: 1, width: width, height: height)
    let checkpoint = try model.load()
    for mask in [SessionOptions.Mask.refined, .bilinear, .nearest] {
      var options = SessionOptions()
      options.mask = mask
      let encoder = try FrameEncoder(
        checkpoint, Settings(options, checkpoint.config.defaults), frameWidth: width,
        frameHeight: height, pool: ThreadPool(threads: 1), budget: Budget())
      let encoded = try video.frames[0].withUnsafeBufferPointer {
        try encoder.encode(
          Frame(
            format: .rgb8, width: width, height: height, planes: ($0.baseAddress, nil, nil),
            strides: (0, 0, 0), timestamp: 0
          ).validate(), isKey: false, after: nil, monitor: Monitor()
        ).frame
      }
      guard mask == .refined else {
        #expect(encoded.guide == nil)
        continue
      }
      let guide = try #require(encoded.guide)
      #expect(guide.width == width && guide.height == height)
      for channel in 0..<3 {
        for pixel in 0..<width * height {
          let byte = guide.planes[channel * width * height + pixel]
          #expect(byte == video.frames[0][3 * pixel + channel])
        }
      }
    }
  }

  @Test func masksAreTheSameForAnyThreads() throws {
    let video = TestVideo(frames: 4, width: 301, height: 97)
    for mask in [SessionOptions.Mask.refined, .bilinear, .nearest] {
      let one = try TestResults(of: finished(video, mask, threads: 1))
      #expect(one.clusters > 1)
      for threads in 2...4 {
        #expect(try TestResults(of: finished(video, mask, threads: threads)) == one)
      }
    }
  }

  /// A cancel from before is left for the next push or finish; one while a
  /// result is being made ends that, and the result can be asked for again.
  @Test func cancellingWhileDrawing() throws {
    let video = TestVideo(frames: 2, width: 75, height: 50)
    let session = try finished(video)
    session.cancelFlag.set()
    guard case .result(let result) = try session.nextResult() else {
      Issue.record("no result")
      return
    }
    #expect(result.frameIndex == 0)
    #expect(session.cancelFlag.take())

    // As set while drawing: at the third question.
    let checkpoint = try model.load()
    let settings = try Settings(SessionOptions(), checkpoint.config.defaults)
    let (pool, budget) = (try ThreadPool(threads: 1), Budget())
    var frames: [EncodedFrame] = []
    let encoder = try FrameEncoder(
      checkpoint, settings, frameWidth: 75, frameHeight: 50, pool: pool, budget: budget)
    for frame in video.frames {
      try frame.withUnsafeBufferPointer {
        frames.append(
          try encoder.encode(
            Frame(
              format: .rgb8, width: 75, height: 50, planes: ($0.baseAddress, nil, nil),
              strides: (0, 0, 0), timestamp: 0
            ).validate(), isKey: true, after: nil, monitor: Monitor()
          ).frame)
      }
    }
    let segmentation = try WholeVideo(
      frames, grid: (6, 8), settings: settings, channels: checkpoint.config.embedDim,
      heads: checkpoint.config.correlatorHeads, pool: pool, budget: budget, monitor: Monitor()
    ).segmentation(settings.cut, pool: pool, budget: budget, monitor: Monitor())
    func draw(_ isCancelled: @escaping () -> Bool) throws -> FrameResult {
      try FrameResult(
        segmentation, place: 1, frame: 1,
        ClusteredFrame(timestamp: 0, guide: frames[1].guide, motion: frames[1].motion), width: 75,
        height: 50, settings: settings, pool: pool, budget: budget, isCancelled: isCancelled)
    }
    var asked = 0
    #expect(throws: CoveyError.self) {
      try draw {
        asked += 1
        return asked >= 1
      }
    }
    #expect(asked >= 1)
    #expect(try draw { false }.frameIndex == 1)
  }
}
