import CCoveyKernels

/// Changes the planes of a frame [3, H, W], R, G, B in 0...1, as torchvision's
/// transforms do, in fp32 and without rounding to bytes in between:
///
///     gray        L = 0.2989 R + 0.587 G + 0.114 B
///     brightness  clamp(f x)
///     contrast    clamp(f x + (1 - f) mean of L)
///     saturation  clamp(f x + (1 - f) L)
///     hue         by f of a circle in HSV
///     blur        with exp(-d^2 / (2 sigma^2)), d up to 3 sigma, adding up to 1;
///                 mirrored at the border, whose pixel is not repeated
struct Augmenter {
  private static let mostReach = 6  // pixels, of sigma 2
  private static let tileRows = 16

  private let height: Int
  private let width: Int
  private let pool: ThreadPool
  private let blurred: Buffer<Float>  // [3, H, W]
  private let sums: Buffer<Double>  // [H]
  private let lines: Buffer<Float>  // [threads, W + 2 mostReach]

  init(height: Int, width: Int, pool: ThreadPool, budget: Budget) throws(CoveyError) {
    (self.height, self.width, self.pool) = (height, width, pool)
    blurred = try Buffer(3 * height * width, budget: budget, for: "blurred planes")
    sums = try Buffer(height, budget: budget, for: "brightness of rows")
    lines = try Buffer(
      pool.threads * (width + 2 * Augmenter.mostReach), budget: budget, for: "rows to be blurred")
  }

  /// In place.
  func run(_ augmentation: Augmentation, _ planes: UnsafeMutablePointer<Float>) {
    if augmentation.isGray {
      forPixels(planes) { r, g, b in
        let gray = Augmenter.gray(r, g, b)
        (r, g, b) = (gray, gray, gray)
      }
    }
    if let jitter = augmentation.jitter {
      for change in jitter.order {
        switch change {
        case .brightness: blend(planes, jitter.brightness) { _, _, _ in 0 }
        case .contrast:
          let mean = meanGray(planes)
          blend(planes, jitter.contrast) { _, _, _ in mean }
        case .saturation: blend(planes, jitter.saturation, Augmenter.gray)
        case .hue:
          forPixels(planes) { r, g, b in Augmenter.turn(&r, &g, &b, by: jitter.hue) }
        }
      }
    }
    if let sigma = augmentation.sigma { blur(planes, sigma) }
  }

  // ---- Colours --------------------------------------------------------------------

  private func forPixels(
    _ planes: UnsafeMutablePointer<Float>,
    _ change: @escaping (inout Float, inout Float, inout Float) -> Void
  ) {
    let (width, plane) = (width, height * width)
    let tiles = RowTiles(rows: height, exactly: Augmenter.tileRows)
    pool.run(tiles.count) { index, _ in
      let tile = tiles.range(index)
      for pixel in tile.lowerBound * width..<tile.upperBound * width {
        change(&planes[pixel], &planes[plane + pixel], &planes[2 * plane + pixel])
      }
    }
  }

  /// x = clamp(factor x + (1 - factor) other)
  private func blend(
    _ planes: UnsafeMutablePointer<Float>, _ factor: Float,
    _ other: @escaping (Float, Float, Float) -> Float
  ) {
    forPixels(planes) { r, g, b in
      let rest = (1 - factor) * other(r, g, b)
      r = Augmenter.clamp(factor * r + rest)
      g = Augmenter.clamp(factor * g + rest)
      b = Augmenter.clamp(factor * b + rest)
    }
  }

  private func meanGray(_ planes: UnsafePointer<Float>) -> Float {
    let (height, width, plane, sums) = (height, width, height * width, sums.base)
    pool.run(height) { row, _ in
      var sum = 0.0
      for pixel in row * width..<(row + 1) * width {
        sum += Double(
          Augmenter.gray(planes[pixel], planes[plane + pixel], planes[2 * plane + pixel]))
      }
      sums[row] = sum
    }
    var sum = 0.0
    for row in 0..<height { sum += sums[row] }
    withExtendedLifetime(self.sums) {}
    return Float(sum / Double(plane))
  }

  private static func gray(_ r: Float, _ g: Float, _ b: Float) -> Float {
    0.2989 * r + 0.587 * g + 0.114 * b
  }

  private static func clamp(_ value: Float) -> Float { value > 0 ? min(value, 1) : 0 }

  /// The hue of one pixel, by the hexagon of HSV.
  private static func turn(
    _ r: inout Float, _ g: inout Float, _ b: inout Float, by amount: Float
  ) {
    let (value, least) = (max(r, g, b), min(r, g, b))
    let chroma = value - least
    guard chroma > 0 else { return }
    let sector: Float =  // in -1...5
      if value == r { (g - b) / chroma } else if value == g { 2 + (b - r) / chroma }
      else { 4 + (r - g) / chroma }
    var turned = sector + 6 * amount
    if turned < 0 { turned += 6 }
    if turned >= 6 { turned -= 6 }
    // Of red at 0, green at 2, blue at 4: 1 within one sector of it, 0 from two on.
    func share(_ centre: Float) -> Float {
      let distance = abs(turned - centre)
      return min(max(2 - min(distance, 6 - distance), 0), 1)
    }
    r = least + chroma * share(0)
    g = least + chroma * share(2)
    b = least + chroma * share(4)
  }

  // ---- Blur -----------------------------------------------------------------------

  private func blur(_ planes: UnsafeMutablePointer<Float>, _ sigma: Float) {
    let (height, width, blurred, lines) = (height, width, blurred.base, lines.base)
    let reach = min(Int((3 * sigma).rounded(.up)), Augmenter.mostReach)
    let kernels = cv_rows().pointee
    // The normalised weights are a softmax: the same bits everywhere.
    var weights = (-reach...reach).map { -Float($0 * $0) / (2 * sigma * sigma) }
    weights.withUnsafeMutableBufferPointer {
      if let base = $0.baseAddress { kernels.softmax(base, $0.count, 1, $0.count, 1) }
    }
    let taps = weights
    pool.run(3 * height) { row, worker in
      let line = lines + worker * (width + 2 * Augmenter.mostReach)
      let source = planes + row * width
      for column in -reach..<width + reach {
        line[column + reach] = source[Augmenter.mirror(column, width)]
      }
      let target = blurred + row * width
      target.update(repeating: 0, count: width)
      for (tap, weight) in taps.enumerated() {
        kernels.add_scaled(line + tap, width, weight, target)
      }
    }
    pool.run(3 * height) { index, _ in
      let (plane, row) = index.quotientAndRemainder(dividingBy: height)
      let target = planes + index * width
      target.update(repeating: 0, count: width)
      for (tap, weight) in taps.enumerated() {
        let source = Augmenter.mirror(row + tap - reach, height)
        kernels.add_scaled(blurred + (plane * height + source) * width, width, weight, target)
      }
    }
    withExtendedLifetime(self) {}
  }

  /// Index of what stands at `index` of a row of `count` that goes on mirrored.
  static func mirror(_ index: Int, _ count: Int) -> Int {
    guard count > 1 else { return 0 }
    var place = index
    while place < 0 || place >= count {
      place = place < 0 ? -place : 2 * (count - 1) - place
    }
    return place
  }
}
