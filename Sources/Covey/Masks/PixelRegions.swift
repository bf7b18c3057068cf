/// What is to be known of the objects in a map of pixels.
struct PixelRegions {
  /// Between two looks at whether the call has been cancelled.
  private static let rowsAtOnce = 16

  /// With `maximumID` up to `likelyObjects`.
  static func byteCount(width: Int) -> Int {
    MemoryLayout<RegionSums>.stride * (likelyObjects + 1) + 8 * (width + 1)
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
    let table = try Buffer<RegionSums>(maximumID + 1, budget: budget, for: "sums of objects")
    // Of confidences in a row, so that a run of pixels is one difference.
    let before = try Buffer<Double>(width + 1, budget: budget, for: "sums of confidences")
    defer { withExtendedLifetime((table, before)) {} }
    table.fill(RegionSums())
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
          sums[id].add(left: start, right: end, top: y, bottom: y + 1)
          sums[id].confidence += prefix[end] - prefix[start]
        }
        start = end
      }
    }
    var regions: [ObjectRegion] = []
    for id in 0..<table.count where sums[id].area > 0 {
      // Rounding of the differences: a little beyond 1 or below 0.
      let confidence = min(max(sums[id].confidence / Double(sums[id].area), 0), 1)
      regions.append(sums[id].region(id: id, confidence: confidence))
    }
    regions.sort { $0.area != $1.area ? $0.area > $1.area : $0.id < $1.id }
    return regions
  }
}
