/// Refining may leave a label without a pixel where it has patches: in a frame
/// that has its colours all about.  It then gets the pixels of its patches, so
/// that nothing the clustering saw is lost: patches have one label each, so what
/// one label gets back no other can lose for good.
enum LostLabels {
  /// - Parameters:
  ///   - grid: [rows, columns] of `map`.
  ///   - candidates: those that own a patch.
  ///   - labels: [height, width].  In the end each candidate has a pixel, but for
  ///     those whose patches have none.
  static func restore(
    _ candidates: [UInt16], _ grid: UnsafePointer<UInt16>, _ map: LabelMap,
    in labels: UnsafeMutablePointer<UInt16>
  ) {
    var lost = missing(candidates, map, labels)
    // A label that is given its patches may take the last pixels of another, once.
    for _ in candidates.indices where !lost.isEmpty {
      for row in 0..<map.rows {
        for column in 0..<map.columns where lost.contains(grid[row * map.columns + column]) {
          map.fill(row: row, column: column, grid[row * map.columns + column], in: labels)
        }
      }
      let before = lost
      lost = missing(candidates, map, labels)
      if lost == before { return }
    }
  }

  private static func missing(
    _ candidates: [UInt16], _ map: LabelMap, _ labels: UnsafePointer<UInt16>
  ) -> [UInt16] {
    var left = candidates
    for y in 0..<map.height {
      let line = labels + y * map.width
      var last: UInt16?
      for x in 0..<map.width where line[x] != last {
        last = line[x]
        left.removeAll { $0 == line[x] }
        if left.isEmpty { return [] }
      }
    }
    return left
  }
}
