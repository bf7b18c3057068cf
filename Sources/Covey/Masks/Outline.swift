/// The closed outlines of the mask of one label, at the corners of pixels: the
/// pixel (x, y) is the square from (x, y) to (x + 1, y + 1).
///
/// Rings run with the mask at their right hand, y pointing down: outer ones
/// clockwise as seen, holes the other way round.  Pixels that meet at a corner
/// only are apart.  Filled by the even-odd or the non-zero rule, the rings give
/// back the mask.
struct Outline {
  struct Point: BitwiseCopyable {
    var x: Int32
    var y: Int32
  }

  /// Of all rings one after the other, corners only: no point lies between its
  /// neighbours.
  private(set) var points: GrowingList<Point>
  /// Of each ring: where its points end.
  private(set) var ends: GrowingList<Int>

  private let width: Int
  private let height: Int
  private let label: UInt16
  private let labels: UnsafePointer<UInt16>

  /// - Parameter labels: [height, width]; read in this call only.
  /// - Throws: `.memory`.
  init(
    of label: UInt16, in labels: UnsafePointer<UInt16>, width: Int, height: Int
  ) throws(CoveyError) {
    self.label = label
    self.labels = labels
    self.width = width
    self.height = height
    points = try GrowingList(for: "points of an outline")
    ends = try GrowingList(for: "rings of an outline")
    try trace()
  }

  private func holds(_ x: Int, _ y: Int) -> Bool {
    x >= 0 && y >= 0 && x < width && y < height && labels[y * width + x] == label
  }

  private mutating func trace() throws(CoveyError) {
    // One bit for each pixel whose top side has been walked along.  Every ring
    // has such sides: it comes back to the column where it began.
    let words = (width + 63) / 64
    let walked = try Buffer<UInt64>(words * height, for: "sides of an outline")
    defer { withExtendedLifetime(walked) {} }
    walked.fill(0)
    for y in 0..<height {
      for x in 0..<width
      where labels[y * width + x] == label && !(y > 0 && labels[(y - 1) * width + x] == label)
        && walked.base[y * words + x / 64] & (1 << UInt64(x % 64)) == 0
      {
        try walk(fromX: x, y: y, walked.base, words)
        try ends.append(points.count)
      }
    }
  }

  /// From the left end of the top side of a pixel, to the right, around.
  private mutating func walk(
    fromX startX: Int, y startY: Int, _ walked: UnsafeMutablePointer<UInt64>, _ words: Int
  ) throws(CoveyError) {
    var (x, y) = (startX, startY)
    var (dx, dy) = (1, 0)
    repeat {
      if dx == 1 { walked[y * words + x / 64] |= 1 << UInt64(x % 64) }
      x += dx
      y += dy
      // The pixels ahead of the corner (x, y): at the right hand, which is
      // (-dy, dx), and at the left.
      let right = holds(x + (dx - dy - 1) / 2, y + (dy + dx - 1) / 2)
      let left = holds(x + (dx + dy - 1) / 2, y + (dy - dx - 1) / 2)
      if !right {
        try points.append(Point(x: Int32(x), y: Int32(y)))
        (dx, dy) = (-dy, dx)
      } else if left {
        try points.append(Point(x: Int32(x), y: Int32(y)))
        (dx, dy) = (dy, -dx)
      }
    } while !(x == startX && y == startY && dx == 1)
  }
}
