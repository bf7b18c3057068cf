import CCoveyKernels

/// What two frames are compared by where shots are found: the queries of blocks of
/// patches, which hardly change with exposure and go along with what moves, and luma in
/// coarse cells, which shows how one picture becomes another.
struct FrameSummary {
  let features: Buffer<Float>  // [B, C]: means of the queries of a block
  /// Mean squared distance of the features from their mean.
  let spread: Float
  let luma: Buffer<Float>  // cells, less their mean; of 255
  /// Standard deviation of the luma.
  let contrast: Float
  private let channels: Int

  /// Along the shorter side of a frame, and the longer one; fewer where there are fewer
  /// patches or pixels.
  private static let blocks = (short: 6, long: 12)
  private static let cells = (short: 12, long: 24)

  /// - Parameters:
  ///   - queries: [rows, columns, C]
  ///   - planes: of the frame [3, H, W], in units of which `scale` makes 0...1.
  init(
    queries: UnsafePointer<Float>, rows: Int, columns: Int, channels: Int,
    planes: UnsafePointer<Float>, height: Int, width: Int, scale: SIMD3<Float>,
    budget: Budget, monitor: Monitor
  ) throws(CoveyError) {
    self.channels = channels
    let (down, across) = FrameSummary.grid(rows, columns, of: FrameSummary.blocks)
    features = try Buffer(down * across * channels, budget: budget, for: "summary of a frame")
    let kernels = cv_rows().pointee
    var target = features.base
    for row in 0..<down {
      try monitor.check()
      let patchRows = FrameSummary.part(row, of: down, rows)
      for column in 0..<across {
        let patchColumns = FrameSummary.part(column, of: across, columns)
        target.update(repeating: 0, count: channels)
        for y in patchRows {
          for x in patchColumns {
            kernels.accumulate(queries + (y * columns + x) * channels, channels, target)
          }
        }
        kernels.scale(target, channels, 1 / Float(patchRows.count * patchColumns.count))
        target += channels
      }
    }
    spread = FrameSummary.spread(features.base, down * across, channels)

    let (high, wide) = FrameSummary.grid(height, width, of: FrameSummary.cells)
    luma = try Buffer(high * wide, budget: budget, for: "luma of a frame")
    let weights = 255 * SIMD3<Float>(0.299, 0.587, 0.114) * scale
    for row in 0..<high {
      try monitor.check()
      let pixelRows = FrameSummary.part(row, of: high, height)
      for column in 0..<wide {
        let pixels = FrameSummary.part(column, of: wide, width)
        var sum = SIMD3<Float>()
        for channel in 0..<3 {
          for y in pixelRows {
            let line = planes + (channel * height + y) * width
            for x in pixels { sum[channel] += line[x] }
          }
        }
        luma.base[row * wide + column] =
          (weights * sum).sum() / Float(pixelRows.count * pixels.count)
      }
    }
    var mean = 0.0
    for cell in 0..<luma.count { mean += Double(luma.base[cell]) }
    mean /= Double(luma.count)
    var variance = 0.0
    for cell in 0..<luma.count {
      luma.base[cell] -= Float(mean)
      variance += Double(luma.base[cell]) * Double(luma.base[cell])
    }
    contrast = Float((variance / Double(luma.count)).squareRoot())
  }

  var byteCount: Int { features.byteCount + luma.byteCount }

  static func byteCount(rows: Int, columns: Int, channels: Int, height: Int, width: Int) -> Int {
    let features = grid(rows, columns, of: blocks)
    let luma = grid(height, width, of: cells)
    return 4 * (features.0 * features.1 * channels + luma.0 * luma.1)
  }

  private static func grid(
    _ height: Int, _ width: Int, of sides: (short: Int, long: Int)
  ) -> (Int, Int) {
    height > width
      ? (min(height, sides.long), min(width, sides.short))
      : (min(height, sides.short), min(width, sides.long))
  }

