import Testing

@testable import Covey

@Suite struct GridRegionsTests {
  /// Regions are the classes of "touches, again and again".
  @Test(arguments: [GridRegions.Touching.sides, .corners])
  func asPlainly(_ touching: GridRegions.Touching) {
    let (rows, columns) = (9, 13)
    var generator = SeededRandom(seed: 3)
    let values = (0..<rows * columns).map { _ in Int.random(in: 0...2, using: &generator) }
    let found = GridRegions(
      rows: rows, columns: columns, touching: touching, includes: { values[$0] > 0 }
    ) { values[$0] == values[$1] }
    // The least number of a neighbour, until nothing changes.
    var plain = values.indices.map { values[$0] > 0 ? $0 : -1 }
    var changed = true
    while changed {
      changed = false
      for a in values.indices where plain[a] >= 0 {
        for b in values.indices where values[a] == values[b] {
          let (down, right) = (abs(a / columns - b / columns), abs(a % columns - b % columns))
          guard max(down, right) == 1, touching == .corners || down + right == 1 else { continue }
          if plain[b] < plain[a] { (plain[a], changed) = (plain[b], true) }
        }
      }
    }
    var names: [Int: Int32] = [:]
    for patch in values.indices {
      #expect((found.numbers[patch] < 0) == (plain[patch] < 0))
      guard plain[patch] >= 0 else { continue }
      #expect(names[plain[patch], default: found.numbers[patch]] == found.numbers[patch])
      names[plain[patch]] = found.numbers[patch]
    }
    #expect(names.count == found.count)
    for (region, size) in found.sizes.enumerated() {
      #expect(size == found.numbers.count { Int($0) == region })
    }
  }
}

@Suite struct MotionScaleTests {
  /// Otsu's threshold by trying every split.
  @Test func thresholdIsOtsus() {
    var generator = SeededRandom(seed: 8)
    for _ in 0..<20 {
      let values = (0..<40).map { index in
        Double.random(in: 0...0.4, using: &generator) + (index < 8 ? 1.2 : 0)
      }
      let weights = values.map { _ in Double.random(in: 1...9, using: &generator) }
      var scale = MotionScale()
      for (value, weight) in zip(values, weights) { scale.add(value, weight: weight) }
      let relative = scale.relative()
      let total = weights.reduce(0, +)
      func mean(_ chosen: (Double) -> Bool) -> (weight: Double, mean: Double) {
        var (weight, sum) = (0.0, 0.0)
        for (value, own) in zip(values, weights) where chosen(value) {
          (weight, sum) = (weight + own, sum + own * value)
        }
        return (weight, weight > 0 ? sum / weight : 0)
      }
      var (best, split) = (-1.0, 0.0)
      for value in values {
        let (below, above) = (mean { $0 <= value }, mean { $0 > value })
        let between =
          below.weight * above.weight * (below.mean - above.mean) * (below.mean - above.mean)
        if between > best { (best, split) = (between, value) }
      }
      // What is beyond the split is above the threshold, and nothing else; a bin is .016.
      for value in values where abs(value - split) > 0.02 {
        #expect((relative(value) > 0) == (value > split))
      }
      let average = mean { _ in true }.mean
      var variance = 0.0
      for (value, weight) in zip(values, weights) {
        variance += weight * (value - average) * (value - average) / total
      }
      let slope = Double(relative(1.3) - relative(1.1)) / 0.2
      #expect(abs(slope * variance.squareRoot() - 1) < 1e-3)
    }
  }

  @Test func whereNothingMovesNothingIsTold() {
    var scale = MotionScale()
    #expect(scale.relative()(0) == 0)
    for _ in 0..<50 { scale.add(0.01, weight: 20) }
    #expect(abs(scale.relative()(0.01)) < 0.5)
  }
}

@Suite struct InstancesTests {
  private static let (rows, columns) = (10, 24)

