import Testing

@testable import Covey

private struct Random {
  var state: UInt64

  mutating func below(_ bound: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int(state >> 33) % bound
  }
}

private func write(_ map: LabelMap, _ grid: [UInt16]) -> [UInt16] {
  // A label that no grid has, to see what is left unwritten.
  var output = [UInt16](repeating: 65535, count: map.width * map.height)
  output.withUnsafeMutableBufferPointer { map.write(grid, into: $0.baseAddress!) }
  return output
}

/// The map pixel by pixel, and the objects from its pixels.
private struct Naive {
  var labels: [UInt16] = []
  var regions: [ObjectRegion] = []

  init(_ map: LabelMap, _ grid: [UInt16], _ confidence: [Float]) {
    for y in 0..<map.height {
      for x in 0..<map.width {
        let row = y * map.rows / map.height
        labels.append(grid[row * map.columns + x * map.columns / map.width])
      }
    }
    for id in Set(labels) where id != 0 {
      let pixels = labels.indices.filter { labels[$0] == id }
      let xs = pixels.map { $0 % map.width }
      let ys = pixels.map { $0 / map.width }
      let patches = grid.indices.filter { grid[$0] == id }
      let count = Double(pixels.count)
      regions.append(
        ObjectRegion(
          id: Int(id), area: Int64(pixels.count), x: xs.min()!, y: ys.min()!,
          width: xs.max()! - xs.min()! + 1, height: ys.max()! - ys.min()! + 1,
          centroidX: Float(Double(xs.reduce(0, +)) / count),
          centroidY: Float(Double(ys.reduce(0, +)) / count),
          confidence: Float(
            patches.reduce(0) { $0 + Double(confidence[$1]) } / Double(patches.count))))
    }
    regions.sort { ($1.area, $0.id) < ($0.area, $1.id) }
  }
}

/// All of a region but its confidence.  The centroids are quotients of the
/// same whole numbers (up to a factor of 2), rounded alike.
private func shape(_ region: ObjectRegion) -> [Double] {
  [
    Double(region.id), Double(region.area), Double(region.x), Double(region.y),
    Double(region.width), Double(region.height), Double(region.centroidX),
    Double(region.centroidY),
  ]
}

@Suite struct LabelMapTests {
  @Test(arguments: [
    // rows, columns, width, height, greatest id
    [1, 1, 1, 1, 2], [1, 1, 5, 3, 1], [4, 6, 48, 32, 5], [3, 5, 7, 11, 4], [7, 9, 9, 7, 60],
    [8, 10, 3, 5, 20], [5, 5, 1, 40, 3], [24, 48, 854, 480, 9], [40, 60, 480, 854, 65535],
  ])
  func agreesWithThePixels(sizes: [Int]) throws {
    let map = LabelMap(rows: sizes[0], columns: sizes[1], width: sizes[2], height: sizes[3])
    var random = Random(state: UInt64(sizes[2]))
    for _ in 0..<3 {
      // Ids with gaps, from at most seven.
      let ids = (0..<7).map { _ in UInt16(random.below(sizes[4] + 1)) }
      let grid = (0..<map.rows * map.columns).map { _ in ids[random.below(7)] }
      let confidence = grid.map { _ in Float(random.below(1000)) / 999 }
      let naive = Naive(map, grid, confidence)
      #expect(write(map, grid) == naive.labels)

      let found = try map.regions(grid, confidence: confidence, maximumID: sizes[4])
      #expect(found.map(shape) == naive.regions.map(shape))
      for (one, other) in zip(found, naive.regions) {
        // The same numbers summed in the same order.
        #expect(one.confidence == other.confidence)
      }
    }
  }

  @Test func ordersByAreaThenID() throws {
    let map = LabelMap(rows: 2, columns: 4, width: 8, height: 4)
    let grid: [UInt16] = [9, 4, 4, 0, 9, 2, 0, 0]
    let found = try map.regions(
      grid, confidence: [0.5, 0, 1, 1, 0.25, 0, 0, 0], maximumID: 9)
    #expect(found.map(\.id) == [4, 9, 2])
    #expect(found.map(\.area) == [8, 8, 4])
    #expect(found.map(\.confidence) == [0.5, 0.375, 0])
    // Object 9 covers columns 0 and 1 of all four rows.
    #expect(shape(found[1]) == [9, 8, 0, 0, 2, 4, 0.5, 1.5])
  }

  @Test func holdsTheLargestFrame() throws {
    let size = Frame.maximumSize
    let map = LabelMap(rows: 2, columns: 1, width: size, height: size)
    let found = try map.regions([3, 3], confidence: [1, 0], maximumID: 3)
    #expect(found.count == 1)
    #expect(
      shape(found[0])
        == [3, 1_073_741_824, 0, 0, 32768, 32768, 16383.5, 16383.5])
  }

  @Test func refusesWhatIsBeyondTheGreatestID() {
    let map = LabelMap(rows: 1, columns: 2, width: 4, height: 4)
    #expect(throws: CoveyError.self) {
      try map.regions([1, 3], confidence: [1, 1], maximumID: 2)
    }
  }
}
