import CCoveyKernels

/// How the patches of a frame moved since the frame before, and what of it the camera
/// does not explain.
struct Motion {
  /// [N], pixels of the working size; a patch's place plus this is where it was.
  let displacements: Buffer<SIMD2<Float>>
  /// [N], the same less the camera's.
  let residuals: Buffer<SIMD2<Float>>
  /// [N], at least 0: by how much better a patch's surroundings fit where they were found
  /// than where the camera would have them, ln((c + 1) / (b + 1)) with c and b the mean
  /// differences in grey values.  About 0 where nothing moves by itself, and also where
  /// there is no texture to tell.
  let evidence: Buffer<Float>
  let camera: CameraMotion

  var byteCount: Int { displacements.byteCount + residuals.byteCount + evidence.byteCount }

  static func byteCount(patches: Int) -> Int { patches * (8 + 8 + 4) }

  /// Of `init`, beside what it makes.
  static func scratchByteCount(patches: Int) -> Int {
    4 * patches
      + max(
        patches * 2 * MemoryLayout<PatchMatching.Match>.stride,
        CameraMotion.scratchByteCount(patches: patches))
  }

  init(
    of frame: LumaPyramid, since before: LumaPyramid, rows: Int, columns: Int, pool: ThreadPool,
    monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    let count = rows * columns
    displacements = try Buffer(count, budget: budget, for: "motion of a frame")
    residuals = try Buffer(count, budget: budget, for: "motion of a frame")
    evidence = try Buffer(count, budget: budget, for: "motion of a frame")
    let texture = try Buffer<Float>(count, budget: budget, for: "texture of a frame")
    try PatchMatching(rows: rows, columns: columns, pool: pool, monitor: monitor).match(
      frame, with: before, displacements: displacements.base, texture: texture.base,
      budget: budget)
    camera = try CameraMotion(
      displacements.base, texture: texture.base, rows: rows, columns: columns, budget: budget)
    for row in 0..<rows {
      for column in 0..<columns {
        let (x, y) = CameraMotion.place(row, column, rows: rows, columns: columns)
        let moved = SIMD2<Float>(camera.displacement(x, y))
        let patch = row * columns + column
        residuals.base[patch] = displacements.base[patch] - moved
      }
    }
    let (displacements, residuals, evidence) = (displacements, residuals, evidence)
    let comparison = Comparison(frame.levels[0], before.levels[0], rows: rows, columns: columns)
    pool.run(rows) { row, _ in
      for column in 0..<columns {
        let patch = row * columns + column
        let found = displacements.base[patch]
        let own = comparison.difference(row, column, found)
        let cameras = comparison.difference(row, column, found - residuals.base[patch])
        // Either may lie outside the frame before: then nothing can be said.
        guard let own, let cameras, cameras > own else {
          evidence.base[patch] = 1
          continue
        }
        evidence.base[patch] = (cameras + 1) / (own + 1)
      }
    }
    cv_rows().pointee.log_rows(evidence.base, count, 1, count, 1, evidence.base, count)
    withExtendedLifetime((frame, before, texture)) {}
  }
}

/// The windows about the patches of one frame, against those of another at any
/// displacement.
private struct Comparison {
  private let frame: LumaPyramid.Level
  private let other: LumaPyramid.Level
  private let rows: Int
  private let columns: Int

  private static let side = 16
  /// Pixels of a window that must lie in both frames.
  private static let leastPixels = 64

  init(_ frame: LumaPyramid.Level, _ other: LumaPyramid.Level, rows: Int, columns: Int) {
    (self.frame, self.other, self.rows, self.columns) = (frame, other, rows, columns)
  }

  /// The mean difference, in grey values, at the displacement rounded to 1 / 16 pixel.
  func difference(_ row: Int, _ column: Int, _ displacement: SIMD2<Float>) -> Float? {
    func sixteenths(_ value: Float) -> Int {
      Int((min(max(value, -4096), 4096) * 16).rounded())
    }
    let across = Span(
      centre: (2 * column + 1) * frame.width / (2 * columns), side: Comparison.side,
      limit: frame.width, moved: sixteenths(displacement.x), otherLimit: other.width)
    let along = Span(
      centre: (2 * row + 1) * frame.height / (2 * rows), side: Comparison.side,
      limit: frame.height, moved: sixteenths(displacement.y), otherLimit: other.height)
    let pixels = across.length * along.length
    guard across.length > 0, along.length > 0, pixels >= Comparison.leastPixels else { return nil }
    let sum = cv_match_between(
      frame.pixels + along.first * frame.width + across.first, frame.width,
      other.pixels + along.otherFirst * other.width + across.otherFirst, other.width,
      across.length, along.length, UInt32(across.fraction), UInt32(along.fraction))
    return Float(sum) / Float(16 * pixels)
  }

  /// The part of a window that lies in both frames, in one direction.
  private struct Span {
    var first: Int
    var length: Int
    var otherFirst: Int
    let fraction: Int  // 1 / 16 pixel

    init(centre: Int, side: Int, limit: Int, moved: Int, otherLimit: Int) {
      let width = min(side, limit)
      first = min(max(centre - width / 2, 0), limit - width)
      fraction = moved & 15
      let whole = moved >> 4
      let low = max(first, -whole)
      // Between pixels the next one is read too.
      let high = min(first + width, otherLimit - whole - (fraction > 0 ? 1 : 0))
      first = low
      length = max(high - low, 0)
      otherFirst = low + whole
    }
  }
}

extension SIMD2 where Scalar: FloatingPoint {
  var squaredLength: Scalar { x * x + y * y }
  var length: Scalar { squaredLength.squareRoot() }
}