  /// Squares of side 3 whose left upper corners are given; all one cluster and one part.
  private func play(_ frames: [[(row: Int, column: Int)]]) -> [[Int32]] {
    var instances = Instances(rows: Self.rows, columns: Self.columns, leastPatches: 1)
    let clusters = [Int32](repeating: 0, count: Self.rows * Self.columns)
    let probability = [Float](repeating: 0.9, count: clusters.count)
    var found: [[Int32]] = []
    for (time, squares) in frames.enumerated() {
      var parts = [Int32](repeating: -1, count: clusters.count)
      for square in squares {
        for row in square.row..<square.row + 3 {
          for column in square.column..<square.column + 3
          where column >= 0 && column < Self.columns {
            parts[row * Self.columns + column] = 0
          }
        }
      }
      let labels = instances.add(
        parts: parts, clusters: clusters, probability: probability, origins: nil, moved: nil,
        time: time)
      // Every patch of a part is some instance's, and none other.
      for patch in parts.indices { #expect((labels[patch] >= 0) == (parts[patch] >= 0)) }
      found.append(
        squares.map { square in
          labels[(square.row + 1) * Self.columns + min(max(square.column + 1, 0), Self.columns - 1)]
        })
    }
    return found
  }

  @Test func twinsThatTouchAndPartKeepTheirIds() {
    let frames = (0..<22).map { time in
      [(row: 3, column: min(time, 8) - max(time - 12, 0)), (row: 3, column: 19 - min(time, 8))]
    }
    let found = play(frames)
    #expect(found[0][0] != found[0][1])
    for time in found.indices { #expect(found[time] == found[0], "\(time)") }
  }

  @Test func whatIsLostForAMomentIsFoundAgain() {
    var frames = (0..<10).map { [(row: 3, column: $0)] }
    frames[5] = []
    frames[6] = []
    let found = play(frames).filter { !$0.isEmpty }
    for each in found { #expect(each == found[0]) }
  }

  @Test func anotherOneElsewhereIsAnother() {
    var frames = (0..<8).map { [(row: 3, column: 20 - $0)] }
    frames += [[], []]
    frames += (0..<6).map { [(row: 6, column: $0)] }
    let found = play(frames).filter { !$0.isEmpty }
    #expect(found[0] != found[9])
    #expect(found[7] == found[0] && found[13] == found[9])
  }

  /// A piece that falls off and comes back was never a thing of its own.
  @Test func aPieceThatComesBackIsTheWholes() {
    let whole = [(row: 1, column: 4), (row: 4, column: 4), (row: 7, column: 4)]
    let broken = [(row: 1, column: 4), (row: 4, column: 4), (row: 7, column: 8)]
    let found = play([whole, whole, broken, whole, whole])
    #expect(Set(found[4]).count == 1 && found[4][0] == found[0][0])
    #expect(found[2][2] != found[2][0])
  }

  /// Of fewer patches it is not shown, and is there again when it has more.
  @Test(arguments: [1, 4]) func specksAreNotShown(leastPatches: Int) {
    var instances = Instances(rows: Self.rows, columns: Self.columns, leastPatches: leastPatches)
    let clusters = [Int32](repeating: 0, count: Self.rows * Self.columns)
    let probability = [Float](repeating: 0.9, count: clusters.count)
    let sizes = [2, 5, 4, 3, 1, 4]
    for (time, size) in sizes.enumerated() {
      let parts = clusters.indices.map { Int32($0 < size ? 0 : -1) }
      let labels = instances.add(
        parts: parts, clusters: clusters, probability: probability, origins: nil, moved: nil,
        time: time)
      let shown = size >= leastPatches ? size : 0
      #expect(labels == clusters.indices.map { $0 < shown ? 0 : -1 }, "\(time)")
    }
    #expect(instances.instances.count == 1)
    let seen = sizes.indices.filter { sizes[$0] >= leastPatches }
    #expect(instances.instances[0].frames == seen.count)
    #expect(instances.instances[0].entry.frame == seen[0])
    #expect(instances.instances[0].lastFrame == sizes.count - 1)
  }
}
