/// The outlines of one label, simplified.
struct Polygons {
  /// Of all rings one after the other, in the first `pointCount` places.
  let points: GrowingList<Outline.Point>
  let pointCount: Int
  /// Of each ring: where its points end.
  let ends: GrowingList<Int>

  /// - Parameters:
  ///   - labels: [height, width].
  ///   - tolerance: pixels, finite, 0 or more.
  /// - Throws: `.memory`.
  init(
    of label: UInt16, in labels: UnsafePointer<UInt16>, width: Int, height: Int,
    tolerance: Double
  ) throws(CoveyError) {
    let outline = try Outline(of: label, in: labels, width: width, height: height)
    (points, ends) = (outline.points, outline.ends)
    guard tolerance > 0 else {
      pointCount = points.count
      return
    }
    var largest = 0
    var start = 0
    for ring in 0..<ends.count {
      largest = max(largest, ends.base[ring] - start)
      start = ends.base[ring]
    }
    guard largest < Int(Int32.max) else {
      throw CoveyError(.memory, "outline: \(largest) points in a ring are too many")
    }
    let simplification = try Simplification(capacity: largest)
    var next = 0
    start = 0
    for ring in 0..<ends.count {
      let end = ends.base[ring]
      let left = simplification.reduce(
        points.base + start, count: end - start, tolerance: tolerance)
      // Towards the front: the places overlap.
      for index in 0..<left { points.base[next + index] = points.base[start + index] }
      next += left
      start = end
      ends.base[ring] = next
    }
    pointCount = next
  }
}
