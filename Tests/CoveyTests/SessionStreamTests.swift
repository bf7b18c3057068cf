import Testing

@testable import Covey

/// Streams through a session, and cutting the tree of a whole video again.
@Suite struct SessionStreamTests {
  private let model = TestCheckpoint(sharpness: 4, tau: 0.1, keyStride: 2, seed: 41)
  private let video = TestVideo(frames: 11, width: 75, height: 50)

  private func options(_ change: (inout SessionOptions) -> Void = { _ in }) -> SessionOptions {
    var options = SessionOptions()
    (options.threads, options.output, options.isStreaming) = (2, .clusters, true)
    options.queryPool = 1
    change(&options)
    return options
  }

  private func session(
    _ options: SessionOptions, callback: Monitor.Callback? = nil
  ) throws -> Session {
    try Session(model.load(), options, callback: callback)
  }

  /// The results there are, and whether more may come.
  private struct Drained {
    var labels: [[UInt16]] = []
    var frames: [Int] = []
    var timestamps: [Int64] = []
    var isEnd = false
    var clusters = 0

    mutating func take(from session: Session) throws {
      while true {
        switch try session.nextResult() {
        case .result(let result):
          labels.append((0..<result.labels.count).map { result.labels[$0] })
          frames.append(result.frameIndex)
          timestamps.append(result.timestamp)
          clusters = result.totalClusters
          #expect(result.tracks.allSatisfy { $0.firstFrame >= 0 })
          continue
        case .again: isEnd = false
        case .end: isEnd = true
        }
        return
      }
    }
  }

  private func run(_ options: SessionOptions, _ video: TestVideo? = nil) throws -> Drained {
    let (session, video) = (try session(options), video ?? self.video)
    var drained = Drained()
    for index in video.frames.indices {
      try video.push(index, to: session)
      try drained.take(from: session)
    }
    try session.finish()
    try drained.take(from: session)
    return drained
  }

  // ---- The course of things ------------------------------------------------------------

  @Test(arguments: [1, 2, 3, 4, 11, 12, 64])
  func resultsComeWindowByWindow(window: Int) throws {
    let session = try session(options { $0.window = window })
    var drained = Drained()
    for index in 0..<11 {
      try video.push(index, to: session)
      try drained.take(from: session)
      #expect(!drained.isEnd)
      #expect(drained.labels.count == (index + 1) / window * window)
    }
    try session.finish()
    #expect(kind { try video.push(0, to: session) } == .state)
    #expect(kind { try session.finish() } == .state)
    try drained.take(from: session)
    #expect(drained.isEnd && drained.frames == Array(0..<11))
    #expect(drained.timestamps == (0..<11).map { Int64(1000 + 40 * $0) })
    #expect(drained.labels.allSatisfy { !$0.contains(0) && $0.count == 75 * 50 })
    // As new.
    try session.reset()
    #expect(session.budget.current == 0)
    try video.push(0, to: session)
    try session.finish()
    var again = Drained()
    try again.take(from: session)
    #expect(again.frames == [0] && again.isEnd)
  }

  /// Results that are left for later are the same.
  @Test func resultsCanWait() throws {
    let expected = try run(options())
    #expect(expected.clusters > 1)
    let session = try session(options())
    try video.pushAll(to: session)
    try session.finish()
    var drained = Drained()
    try drained.take(from: session)
    #expect(drained.labels == expected.labels && drained.frames == expected.frames)
  }

  @Test func threadsDoNotMatter() throws {
    let one = try run(options { $0.threads = 1 })
    for threads in 2...3 {
      #expect(try run(options { $0.threads = threads }).labels == one.labels)
    }
  }

  // ---- Odd videos ------------------------------------------------------------------------

