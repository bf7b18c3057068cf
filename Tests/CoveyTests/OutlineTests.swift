import Testing

@testable import Covey

private typealias Ring = [(x: Int, y: Int)]

private func rings(
  _ labels: [UInt16], _ width: Int, _ height: Int, of label: UInt16, tolerance: Double
) throws -> [Ring] {
  let polygons = try Polygons(
    of: label, in: labels, width: width, height: height, tolerance: tolerance)
  var found: [Ring] = []
  var start = 0
  for ring in 0..<polygons.ends.count {
    let end = polygons.ends.base[ring]
    found.append(
      (start..<end).map {
        (Int(polygons.points.base[$0].x), Int(polygons.points.base[$0].y))
      })
    start = end
  }
  #expect(start == polygons.pointCount)
  return found
}

/// The rings filled by the even-odd rule at the centres of pixels.
private func filled(_ rings: [Ring], _ width: Int, _ height: Int) -> [Bool] {
  (0..<width * height).map { pixel in
    let (px, py) = (Double(pixel % width) + 0.5, Double(pixel / width) + 0.5)
    var inside = false
    for ring in rings {
      for (index, a) in ring.enumerated() {
        let b = ring[(index + 1) % ring.count]
        let (ay, by) = (Double(a.y), Double(b.y))
        guard (ay > py) != (by > py) else { continue }
        if px < Double(a.x) + (py - ay) / (by - ay) * Double(b.x - a.x) { inside.toggle() }
      }
    }
    return inside
  }
}

private func doubledArea(_ ring: Ring) -> Int {
  ring.indices.reduce(0) {
    let (a, b) = (ring[$1], ring[($1 + 1) % ring.count])
    return $0 + a.x * b.y - b.x * a.y
  }
}

private func distance(_ p: (x: Int, y: Int), _ a: (x: Int, y: Int), _ b: (x: Int, y: Int)) -> Double
{
  let (dx, dy) = (Double(b.x - a.x), Double(b.y - a.y))
  let (px, py) = (Double(p.x - a.x), Double(p.y - a.y))
  let length = dx * dx + dy * dy
  let along = length > 0 ? min(max((px * dx + py * dy) / length, 0), 1) : 0
  let (ex, ey) = (px - along * dx, py - along * dy)
  return (ex * ex + ey * ey).squareRoot()
}

/// From noise to blobs, with diagonals and holes.
private func map(_ width: Int, _ height: Int, seed: UInt64, coarse: Int) -> [UInt16] {
  var random = SeededRandom(seed: seed)
  let cells = (0..<(width / coarse + 1) * (height / coarse + 1)).map { _ in
    UInt16(random.next() % 3)
  }
  return (0..<width * height).map {
    cells[$0 / width / coarse * (width / coarse + 1) + $0 % width / coarse]
  }
}

@Suite struct OutlineTests {
  @Test(arguments: [1, 2, 5]) func filledTheyGiveTheMask(coarse: Int) throws {
    for (width, height) in [(1, 1), (1, 9), (12, 1), (2, 2), (17, 13), (70, 66)] {
      for seed: UInt64 in 0..<6 {
        let labels = map(width, height, seed: seed, coarse: coarse)
        for label: UInt16 in 0...3 {
          let found = try rings(labels, width, height, of: label, tolerance: 0)
          let mask = labels.map { $0 == label }
          #expect(filled(found, width, height) == mask)
          #expect(found.isEmpty == !mask.contains(true))
          // Holes count against their outer rings, so pixels add up.
          #expect(found.reduce(0) { $0 + doubledArea($1) } == 2 * mask.count { $0 })
          for ring in found {
            for index in ring.indices {
              let (a, b) = (ring[index], ring[(index + 1) % ring.count])
              let c = ring[(index + 2) % ring.count]
              // Along an axis, and every point is a corner.
              #expect((a.x == b.x) != (a.y == b.y))
              #expect((a.x == b.x) == (b.y == c.y))
            }
          }
        }
      }
    }
  }

  @Test func aRingWithAHoleAndADiagonal() throws {
    let labels: [UInt16] = [
      1, 1, 1, 0,
      1, 0, 1, 0,
      1, 1, 1, 0,
      0, 0, 0, 1,
    ]
    let found = try rings(labels, 4, 4, of: 1, tolerance: 0)
    // The pixel at the corner is apart; outer rings clockwise, the hole not.
    #expect(found.map(doubledArea) == [18, -2, 2])
  }

