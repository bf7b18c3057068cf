import CCoveyKernels
import Foundation
import Testing

@testable import Covey

@Suite struct MotionTests {
  private static let (rows, columns, patch) = (12, 20, 8)
  private static let (width, height) = (columns * patch, rows * patch)

  /// A smooth picture without end, in grey values.
  private func brightness(_ x: Double, _ y: Double) -> Double {
    func wave(_ a: Double, _ b: Double, _ phase: Double) -> Double { cos(a * x + b * y + phase) }
    return 128 + 30 * wave(0.31, 0.12, 1) + 25 * wave(-0.17, 0.41, 2) + 20 * wave(0.05, -0.09, 3)
      + 20 * wave(0.6, 0.5, 0.5)
  }

  /// The picture where pixel (x, y) shows what lies at `place(x, y)`.
  private func pyramid(_ place: (Double, Double) -> (Double, Double)) throws -> LumaPyramid {
    let (width, height) = (Self.width, Self.height)
    var planes = [UInt8](repeating: 0, count: 3 * width * height)
    for y in 0..<height {
      for x in 0..<width {
        let (u, v) = place(Double(x), Double(y))
        let value = UInt8(min(max(brightness(u, v), 0), 255).rounded())
        for channel in 0..<3 { planes[(channel * height + y) * width + x] = value }
      }
    }
    return try planes.withUnsafeBufferPointer {
      try LumaPyramid($0.baseAddress!, width: width, height: height, budget: Budget())
    }
  }

  private func motion(
    _ place: (Double, Double) -> (Double, Double), threads: Int = 1
  ) throws -> Motion {
    try Motion(
      of: pyramid(place), since: pyramid { ($0, $1) }, rows: Self.rows, columns: Self.columns,
      pool: ThreadPool(threads: threads), monitor: Monitor(), budget: Budget())
  }

  /// The sum of absolute differences after their mean, in Doubles.
  @Test func matchesAsPlainly() {
    var generator = SeededRandom(seed: 4)
    for (width, height) in [(16, 16), (16, 12), (8, 8), (5, 3), (1, 1)] {
      let a = (0..<40 * 40).map { _ in UInt8.random(in: 0...255, using: &generator) }
      let b = (0..<40 * 40).map { _ in UInt8.random(in: 0...255, using: &generator) }
      for (right, down) in [(0, 0), (3, 0), (0, 9), (15, 1), (8, 8)] {
        var differences: [Double] = []
        for y in 0..<height {
          for x in 0..<width {
            let (u, v) = (Double(right) / 16, Double(down) / 16)
            let q = { (i: Int, j: Int) in Double(b[(y + j) * 40 + x + i]) }
            let between = (1 - v) * ((1 - u) * q(0, 0) + u * q(1, 0))
              + v * ((1 - u) * q(0, 1) + u * q(1, 1))
            differences.append(between - Double(a[y * 40 + x]))
          }
        }
        let mean = differences.reduce(0, +) / Double(differences.count)
        let plain = differences.reduce(0) { $0 + abs($1 - mean) }
        let found = Double(
          cv_match_between(a, 40, b, 40, width, height, UInt32(right), UInt32(down))) / 16
        // A value and the mean are each rounded to 1/16.
        #expect(abs(found - plain) <= Double(differences.count) / 16 + 1e-9)
        if right == 0, down == 0 {
          let whole = Double(cv_match(a, 40, b, 40, width, height))
          // The mean is rounded to 1.
          #expect(abs(whole - plain) <= Double(differences.count) / 2 + 1e-9)
        }
      }
    }
  }

  @Test(arguments: [(0.0, 0.0), (3, -2), (11, 4), (-1.5, 0.25), (14, -9)])
  func aShiftIsFound(_ right: Double, _ down: Double) throws {
    let motion = try motion { ($0 + right, $1 + down) }
    var off = 0
    for row in 2..<Self.rows - 2 {
      for column in 4..<Self.columns - 4 {
        let patch = row * Self.columns + column
        let found = motion.displacements.base[patch]
        // Between pixels of both directions each is judged where the other is off by up to
        // half a pixel: observed .27.
        let isFound = abs(Double(found.x) - right) < 0.35 && abs(Double(found.y) - down) < 0.35
        // All of it is the camera's.
        if !isFound || motion.evidence.base[patch] >= 0.4 { off += 1 }
      }
    }
    // Of 96; near the border, where large windows lie beside what they are compared with.
    #expect(off <= 1)
    #expect(motion.camera.model == (right == 0 && down == 0 ? .none : .translation))
  }

