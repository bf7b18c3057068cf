import Testing

@testable import Covey

/// Summaries of made-up frames: a scene is a picture, and features of its own in every
/// block.
@Suite struct ShotDetectorTests {
  private static let (rows, columns, channels, patch) = (12, 24, 16, 8)

  /// What a scene looks like: features [N, C] and planes [3, H, W].
  private struct Scene {
    var queries: [Float]
    var planes: [Float]

    init(seed: UInt64, contrast: Double = 1) {
      var random = SeededRandom(seed: seed)
      let (rows, columns, channels, patch) = (
        ShotDetectorTests.rows, ShotDetectorTests.columns, ShotDetectorTests.channels,
        ShotDetectorTests.patch
      )
      // In blocks of 2 x 2 patches, and not of one colour.
      let blocks = (0..<rows / 2 * columns / 2).map { _ in
        (feature: (0..<channels).map { _ in random.normal() }, luma: random.uniform())
      }
      queries = []
      for row in 0..<rows {
        for column in 0..<columns {
          queries += blocks[row / 2 * (columns / 2) + column / 2].feature.map { Float($0) }
        }
      }
      planes = []
      for _ in 0..<3 {
        for y in 0..<rows * patch {
          for x in 0..<columns * patch {
            let block = y / (2 * patch) * (columns / 2) + x / (2 * patch)
            planes.append(Float(0.5 + contrast * (blocks[block].luma - 0.5)))
          }
        }
      }
    }

    /// As a camera sees it: a little noise, another exposure.
    func seen(_ seed: UInt64, exposure: Float = 1, noise: Double = 0.1) -> Scene {
      var random = SeededRandom(seed: seed)
      var copy = self
      for i in queries.indices { copy.queries[i] += Float(noise * random.normal()) }
      for i in planes.indices { copy.planes[i] *= exposure }
      return copy
    }

    func mixed(with other: Scene, _ share: Float) -> Scene {
      var copy = self
      for i in queries.indices {
        copy.queries[i] += share * (other.queries[i] - queries[i])
      }
      for i in planes.indices { copy.planes[i] += share * (other.planes[i] - planes[i]) }
      return copy
    }

    func summary(budget: Budget = Budget()) throws -> FrameSummary {
      try FrameSummary(
        queries: queries, rows: ShotDetectorTests.rows, columns: ShotDetectorTests.columns,
        channels: ShotDetectorTests.channels, planes: planes,
        height: ShotDetectorTests.rows * ShotDetectorTests.patch,
        width: ShotDetectorTests.columns * ShotDetectorTests.patch, scale: SIMD3(1, 1, 1),
        budget: budget, monitor: Monitor())
    }
  }

  private let a = Scene(seed: 1)
  private let b = Scene(seed: 2)

  /// Where shots begin.
  private func shots(_ frames: [Scene]) throws -> [Int] {
    BLAS.claim()
    defer { BLAS.release() }
    var detector = ShotDetector()
    var found: [Int] = []
    for (time, frame) in frames.enumerated() {
      if case .begins(let ago) = detector.take(try frame.summary()) { found.append(time - ago) }
    }
    return found
  }

  private func of(_ scene: Scene, _ count: Int, exposure: (Int) -> Float = { _ in 1 }) -> [Scene] {
    (0..<count).map { scene.seen(UInt64(100 + $0), exposure: exposure($0)) }
  }

  private let black = Scene(seed: 1, contrast: 0).seen(1, exposure: 0, noise: 2)

  // ---- Summaries ------------------------------------------------------------------

  /// Against the formulas, in Double over full arrays.
  @Test func distancesAndMixtures() throws {
    BLAS.claim()
    defer { BLAS.release() }
    let (one, other) = (try a.seen(3).summary(), try b.seen(4).summary())
    func rows(_ summary: FrameSummary) -> [[Double]] {
      (0..<72).map { block in
        (0..<Self.channels).map { Double(summary.features[block * Self.channels + $0]) }
      }
    }
    func square(_ x: [Double], _ y: [Double]) -> Double {
      zip(x, y).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    }
    func spread(_ x: [[Double]]) -> Double {
      let mean = x[0].indices.map { c in x.reduce(0) { $0 + $1[c] } / Double(x.count) }
      return x.reduce(0) { $0 + square($1, mean) } / Double(x.count)
    }
    let (x, y) = (rows(one), rows(other))
    let there = x.reduce(0.0) { sum, row in sum + y.map { square(row, $0) }.min()! } / 72
    let back = y.reduce(0.0) { sum, row in sum + x.map { square(row, $0) }.min()! } / 72
    let exact = ((there + back) / (spread(x) + spread(y))).squareRoot()
    #expect(abs(Double(one.distance(to: other)) / exact - 1) < 1e-5)
    #expect(one.distance(to: other) == other.distance(to: one) && one.distance(to: one) < 1e-3)

    #expect(abs(one.correlation(with: one) - 1) < 1e-6)
    #expect(try abs(one.correlation(with: a.seen(9, exposure: 0.3).summary()) - 1) < 1e-5)
    #expect(abs(one.correlation(with: other)) < 0.4)
    #expect(try a.mixed(with: b, 0.3).summary().rest(withoutMixtureOf: one, other) < 1e-5)
    let third = try Scene(seed: 5).summary()
    #expect(third.rest(withoutMixtureOf: one, other) > 0.5)
    // The mean luma of blocks of one colour, less the mean.
    #expect(one.luma.count == 12 * 24 && one.contrast > 40)
    #expect(one.luma[0] == one.luma[1] && one.luma[0] == one.luma[24])
  }