  @Test func simplifiedTheyStayWithinTheTolerance() throws {
    for seed: UInt64 in 0..<5 {
      let labels = map(90, 60, seed: seed, coarse: 1 + Int(seed) * 3)
      let exact = try rings(labels, 90, 60, of: 1, tolerance: 0)
      var before = exact.reduce(0) { $0 + $1.count }
      for tolerance in [0.5, 1, 2.5, 20, 1e9] {
        let found = try rings(labels, 90, 60, of: 1, tolerance: tolerance)
        #expect(found.count == exact.count)
        for (ring, whole) in zip(found, exact) {
          #expect(ring.count >= 3)
          // Points of the exact ring, in its order; those between two of them
          // near the side that joins them.
          let first = try #require(whole.firstIndex { $0 == ring[0] })
          var at = first
          for index in ring.indices {
            let (a, b) = (ring[index], ring[(index + 1) % ring.count])
            var steps = 0
            repeat {
              #expect(distance(whole[at % whole.count], a, b) <= tolerance + 1e-9)
              at += 1
              steps += 1
            } while whole[at % whole.count] != b && steps <= whole.count
          }
          #expect(at - first <= whole.count)
        }
        let after = found.reduce(0) { $0 + $1.count }
        #expect(after <= before)
        before = after
      }
    }
  }

  // ---- Small regions

  /// The rule, by flood fill.
  private func dissolved(
    _ labels: [UInt16], _ width: Int, _ height: Int, _ least: Double
  ) -> [UInt16] {
    var region = [Int](repeating: -1, count: labels.count)
    var pixels: [[Int]] = []
    func around(_ pixel: Int) -> [Int] {
      let (x, y) = (pixel % width, pixel / width)
      return (x > 0 ? [pixel - 1] : []) + (x < width - 1 ? [pixel + 1] : [])
        + (y > 0 ? [pixel - width] : []) + (y < height - 1 ? [pixel + width] : [])
    }
    for start in labels.indices where region[start] < 0 {
      var open = [start]
      region[start] = pixels.count
      pixels.append([])
      while let pixel = open.popLast() {
        pixels[region[start]].append(pixel)
        for next in around(pixel) where region[next] < 0 && labels[next] == labels[start] {
          region[next] = region[start]
          open.append(next)
        }
      }
    }
    var label = pixels.map { labels[$0[0]] }
    var settled = pixels.map { Double($0.count) >= least }
    while true {
      var changes: [(Int, UInt16)] = []
      for index in pixels.indices where !settled[index] {
        var sides: [UInt16: Int] = [:]
        for pixel in pixels[index] {
          for next in around(pixel) where settled[region[next]] {
            sides[label[region[next]], default: 0] += 1
          }
        }
        if let best = sides.max(by: { ($0.value, $1.key) < ($1.value, $0.key) }) {
          changes.append((index, best.key))
        }
      }
      if changes.isEmpty { break }
      for (index, new) in changes { (label[index], settled[index]) = (new, true) }
    }
    return labels.indices.map { label[region[$0]] }
  }

  @Test func smallRegionsGoToTheLongestBorder() throws {
    var changed = 0
    for (width, height) in [(1, 1), (1, 20), (20, 1), (9, 14), (40, 31)] {
      for seed: UInt64 in 0..<6 {
        let labels = map(width, height, seed: seed, coarse: 1 + Int(seed % 3))
        for least in [0.5, 2, 5, 11.5, 30, 1e6] {
          var found = labels
          try found.withUnsafeMutableBufferPointer {
            try SmallRegions.dissolve(
              $0.baseAddress!, width: width, height: height, .below(least))
          }
          #expect(found == dissolved(labels, width, height, least))
          changed += found == labels ? 0 : 1
        }
      }
    }
    #expect(changed > 30)
  }

  /// Every look at whether to go on may be the one that stops it; what it takes is
  /// counted, as much as the estimate says or less.
  @Test func smallRegionsCanBeStoppedAndRefused() throws {
    let (width, height) = (64, 48)
    let labels = map(width, height, seed: 3, coarse: 8)
    func dissolve(_ budget: Budget, stopAt: Int) throws -> Int {
      var (found, looks) = (labels, 0)
      try found.withUnsafeMutableBufferPointer {
        try SmallRegions.dissolve(
          $0.baseAddress!, width: width, height: height, .below(90), budget: budget
        ) {
          looks += 1
          return looks > stopAt
        }
      }
      return looks
    }
    let budget = Budget()
    let looks = try dissolve(budget, stopAt: .max)
    #expect(looks >= 3 * height / 16)
    #expect(budget.peak > 0 && budget.peak <= SmallRegions.byteCount(width: width, height: height))
    #expect(budget.current == 0)
    for stop in 0..<looks {
      let error = #expect(throws: CoveyError.self) { try dissolve(budget, stopAt: stop) }
      #expect(error?.kind == .cancelled)
    }
    for limit in stride(from: 0, to: budget.peak, by: budget.peak / 20) {
      let error = #expect(throws: CoveyError.self) {
        try dissolve(Budget(limit: limit), stopAt: .max)
      }
      #expect(error?.kind == .memory)
    }
    #expect(budget.current == 0)
  }
}
