import CCoveyKernels

/// The brightness of one frame at the working size, and at a half, a quarter, an eighth
/// of it.
struct LumaPyramid {
  struct Level {
    let pixels: UnsafePointer<UInt8>  // [height, width]
    let width: Int
    let height: Int
  }

  let levels: [Level]
  private let storage: Buffer<UInt8>

  /// The smallest level is no smaller than this, so that a window finds room to move.
  private static let leastSide = 24
  private static let mostLevels = 4

  /// - Parameters:
  ///   - planes: [3, height, width] of R, G, B, bytes.
  init(
    _ planes: UnsafePointer<UInt8>, width: Int, height: Int, budget: Budget
  ) throws(CoveyError) {
    let sizes = LumaPyramid.sizes(width: width, height: height)
    storage = try Buffer(
      LumaPyramid.byteCount(width: width, height: height), budget: budget,
      for: "brightness of a frame")
    let (red, green, blue) = (planes, planes + width * height, planes + 2 * width * height)
    let luma = storage.base
    // Rec. 601, in 1 / 256.
    for i in 0..<width * height {
      let sum = 77 * UInt32(red[i]) + 150 * UInt32(green[i]) + 29 * UInt32(blue[i])
      luma[i] = UInt8(truncatingIfNeeded: sum >> 8)
    }
    var levels: [Level] = []
    var pixels = luma
    for (index, size) in sizes.enumerated() {
      levels.append(Level(pixels: UnsafePointer(pixels), width: size.width, height: size.height))
      guard index + 1 < sizes.count else { break }
      let half = pixels + size.width * size.height
      cv_halve(pixels, size.width, size.height, half)
      pixels = half
    }
    self.levels = levels
  }

  var byteCount: Int { storage.byteCount }

  static func byteCount(width: Int, height: Int) -> Int {
    var bytes = 0
    for size in sizes(width: width, height: height) { bytes += size.width * size.height }
    return bytes
  }

  private static func sizes(width: Int, height: Int) -> [(width: Int, height: Int)] {
    var sizes = [(width: width, height: height)]
    while sizes.count < mostLevels, let last = sizes.last,
      min(last.width, last.height) / 2 >= leastSide
    {
      sizes.append((last.width / 2, last.height / 2))
    }
    return sizes
  }
}
