import Foundation
import Testing

@testable import Covey

@Suite struct SessionTests {
  /// Maps sharp enough for several clusters.
  private let model = TestCheckpoint(sharpness: 4, tau: 0.3, keyStride: 2, seed: 41)
  private let video = TestVideo(frames: 7, width: 75, height: 50)

  private var options: SessionOptions {
    var options = SessionOptions()
    (options.threads, options.output) = (2, .clusters)
    (options.queryPool, options.tau) = (1, 0.1)
    return options
  }

  private var reference: SessionOptions {
    var options = SessionOptions()
    (options.threads, options.output, options.mode) = (2, .clusters, .reference)
    return options
  }

  private func session(
    _ options: SessionOptions? = nil, callback: Monitor.Callback? = nil
  ) throws -> Session {
    try Session(model.load(), options ?? self.options, callback: callback)
  }

  private func expected(_ frames: Int = 7, _ options: SessionOptions? = nil) throws -> TestResults {
    let session = try session(options)
    for index in 0..<frames { try video.push(index, to: session) }
    try session.finish()
    return try TestResults(of: session)
  }

  private func isAgain(_ session: Session) throws -> Bool {
    if case .again = try session.nextResult() { true } else { false }
  }

  private func isEnd(_ session: Session) throws -> Bool {
    if case .end = try session.nextResult() { true } else { false }
  }

  // ---- The course of things -----------------------------------------------------

  @Test func resultsComeInOrderAfterFinish() throws {
    var options = options
    options.mask = .nearest  // others may leave a cluster without a pixel
    let session = try Session(model.load(), options, callback: nil)
    #expect(try isAgain(session))
    #expect(kind { try session.finish() } == .state)
    for index in 0..<7 {
      try video.push(index, to: session)
      let waits = try isAgain(session)
      #expect(waits)
    }
    try session.finish()
    #expect(kind { try session.finish() } == .state)
    #expect(kind { try video.push(0, to: session) } == .state)
    let results = try TestResults(of: session)
    #expect(results.timestamps == [1000, 1040, 1080, 1120, 1160, 1200, 1240])
    #expect(results.labels.allSatisfy { $0.count == 75 * 50 })
    #expect(results.clusters > 1 && results.tracks == results.clusters)
    // Every cluster has its id, and 0 is none.
    let used = Set(results.labels.flatMap { $0 })
    #expect(used == Set((1...results.clusters).map { UInt16($0) }))
    #expect(try isEnd(session))
    let still = try isEnd(session)
    #expect(still)

    // As new: another size, and the numbers start again.
    try session.reset()
    #expect(session.budget.current == 0 && session.featureBytes == 0)
    let other = TestVideo(frames: 2, width: 30, height: 61)
    try other.pushAll(to: session)
    try session.finish()
    #expect(try TestResults(of: session).labels.map(\.count) == [1830, 1830])
  }

  /// The session does what the stages do, one after the other.
  @Test func labelsAreThoseOfTheStages() throws {
    for mode in [SessionOptions.Mode.reference, .edge] { try checkStages(mode) }
  }

  private func checkStages(_ mode: SessionOptions.Mode) throws {
    var options = mode == .edge ? options : reference
    (options.keyPool, options.keyStride, options.window) = (2, 3, 2)
    (options.keyRounding, options.mask) = (.ceil, .nearest)
    let found = try expected(7, options)
    let checkpoint = try model.load()
    let settings = try Settings(options, checkpoint.config.defaults)
    let pool = try ThreadPool(threads: 1)
    let encoder = try FrameEncoder(
      checkpoint, settings, frameWidth: 75, frameHeight: 50, pool: pool, budget: Budget())
    var (queries, keys): ([[Float]], [Float]) = ([], [])
    for index in 0..<7 {
      let frame = try video.frames[index].withUnsafeBufferPointer {
        try encoder.encode(
          Frame(
            format: .rgb8, width: 75, height: 50, planes: ($0.baseAddress, nil, nil),
            strides: (0, 0, 0), timestamp: 0
          ).validate(), isKey: index % 3 == 0, after: nil, monitor: Monitor()
        ).frame
      }
      queries.append((0..<frame.queries.count).map { frame.queries[$0] })
      if let own = frame.keys { keys += (0..<own.count).map { own[$0] } }
      #expect((frame.keys != nil) == (index % 3 == 0))
    }
    #expect(keys.count == 3 * 2 * 3 * 24)
    let scene = TestScene(
      frames: queries, keys: keys, patches: 24, channels: 24, heads: model.correlatorHeads)
    let clusters =
      mode == .edge
      ? try scene.edgeClusters(
        rows: 4, columns: 6, window: 2, queryPool: 1, scale: 0.2, tau: 0.1)
      : try scene.clusters(window: 2, tau: model.tau)
    #expect(clusters.count == found.clusters && clusters.count > 1)
    // Ids are others' numbers, one for one, and pixels have their patch's.
    var ids: [Int32: UInt16] = [:]
    for time in 0..<7 {
      for y in 0..<50 {
        for x in 0..<75 {
          let label = clusters.labels[time * 24 + y * 4 / 50 * 6 + x * 6 / 75]
          let id = found.labels[time][y * 75 + x]
          #expect(ids[label, default: id] == id)
          ids[label] = id
        }
      }
    }
    #expect(Set(ids.values).count == clusters.count)
  }