  private static func part(_ index: Int, of count: Int, _ length: Int) -> Range<Int> {
    index * length / count..<(index + 1) * length / count
  }

  private static func spread(
    _ features: UnsafePointer<Float>, _ count: Int, _ channels: Int
  ) -> Float {
    var total = 0.0
    for channel in 0..<channels {
      var (sum, squares) = (0.0, 0.0)
      for block in 0..<count { sum += Double(features[block * channels + channel]) }
      let mean = sum / Double(count)
      for block in 0..<count {
        let difference = Double(features[block * channels + channel]) - mean
        squares += difference * difference
      }
      total += squares
    }
    return Float(total / Double(count))
  }

  // ---- Comparing -----------------------------------------------------------------

  /// How far each block is from the one of the other frame that is most like it, wherever
  /// that is: root mean square, both ways, over the spread within the frames.  About 1
  /// for frames that have nothing in common, 0 for the same frame; without a unit, so
  /// that it does not depend on the backbone.
  ///
  /// BLAS must be claimed.
  func distance(to other: FrameSummary) -> Float {
    let (count, others, c) = (features.count / channels, other.features.count / channels, channels)
    let (a, b) = (features.base, other.features.base)
    let kernels = cv_rows().pointee
    defer { withExtendedLifetime((self, other)) {} }
    return withUnsafeTemporaryAllocation(of: Float.self, capacity: count * others) { products in
      guard let cross = products.baseAddress else { return 0 }
      BLAS.multiply(count, others, c, a, c, b, c, transposed: true, into: cross, others)
      var least = [Double](repeating: .infinity, count: others)
      let squares = (0..<others).map { kernels.dot(b + $0 * c, b + $0 * c, c) }
      var there = 0.0
      for i in 0..<count {
        let square = kernels.dot(a + i * c, a + i * c, c)
        var nearest = Double.infinity
        for j in 0..<others {
          let distance = max(0, square + squares[j] - 2 * Double(cross[i * others + j]))
          nearest = min(nearest, distance)
          least[j] = min(least[j], distance)
        }
        there += nearest
      }
      var back = 0.0
      for j in 0..<others { back += least[j] }
      let within = (Double(spread) + Double(other.spread)) / 2
      let between = (there / Double(count) + back / Double(others)) / 2
      return between > 0 ? Float((between / max(within, .leastNormalMagnitude)).squareRoot()) : 0
    }
  }

  /// Correlation of the luma: 1 for the same picture, however bright.
  func correlation(with other: FrameSummary) -> Float {
    let product = FrameSummary.dot(luma, other.luma)
    let squares = FrameSummary.dot(luma, luma) * FrameSummary.dot(other.luma, other.luma)
    return squares > 0 ? Float(product / squares.squareRoot()) : 1
  }

  /// What is left of this picture when the best mixture of two others, brightness aside,
  /// is taken off: its energy over the mean of theirs.
  func rest(withoutMixtureOf a: FrameSummary, _ b: FrameSummary) -> Float {
    let (aa, bb, ab) = (
      FrameSummary.dot(a.luma, a.luma), FrameSummary.dot(b.luma, b.luma),
      FrameSummary.dot(a.luma, b.luma)
    )
    let (ma, mb) = (FrameSummary.dot(luma, a.luma), FrameSummary.dot(luma, b.luma))
    let determinant = aa * bb - ab * ab
    guard determinant > 0 else { return .infinity }
    let (p, q) = ((ma * bb - mb * ab) / determinant, (mb * aa - ma * ab) / determinant)
    let left = FrameSummary.dot(luma, luma) - p * ma - q * mb
    return Float(max(0, left) / ((aa + bb) / 2))
  }

  private static func dot(_ a: Buffer<Float>, _ b: Buffer<Float>) -> Double {
    defer { withExtendedLifetime((a, b)) {} }
    return cv_rows().pointee.dot(a.base, b.base, a.count)
  }
}
