/// The rule for small regions.  A region is a set of pixels of one label that
/// hang together by their sides (4-connected); it is small where it has fewer
/// than `least` pixels.  In rounds, every small region that touches a region
/// which is not small, or no longer, takes the label of those with which it
/// shares the longest border, in sides of pixels, the smallest label on ties;
/// all of a round at once.  Where all regions of a frame are small, nothing
/// changes.
///
/// Regions are found before the rounds, and do not grow together in them.
enum SmallRegions {
  /// A stretch of one label in a row.
  private struct Run: BitwiseCopyable {
    var start: Int32
    var end: Int32
    var row: Int32
    /// Another run of its region, or itself; in the end the region's first.
    var parent: Int32
  }

  /// What is known of a region, in the place of its first run.
  private struct Region: BitwiseCopyable {
    var pixels: Int64 = 0
    var label: UInt16 = 0
    /// Whether it is large, or has got its label.
    var isSettled = false
  }

  /// - Parameters:
  ///   - labels: [height, width], changed in place.
  ///   - least: pixels.
  /// - Throws: `.memory`.
  static func dissolve(
    _ labels: UnsafeMutablePointer<UInt16>, width: Int, height: Int, least: Double
  ) throws(CoveyError) {
    guard least > 1 else { return }
    var count = 0
    for y in 0..<height {
      let line = labels + y * width
      count += 1
      for x in 1..<max(width, 1) where line[x] != line[x - 1] { count += 1 }
    }
    guard count <= Int(Int32.max) else {
      throw CoveyError(.memory, "small regions: \(count) runs of pixels are too many")
    }
    let runs = try Buffer<Run>(count, for: "runs of pixels")
    let regions = try Buffer<Region>(count, for: "regions of pixels")
    let rowStarts = try Buffer<Int32>(height + 1, for: "rows of runs")
    defer { withExtendedLifetime((runs, regions, rowStarts)) {} }
    regions.fill(Region())
    find(labels, width: width, height: height, runs.base, rowStarts.base)
    join(labels, width: width, height: height, runs.base, rowStarts.base, count)

    var open = 0
    var large = 0
    for index in 0..<count {
      let run = runs.base[index]
      let root = Int(run.parent)
      regions.base[root].pixels += Int64(run.end - run.start)
      regions.base[root].label = labels[Int(run.row) * width + Int(run.start)]
    }
    for index in 0..<count where regions.base[index].pixels > 0 {
      regions.base[index].isSettled = Double(regions.base[index].pixels) >= least
      if regions.base[index].isSettled { large += 1 } else { open += 1 }
    }
    guard open > 0, large > 0 else { return }
    try settle(
      runs.base, regions.base, rowStarts.base, height: height, count: count, open: open)
    for index in 0..<count {
      let run = runs.base[index]
      (labels + Int(run.row) * width + Int(run.start)).update(
        repeating: regions.base[Int(run.parent)].label, count: Int(run.end - run.start))
    }
  }

  private static func find(
    _ labels: UnsafePointer<UInt16>, width: Int, height: Int,
    _ runs: UnsafeMutablePointer<Run>, _ rowStarts: UnsafeMutablePointer<Int32>
  ) {
    var next = 0
    for y in 0..<height {
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

  /// Calls `body` for runs above each other, and how many pixels they share.
  @inline(__always)
  private static func overlaps(
    _ runs: UnsafePointer<Run>, _ rowStarts: UnsafePointer<Int32>, height: Int,
    _ body: (_ above: Int, _ below: Int, _ shared: Int64) -> Void
  ) {
    for y in 1..<max(height, 1) {
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
    _ runs: UnsafeMutablePointer<Run>, _ rowStarts: UnsafePointer<Int32>, _ count: Int
  ) {
    func root(_ index: Int) -> Int {
      var at = index
      while Int(runs[at].parent) != at {
        // Halves the way for the next one.
        runs[at].parent = runs[Int(runs[at].parent)].parent
        at = Int(runs[at].parent)
      }
      return at
    }
    overlaps(runs, rowStarts, height: height) { above, below, _ in
      let (a, b) = (runs[above], runs[below])
      guard
        labels[Int(a.row) * width + Int(a.start)] == labels[Int(b.row) * width + Int(b.start)]
      else { return }
      let (one, other) = (root(above), root(below))
      // The first run of a region is its root.
      runs[max(one, other)].parent = Int32(min(one, other))
    }
    for index in 0..<count { runs[index].parent = Int32(root(index)) }
  }

  /// How much border a small region shares with a label.
  private struct Border: BitwiseCopyable {
    var region: Int32
    var label: UInt16
    var sides: Int64
  }

  private static func settle(
    _ runs: UnsafePointer<Run>, _ regions: UnsafeMutablePointer<Region>,
    _ rowStarts: UnsafePointer<Int32>, height: Int, count: Int, open: Int
  ) throws(CoveyError) {
    // A pair of runs one above the other for each step along a row, and one of
    // neighbours in a row: fewer than three for each run.
    let borders = try Buffer<Border>(3 * count, for: "borders of regions")
    defer { withExtendedLifetime(borders) {} }
    var left = open
    while left > 0 {
      var found = 0
      func add(_ one: Int, _ other: Int, _ sides: Int64) {
        let (a, b) = (Int(runs[one].parent), Int(runs[other].parent))
        if !regions[a].isSettled, regions[b].isSettled {
          borders.base[found] = Border(region: Int32(a), label: regions[b].label, sides: sides)
          found += 1
        } else if regions[a].isSettled, !regions[b].isSettled {
          borders.base[found] = Border(region: Int32(b), label: regions[a].label, sides: sides)
          found += 1
        }
      }
      overlaps(runs, rowStarts, height: height) { add($0, $1, $2) }
      for index in 1..<max(count, 1) where runs[index].row == runs[index - 1].row {
        add(index - 1, index, 1)
      }
      // Every round settles one at least: regions hang together.
      guard found > 0 else { return }
      left -= choose(UnsafeMutableBufferPointer(start: borders.base, count: found), regions)
    }
  }

  /// Returns how many regions have got their label.
  private static func choose(
    _ borders: UnsafeMutableBufferPointer<Border>, _ regions: UnsafeMutablePointer<Region>
  ) -> Int {
    var borders = borders
    borders.sort { $0.region != $1.region ? $0.region < $1.region : $0.label < $1.label }
    var settled = 0
    var index = 0
    while index < borders.count {
      let region = borders[index].region
      var (best, longest): (UInt16, Int64) = (0, 0)
      while index < borders.count, borders[index].region == region {
        let label = borders[index].label
        var sides: Int64 = 0
        while index < borders.count, borders[index].region == region,
          borders[index].label == label
        {
          sides += borders[index].sides
          index += 1
        }
        if sides > longest { (best, longest) = (label, sides) }
      }
      regions[Int(region)].label = best
      regions[Int(region)].isSettled = true
      settled += 1
    }
    return settled
  }
}
