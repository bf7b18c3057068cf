/// What is known of an object while its pixels are gone through, rectangle by
/// rectangle.  64-bit: a sum of coordinates may reach 32768 * 32768 * 32767.
struct RegionSums: BitwiseCopyable {
  private(set) var area: Int64 = 0
  private var sumX: Int64 = 0  // doubled
  private var sumY: Int64 = 0  // doubled
  private var left: Int32 = .max
  private var right: Int32 = 0
  private var top: Int32 = .max
  private var bottom: Int32 = 0
  var patches: Int32 = 0
  var confidence = 0.0

  /// The pixels of columns left ..< right and rows top ..< bottom: none is empty.
  mutating func add(left: Int, right: Int, top: Int, bottom: Int) {
    let pixels = Int64(right - left) * Int64(bottom - top)
    area += pixels
    // The mean of left ..< right is (left + right - 1) / 2, and that of a
    // rectangle times its pixels is whole.
    sumX += pixels * Int64(left + right - 1)
    sumY += pixels * Int64(top + bottom - 1)
    self.left = min(self.left, Int32(left))
    self.right = max(self.right, Int32(right))
    self.top = min(self.top, Int32(top))
    self.bottom = max(self.bottom, Int32(bottom))
  }

  func region(id: Int, confidence: Double) -> ObjectRegion {
    ObjectRegion(
      id: id, area: area, x: Int(left), y: Int(top),
      width: Int(right - left), height: Int(bottom - top),
      centroidX: Float(Double(sumX) / Double(2 * area)),
      centroidY: Float(Double(sumY) / Double(2 * area)),
      confidence: Float(confidence))
  }
}
