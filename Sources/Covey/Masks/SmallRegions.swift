/// Small regions go to their surroundings.  A region is a set of pixels of one
/// label that hang together by their sides (4-connected); which are small is for
/// a `Rule` to say.  In rounds, every small region that touches a region
/// which is not small, or no longer, takes the label of those with which it
/// shares the longest border, in sides of pixels, the smallest label on ties;
/// all of a round at once.  Where all regions of a frame are small, nothing
/// changes.
///
/// Regions are found before the rounds, and do not grow together in them.
enum SmallRegions {
  enum Rule {
    /// Regions of fewer pixels.
    case below(Double)
    /// Holes and specks, of a map that was drawn from these patches (`Specks`).
    case specks(LabelMap, grid: UnsafePointer<UInt16>)
  }

  /// A stretch of one label in a row.
  struct Run: BitwiseCopyable {
    var start: Int32
    var end: Int32
    var row: Int32
    /// Another run of its region, or itself; in the end the region's first.
    var parent: Int32
  }

  /// What is known of a region, in the place of its first run.
  struct Region: BitwiseCopyable {
    var pixels: Int64 = 0
    /// The last one found; -1: none.
    var borders: Int32 = -1
    var label: UInt16 = 0
    /// Whether it is large, or has got its label.
    var isSettled = false
  }

  /// - Parameters:
  ///   - labels: [height, width], changed in place.
  ///   - isCancelled: where this becomes true, it throws; `labels` are undefined.
  /// - Throws: `.memory`, `.cancelled`.
  static func dissolve(
    _ labels: UnsafeMutablePointer<UInt16>, width: Int, height: Int, _ rule: Rule,
    budget: Budget? = nil, isCancelled: () -> Bool = { false }
  ) throws(CoveyError) {
    if case .below(let least) = rule, least <= 1 { return }
    var count = 0
    for y in 0..<height {
      if y % rowsAtOnce == 0 { try check(isCancelled) }
      let line = labels + y * width
      count += 1
      for x in 1..<max(width, 1) where line[x] != line[x - 1] { count += 1 }
    }
    guard count <= Int(Int32.max) / bordersOfRun else {
      throw CoveyError(.memory, "small regions: \(count) runs of pixels are too many")
    }
    let runs = try Buffer<Run>(count, budget: budget, for: "runs of pixels")
    let regions = try Buffer<Region>(count, budget: budget, for: "regions of pixels")
    let rowStarts = try Buffer<Int32>(height + 1, budget: budget, for: "rows of runs")
    defer { withExtendedLifetime((runs, regions, rowStarts)) {} }
    regions.fill(Region())
    try find(labels, width: width, height: height, runs.base, rowStarts.base, isCancelled)
    try join(
      labels, width: width, height: height, runs.base, rowStarts.base, count, isCancelled)

    var last: UInt16 = 0
    for index in 0..<count {
      let run = runs.base[index]
      let root = Int(run.parent)
      let label = labels[Int(run.row) * width + Int(run.start)]
      regions.base[root].pixels += Int64(run.end - run.start)
      regions.base[root].label = label
      last = max(last, label)
    }
    switch rule {
    case .below(let least):
      for index in 0..<count {
        regions.base[index].isSettled = Double(regions.base[index].pixels) >= least
      }
    case .specks(let map, let grid):
      let specks = Specks(
        runs: runs.base, regions: regions.base, rowStarts: rowStarts.base, count: count,
        last: Int(last))
      try specks.find(map, grid, budget: budget, isCancelled: isCancelled)
    }
    var open = 0
    var large = 0
    for index in 0..<count where regions.base[index].pixels > 0 {
      if regions.base[index].isSettled { large += 1 } else { open += 1 }
    }
    guard open > 0, large > 0 else { return }
    try settle(
      runs.base, regions.base, rowStarts.base, height: height, count: count, open: open,
      last: Int(last), budget: budget, isCancelled: isCancelled)
    for index in 0..<count {
      let run = runs.base[index]
      (labels + Int(run.row) * width + Int(run.start)).update(
        repeating: regions.base[Int(run.parent)].label, count: Int(run.end - run.start))
    }
  }

  private static func find(
    _ labels: UnsafePointer<UInt16>, width: Int, height: Int,
    _ runs: UnsafeMutablePointer<Run>, _ rowStarts: UnsafeMutablePointer<Int32>,
    _ isCancelled: () -> Bool
  ) throws(CoveyError) {
    var next = 0
    for y in 0..<height {
      if y % rowsAtOnce == 0 { try check(isCancelled) }
      rowStarts[y] = Int32(next)
      let line = labels + y * width
      var start = 0
      while start < width {
        var end = start + 1
        while end < width, line[end] == line[start] { end += 1 }
        runs[next] = Run(
          start: Int32(start), end: Int32(end), row: Int32(y), parent: Int32(next))
        next += 1
        start = end
      }
    }
    rowStarts[height] = Int32(next)
  }

