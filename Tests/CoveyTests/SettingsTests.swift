import Testing

@testable import Covey

@Suite struct SettingsTests {
  private let defaults = Settings.Defaults(
    patchSize: 8, tau: 0.75, referenceTau: 0.5, window: 3, keyStride: 10, keyPool: 2)

  private func made(_ change: (inout SessionOptions) -> Void) throws(CoveyError) -> Settings {
    var options = SessionOptions()
    change(&options)
    return try Settings(options, defaults)
  }

  private func refusal(_ change: (inout SessionOptions) -> Void) -> CoveyError? {
    do throws(CoveyError) {
      _ = try made(change)
      return nil
    } catch {
      return error
    }
  }

  @Test func whatIsLeftOpenIsTheModels() throws {
    let settings = try made { _ in }
    #expect(settings.tau == 0.75 && settings.window == 3)
    #expect(settings.keyStride == 10 && settings.keyPool == 2 && settings.keyRounding == .ceil)
    #expect(settings.mode == .edge && !settings.isStreaming && settings.queryPool == 4)
    #expect(settings.keyBudget == 8 && settings.bankClusters == 64)
    #expect(settings.targetClusters == 0 && settings.maxClusters == 0)
    #expect(settings.maxObjects == 65_535 && settings.minArea == 0.001)
    #expect(settings.mask == .refined && settings.minRegion == 0)
    #expect(settings.threads == 0 && settings.memoryLimit == .max && settings.output == .objects)
  }

