/// Masks as run lengths, in the order of COCO: column by column, from top to
/// bottom, the runs going on from the bottom of a column to the top of the next;
/// first a run of zeros, which may be empty, then ones, zeros, and so on.
enum RunLength {
  /// The mask of the pixels that have a label.
  ///
  /// - Parameters:
  ///   - labels: [height, width], each at most 32768.
  ///   - output: receives the counts if `capacity` is enough; else it is left
  ///     alone and may be nil.
  ///   - capacity: of `output`, in counts.
  /// - Returns: how many counts there are: at least 1, at most height * width + 1.
  static func counts(
    of label: UInt16, in labels: UnsafePointer<UInt16>, width: Int, height: Int,
    into output: UnsafeMutablePointer<UInt32>?, capacity: Int
  ) -> Int {
    let sizes = 1...Frame.maximumSize
    precondition(sizes.contains(width) && sizes.contains(height))
    let needed = count(of: label, in: labels, width: width, height: height)
    guard let output, capacity >= needed else { return needed }
    var written = 0
    var inside = false
    var start = 0
    for x in 0..<width {
      for y in 0..<height {
        let here = labels[y &* width &+ x] == label
        guard here != inside else { continue }
        let position = x * height + y
        output[written] = UInt32(position - start)
        written += 1
        start = position
        inside = here
      }
    }
    output[written] = UInt32(width * height - start)
    return needed
  }

  /// One run more than there are changes.  These are counted row by row, as
  /// the pixels lie in memory, which is many times faster than in columns.
  private static func count(
    of label: UInt16, in labels: UnsafePointer<UInt16>, width: Int, height: Int
  ) -> Int {
    var changes = labels[0] == label ? 1 : 0
    for y in 1..<height {
      let above = labels + (y - 1) * width
      let here = labels + y * width
      // As wide as a label, so that the loop fills whole vectors.
      var inRow: UInt16 = 0
      for x in 0..<width {
        let before: UInt16 = above[x] == label ? 1 : 0
        let now: UInt16 = here[x] == label ? 1 : 0
        inRow &+= before ^ now
      }
      changes += Int(inRow)
    }
    let last = labels + (height - 1) * width
    for x in 1..<width {
      changes += (last[x - 1] == label) != (labels[x] == label) ? 1 : 0
    }
    return changes + 1
  }
}
