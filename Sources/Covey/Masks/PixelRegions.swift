/// What is to be known of the objects in a map of pixels.
struct PixelRegions {
  private struct Sums: BitwiseCopyable {
    // A sum of coordinates may reach 32768 * 32768 * 32767.
    var area: Int64 = 0
    var sumX: Int64 = 0  // doubled
    var sumY: Int64 = 0
    var left: Int32 = .max
    var right: Int32 = 0
    var top: Int32 = .max
    var bottom: Int32 = 0
    var confidence = 0.0
  }

  /// Between two looks at whether the call has been cancelled.
  private static let rowsAtOnce = 16

  /// With `maximumID` up to `likelyObjects`.
  static func byteCount(width: Int) -> Int {
    MemoryLayout<Sums>.stride * (likelyObjects + 1) + 8 * (width + 1)
  }

  /// What the memory estimate reckons with in a video.
  static let likelyObjects = 1024

  /// The objects of a map, by decreasing area, then by label; 0 is none.
  ///
  /// - Parameters:
  ///   - labels: [height, width], up to `maximumID`.
  ///   - confidence: [rows, columns] of patches; an object's is the mean over its
  ///     pixels of that of the patch they lie in (`LabelMap`).
  ///   - isCancelled: where this becomes true, it throws.
  /// - Throws: `.memory`, `.cancelled`; `.internalError` for a label above
  ///   `maximumID`.
  static func measure(
    _ labels: UnsafePointer<UInt16>, width: Int, height: Int, confidence: UnsafePointer<Float>,
    rows: Int, columns: Int, maximumID: Int, budget: Budget? = nil,
    isCancelled: () -> Bool = { false }
  ) throws(CoveyError) -> [ObjectRegion] {
    let table = try Buffer<Sums>(maximumID + 1, budget: budget, for: "sums of objects")
    // Of confidences in a row, so that a run of pixels is one difference.
    let before = try Buffer<Double>(width + 1, budget: budget, for: "sums of confidences")
    defer { withExtendedLifetime((table, before)) {} }
    table.fill(Sums())
    let (sums, prefix) = (table.base, before.base)
    var patchRow = -1
    for y in 0..<height {
      if y % rowsAtOnce == 0, isCancelled() { throw CoveyError(.cancelled, "cancelled") }
      if y * rows / height != patchRow {
        patchRow = y * rows / height
        let own = confidence + patchRow * columns
        prefix[0] = 0
        for x in 0..<width { prefix[x + 1] = prefix[x] + Double(own[x * columns / width]) }
      }
      let line = labels + y * width
      var start = 0
      while start < width {
        let label = line[start]
        var end = start + 1
        while end < width, line[end] == label { end += 1 }
        let id = Int(label)
        guard id <= maximumID else {
          throw CoveyError(
            .internalError, "label map: expected ids up to \(maximumID), found \(id)")
        }
        if id > 0 {
          let count = Int64(end - start)
          sums[id].area += count
          sums[id].sumX += count * Int64(start + end - 1)
          sums[id].sumY += count * Int64(2 * y)
          sums[id].left = min(sums[id].left, Int32(start))
          sums[id].right = max(sums[id].right, Int32(end))
          sums[id].top = min(sums[id].top, Int32(y))
          sums[id].bottom = Int32(y + 1)
          sums[id].confidence += prefix[end] - prefix[start]
        }
        start = end
      }
    }
    var regions: [ObjectRegion] = []
    for id in 0..<table.count where sums[id].area > 0 {
      let found = sums[id]
      let area = Double(found.area)
      regions.append(
        ObjectRegion(
          id: id, area: found.area, x: Int(found.left), y: Int(found.top),
          width: Int(found.right - found.left), height: Int(found.bottom - found.top),
          centroidX: Float(Double(found.sumX) / (2 * area)),
          centroidY: Float(Double(found.sumY) / (2 * area)),
          // Rounding of the differences: a little beyond 1 or below 0.
          confidence: Float(min(max(found.confidence / area, 0), 1))))
    }
    regions.sort { $0.area != $1.area ? $0.area > $1.area : $0.id < $1.id }
    return regions
  }
}
