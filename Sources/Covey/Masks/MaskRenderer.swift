import CCoveyKernels

/// Draws the labels of one frame at its size, from the soft labels of its
/// patches: each pixel gets the label that weighs most there, the smallest on
/// ties.
///
/// *Bilinear*: weights are interpolated between the centres of patches.
/// *Refined*: weights at the working size are those of the guided filter, a
/// function of the frame's colours there (`GuidedFilter`), and are interpolated
/// from there to the frame.
///
/// The frame is drawn in tiles, so that beside it nothing grows with its size
/// but positions.  What a tile is does not change what is drawn.
struct MaskRenderer {
  let rows: Int
  let columns: Int
  /// The frame's.
  let width: Int
  let height: Int

  /// The frame at the working size, to refine by.
  struct Guide {
    /// [3, height, width]: planes of R, G, B.
    let planes: Buffer<UInt8>
    let height: Int
    let width: Int
  }

  private static let tileHeight = 32
  private static let tileWidth = 256

  /// - Parameters:
  ///   - planes: of labels that compete: at least two.
  ///   - weights: of `planes`.
  ///   - guide: nil for bilinear masks.
  ///   - isCancelled: asked by every thread, for every tile.
  ///   - output: [height, width]; undefined where it was cancelled.
  func draw(
    _ labels: [UInt16], _ weights: Buffer<Float>, guide: Guide?, pool: ThreadPool,
    budget: Budget?, isCancelled: @escaping () -> Bool, into output: UnsafeMutablePointer<UInt16>
  ) throws(CoveyError) {
    let count = rows * columns
    var source = Source(
      functions: weights, planes: 1, rows: rows, columns: columns, guide: nil, inner: nil)
    if let guide {
      let filter = try GuidedFilter(
        guide.planes.base, height: guide.height, width: guide.width, rows: rows,
        columns: columns, workers: pool.threads, budget: budget, isCancelled: isCancelled)
      let size = GuidedFilter.coefficients
      let functions = try Buffer<Float>(
        labels.count * size * count, budget: budget, for: "functions of colour")
      pool.run(labels.count) { label, worker in
        if isCancelled() { return }
        filter.fit(
          weights.base + label * count, worker: worker,
          into: functions.base + label * size * count)
      }
      source = Source(
        functions: functions, planes: size, rows: rows, columns: columns, guide: guide,
        inner: (
          try Taps(guide.height, from: rows, budget: budget),
          try Taps(guide.width, from: columns, budget: budget)
        ))
    }
    let vertical = try Taps(height, from: source.height, budget: budget)
    let horizontal = try Taps(width, from: source.width, budget: budget)
    let stride = MaskRenderer.tileScratch(sourceWidth: source.width, frameWidth: width)
    let scratch = try Buffer<Float>(stride * pool.threads, budget: budget, for: "tiles of masks")
    defer { withExtendedLifetime((vertical, horizontal, scratch, source)) {} }

    let bands = RowTiles(rows: height, size: MaskRenderer.tileHeight)
    let across = RowTiles(rows: width, exactly: MaskRenderer.tileWidth)
    let width = width
    pool.run(bands.count * across.count) { index, worker in
      if isCancelled() { return }
      let tile = Tile(
        rows: bands.range(index / across.count), columns: across.range(index % across.count),
        vertical: vertical.taps.base, horizontal: horizontal.taps.base,
        scratch: scratch.base + worker * stride)
      tile.draw(labels, source, frameWidth: width, into: output)
    }
  }

  /// Floats of one worker: for a tile's pixels the greatest weight so far; two
  /// rows of the source as wide as the tile; one row of the source, and two rows
  /// of each plane as wide as it.
  private static func tileScratch(sourceWidth: Int, frameWidth: Int) -> Int {
    let wide = min(frameWidth, tileWidth)
    let floats =
      (tileHeight + 2) * wide + (1 + 2 * GuidedFilter.coefficients) * sourceWidth
    return (floats + 15) / 16 * 16
  }

  /// Bytes that `draw` and `LabelPlanes` take for the labels they expect.
  static func byteCount(
    rows: Int, columns: Int, width: Int, height: Int, guideHeight: Int, guideWidth: Int,
    isRefined: Bool, threads: Int
  ) -> Int {
    let patches = rows * columns
    let sourceWidth = isRefined ? guideWidth : columns
    var bytes =
      LabelPlanes.byteCount(patches: patches) + Taps.byteCount(width + height)
      + 4 * threads * tileScratch(sourceWidth: sourceWidth, frameWidth: width)
    if isRefined {
      bytes +=
        4 * LabelPlanes.expectedCount(patches: patches) * GuidedFilter.coefficients * patches
        + GuidedFilter.byteCount(patches: patches, workers: threads)
        + Taps.byteCount(guideWidth + guideHeight)
    }
    return bytes
  }
}

/// Where the weights of labels come from, row by row: the grid of patches, or
/// functions of the guide's colours.
private struct Source {
  /// [labels, planes, rows, columns]
  let functions: Buffer<Float>
  let planes: Int
  let rows: Int
  let columns: Int
  let guide: MaskRenderer.Guide?
  /// From the grid to the guide.
  let inner: (vertical: Taps, horizontal: Taps)?
  let kernels = cv_rows().pointee

