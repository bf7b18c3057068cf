import Testing

@testable import Covey

/// Holes and specks, against the rule said pixel by pixel; and labels that would be lost.
@Suite struct SpeckTests {
  /// Regions by flood fill.
  private struct Regions {
    var of: [Int]
    var pixels: [[Int]] = []

    let width: Int
    let height: Int

    init(_ labels: [UInt16], _ width: Int, _ height: Int) {
      (self.width, self.height) = (width, height)
      of = [Int](repeating: -1, count: labels.count)
      for start in labels.indices where of[start] < 0 {
        var open = [start]
        of[start] = pixels.count
        pixels.append([])
        while let pixel = open.popLast() {
          pixels[of[start]].append(pixel)
          for next in around(pixel) where of[next] < 0 && labels[next] == labels[start] {
            of[next] = of[start]
            open.append(next)
          }
        }
      }
    }

    func around(_ pixel: Int) -> [Int] {
      let (x, y) = (pixel % width, pixel / width)
      return (x > 0 ? [pixel - 1] : []) + (x < width - 1 ? [pixel + 1] : [])
        + (y > 0 ? [pixel - width] : []) + (y < height - 1 ? [pixel + width] : [])
    }
  }

  private func cleaned(_ labels: [UInt16], _ map: LabelMap, _ grid: [UInt16]) -> [UInt16] {
    let regions = Regions(labels, map.width, map.height)
    var label = regions.pixels.map { labels[$0[0]] }
    let sizes = regions.pixels.map(\.count)
    var settled = regions.pixels.indices.map { index -> Bool in
      let isLarge = 2 * sizes[index] * map.rows * map.columns >= map.width * map.height
      let isSeen = grid.indices.contains { patch in
        let centre = map.centre(row: patch / map.columns, column: patch % map.columns)
        return grid[patch] == label[index] && regions.of[centre.y * map.width + centre.x] == index
      }
      let rivals = sizes.indices.filter { label[$0] == label[index] }
      let isLargest = label[index] > 0
        && index == rivals.max { (sizes[$0], $1) < (sizes[$1], $0) }
      return isLarge || isSeen || isLargest
    }
    let before = settled
    for index in sizes.indices where label[index] == 0 {
      let pixels = regions.pixels[index]
      if pixels.contains(where: { regions.around($0).count < 4 }) { continue }
      let beside = Set(pixels.flatMap { regions.around($0) }.map { regions.of[$0] })
        .subtracting([index]).filter { before[$0] }
      guard Set(beside.map { label[$0] }).count == 1 else { continue }
      if Double(sizes[index]) < 0.01 * Double(beside.map { sizes[$0] }.max()!) {
        settled[index] = false
      }
    }
    while true {
      var changes: [(Int, UInt16)] = []
      for index in sizes.indices where !settled[index] {
        var sides: [UInt16: Int] = [:]
        for pixel in regions.pixels[index] {
          for next in regions.around(pixel) where settled[regions.of[next]] {
            sides[label[regions.of[next]], default: 0] += 1
          }
        }
        if let best = sides.max(by: { ($0.value, $1.key) < ($1.value, $0.key) }) {
          changes.append((index, best.key))
        }
      }
      if changes.isEmpty { break }
      for (index, new) in changes { (label[index], settled[index]) = (new, true) }
    }
    return labels.indices.map { label[regions.of[$0]] }
  }

  private func dissolve(_ labels: [UInt16], _ map: LabelMap, _ grid: [UInt16]) throws -> [UInt16] {
    var found = labels
    try grid.withUnsafeBufferPointer { grid in
      try found.withUnsafeMutableBufferPointer {
        try SmallRegions.dissolve(
          $0.baseAddress!, width: map.width, height: map.height,
          .specks(map, grid: grid.baseAddress!))
      }
    }
    return found
  }

  /// Discs on patches, then noise: specks, holes, holes with specks in them.
  private func noisy(_ map: LabelMap, seed: UInt64) -> (labels: [UInt16], grid: [UInt16]) {
    var random = SeededRandom(seed: seed)
    let discs = (0..<4).map { _ in
      (random.uniform(), random.uniform(), 0.1 + 0.3 * random.uniform())
    }
    func label(_ x: Double, _ y: Double) -> UInt16 {
      let first = discs.firstIndex { disc in
        let (dx, dy) = (disc.0 - x, disc.1 - y)
        return dx * dx + dy * dy < disc.2 * disc.2
      }
      return UInt16((first ?? -1) + 1)
    }
    let grid = (0..<map.rows * map.columns).map { patch in
      label(
        (Double(patch % map.columns) + 0.5) / Double(map.columns),
        (Double(patch / map.columns) + 0.5) / Double(map.rows))
    }
    let labels = (0..<map.width * map.height).map { pixel -> UInt16 in
      if random.uniform() < 0.06 { return UInt16(random.uniform() * 6) }
      return label(
        Double(pixel % map.width) / Double(map.width),
        Double(pixel / map.width) / Double(map.height))
    }
    return (labels, grid)
  }

