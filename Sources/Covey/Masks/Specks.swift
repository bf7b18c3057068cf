/// The default rule for small regions (`SmallRegions`): what masks drawn finer
/// than patches have too much or too little.
///
/// A *speck* has fewer pixels than half a patch and holds no centre of a patch of
/// its own label: the clustering did not see it there.  The largest region of an
/// object, the first on ties, is none.  A *hole* is a region of background that
/// lies within one object, not at the frame's border, and has less than
/// `holeShare` of the pixels of the largest region around it; what lies in a hole
/// and is a speck does not count as around.
struct Specks {
  /// Of the region around it, above which a hole is something seen through it.
  static let holeShare = 0.01

  /// What touches a region.
  struct Around: BitwiseCopyable {
    /// Of the largest settled region.
    var pixels: Int64 = 0
    /// -1: none yet; -2: more than one, or the frame's border.
    var label: Int32 = -1
  }

  let runs: UnsafePointer<SmallRegions.Run>
  let regions: UnsafeMutablePointer<SmallRegions.Region>
  let rowStarts: UnsafePointer<Int32>
  let count: Int
  let last: Int  // label

  /// Settles what is neither.
  ///
  /// - Parameters:
  ///   - map: of the frame.
  ///   - grid: labels of its patches.
  func find(
    _ map: LabelMap, _ grid: UnsafePointer<UInt16>, budget: Budget?, isCancelled: () -> Bool
  ) throws(CoveyError) {
    let least = Double(map.width * map.height) / Double(2 * map.rows * map.columns)
    for index in 0..<count {
      regions[index].isSettled = Double(regions[index].pixels) >= least
    }
    settleSeen(map, grid)
    try settleLargest(budget)
    try SmallRegions.check(isCancelled)
    try unsettleHoles(map, budget, isCancelled)
  }

  private func settleSeen(_ map: LabelMap, _ grid: UnsafePointer<UInt16>) {
    for row in 0..<map.rows {
      let y = map.centre(row: row, column: 0).y
      var index = Int(rowStarts[y])
      for column in 0..<map.columns {
        let x = map.centre(row: row, column: column).x
        while Int(runs[index].end) <= x { index += 1 }
        let root = Int(runs[index].parent)
        if regions[root].label == grid[row * map.columns + column] {
          regions[root].isSettled = true
        }
      }
    }
  }

  private func settleLargest(_ budget: Budget?) throws(CoveyError) {
    let largest = try Buffer<Int32>(
      last + 1, budget: budget, for: "largest regions of labels")
    defer { withExtendedLifetime(largest) {} }
    largest.fill(-1)
    for index in 0..<count where regions[index].pixels > 0 && regions[index].label > 0 {
      let before = Int(largest.base[Int(regions[index].label)])
      if before < 0 || regions[index].pixels > regions[before].pixels {
        largest.base[Int(regions[index].label)] = Int32(index)
      }
    }
    for index in 0..<count where regions[index].pixels > 0 {
      if largest.base[Int(regions[index].label)] == index { regions[index].isSettled = true }
    }
  }

  private func unsettleHoles(
    _ map: LabelMap, _ budget: Budget?, _ isCancelled: () -> Bool
  ) throws(CoveyError) {
    let around = try Buffer<Around>(count, budget: budget, for: "what is around regions")
    defer { withExtendedLifetime(around) {} }
    around.fill(Around())
    let found = around.base
    for index in 0..<count {
      let run = runs[index]
      if run.row == 0 || Int(run.row) == map.height - 1 || run.start == 0
        || Int(run.end) == map.width
      {
        found[Int(run.parent)].label = -2
      }
    }
    func meet(_ one: Int, _ other: Int) {
      let (a, b) = (Int(runs[one].parent), Int(runs[other].parent))
      // Background touches no background but its own.
      if regions[a].label == 0 { note(b, in: found + a) }
      if regions[b].label == 0 { note(a, in: found + b) }
    }
    SmallRegions.overlaps(runs, rowStarts, height: map.height, isCancelled) { above, below, _ in
      meet(above, below)
    }
    for index in 1..<max(count, 1) where runs[index].row == runs[index - 1].row {
      meet(index - 1, index)
    }
    try SmallRegions.check(isCancelled)
    for index in 0..<count where regions[index].label == 0 && found[index].label > 0 {
      let share = Specks.holeShare * Double(found[index].pixels)
      if Double(regions[index].pixels) < share { regions[index].isSettled = false }
    }
  }

  private func note(_ neighbour: Int, in around: UnsafeMutablePointer<Around>) {
    let region = regions[neighbour]
    guard region.isSettled, region.label > 0 else { return }
    around.pointee.pixels = max(around.pointee.pixels, region.pixels)
    switch around.pointee.label {
    case -1: around.pointee.label = Int32(region.label)
    case Int32(region.label): break
    default: around.pointee.label = -2
    }
  }
}