  /// What maps differ by within one thing is the model's to say, unless the session
  /// cuts far from there.
  @Test func scaleOfDistances() throws {
    #expect(try made { _ in }.scale == 0.75)
    for tau: Float in [0.375, 0.5, 1.5] { #expect(try made { $0.tau = tau }.scale == 0.75) }
    #expect(try made { $0.tau = 0.25 }.scale == 0.5)
    #expect(try made { $0.tau = 4 }.scale == 2)
  }

  /// As the authors' code: all key frames, keys and queries as they are.
  @Test func whatIsLeftOpenInReferenceMode() throws {
    let settings = try made { $0.mode = .reference }
    #expect(settings.tau == 0.5 && settings.window == 3 && settings.keyStride == 10)
    #expect(settings.keyRounding == .floor)
    #expect(try made { ($0.mode, $0.keyRounding) = (.reference, .ceil) }.keyRounding == .ceil)
    #expect(try made { ($0.mode, $0.tau) = (.reference, 2) }.tau == 2)
    #expect(settings.keyPool == 1 && settings.queryPool == 1 && settings.keyBudget == .max)
    let given = try made { ($0.mode, $0.keyPool, $0.keyBudget) = (.reference, 2, 5) }
    #expect(given.keyPool == 2 && given.keyBudget == 5)
  }

  @Test func whatIsGivenHolds() throws {
    let settings = try made {
      $0.queryPool = 64
      $0.keyBudget = 1_000_000
      $0.targetClusters = 1024
      $0.maxClusters = 65_535
      $0.bankClusters = 1024
      $0.threads = 256
      $0.window = 64
      $0.keyStride = 10_000
      $0.keyPool = 64
      $0.tau = 1000
      $0.maxObjects = 65_535
      $0.minArea = 0.999
      $0.memoryLimit = 1
      $0.keyRounding = .floor
      $0.output = .clusters
      $0.mask = .nearest
      $0.minRegion = 0.25
      $0.workingHeight = 8192
      $0.workingWidth = 8
    }
    #expect(settings.queryPool == 64 && settings.keyBudget == 1_000_000)
    #expect(settings.targetClusters == 1024 && settings.maxClusters == 65_535)
    #expect(settings.bankClusters == 1024)
    #expect(settings.threads == 256 && settings.window == 64 && settings.keyStride == 10_000)
    #expect(settings.keyPool == 64 && settings.tau == 1000 && settings.maxObjects == 65_535)
    #expect(settings.minArea == 0.999 && settings.memoryLimit == 1)
    #expect(settings.keyRounding == .floor && settings.output == .clusters)
    #expect(settings.mask == .nearest && settings.minRegion == 0.25)
    // Negative: not even a single patch is too small.
    #expect(try made { $0.minArea = -1 }.minArea == 0)
  }

  @Test func rangesAreKept() {
    let wrong: [(String, (inout SessionOptions) -> Void)] = [
      ("options.threads: expected 0 to 256, found 257", { $0.threads = 257 }),
      ("options.threads: expected 0 to 256, found -1", { $0.threads = -1 }),
      ("options.window: expected 0 to 64, found 65", { $0.window = 65 }),
      ("options.key_stride: expected 0 to 10000, found 10001", { $0.keyStride = 10_001 }),
      ("options.key_pool: expected 0 to 64, found -3", { $0.keyPool = -3 }),
      ("options.query_pool: expected 0 to 64, found 65", { $0.queryPool = 65 }),
      ("options.query_pool: expected 0 to 64, found -1", { $0.queryPool = -1 }),
      ("options.key_budget: expected 0 to 1000000, found 1000001", { $0.keyBudget = 1_000_001 }),
      ("options.target_clusters: expected 0 to 1024, found 1025", { $0.targetClusters = 1025 }),
      ("options.max_clusters: expected 0 to 65535, found 65536", { $0.maxClusters = 65_536 }),
      ("options.bank_clusters: expected 0 to 1024, found 1025", { $0.bankClusters = 1025 }),
      ("options.bank_clusters: expected 0 to 1024, found -2", { $0.bankClusters = -2 }),
      (
        "options.target_clusters: expected 0 for a stream, whose clusters are found as they "
          + "come, found 3; max_clusters limits them",
        { ($0.isStreaming, $0.targetClusters) = (true, 3) }
      ),
      (
        "options.streaming: expected 0 in reference mode, which has none of it",
        { ($0.mode, $0.isStreaming) = (.reference, true) }
      ),
      (
        "options.query_pool: expected 0 in reference mode, which has none of it",
        { ($0.mode, $0.queryPool) = (.reference, 2) }
      ),
      (
        "options.target_clusters: expected 0 in reference mode, which has none of it",
        { ($0.mode, $0.targetClusters) = (.reference, 2) }
      ),
      (
        "options.max_clusters: expected 0 in reference mode, which has none of it",
        { ($0.mode, $0.maxClusters) = (.reference, 2) }
      ),
      ("options.tau: expected 0 to 1000, found -0.5", { $0.tau = -0.5 }),
      ("options.tau: expected 0 to 1000, found 1000.01", { $0.tau = 1000.01 }),
      ("options.tau: expected 0 to 1000, found inf", { $0.tau = .infinity }),
      ("options.max_objects: expected 0 to 65535, found 65536", { $0.maxObjects = 65_536 }),
      ("options.min_area: expected less than 1, found 1", { $0.minArea = 1 }),
      ("options.memory_limit: expected 0 or more, found -1", { $0.memoryLimit = -1 }),
      ("options.min_region: expected less than 1, found 1", { $0.minRegion = 1 }),
      ("options.min_region: expected less than 1, found nan", { $0.minRegion = .nan }),
      ("options.working_height: expected 0 to 8192, found 8200", { $0.workingHeight = 8200 }),
      ("options.working_width: expected 0 to 8192, found -8", { $0.workingWidth = -8 }),
      (
        "options.working_height, working_width: expected multiples of the patch size 8, "
          + "found 16 and 20", { ($0.workingHeight, $0.workingWidth) = (16, 20) }
      ),
    ]
    for (message, change) in wrong {
      let error = refusal(change)
      #expect(error?.kind == .argument)
      #expect(error?.message == message)
    }
    #expect(refusal { $0.tau = .nan }?.kind == .argument)
    #expect(refusal { $0.minRegion = .nan }?.kind == .argument)
    #expect(refusal { $0.minArea = .nan }?.kind == .argument)
  }

  // ---- Keys ---------------------------------------------------------------------

  @Test func keyFrames() throws {
    for stride in [1, 2, 3, 10] {
      let up = try made { ($0.keyStride, $0.keyBudget) = (stride, 1_000_000) }
      let downs = try [
        made { ($0.keyStride, $0.keyBudget, $0.keyRounding) = (stride, 1_000_000, .floor) },
        made { ($0.keyStride, $0.mode) = (stride, .reference) },
      ]
      let reference = try made {
        ($0.keyStride, $0.mode, $0.keyRounding) = (stride, .reference, .ceil)
      }
      for frames in 1...41 {
        // Counted: frames 0, r, 2r, ... that there are, or all of whose r
        // frames there are.
        let starts = Swift.stride(from: 0, to: frames, by: stride)
        for settings in [up, reference] {
          #expect(settings.keyFrameCount(frames) == starts.reduce(0) { count, _ in count + 1 })
        }
        let whole = starts.filter { $0 + stride <= frames }.count
        for down in downs { #expect(down.keyFrameCount(frames) == max(1, whole)) }
      }
    }
  }

  /// Of 0, r, 2r, ... as many as the budget has, first and last among them, as
  /// evenly as whole strides allow.
  @Test(arguments: [1, 2, 3, 8, 50], [1, 3, 10])
  func keyFramesOfABudget(budget: Int, stride: Int) throws {
    let settings = try made { ($0.keyStride, $0.keyBudget) = (stride, budget) }
    for frames in 1...130 {
      let kept = settings.keyFrames(frames)
      let last = (frames - 1) / stride
      #expect(kept.count == min(budget, last + 1) && kept.count == settings.keyFrameCount(frames))
      #expect(kept.first == 0 && (kept.count == 1 || kept.last == last * stride))
      #expect(kept.allSatisfy { $0 % stride == 0 })
      let gaps = zip(kept, kept.dropFirst()).map { ($1 - $0) / stride }
      #expect((gaps.min() ?? 1) >= 1 && (gaps.max() ?? 1) - (gaps.min() ?? 1) <= 1)
    }
  }

  @Test func keysOfAFrame() throws {
    for pool in [1, 2, 3, 5, 64] {
      let settings = try made { $0.keyPool = pool }
      for (rows, columns) in [(1, 1), (24, 48), (5, 7), (63, 65), (64, 64)] {
        let blocks = Set((0..<rows * columns).map { [$0 / columns / pool, $0 % columns / pool] })
        #expect(settings.keysPerFrame(rows: rows, columns: columns) == blocks.count)
      }
    }
  }

  // ---- Working size -----------------------------------------------------------------

  @Test func workingSize() throws {
    let config = try TestCheckpoint(rows: 24, columns: 48).load().config
    func size(_ height: Int, _ width: Int, frame: (Int, Int)) throws -> [Int] {
      let settings = try made { ($0.workingHeight, $0.workingWidth) = (height, width) }
      let size = settings.workingSize(frameWidth: frame.0, frameHeight: frame.1, config)
      return [size.height, size.width]
    }
    // The model's, turned for upright frames; square ones lie.
    #expect(try size(0, 0, frame: (854, 480)) == [192, 384])
    #expect(try size(0, 0, frame: (480, 854)) == [384, 192])
    #expect(try size(0, 0, frame: (100, 100)) == [192, 384])
    // Both given: as they are.
    #expect(try size(64, 200, frame: (480, 854)) == [64, 200])
    // One given: the other by the aspect, to the nearest patch, at least one.
    #expect(try size(192, 0, frame: (854, 480)) == [192, 344])  // 341.6: 42.7 patches
    #expect(try size(0, 384, frame: (854, 480)) == [216, 384])  // 215.8
    #expect(try size(0, 8, frame: (854, 480)) == [8, 8])
    #expect(try size(8, 0, frame: (1, 32768)) == [8, 8])
    #expect(try size(8192, 0, frame: (32768, 1)) == [8192, 8192])

    let upright = try TestCheckpoint(rows: 48, columns: 24).load().config
    let settings = try made { _ in }
    #expect(settings.workingSize(frameWidth: 50, frameHeight: 40, upright) == (192, 384))
    #expect(settings.workingSize(frameWidth: 40, frameHeight: 50, upright) == (384, 192))
  }

  // ---- Estimates of sizes beyond all bounds ------------------------------------------------

  @Test func estimatesRefuseWhatCannotBe() throws {
    let checkpoint = try TestCheckpoint().load()
    func estimate(_ width: Int, _ height: Int, _ frames: Int) -> CoveyError.Kind? {
      do throws(CoveyError) {
        _ = try MemoryEstimate(
          checkpoint, SessionOptions(), frameWidth: width, frameHeight: height, frames: frames)
        return nil
      } catch {
        return error.kind
      }
    }
    #expect(estimate(64, 48, 1) == nil)
    #expect(estimate(32768, 32768, 100_000) == nil)
    for (width, height, frames) in [
      (0, 48, 1), (64, 32769, 1), (-1, 48, 1), (64, 48, 0), (64, 48, -1), (64, 48, .max),
    ] {
      #expect(estimate(width, height, frames) == .argument)
    }
    // Every frame against the keys of every tenth: the square of the length.
    var options = SessionOptions()
    options.mode = .reference
    (options.workingHeight, options.workingWidth, options.keyStride) = (8192, 8192, 1)
    #expect(throws: CoveyError.self) {
      try MemoryEstimate(
        checkpoint, options, frameWidth: 64, frameHeight: 48, frames: 100_000_000)
    }
    // A stream needs no more for being long.
    options = SessionOptions()
    (options.isStreaming, options.workingHeight, options.workingWidth) = (true, 320, 480)
    func stream(_ frames: Int) throws -> Int {
      let estimate = try MemoryEstimate(
        checkpoint, options, frameWidth: 640, frameHeight: 480, frames: frames)
      return estimate.features + estimate.workspace
    }
    #expect(try stream(1000) == stream(100_000_000))
  }
}