  @Test func threadsDoNotMatter() throws {
    for var options in [options, reference] {
      options.threads = 1
      let one = try expected(7, options)
      #expect(one.clusters > 1)
      for threads in 2...4 {
        options.threads = threads
        #expect(try expected(7, options) == one)
      }
    }
  }

  // ---- Errors leave things as they were -----------------------------------------

  @Test func refusedFrames() throws {
    let session = try session()
    let wrong = Frame(
      format: .rgb8, width: 40, height: 30, planes: (nil, nil, nil), strides: (0, 0, 0),
      timestamp: 0)
    // A refused first frame does not fix the size.
    #expect(kind { try session.push(wrong) } == .argument)
    for index in 0..<3 { try video.push(index, to: session) }
    let before = (session.featureBytes, session.budget.current)
    #expect(kind { try session.push(wrong) } == .argument)
    let smaller = TestVideo(frames: 1, width: 74, height: 50)
    #expect(kind { try smaller.push(0, to: session) } == .argument)
    #expect((session.featureBytes, session.budget.current) == before)
    for index in 3..<7 { try video.push(index, to: session) }
    try session.finish()
    #expect(try TestResults(of: session) == expected())
  }

  /// At any limit: refused with the session as before, or all is well and
  /// within the limit.
  @Test func memoryLimits() throws {
    for options in [options, reference] { try checkLimits(options) }
  }

  private func checkLimits(_ given: SessionOptions) throws {
    let free = try session(given)
    try video.pushAll(to: free)
    try free.finish()
    let peak = free.budget.peak
    let expected = try expected(7, given)
    var outcomes = (creation: 0, push: 0, finish: 0, none: 0)
    for step in 1...32 {
      var options = given
      options.memoryLimit = peak * step / 32
      let session = try session(options)
      var pushed = 0
      do {
        while pushed < 7 {
          try video.push(pushed, to: session)
          pushed += 1
        }
        let features = session.featureBytes
        do {
          try session.finish()
          outcomes.none += 1
          #expect(try TestResults(of: session) == expected)
        } catch let error as CoveyError {
          outcomes.finish += 1
          #expect(error.kind == .memory)
          // The features are there, and nothing else.
          #expect(session.featureBytes == features && session.budget.current == features)
          let waits = try isAgain(session)
          #expect(waits)
          #expect(kind { try session.finish() } == .memory)
        }
      } catch let error as CoveyError {
        outcomes.push += 1
        #expect(error.kind == .memory, "\(error.message)")
        #expect(kind { try video.push(pushed, to: session) } == .memory)
      }
      #expect(session.budget.peak <= options.memoryLimit)
      try session.reset()
      #expect(session.budget.current == 0)
    }
    #expect(outcomes.push > 0 && outcomes.none > 0)
  }

