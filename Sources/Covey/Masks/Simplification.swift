/// Fewer points for a closed ring (Ramer, Douglas and Peucker): of the ring's
/// own points a subset, such that no point left out is farther than the
/// tolerance from the side that replaces it.
struct Simplification {
  /// Whether each point of the ring stays.
  private let keeps: Buffer<Bool>
  /// Stretches still to be looked at: a stack, at most as deep as there are
  /// points.
  private let stack: Buffer<(first: Int32, last: Int32)>

  /// - Parameter capacity: points of the largest ring.
  init(capacity: Int) throws(CoveyError) {
    keeps = try Buffer(capacity, for: "simplified outline")
    stack = try Buffer(capacity + 1, for: "stretches of an outline")
  }

  /// - Parameters:
  ///   - ring: [count], count at least 3, moved together in place.
  ///   - tolerance: pixels, 0 or more; with 0 all points stay.
  /// - Returns: how many points are left: 3 at least.
  func reduce(
    _ ring: UnsafeMutablePointer<Outline.Point>, count: Int, tolerance: Double
  ) -> Int {
    guard tolerance > 0, count > 3 else { return count }
    for index in 0..<count { keeps.base[index] = false }
    // Two halves, from the first point to the one farthest from it.
    let opposite = farthest(ring, count, from: 0, to: 0, within: 1..<count).index
    keeps.base[0] = true
    keeps.base[opposite] = true
    split(ring, count, 0, opposite, tolerance)
    split(ring, count, opposite, count, tolerance)

    var kept = 0
    for index in 0..<count where keeps.base[index] { kept += 1 }
    if kept < 3 {
      // Nothing but a line: the point farthest from it makes it an area again.
      let one = farthest(ring, count, from: 0, to: opposite, within: 1..<opposite)
      let other = farthest(ring, count, from: 0, to: opposite, within: opposite + 1..<count)
      keeps.base[one.distance >= other.distance ? one.index : other.index] = true
    }
    var next = 0
    for index in 0..<count where keeps.base[index] {
      ring[next] = ring[index]
      next += 1
    }
    return next
  }

  /// - Parameter end: `count` stands for the first point.
  private func split(
    _ ring: UnsafePointer<Outline.Point>, _ count: Int, _ start: Int, _ end: Int,
    _ tolerance: Double
  ) {
    stack.base[0] = (Int32(start), Int32(end))
    var depth = 1
    while depth > 0 {
      depth -= 1
      let (first, last) = (Int(stack.base[depth].first), Int(stack.base[depth].last))
      guard last - first > 1 else { continue }
      let found = farthest(ring, count, from: first, to: last % count, within: first + 1..<last)
      guard found.distance > tolerance * tolerance else { continue }
      keeps.base[found.index] = true
      stack.base[depth] = (Int32(first), Int32(found.index))
      stack.base[depth + 1] = (Int32(found.index), Int32(last))
      depth += 2
    }
  }

  /// The point farthest from the side between two others, the first on ties,
  /// and its squared distance; the latter -1 where the range is empty.
  private func farthest(
    _ ring: UnsafePointer<Outline.Point>, _ count: Int, from: Int, to: Int, within: Range<Int>
  ) -> (index: Int, distance: Double) {
    let (a, b) = (ring[from], ring[to])
    let (dx, dy) = (Double(b.x - a.x), Double(b.y - a.y))
    let length = dx * dx + dy * dy
    var best = (index: within.lowerBound, distance: -1.0)
    for index in within {
      let (px, py) = (Double(ring[index].x - a.x), Double(ring[index].y - a.y))
      // The place of its foot on the side, from 0 to 1.
      let along = length > 0 ? min(max((px * dx + py * dy) / length, 0), 1) : 0
      let (ex, ey) = (px - along * dx, py - along * dy)
      let distance = ex * ex + ey * ey
      if distance > best.distance { best = (index, distance) }
    }
    return best
  }
}