  @Test(arguments: [
    // rows, columns, width, height
    [4, 6, 60, 44], [8, 12, 50, 61], [3, 5, 20, 11], [10, 10, 9, 7], [1, 1, 30, 20], [2, 9, 1, 40],
  ])
  func agreesWithTheRule(sizes: [Int]) throws {
    let map = LabelMap(rows: sizes[0], columns: sizes[1], width: sizes[2], height: sizes[3])
    var changed = 0
    for seed: UInt64 in 0..<8 {
      let (labels, grid) = noisy(map, seed: seed)
      let found = try dissolve(labels, map, grid)
      #expect(found == cleaned(labels, map, grid))
      // No id is lost.
      #expect(Set(labels).subtracting([0]) == Set(found).subtracting([0]))
      changed += found == labels ? 0 : 1
    }
    // Where a patch has more than a few pixels there are specks.
    #expect(sizes[2] * sizes[3] < 8 * sizes[0] * sizes[1] || changed == 8)
  }

  /// One object of 40 x 40 pixels, patches of 10 x 10: 16 pixels are 1 %.
  @Test func holesAndSpecksByHand() throws {
    let map = LabelMap(rows: 6, columns: 6, width: 60, height: 60)
    var grid = [UInt16](repeating: 0, count: 36)
    var labels = [UInt16](repeating: 0, count: 3600)
    func paint(_ label: UInt16, _ x: Int, _ y: Int, _ width: Int, _ height: Int) {
      for row in y..<y + height {
        for column in x..<x + width { labels[row * 60 + column] = label }
      }
    }
    for row in 1..<5 { for column in 1..<5 { grid[row * 6 + column] = 1 } }
    paint(1, 10, 10, 40, 40)
    paint(2, 50, 50, 10, 10)
    let whole = labels
    // A hole of 15 pixels about a patch's centre that was seen as background, and a
    // speck in it; specks outside.
    grid[2 * 6 + 2] = 0
    paint(0, 24, 24, 4, 4)
    paint(1, 25, 25, 1, 1)
    paint(1, 2, 2, 7, 7)
    paint(2, 52, 2, 4, 4)
    #expect(try dissolve(labels, map, grid) == whole)
    // A patch has the label, and what is about its centre stays.
    grid[0] = 1
    var seen = whole
    for row in 2..<9 { for column in 2..<9 { seen[row * 60 + column] = 1 } }
    #expect(try dissolve(labels, map, grid) == seen)
    // A larger hole is something seen through the object.
    paint(0, 22, 22, 6, 6)
    #expect(try dissolve(labels, map, grid)[22 * 60 + 22] == 0)
  }

  @Test func lostLabelsGetTheirPatches() {
    let map = LabelMap(rows: 3, columns: 4, width: 21, height: 10)
    var grid = [UInt16](repeating: 0, count: 12)
    (grid[5], grid[6], grid[11]) = (4, 9, 4)
    // 9 has but one pixel, in a patch of 4, which has none.
    var labels = [UInt16](repeating: 0, count: 210)
    let centre = map.centre(row: 1, column: 1)
    labels[centre.y * 21 + centre.x] = 9
    LostLabels.restore([0, 4, 9], grid, map, in: &labels)
    var expected = [UInt16](repeating: 0, count: 210)
    map.write(grid, into: &expected)
    #expect(labels == expected)

    // Nothing is lost: nothing is done.
    let mixed = (0..<210).map { [UInt16(0), 4, 9][$0 % 3] }
    var same = mixed
    LostLabels.restore([0, 4, 9], grid, map, in: &same)
    #expect(same == mixed)

    // Patches without a pixel: it ends.
    let tiny = LabelMap(rows: 3, columns: 4, width: 2, height: 1)
    var two: [UInt16] = [0, 0]
    LostLabels.restore([0, 4, 9], grid, tiny, in: &two)
    #expect(Set(two).isSubset(of: [0, 4, 9]))
  }
}
