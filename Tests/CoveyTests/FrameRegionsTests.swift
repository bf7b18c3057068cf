import Testing

@testable import Covey

@Suite struct FrameRegionsTests {
  private static let (rows, columns, count) = (6, 9, 54)

  /// A motion whose buffers are then filled by the tests.
  private func motion() throws -> Motion {
    func pyramid() throws -> LumaPyramid {
      let planes = [UInt8](repeating: 90, count: 3 * 48 * 72)
      return try planes.withUnsafeBufferPointer {
        try LumaPyramid($0.baseAddress!, width: 72, height: 48, budget: Budget())
      }
    }
    return try Motion(
      of: pyramid(), since: pyramid(), rows: Self.rows, columns: Self.columns,
      pool: ThreadPool(threads: 1), monitor: Monitor(), budget: Budget())
  }

  /// Sums of regions, by dense matrices that carry what is known from frame to frame.
  @Test func whatIsKnownFollowsThePatchesAsPlainly() throws {
    let (frames, count) = (5, Self.count)
    var random = SeededRandom(seed: 41)
    let labels = (0..<frames).map { _ in
      (0..<count).map { patch in Int32(patch % Self.columns < 4 ? 0 : 1 + patch / 27) }
        .map { Int.random(in: 0..<8, using: &random) == 0 ? 2 : $0 }
    }
    var moves: [[SIMD2<Float>]] = []
    var motions: [Motion?] = [nil]
    for _ in 1..<frames {
      let own = try motion()
      var moved: [SIMD2<Float>] = []
      for patch in 0..<count {
        moved.append(
          SIMD2(Float.random(in: -1.6...1.6, using: &random),
            Float.random(in: -1.6...1.6, using: &random)))
        own.evidence.base[patch] = Float.random(in: 0...2, using: &random)
        // Within a pixel: nothing is parted.
        own.residuals.base[patch] = SIMD2(Float.random(in: -0.3...0.3, using: &random), 0.1)
      }
      motions.append(own)
      moves.append(moved)
    }
    var regions: [FrameRegions] = []
    try withPointers(labels) { pointers in
      var trail: FrameRegions.Trail?
      for time in 0..<frames {
        var own = FrameRegions(
          ObjectFinder.Frame(labels: pointers[time], saliency: nil, motion: motions[time]),
          rows: Self.rows, columns: Self.columns)
        let moved = time > 0 ? moves[time - 1] : nil
        trail = own.hear(from: trail, moved: moved.map { moved in { moved[$0] } })
        regions.append(own)
      }
      var later: FrameRegions.Trail?
      for time in (0..<frames).reversed() {
        let moved = time + 1 < frames ? moves[time] : nil
        later = regions[time].hear(from: later, moved: moved.map { moved in { -moved[$0] } })
      }
    }

    // [N] of evidence, and of patches in frames with motion.
    func own(_ time: Int) -> [[Double]] {
      (0..<count).map { patch in
        motions[time].map { [Double($0.evidence.base[patch]), 1] } ?? [0, 0]
      }
    }
    func carried(
      _ known: [[Double]], from: Int, to: Int, _ moved: [SIMD2<Float>], sign: Double
    ) -> [[Double]] {
      var heard = [[Double]](repeating: [0, 0], count: count)
      for patch in 0..<count {
        var weights = [Double](repeating: 0, count: count)
        for place in 0..<count where labels[from][place] == labels[to][patch] {
          let x = Double(patch % Self.columns) + sign * Double(moved[patch].x)
          let y = Double(patch / Self.columns) + sign * Double(moved[patch].y)
          weights[place] =
            max(0, 1 - abs(x - Double(place % Self.columns)))
            * max(0, 1 - abs(y - Double(place / Self.columns)))
        }
        let total = weights.reduce(0, +)
        // None of the draws comes near: the Float sums decide alike.
        #expect(abs(total - 0.25) > 1e-5)
        guard total >= 0.25 else { continue }
        for place in 0..<count {
          for value in 0...1 { heard[patch][value] += weights[place] / total * known[place][value] }
        }
      }
      let numbers = regions[to].grid.numbers
      return (0..<count).map { patch in
        let same = (0..<count).filter { numbers[$0] == numbers[patch] }
        return (0...1).map { value in
          let mean = same.reduce(0) { $0 + heard[$1][value] } / Double(same.count)
          return 0.98 * (0.9 * heard[patch][value] + 0.1 * mean)
        }
      }
    }
    func plus(_ a: [[Double]], _ b: [[Double]]) -> [[Double]] {
      zip(a, b).map { [$0[0] + $1[0], $0[1] + $1[1]] }
    }
    let none = [[Double]](repeating: [0, 0], count: count)
    var (before, after) = ([none], [none])  // what was heard, without the frame itself
    for time in 1..<frames {
      before.append(
        carried(
          plus(before[time - 1], own(time - 1)), from: time - 1, to: time, moves[time - 1], sign: 1))
    }
    for time in (0..<frames - 1).reversed() {
      after.insert(
        carried(plus(after[0], own(time + 1)), from: time + 1, to: time, moves[time], sign: -1),
        at: 0)
    }
    for time in 0..<frames {
      let all = plus(plus(before[time], after[time]), own(time))
      for region in 0..<regions[time].grid.count {
        let patches = (0..<count).filter { Int(regions[time].grid.numbers[$0]) == region }
        let evidence = patches.reduce(0) { $0 + all[$1][0] }
        let told = patches.reduce(0) { $0 + all[$1][1] }
        let found = regions[time].sums[region]
        // Sums of up to 54 patches in 5 frames in Float: 3e-5 seen.
        #expect(abs(Double(found.evidence) - evidence) < 2e-4)
        #expect(abs(Double(found.told) - told) < 2e-4)
        #expect(regions[time].clusters[region] == labels[time][patches[0]])
      }
    }
  }

