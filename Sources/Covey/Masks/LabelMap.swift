/// One object in one frame.
struct ObjectRegion {
  /// 1 and up; 0 is background, and no object.
  var id: Int
  /// Pixels of the frame.
  var area: Int64
  /// The bounding box, in pixels: columns x ..< x + width.
  var x: Int
  var y: Int
  var width: Int
  var height: Int
  /// In pixels; the centre of a pixel is at its index.
  var centroidX: Float
  var centroidY: Float
  /// Mean of the confidence of its patches.
  var confidence: Float
  /// Mean of its patches, pixels since the frame before, less the camera's.
  var motion = SIMD2<Float>(0, 0)
}

/// How a grid of patches [rows, columns] lies over a frame of height x width
/// pixels: the pixel (x, y) belongs to the patch in row floor(y * rows / height)
/// and column floor(x * columns / width).
///
/// So patch column c covers the pixels from ceil(c * width / columns) up to
/// where c + 1 begins, none where the frame is smaller than the grid.  Labels of
/// patches are enough to know all about the map of pixels, which is therefore
/// only ever written, and can be made as late as one likes.
struct LabelMap {
  let rows: Int
  let columns: Int
  let width: Int
  let height: Int
  /// [columns + 1]: the first pixel of each column of patches, then the width.
  private let columnStarts: [Int]
  /// [rows + 1], likewise.
  private let rowStarts: [Int]

  init(rows: Int, columns: Int, width: Int, height: Int) {
    precondition(rows > 0 && columns > 0 && width > 0 && height > 0)
    self.rows = rows
    self.columns = columns
    self.width = width
    self.height = height
    columnStarts = Self.starts(patches: columns, pixels: width)
    rowStarts = Self.starts(patches: rows, pixels: height)
  }

  private static func starts(patches: Int, pixels: Int) -> [Int] {
    (0...patches).map { patch in
      Int((Int64(patch) * Int64(pixels) + Int64(patches) - 1) / Int64(patches))
    }
  }

  /// Writes the label of every pixel.
  ///
  /// - Parameters:
  ///   - grid: [rows, columns].
  ///   - output: [height, width].
  func write(_ grid: UnsafePointer<UInt16>, into output: UnsafeMutablePointer<UInt16>) {
    let width = width
    for row in 0..<rows {
      let (top, bottom) = (rowStarts[row], rowStarts[row + 1])
      guard top < bottom else { continue }
      let labels = grid + row * columns
      let target = output + top * width
      for column in 0..<columns {
        let start = columnStarts[column]
        (target + start).update(
          repeating: labels[column], count: columnStarts[column + 1] - start)
      }
      for y in top + 1..<bottom {
        (output + y * width).copy(from: target, count: width)
      }
    }
  }

  /// Gives the pixels of one patch a label.
  ///
  /// - Parameter output: [height, width].
  func fill(
    row: Int, column: Int, _ label: UInt16, in output: UnsafeMutablePointer<UInt16>
  ) {
    let (left, right) = (columnStarts[column], columnStarts[column + 1])
    for y in rowStarts[row]..<rowStarts[row + 1] {
      (output + y * width + left).update(repeating: label, count: right - left)
    }
  }

  /// The pixel in which the centre of a patch lies.
  func centre(row: Int, column: Int) -> (x: Int, y: Int) {
    ((2 * column + 1) * width / (2 * columns), (2 * row + 1) * height / (2 * rows))
  }

  /// The objects that have pixels in the frame, by decreasing area, then by id.
  ///
  /// - Parameters:
  ///   - grid: [rows, columns], labels from 0 to `maximumID`, of which any may
  ///     be missing.
  ///   - confidence: [rows, columns].
  /// - Throws: `.memory`; `.internalError` for a label above `maximumID`.
  func regions(
    _ grid: UnsafePointer<UInt16>, confidence: UnsafePointer<Float>, maximumID: Int,
    budget: Budget? = nil
  ) throws(CoveyError) -> [ObjectRegion] {
    let table = try Buffer<RegionSums>(maximumID + 1, budget: budget, for: "sums of objects")
    defer { withExtendedLifetime(table) {} }
    table.fill(RegionSums())
    let sums = table.base
    var found = 0
    for row in 0..<rows {
      let (top, bottom) = (rowStarts[row], rowStarts[row + 1])
      for column in 0..<columns {
        let index = row * columns + column
        let id = Int(grid[index])
        guard id > 0 else { continue }
        guard id <= maximumID else {
          throw CoveyError(
            .internalError, "label map: expected ids up to \(maximumID), found \(id)")
        }
        let (left, right) = (columnStarts[column], columnStarts[column + 1])
        if top < bottom, left < right {
          if sums[id].area == 0 { found += 1 }
          sums[id].add(left: left, right: right, top: top, bottom: bottom)
        }
        // A patch without a pixel has been looked at all the same.
        sums[id].patches += 1
        sums[id].confidence += Double(confidence[index])
      }
    }

    var regions: [ObjectRegion] = []
    regions.reserveCapacity(found)
    for id in 0..<table.count where sums[id].area > 0 {
      regions.append(
        sums[id].region(id: id, confidence: sums[id].confidence / Double(sums[id].patches)))
    }
    regions.sort { $0.area != $1.area ? $0.area > $1.area : $0.id < $1.id }
    return regions
  }
}