  /// Where the clustering does not fit, more frames can still be pushed, and
  /// after a reset a shorter video is done.
  @Test func afterAFinishThatDidNotFit() throws {
    // Few channels and many keys: the maps are what takes the memory.
    let model = TestCheckpoint(
      channels: 8, heads: 1, mlp: 8, correlatorHeads: 1, sharpness: 4, rows: 12, columns: 16,
      tau: 1, keyStride: 1, seed: 2)
    var options = options
    (options.threads, options.memoryLimit, options.mode) = (1, 6_000_000, .reference)
    (options.queryPool, options.tau, options.mask) = (0, 0, .nearest)
    let session = try Session(model.load(), options, callback: nil)
    let video = TestVideo(frames: 6, width: 64, height: 48)
    for index in 0..<4 { try video.push(index, to: session) }
    let before = session.featureBytes
    try video.push(4, to: session)
    #expect(kind { try session.finish() } == .memory)
    let features = session.featureBytes
    #expect(session.budget.current == features)
    try video.push(5, to: session)
    // Each frame but the first takes the same.
    #expect(session.featureBytes - features == features - before)
    #expect(kind { try session.finish() } == .memory)
    try session.reset()
    try video.push(0, to: session)
    try session.finish()
    #expect(try TestResults(of: session).labels.count == 1)
  }

  // ---- Cancelling ---------------------------------------------------------------

  /// Stopped in each stage once, by the callback at its first report or a later
  /// one (its last, as a rule); done again, the labels are as if nothing had been.
  @Test(arguments: [Stage.encode, .cluster, .merge, .assign], [1, 2])
  func cancelledInAStage(stage: Stage, report: Int) throws {
    for options in [options, reference] { try checkCancel(options, stage, report) }
  }

  private func checkCancel(_ options: SessionOptions, _ stage: Stage, _ report: Int) throws {
    var left = 0
    var refused = 0
    let session = try session(options) { current, fraction in
      #expect(fraction >= 0 && fraction <= 1)
      if current == stage, left > 0 {
        left -= 1
        if left == 0 { return false }
      }
      return true
    }
    for index in 0..<7 {
      let before = (session.featureBytes, try isAgain(session))
      left = stage == .encode && index == 3 ? report : 0
      let found = kind { try video.push(index, to: session) }
      if index == 3 && stage == .encode {
        #expect(found == .cancelled)
        #expect((session.featureBytes, try isAgain(session)) == before)
        refused += 1
        try video.push(index, to: session)
      } else {
        #expect(found == nil)
      }
    }
    if stage != .encode {
      let features = session.featureBytes
      left = report
      #expect(kind { try session.finish() } == .cancelled)
      refused += 1
      #expect(session.featureBytes == features && session.budget.current == features)
      #expect(try isAgain(session))
      left = 0
    }
    #expect(refused == 1)
    try session.finish()
    #expect(try TestResults(of: session) == expected(7, options))
  }

  /// A cancel while nothing is going on ends the next call, and no other.
  @Test func cancelledBeforehand() throws {
    let session = try session()
    try video.push(0, to: session)
    session.cancelFlag.set()
    #expect(kind { try video.push(1, to: session) } == .cancelled)
    for index in 1..<7 { try video.push(index, to: session) }
    session.cancelFlag.set()
    session.cancelFlag.set()
    #expect(kind { try session.finish() } == .cancelled)
    try session.finish()
    #expect(try TestResults(of: session) == expected())
    session.cancelFlag.set()
    try session.reset()
    try video.push(0, to: session)
  }

  /// From another thread, at any time: each call ends with `cancelled` or is
  /// done, and in the end all is as ever.
  @Test func cancelledFromAnotherThread() throws {
    let session = try session()
    let flag = session.cancelFlag
    let stop = CancelFlag()
    let done = DispatchSemaphore(value: 0)
    Thread {
      var random = SeededRandom(seed: 3)
      for _ in 0..<400 where !stop.isSet {
        usleep(UInt32(100 + random.next() % 1500))
        flag.set()
      }
      stop.set()
      done.signal()
    }.start()
    var cancelled = 0
    func insist(_ body: () throws -> Void) throws {
      while true {
        switch kind(body) {
        case nil: return
        case .cancelled: cancelled += 1
        case let other: throw CoveyError(other ?? .internalError, "not cancelled")
        }
      }
    }
    for index in 0..<7 { try insist { try video.push(index, to: session) } }
    while !stop.isSet, cancelled < 20 {
      switch kind({ try session.finish() }) {
      case nil:
        try session.reset()
        for index in 0..<7 { try insist { try video.push(index, to: session) } }
      case .cancelled: cancelled += 1
      case let other: Issue.record("\(String(describing: other))")
      }
    }
    stop.set()
    done.wait()
    #expect(cancelled > 0)
    _ = flag.take()
    if try isAgain(session) { try session.finish() }
    #expect(try TestResults(of: session) == expected())
  }
}