  /// Bytes as estimated, for grids of few patches and upright ones too.
  @Test(arguments: [(1, 1), (3, 5), (6, 12), (40, 9), (24, 48)])
  func bytes(rows: Int, columns: Int) throws {
    let budget = Budget()
    let (height, width) = (rows * 4, columns * 4)
    let summary = try FrameSummary(
      queries: [Float](repeating: 1, count: rows * columns * 8), rows: rows, columns: columns,
      channels: 8, planes: [Float](repeating: 0.5, count: 3 * height * width), height: height,
      width: width, scale: SIMD3(1, 1, 1), budget: budget, monitor: Monitor())
    #expect(summary.contrast < 1e-3 && summary.spread < 1e-6)
    #expect(
      budget.current
        == FrameSummary.byteCount(
          rows: rows, columns: columns, channels: 8, height: height, width: width))
  }

  // ---- Cuts -----------------------------------------------------------------------

  @Test func cuts() throws {
    #expect(try shots(of(a, 20)) == [])
    #expect(try shots(of(a, 1) + of(b, 2)) == [1])
    #expect(try shots(of(a, 9) + of(b, 5) + of(a, 30) + of(Scene(seed: 3), 2)) == [9, 14, 44])
    // Frames that are repeated, to the bit.
    let repeated = of(a, 5).flatMap { [$0, $0, $0] } + of(b, 4).flatMap { [$0, $0] }
    #expect(try shots(repeated) == [15])
  }

  /// One frame alone is none: not in the middle, not at the end, nor are films of
  /// nothing but such frames.
  @Test func flashesAndDamage() throws {
    for strange in [b, black, a.seen(1, exposure: 4, noise: 1.5)] {
      #expect(try shots(of(a, 8) + [strange] + of(a, 8)) == [])
      #expect(try shots(of(a, 8) + [strange]) == [])
      #expect(try shots(of(a, 8) + [strange, Scene(seed: 7)] + of(a, 8)) == [])
    }
    #expect(try shots((0..<20).map { Scene(seed: UInt64(50 + $0)) }) == [])
    // A cut between a damaged frame and another.
    let damaged = [Scene(seed: 8)]
    #expect(try shots(of(a, 8) + damaged + of(b, 3) + damaged + of(b, 8)) == [9])
  }

  @Test func exposure() throws {
    #expect(try shots(of(a, 30) { $0 < 15 ? 1 : 0.3 }) == [])
    #expect(try shots(of(a, 40) { 1 - 0.02 * Float($0) }) == [])
  }

  /// What comes into sight part by part, from one side: it is one picture here and the
  /// other there, and no mixture.
  @Test func sweeps() throws {
    let scenes = (0..<12).map { Scene(seed: UInt64(20 + $0)) }
    // Over so many frames to the next picture, by replacing blocks.
    func sweep(_ frames: Int) -> [Scene] {
      (0..<11 * frames).map { time in
        var (from, to) = (scenes[time / frames], scenes[time / frames + 1])
        let columns = Self.columns * (time % frames) / frames
        for patch in from.queries.indices where patch / Self.channels % Self.columns < columns {
          swap(&from.queries[patch], &to.queries[patch])
        }
        for pixel in from.planes.indices
        where pixel % (Self.columns * Self.patch) < columns * Self.patch {
          swap(&from.planes[pixel], &to.planes[pixel])
        }
        return from
      }
    }
    for frames in [4, 8, 12] { #expect(try shots(sweep(frames)) == [], "\(frames)") }
  }

  // ---- Fades ----------------------------------------------------------------------

  /// One boundary each, before the end or soon after.
  @Test(arguments: [5, 10, 14, 20])
  func crossFades(length: Int) throws {
    let fade = (1...length).map {
      a.mixed(with: b, Float($0) / Float(length + 1)).seen(UInt64($0))
    }
    let found = try shots(of(a, 20) + fade + of(b, 30))
    #expect(found.count == 1 && found.allSatisfy { (20...20 + length + 3).contains($0) }, "\(found)")
  }

  @Test(arguments: [0, 4, 40])
  func fadesThroughBlack(held: Int) throws {
    let out = (1...8).map { a.seen(UInt64($0), exposure: 1 - Float($0) / 9) }
    let dark = (0..<held).map { _ in black }
    func back(_ scene: Scene) -> [Scene] {
      (1...8).map { scene.seen(UInt64($0), exposure: Float($0) / 9) }
    }
    let found = try shots(of(a, 20) + out + dark + back(b) + of(b, 30))
    #expect(found.count == 1 && found.allSatisfy { $0 >= 28 && $0 <= 28 + held + 12 }, "\(found)")
    // Into the same scene.
    #expect(try shots(of(a, 20) + out + dark + back(a) + of(a, 30)) == [])
  }

  /// A camera that goes black: the same shot where the same scene comes back, else the
  /// next begins with its first frame.
  @Test(arguments: [1, 5, 50])
  func cameraGoesBlack(frames: Int) throws {
    let dark = (0..<frames).map { _ in black }
    #expect(try shots(of(a, 10) + dark + of(a, 10)) == [])
    #expect(try shots(of(a, 10) + dark + of(b, 10)) == [10 + frames])
    #expect(try shots(dark + of(a, 10)) == [])
    #expect(try shots(of(a, 10) + dark) == [])
  }
}