  /// In both ways: one frame, fewer than a key stride, one patch, nothing to see.
  @Test func smallVideos() throws {
    for isStreaming in [true, false] {
      for (rows, columns) in [(1, 1), (1, 7), (4, 6), (5, 5)] {
        let model = TestCheckpoint(rows: rows, columns: columns, tau: 0.1, keyStride: 10, seed: 4)
        for frames in [1, 2, 3, 4, 9] {
          let video = TestVideo(frames: frames, width: 31, height: 22, seed: 7)
          let session = try Session(
            model.load(), options { $0.isStreaming = isStreaming }, callback: nil)
          try video.pushAll(to: session)
          try session.finish()
          let results = try TestResults(of: session)
          #expect(results.labels.count == frames)
          #expect(results.labels.allSatisfy { $0.allSatisfy { $0 >= 1 } })
          if rows * columns == 1 { #expect(results.clusters <= frames) }
        }
      }
    }
  }

  @Test func framesThatAreTheSame() throws {
    let still = TestVideo(video, showing: Array(repeating: video.frames[3], count: 8))
    let grey = TestVideo(
      video, showing: Array(repeating: [UInt8](repeating: 90, count: 75 * 50 * 3), count: 8))
    for isStreaming in [true, false] {
      for shown in [still, grey] {
        let found = try run(options { $0.isStreaming = isStreaming }, shown)
        // A window at a time, or all at once.
        for (index, labels) in found.labels.enumerated() {
          #expect(labels == found.labels[isStreaming ? index / 3 * 3 : 0])
        }
        #expect(found.clusters >= 1)
      }
    }
    // Every second frame of a video is there twice.
    let twice = TestVideo(video, showing: video.frames.flatMap { [$0, $0] })
    let found = try run(options { $0.isStreaming = false }, twice)
    for index in 0..<11 { #expect(found.labels[2 * index] == found.labels[2 * index + 1]) }
  }

  // ---- A window that fails -----------------------------------------------------------------

  /// Stopped at any report of the push that fills a window, or of the finish;
  /// pushed again, all is as without.
  @Test func cancelledWindows() throws {
    let expected = try run(options())
    for stage in [Stage.encode, .cluster, .merge, .assign] {
      for report in 1...2 {
        var left = 0
        var cancelled = 0
        let session = try session(options()) { current, _ in
          if current == stage, left > 0 {
            left -= 1
            if left == 0 { return false }
          }
          return true
        }
        var drained = Drained()
        for index in 0..<11 {
          let before = (session.featureBytes, session.budget.current)
          left = report
          if kind({ try video.push(index, to: session) }) == .cancelled {
            cancelled += 1
            if index > 0 { #expect((session.featureBytes, session.budget.current) == before) }
            let count = drained.labels.count
            try drained.take(from: session)
            #expect(drained.labels.count == count)
            left = 0
            try video.push(index, to: session)
          }
          left = 0
          try drained.take(from: session)
        }
        left = stage == .encode ? 0 : report
        if stage != .encode { #expect(kind { try session.finish() } == .cancelled) }
        left = 0
        try session.finish()
        try drained.take(from: session)
        #expect(cancelled == (stage == .encode ? 11 : 3))
        #expect(drained.labels == expected.labels && drained.frames == expected.frames)
      }
    }
  }

  /// Where results are not taken, memory runs out some time; when they are, the
  /// frame that was refused is taken.
  @Test func memoryThatRunsOut() throws {
    let long = TestVideo(video, showing: (0..<150).map { video.frames[$0 % 11] })
    let expected = try run(options(), long)
    let free = try session(options())
    var drained = Drained()
    for index in 0..<150 {
      try long.push(index, to: free)
      try drained.take(from: free)
    }
    try free.finish()
    let session = try session(options { $0.memoryLimit = free.budget.peak })
    drained = Drained()
    var refused = 0
    for index in 0..<150 {
      switch kind({ try long.push(index, to: session) }) {
      case nil: break
      case .memory:
        refused += 1
        try drained.take(from: session)
        try long.push(index, to: session)
      case let other: Issue.record("\(String(describing: other))")
      }
    }
    try drained.take(from: session)
    try session.finish()
    try drained.take(from: session)
    #expect(refused > 0)
    #expect(drained.labels == expected.labels && drained.frames == expected.frames)
  }

  /// The estimate of a stream holds however long it is, and says something.
  @Test func estimateHolds() throws {
    let long = TestVideo(video, showing: (0..<60).map { video.frames[$0 % 11] })
    for (window, stride, budget, mask) in [
      (3, 2, 0, SessionOptions.Mask.refined), (1, 1, 3, .nearest), (7, 1, 8, .bilinear),
      (16, 5, 1, .refined),
    ] {
      let options = options {
        ($0.window, $0.keyStride, $0.keyBudget, $0.mask) = (window, stride, budget, mask)
        $0.bankClusters = 16
      }
      let estimate = try MemoryEstimate(
        model.load(), options, frameWidth: 75, frameHeight: 50, frames: 60)
      let session = try session(options)
      var (drained, features) = (Drained(), 0)
      for index in 0..<60 {
        try long.push(index, to: session)
        features = max(features, session.featureBytes)
        try drained.take(from: session)
      }
      try session.finish()
      let total = estimate.features + estimate.workspace
      #expect(features <= estimate.features)
      #expect(session.budget.peak <= total, "window \(window)")
      #expect(session.budget.peak * 4 >= total, "\(session.budget.peak) of \(total)")
    }
  }

  // ---- Cutting again -------------------------------------------------------------------------

  private func finished(_ change: (inout SessionOptions) -> Void = { _ in }) throws -> Session {
    let session = try session(
      options {
        $0.isStreaming = false
        change(&$0)
      })
    try video.pushAll(to: session)
    try session.finish()
    return session
  }

  @Test func cutAgain() throws {
    let session = try finished()
    var first = Drained()
    try first.take(from: session)
    #expect(first.isEnd && first.labels.count == 11 && first.clusters > 1)
    // As it was, from frame 0.
    try session.recut(tau: 0, targetClusters: 0)
    var again = Drained()
    try again.take(from: session)
    #expect(again.labels == first.labels && again.frames == first.frames && again.isEnd)
    // In the middle of the results, to one; to so many; and back.
    try session.recut(tau: 0.1, targetClusters: 0)
    guard case .result = try session.nextResult() else {
      Issue.record("no result")
      return
    }
    try session.recut(tau: 1000, targetClusters: 0)
    var one = Drained()
    try one.take(from: session)
    #expect(one.clusters == 1 && one.frames == Array(0..<11))
    #expect(Set(one.labels.flatMap { $0 }) == [1])
    for target in 1...4 {
      try session.recut(tau: 0, targetClusters: target)
      var some = Drained()
      try some.take(from: session)
      #expect(some.clusters >= 1 && some.clusters <= target)
      // The same as asked for in the first place.
      let asked = try finished { $0.targetClusters = target }
      var other = Drained()
      try other.take(from: asked)
      #expect(some.labels == other.labels && some.clusters == other.clusters)
    }
    try session.recut(tau: 0.1, targetClusters: 0)
    again = Drained()
    try again.take(from: session)
    #expect(again.labels == first.labels)
    try session.reset()
    #expect(kind { try session.recut(tau: 0, targetClusters: 0) } == .state)
  }

  /// Cancelled, the results that were being handed out go on.
  @Test func cancelledCut() throws {
    let session = try finished()
    guard case .result = try session.nextResult() else {
      Issue.record("no result")
      return
    }
    let current = session.budget.current
    session.cancelFlag.set()
    #expect(kind { try session.recut(tau: 1000, targetClusters: 0) } == .cancelled)
    #expect(session.budget.current == current)
    var rest = Drained()
    try rest.take(from: session)
    #expect(rest.frames == Array(1..<11) && rest.clusters > 1)
  }

  @Test func whereThereIsNoTree() throws {
    let streaming = try session(options())
    #expect(kind { _ = try streaming.hierarchy() } == .unsupported)
    #expect(kind { try streaming.recut(tau: 0, targetClusters: 2) } == .unsupported)
    let reference = try session(
      options { ($0.isStreaming, $0.queryPool, $0.mode) = (false, 0, .reference) })
    #expect(kind { _ = try reference.hierarchy() } == .state)
    try video.pushAll(to: reference)
    #expect(kind { try reference.recut(tau: 0, targetClusters: 2) } == .state)
    try reference.finish()
    #expect(kind { _ = try reference.hierarchy() } == .unsupported)
    #expect(kind { try reference.recut(tau: 0, targetClusters: 2) } == .unsupported)
    #expect(try TestResults(of: reference).labels.count == 11)
  }
}
