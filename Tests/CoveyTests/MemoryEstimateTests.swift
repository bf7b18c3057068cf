import Testing

@testable import Covey

@Suite struct MemoryEstimateTests {
  /// What was estimated, and what a session of all frames took.
  private func measure(
    _ model: TestCheckpoint, _ video: TestVideo, _ options: SessionOptions
  ) throws -> (estimate: MemoryEstimate, features: Int, peak: Int, clusters: Int) {
    let checkpoint = try model.load()
    let estimate = try MemoryEstimate(
      checkpoint, options, frameWidth: video.width, frameHeight: video.height,
      frames: video.frames.count)
    let session = try Session(checkpoint, options, callback: nil)
    try video.pushAll(to: session)
    let features = session.featureBytes
    try session.finish()
    let clusters = try TestResults(of: session).clusters
    #expect(estimate.weights == session.weightBytes)
    return (estimate, features, session.budget.peak, clusters)
  }

  /// Features to the byte, and never less than was taken, over settings and
  /// sizes; centres are few in all of these.  Observed: 1.0002 to 1.58 times the
  /// peak, half of them below 1.006.  The largest are short windows with many
  /// keys, where the room for a centre for every 16 patches, which nobody used,
  /// is what counts.  In edge mode, on grids as small as these: up to 2.12, as the
  /// estimate has room for a prototype, and a centre, for every block.
  @Test func isNeverTooLow() throws {
    var runs = 0
    for (rows, columns) in [(1, 1), (3, 5), (6, 8), (16, 12)] {
      for frames in [1, 2, 5, 11] {
        for threads in [1, 3] {
          for (window, stride, pool) in [(1, 1, 1), (3, 2, 1), (4, 10, 3), (64, 3, 2)] {
            for rounding in [SessionOptions.KeyRounding.ceil, .floor] {
              // A large tau: few centres.
              let model = TestCheckpoint(
                patch: 4, channels: 16, heads: 2, mlp: 30, saliency: runs % 2 == 0, rows: rows,
                columns: columns, tau: 3, seed: UInt64(runs))
              var options = SessionOptions()
              (options.threads, options.window, options.keyStride) = (threads, window, stride)
              (options.keyPool, options.keyRounding) = (pool, rounding)
              options.output = .clusters
              options.keepsShots = true  // whose number nobody knows before
              options.mode = runs % 3 == 0 ? .reference : .edge
              options.affinity = [.correlator, .features, .attention][runs % 3]
              let video = TestVideo(frames: frames, width: 41, height: 32, seed: UInt64(runs))
              let found = try measure(model, video, options)
              let text =
                "\(rows)x\(columns), \(frames) frames, \(threads) threads, window \(window), "
                + "stride \(stride), pool \(pool), \(rounding), \(options.affinity)"
              let share = max(1, min(window, frames) * rows * columns / 16)
              try #require(found.clusters <= share, "\(text)")
              let total = found.estimate.features + found.estimate.workspace
              #expect(total >= found.peak, "\(text)")
              let ratio = Double(total) / Double(found.peak)
              if options.mode == .edge {
                #expect(ratio <= 2.3, "\(text): \(ratio)")
              } else {
                #expect(ratio <= (window >= 3 ? 1.3 : 1.7), "\(text): \(ratio)")
              }
              if rounding == .ceil { #expect(found.estimate.features == found.features, "\(text)") }
              #expect(found.estimate.features >= found.features)
              runs += 1
            }
          }
        }
      }
    }
  }

  /// At the size of a real working frame, a whole video and a stream.  The edge
  /// mode reckons with a prototype for every block, of which a calm video has a
  /// tenth; and with few channels, as here, features do not make up for it.
  /// Observed: 1.55 to 1.67 times the peak.
  @Test func isCloseAtRealSizes() throws {
    let model = TestCheckpoint(
      channels: 48, heads: 3, mlp: 96, correlatorHeads: 3, sharpness: 4, rows: 24, columns: 48,
      tau: 0.3, keyPool: 4, seed: 3)
    let video = TestVideo(frames: 12, width: 384, height: 192)
    for (isStreaming, mask) in [
      (false, SessionOptions.Mask.refined), (true, .refined), (false, .nearest), (true, .nearest),
    ] {
      var options = SessionOptions()
      (options.threads, options.isStreaming, options.mask) = (2, isStreaming, mask)
      options.keyStride = 2
      let checkpoint = try model.load()
      let estimate = try MemoryEstimate(
        checkpoint, options, frameWidth: 384, frameHeight: 192, frames: 12)
      let session = try Session(checkpoint, options, callback: nil)
      for index in 0..<12 {
        try video.push(index, to: session)
        while case .result = try session.nextResult() {}
      }
      try session.finish()
      while case .result = try session.nextResult() {}
      let total = estimate.features + estimate.workspace
      #expect(session.budget.peak <= total)
      let ratio = Double(total) / Double(session.budget.peak)
      #expect(ratio <= 1.75, "\(isStreaming), \(mask): \(ratio)")
    }
  }

  /// The clustering alone, with centres up to what the estimate allows.
  @Test(arguments: [1, 2, 3])
  func holdsUpToACentreForEverySixteenPatches(window: Int) throws {
    let (frames, patches, threads) = (6, 192, 2)
    let scene = TestScene(
      .noisy, frames: frames, rows: 16, columns: 12, heads: 2, keyCount: 97, gain: 6, seed: 8)
    var most = 0
    for tau: Float in [0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2] {
      let counts = try centres(scene, window: window, tau: tau)
      let allowed = window * patches / 16
      guard counts.allSatisfy({ $0 <= allowed }) else { continue }
      most = max(most, counts.max() ?? 0)
      let budget = Budget()
      _ = try scene.clusters(window: window, tau: tau, threads: threads, budget: budget)
      let estimate = ReferenceClustering.byteCount(
        frames: frames, patches: patches, window: window, keyCount: 97, threads: threads)
      #expect(budget.peak <= estimate, "tau \(tau), centres \(counts)")
    }
    // It came to the test: some window had half as many as allowed.
    #expect(most * 2 >= window * patches / 16, "\(most)")
  }

  /// Of each window: how many centres level 1 finds.
  private func centres(_ scene: TestScene, window: Int, tau: Float) throws -> [Int] {
    let (pool, monitor, budget) = (try ThreadPool(threads: 2), Monitor(), Budget())
    let queries = scene.frames.flatMap { $0 }
    let capacity = window * scene.patches
    let shift = try MeanShift(
      capacity: capacity, keyCount: scene.keyCount, pool: pool, monitor: monitor, budget: budget)
    let merge = try GreedyMerge(
      capacity: capacity, keyCount: scene.keyCount, pool: pool, monitor: monitor, budget: budget)
    BLAS.claim()
    defer { BLAS.release() }
    return try queries.withUnsafeBufferPointer { queries in
      try scene.keys.withUnsafeBufferPointer { keys in
        let affinity = Affinity(
          keys: keys.baseAddress!, keyCount: scene.keyCount, channels: scene.channels,
          heads: scene.heads)
        return try stride(from: 0, to: scene.frames.count, by: window).map { start in
          let frames = (start..<min(start + window, scene.frames.count)).map {
            queries.baseAddress! + $0 * scene.patches * scene.channels
          }
          let found = try Centres(keyCount: scene.keyCount, budget: budget)
          try shift.run(frames, patches: scene.patches, affinity: affinity, tau: tau)
          try merge.run(
            shift.shifted.base, logs: shift.logs.base, count: frames.count * scene.patches,
            tau: tau, into: found)
          return found.count
        }
      }
    }
  }
}