  /// Two halves of one cluster are two regions where they move apart.
  @Test(arguments: [0, 0.5, 2, 8] as [Float])
  func whatMovesApartIsParted(_ speed: Float) throws {
    let labels = [[Int32]](repeating: [Int32](repeating: 0, count: Self.count), count: 1)
    let own = try motion()
    for patch in 0..<Self.count {
      own.residuals.base[patch] = patch % Self.columns < 4 ? SIMD2(0, 0) : SIMD2(speed, 0)
    }
    // One that was found wrongly parts nothing.
    own.residuals.base[20] = SIMD2(0, 31)
    try withPointers(labels) { pointers in
      let regions = FrameRegions(
        ObjectFinder.Frame(labels: pointers[0], saliency: nil, motion: own), rows: Self.rows,
        columns: Self.columns)
      #expect(regions.grid.sizes == (speed < 1.5 ? [54] : [24, 30]))
    }
  }

  private func withPointers(
    _ labels: [[Int32]], _ body: ([UnsafePointer<Int32>]) throws -> Void
  ) throws {
    let all = labels.flatMap { $0 }
    try all.withUnsafeBufferPointer { buffer in
      try body(labels.indices.map { buffer.baseAddress! + $0 * Self.count })
    }
  }
}

@Suite struct ClusterMotionTests {
  @Test func isTheMeanOfTheClustersPatches() throws {
    var clusters = ClusterMotion()
    #expect(clusters.evidence(0) == nil)
    let planes = [UInt8](repeating: 90, count: 3 * 16 * 24)
    let plain = try planes.withUnsafeBufferPointer {
      try LumaPyramid($0.baseAddress!, width: 24, height: 16, budget: Budget())
    }
    let motion = try Motion(
      of: plain, since: plain, rows: 2, columns: 3, pool: ThreadPool(threads: 1),
      monitor: Monitor(), budget: Budget())
    for patch in 0..<6 { motion.evidence.base[patch] = Float(patch) }
    clusters.add([2, 0, 0, 2, 2, 0], motion, count: 6)
    #expect(clusters.evidence(0) == 8.0 / 3)
    #expect(clusters.evidence(1) == nil)
    #expect(clusters.evidence(2) == 7.0 / 3)
    // What was before counts less, and those behind one that is no more move up.
    clusters.fade(frames: 2)
    clusters.add([0, 0, 0, 0, 0, 0], motion, count: 6)
    let past = MotionScale.memory * MotionScale.memory
    let mean = (past * 8 + 15) / (past * 3 + 6)
    #expect(abs((clusters.evidence(0) ?? 0) - mean) < 1e-12)
    clusters.forgetCluster(1)
    #expect(clusters.evidence(1) == 7.0 / 3)
    clusters.forgetCluster(7)
    #expect(clusters.evidence(2) == nil)
  }
}