  /// Calls `body` for runs above each other, and how many pixels they share;
  /// not for all of them where it is cancelled.
  @inline(__always)
  static func overlaps(
    _ runs: UnsafePointer<Run>, _ rowStarts: UnsafePointer<Int32>, height: Int,
    _ isCancelled: () -> Bool, _ body: (_ above: Int, _ below: Int, _ shared: Int64) -> Void
  ) {
    for y in 1..<max(height, 1) {
      if y % rowsAtOnce == 0, isCancelled() { return }
      var (above, below) = (Int(rowStarts[y - 1]), Int(rowStarts[y]))
      let (lastAbove, lastBelow) = (Int(rowStarts[y]), Int(rowStarts[y + 1]))
      while above < lastAbove, below < lastBelow {
        let (a, b) = (runs[above], runs[below])
        let shared = min(a.end, b.end) - max(a.start, b.start)
        if shared > 0 { body(above, below, Int64(shared)) }
        if a.end <= b.end { above += 1 }
        if b.end <= a.end { below += 1 }
      }
    }
  }

  private static func join(
    _ labels: UnsafePointer<UInt16>, width: Int, height: Int,
    _ runs: UnsafeMutablePointer<Run>, _ rowStarts: UnsafePointer<Int32>, _ count: Int,
    _ isCancelled: () -> Bool
  ) throws(CoveyError) {
    func root(_ index: Int) -> Int {
      var at = index
      while Int(runs[at].parent) != at {
        // Halves the way for the next one.
        runs[at].parent = runs[Int(runs[at].parent)].parent
        at = Int(runs[at].parent)
      }
      return at
    }
    overlaps(runs, rowStarts, height: height, isCancelled) { above, below, _ in
      let (a, b) = (runs[above], runs[below])
      guard
        labels[Int(a.row) * width + Int(a.start)] == labels[Int(b.row) * width + Int(b.start)]
      else { return }
      let (one, other) = (root(above), root(below))
      // The first run of a region is its root.
      runs[max(one, other)].parent = Int32(min(one, other))
    }
    try check(isCancelled)
    for index in 0..<count { runs[index].parent = Int32(root(index)) }
  }

  /// A stretch of border that a small region shares with a settled one.
  private struct Border: BitwiseCopyable {
    var sides: Int64
    var next: Int32  // of the same region; -1: none
    var label: UInt16
  }

  private static func settle(
    _ runs: UnsafePointer<Run>, _ regions: UnsafeMutablePointer<Region>,
    _ rowStarts: UnsafePointer<Int32>, height: Int, count: Int, open: Int, last: Int,
    budget: Budget?, isCancelled: () -> Bool
  ) throws(CoveyError) {
    // A pair of runs one above the other for each step along a row, and one of
    // neighbours in a row: fewer than three for each run.
    let borders = try Buffer<Border>(
      bordersOfRun * count, budget: budget, for: "borders of regions")
    let sums = try Buffer<Int64>(last + 1, budget: budget, for: "borders with labels")
    defer { withExtendedLifetime((borders, sums)) {} }
    sums.fill(0)
    var left = open
    while left > 0 {
      var found = 0
      func add(_ one: Int, _ other: Int, _ sides: Int64) {
        var (small, settled) = (Int(runs[one].parent), Int(runs[other].parent))
        if regions[small].isSettled { swap(&small, &settled) }
        guard !regions[small].isSettled, regions[settled].isSettled else { return }
        borders.base[found] = Border(
          sides: sides, next: regions[small].borders, label: regions[settled].label)
        regions[small].borders = Int32(found)
        found += 1
      }
      overlaps(runs, rowStarts, height: height, isCancelled) { add($0, $1, $2) }
      for index in 1..<max(count, 1) where runs[index].row == runs[index - 1].row {
        add(index - 1, index, 1)
      }
      try check(isCancelled)
      // Every round settles one at least: regions hang together.
      guard found > 0 else { return }
      for index in 0..<count where regions[index].borders >= 0 {
        choose(borders.base, sums.base, &regions[index])
        left -= 1
      }
      try check(isCancelled)
    }
  }

  /// Settles a small region that has borders.
  /// - Parameter sums: of each label, all 0 before and after.
  private static func choose(
    _ borders: UnsafePointer<Border>, _ sums: UnsafeMutablePointer<Int64>, _ region: inout Region
  ) {
    var place = region.borders
    while place >= 0 {
      let border = borders[Int(place)]
      sums[Int(border.label)] += border.sides
      place = border.next
    }
    var (best, longest): (UInt16, Int64) = (0, 0)
    place = region.borders
    while place >= 0 {
      let border = borders[Int(place)]
      let sides = sums[Int(border.label)]
      if sides > longest || (sides == longest && border.label < best) {
        (best, longest) = (border.label, sides)
      }
      place = border.next
    }
    place = region.borders
    while place >= 0 {
      let border = borders[Int(place)]
      sums[Int(border.label)] = 0
      place = border.next
    }
    (region.label, region.isSettled, region.borders) = (best, true, -1)
  }

  static func check(_ isCancelled: () -> Bool) throws(CoveyError) {
    if isCancelled() { throw CoveyError(.cancelled, "cancelled") }
  }

  private static let bordersOfRun = 3
  /// Between two looks at whether the call has been cancelled.
  private static let rowsAtOnce = 16

  /// What `dissolve` takes while rows have a change of label for every 8 pixels, and
  /// labels go up to `PixelRegions.likelyObjects`.
  static func byteCount(width: Int, height: Int) -> Int {
    let runs = height * (width + 8) / 8
    let each =
      MemoryLayout<Run>.stride + MemoryLayout<Region>.stride
      + max(bordersOfRun * MemoryLayout<Border>.stride, MemoryLayout<Specks.Around>.stride)
    return runs * each + 4 * (height + 1) + 8 * (PixelRegions.likelyObjects + 1)
  }
}
