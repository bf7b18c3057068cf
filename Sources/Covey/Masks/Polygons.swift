/// The outlines of one label, simplified.
struct Polygons {
  let points: PointList  // of all rings
  let pointCount: Int
  /// Of each ring: where its points end.
  let ends: [Int]

  /// - Parameters:
  ///   - labels: [height, width].
  ///   - tolerance: pixels, finite, 0 or more.
  /// - Throws: `.memory`.
  init(
    of label: UInt16, in labels: UnsafePointer<UInt16>, width: Int, height: Int,
    tolerance: Double
  ) throws(CoveyError) {
    let outline = try Outline(of: label, in: labels, width: width, height: height)
    points = outline.points
    guard tolerance > 0 else {
      (pointCount, ends) = (points.count, outline.ends)
      return
    }
    var largest = 0
    var start = 0
    for end in outline.ends {
      largest = max(largest, end - start)
      start = end
    }
    guard largest < Int(Int32.max) else {
      throw CoveyError(.memory, "outline: \(largest) points in a ring are too many")
    }
    let simplification = try Simplification(capacity: largest)
    var reduced: [Int] = []
    var next = 0
    start = 0
    for end in outline.ends {
      let left = simplification.reduce(
        points.base + start, count: end - start, tolerance: tolerance)
      // Towards the front: the places overlap.
      for index in 0..<left { points.base[next + index] = points.base[start + index] }
      next += left
      start = end
      reduced.append(next)
    }
    (pointCount, ends) = (next, reduced)
  }
}