  var height: Int { guide?.height ?? rows }
  var width: Int { guide?.width ?? columns }
}

private struct Tile {
  let rows: Range<Int>
  let columns: Range<Int>
  let vertical: UnsafePointer<Taps.Tap>  // [frame height]
  let horizontal: UnsafePointer<Taps.Tap>  // [frame width]
  let scratch: UnsafeMutablePointer<Float>

  func draw(
    _ labels: [UInt16], _ source: Source, frameWidth: Int,
    into output: UnsafeMutablePointer<UInt16>
  ) {
    let wide = columns.count
    let best = scratch  // [rows, wide]
    let target = output + rows.lowerBound * frameWidth + columns.lowerBound
    var present: [Int] = []
    for label in labels.indices where reaches(label, source) { present.append(label) }
    // Some label weighs something everywhere.
    let first = present.first ?? 0
    for row in 0..<rows.count {
      (target + row * frameWidth).update(repeating: labels[first], count: wide)
    }
    guard present.count > 1 else { return }
    best.update(repeating: -.infinity, count: rows.count * wide)

    let lowest = Int(horizontal[columns.lowerBound].first)
    let span = Int(horizontal[columns.upperBound - 1].second) + 1 - lowest
    let wideRows = best + rows.count * wide
    let line = wideRows + 2 * wide
    for label in present {
      var pair = RowPair(wideRows, stride: wide)
      var reader = Reader(source, label, first: lowest, count: span, scratch: line)
      for row in 0..<rows.count {
        let tap = vertical[rows.lowerBound + row]
        pair.move(to: tap) { from, into in
          let values = reader.row(from)
          Tile.expand(values - lowest, horizontal + columns.lowerBound, wide, into: into)
        }
        source.kernels.contest(
          pair.near, pair.second(tap), tap.weight, labels[label], wide, best + row * wide,
          target + row * frameWidth)
      }
    }
  }

  /// - Parameter values: at the positions that taps name.
  @inline(__always)
  static func expand(
    _ values: UnsafePointer<Float>, _ taps: UnsafePointer<Taps.Tap>, _ count: Int,
    into output: UnsafeMutablePointer<Float>
  ) {
    for x in 0..<count {
      let tap = taps[x]
      let a = values[Int(truncatingIfNeeded: tap.first)]
      let b = values[Int(truncatingIfNeeded: tap.second)]
      output[x] = a + (b - a) * tap.weight
    }
  }

  /// Whether a label weighs anything in this tile.
  private func reaches(_ label: Int, _ source: Source) -> Bool {
    var top = Int(vertical[rows.lowerBound].first)
    var bottom = Int(vertical[rows.upperBound - 1].second)
    var left = Int(horizontal[columns.lowerBound].first)
    var right = Int(horizontal[columns.upperBound - 1].second)
    if let inner = source.inner {
      top = Int(inner.vertical.taps.base[top].first)
      bottom = Int(inner.vertical.taps.base[bottom].second)
      left = Int(inner.horizontal.taps.base[left].first)
      right = Int(inner.horizontal.taps.base[right].second)
    }
    let patches = source.rows * source.columns
    let functions = source.functions.base + label * source.planes * patches
    for plane in 0..<source.planes {
      for row in top...bottom {
        let line = functions + plane * patches + row * source.columns
        for column in left...right where line[column] != 0 { return true }
      }
    }
    return false
  }
}

/// Rows of one label's weights at the size of the source, `count` columns from
/// `first`.
private struct Reader {
  private let source: Source
  private let functions: UnsafePointer<Float>  // [planes, rows, columns]
  private let first: Int
  private let count: Int
  private let line: UnsafeMutablePointer<Float>
  /// Of all planes, one after the other.
  private var pair: RowPair

  init(
    _ source: Source, _ label: Int, first: Int, count: Int,
    scratch: UnsafeMutablePointer<Float>
  ) {
    self.source = source
    self.first = first
    self.count = count
    functions = UnsafePointer(
      source.functions.base + label * source.planes * source.rows * source.columns)
    line = scratch
    pair = RowPair(scratch + source.width, stride: source.planes * count)
  }

  mutating func row(_ y: Int) -> UnsafePointer<Float> {
    guard let guide = source.guide, let inner = source.inner else {
      return functions + y * source.columns + first
    }
    let tap = inner.vertical.taps.base[y]
    let (horizontal, first, count) = (inner.horizontal.taps.base, first, count)
    let (functions, planes, columns) = (functions, source.planes, source.columns)
    let patches = source.rows * columns
    pair.move(to: tap) { row, into in
      for plane in 0..<planes {
        Tile.expand(
          functions + plane * patches + row * columns, horizontal + first, count,
          into: into + plane * count)
      }
    }
    let pixels = guide.planes.base + y * guide.width + first
    source.kernels.colour_weights(
      pair.near, pair.second(tap), tap.weight, pixels, guide.height * guide.width, count, line)
    return UnsafePointer(line)
  }
}