  /// Exposure is not motion.
  @Test func moreLightIsNotMotion() throws {
    let still = try pyramid { ($0, $1) }
    var planes = [UInt8](repeating: 0, count: 3 * Self.width * Self.height)
    for y in 0..<Self.height {
      for x in 0..<Self.width {
        let value = UInt8(min(brightness(Double(x), Double(y)) + 12, 255).rounded())
        for channel in 0..<3 { planes[(channel * Self.height + y) * Self.width + x] = value }
      }
    }
    let lit = try planes.withUnsafeBufferPointer {
      try LumaPyramid(
        $0.baseAddress!, width: Self.width, height: Self.height, budget: Budget())
    }
    let motion = try Motion(
      of: lit, since: still, rows: Self.rows, columns: Self.columns,
      pool: ThreadPool(threads: 1), monitor: Monitor(), budget: Budget())
    #expect(motion.camera.model == .none)
    for patch in 0..<Self.rows * Self.columns {
      #expect(motion.evidence.base[patch] < 0.3)
    }
  }

  /// A square moves over a picture that moves otherwise.
  @Test func whatMovesByItselfIsTold() throws {
    let square = (x: 56.0..<112, y: 24.0..<72)
    let motion = try motion { x, y in
      square.x.contains(x) && square.y.contains(y) ? (x - 6, y + 3) : (x + 2, y)
    }
    #expect(motion.camera.model == .translation)
    for row in 1..<Self.rows - 1 {
      for column in 1..<Self.columns - 1 {
        let patch = row * Self.columns + column
        let (evidence, residual) = (motion.evidence.base[patch], motion.residuals.base[patch])
        if (4...7).contains(row), (8...12).contains(column) {
          #expect(evidence > 1, "\(row), \(column)")
          #expect(abs(residual.x + 8) < 0.3 && abs(residual.y - 3) < 0.3)
        } else if !(2...9).contains(row) || !(5...15).contains(column) {
          #expect(evidence < 0.3, "\(row), \(column)")
        }
      }
    }
  }

  @Test func threadsDoNotMatter() throws {
    func bits(_ threads: Int) throws -> [UInt32] {
      let motion = try motion({ ($0 * 1.02 + 1, $1 * 0.99 - 2) }, threads: threads)
      return (0..<Self.rows * Self.columns).flatMap {
        [
          motion.displacements.base[$0].x.bitPattern, motion.residuals.base[$0].y.bitPattern,
          motion.evidence.base[$0].bitPattern,
        ]
      }
    }
    let one = try bits(1)
    #expect(try bits(2) == one && bits(5) == one)
  }

  // ---- The camera ------------------------------------------------------------------

  private func fitted(
    outliers: Int, _ function: (Double, Double) -> SIMD2<Double>
  ) throws -> (CameraMotion, Double) {
    let (rows, columns) = (24, 48)
    var generator = SeededRandom(seed: 9)
    var displacements = [SIMD2<Float>]()
    for row in 0..<rows {
      for column in 0..<columns {
        let (x, y) = CameraMotion.place(row, column, rows: rows, columns: columns)
        let noise = SIMD2(
          Double.random(in: -0.1...0.1, using: &generator),
          Double.random(in: -0.1...0.1, using: &generator))
        displacements.append(SIMD2<Float>(function(x, y) + noise))
      }
    }
    // A block of them moves by itself.
    for patch in 0..<outliers { displacements[patch] += SIMD2(7, -5) }
    let texture = [Float](repeating: 5, count: rows * columns)
    let camera = try CameraMotion(
      displacements, texture: texture, rows: rows, columns: columns, budget: nil)
    var worst = 0.0
    for row in 0..<rows {
      for column in 0..<columns {
        let (x, y) = CameraMotion.place(row, column, rows: rows, columns: columns)
        let off = camera.displacement(x, y) - function(x, y)
        worst = max(worst, abs(off.x), abs(off.y))
      }
    }
    return (camera, worst)
  }

  @Test(arguments: [0, 100, 350])
  func theSimplestModelThatExplains(_ outliers: Int) throws {
    // The worst that was observed is .06.
    let still = try fitted(outliers: outliers) { _, _ in SIMD2(0, 0) }
    #expect(still.0.model == .none && still.1 == 0)
    let shift = try fitted(outliers: outliers) { _, _ in SIMD2(3.4, -1.2) }
    #expect(shift.0.model == .translation && shift.1 < 0.1)
    let zoom = try fitted(outliers: outliers) { SIMD2(1 + 3 * $0 - $1, 2 * $0 + 3 * $1) }
    #expect(zoom.0.model == .affine && zoom.1 < 0.15)
    let tilt = try fitted(outliers: outliers) {
      SIMD2(1 + 2 * $0 + 4 * $0 * $0 - 3 * $0 * $1, $0 + 4 * $0 * $1 - 3 * $1 * $1)
    }
    #expect(tilt.0.model == .plane && tilt.1 < 0.25)
  }

  @Test func leastSquares() throws {
    // y = 2 + 3 x - x^2 through five points, one of which counts for nothing.
    var system = NormalEquations(size: 3)
    for x in [-2.0, -1, 0, 1, 2] {
      system.add([1, x, x * x], equals: 2 + 3 * x - x * x, weight: 1)
    }
    system.add([1, 9, 81], equals: 1e6, weight: 0)
    let found = try #require(system.solution())
    // The ridge is 1e-6.
    for (value, expected) in zip(found, [2.0, 3, -1]) { #expect(abs(value - expected) < 1e-5) }
  }
}
