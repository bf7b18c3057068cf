import Foundation
import Testing

@testable import Covey

/// A frame of patches with soft labels, and colours that go with them.
private struct Sample {
  let rows: Int
  let columns: Int
  let patch: Int
  var grid: [UInt16] = []
  var entries: [SoftLabels.Entry] = []
  /// [3, height, width]
  var guide: [UInt8] = []

  var height: Int { rows * patch }
  var width: Int { columns * patch }

  /// - Parameter labels: among which the patches choose.
  init(_ rows: Int, _ columns: Int, patch: Int, labels: [UInt16], seed: UInt64) {
    (self.rows, self.columns, self.patch) = (rows, columns, patch)
    var random = SeededRandom(seed: seed)
    let centres = labels.map { _ in (random.uniform(), random.uniform()) }
    for row in 0..<rows {
      for column in 0..<columns {
        let (y, x) = (Double(row) / Double(rows), Double(column) / Double(columns))
        let near = centres.map { exp(-8 * hypot($0.0 - y, $0.1 - x)) + 0.05 * random.uniform() }
        let order = near.indices.sorted { near[$0] > near[$1] }.prefix(SoftLabels.depth)
        let sum = order.reduce(0) { $0 + near[$1] }
        grid.append(labels[order[0]])
        for place in 0..<SoftLabels.depth {
          entries.append(
            place < order.count
              ? .init(
                label: labels[order[place]], weight: UInt16(near[order[place]] / sum * 65535))
              : .init(label: 0, weight: 0))
        }
      }
    }
    for channel in 0..<3 {
      for y in 0..<height {
        for x in 0..<width {
          let wave = sin(Double(x * (channel + 1)) / 9) * cos(Double(y) / 7)
          guide.append(UInt8(128 + 90 * wave + 30 * random.uniform()))
        }
      }
    }
  }

  func draw(_ width: Int, _ height: Int, isRefined: Bool, threads: Int = 1) throws -> [UInt16] {
    var output = [UInt16](repeating: 65535, count: width * height)
    let planes = try LabelPlanes(grid, entries, patches: grid.count, budget: nil)
    let bytes = try Buffer<UInt8>(guide.count, for: "guide")
    bytes.base.update(from: guide, count: guide.count)
    let renderer = MaskRenderer(rows: rows, columns: columns, width: width, height: height)
    let weights = try #require(planes.weights)
    let budget = Budget()
    try output.withUnsafeMutableBufferPointer {
      try renderer.draw(
        planes.labels, weights,
        guide: isRefined
          ? .init(planes: bytes, height: self.height, width: self.width) : nil,
        pool: ThreadPool(threads: threads), budget: budget, isCancelled: { false },
        into: $0.baseAddress!)
    }
    let estimate = MaskRenderer.byteCount(
      rows: rows, columns: columns, width: width, height: height, guideHeight: self.height,
      guideWidth: self.width, isRefined: isRefined, threads: threads)
    if planes.labels.count <= LabelPlanes.expectedCount(patches: grid.count) {
      #expect(budget.peak <= estimate)
    }
    return output
  }

  // ---- The same, plainly, in double

  /// [labels][patches], among the labels that own a patch.
  func weights(_ labels: [UInt16]) -> [[Double]] {
    var planes = labels.map { _ in [Double](repeating: 0, count: grid.count) }
    for patch in grid.indices {
      let own = (0..<SoftLabels.depth).map { entries[patch * SoftLabels.depth + $0] }
        .filter { labels.contains($0.label) && $0.weight > 0 }
      let sum = own.reduce(0) { $0 + Double($1.weight) }
      for entry in own {
        planes[labels.firstIndex(of: entry.label)!][patch] = Double(entry.weight) / sum
      }
    }
    return planes
  }

  static func sample(
    _ values: [Double], _ rows: Int, _ columns: Int, _ y: Double, _ x: Double
  ) -> Double {
    let (cy, cx) = (min(max(y, 0), Double(rows - 1)), min(max(x, 0), Double(columns - 1)))
    let (top, left) = (Int(cy), Int(cx))
    let (bottom, right) = (min(top + 1, rows - 1), min(left + 1, columns - 1))
    let (v, h) = (cy - Double(top), cx - Double(left))
    return (1 - v) * ((1 - h) * values[top * columns + left] + h * values[top * columns + right])
      + v * ((1 - h) * values[bottom * columns + left] + h * values[bottom * columns + right])
  }

  static func resized(
    _ values: [Double], _ rows: Int, _ columns: Int, _ height: Int, _ width: Int
  ) -> [Double] {
    (0..<height).flatMap { y in
      (0..<width).map { x in
        sample(
          values, rows, columns, (Double(y) + 0.5) * Double(rows) / Double(height) - 0.5,
          (Double(x) + 0.5) * Double(columns) / Double(width) - 0.5)
      }
    }
  }

  private func means(_ values: [Double], _ radius: Int = 4) -> [Double] {
    (0..<rows).flatMap { row in
      (0..<columns).map { column in
        var (sum, count) = (0.0, 0.0)
        for y in max(0, row - radius)...min(rows - 1, row + radius) {
          for x in max(0, column - radius)...min(columns - 1, column + radius) {
            sum += values[y * columns + x]
            count += 1
          }
        }
        return sum / count
      }
    }
  }

  /// [features] of a pixel of the guide: colours in -1/2...1/2, and twice their
  /// products.
  private func features(_ pixel: Int) -> [Double] {
    let c = (0..<3).map { Double(guide[$0 * height * width + pixel]) / 255 - 0.5 }
    return c + (0..<3).flatMap { i in (i..<3).map { 2 * c[i] * c[$0] } }
  }

  /// The guided filter as in the paper, at the working size, but with the features
  /// above in the place of the colour.
  func filtered(_ weights: [Double]) -> [Double] {
    var values = [[Double]](repeating: [Double](repeating: 0, count: grid.count), count: 9)
    for pixel in 0..<height * width {
      let n = pixel / width / patch * columns + pixel % width / patch
      for (i, value) in features(pixel).enumerated() {
        values[i][n] += value / Double(patch * patch)
      }
    }
    let meanValues = values.map { means($0) }
    let meanWeight = means(weights)
    func covariance(
      _ a: [Double], _ b: [Double], _ meanA: [Double], _ meanB: [Double]
    ) -> [Double] {
      let products = means(a.indices.map { a[$0] * b[$0] })
      return a.indices.map { products[$0] - meanA[$0] * meanB[$0] }
    }
    let sigma = (0..<9).map { i in
      (0..<9).map { j in covariance(values[i], values[j], meanValues[i], meanValues[j]) }
    }
    let cross = (0..<9).map { covariance(values[$0], weights, meanValues[$0], meanWeight) }
    var functions = [[Double]](repeating: [Double](repeating: 0, count: grid.count), count: 10)
    for n in grid.indices {
      // Gauss and Jordan.
      var m: [[Double]] = []
      for i in 0..<9 {
        m.append((0..<9).map { sigma[i][$0][n] } + [cross[i][n]])
        m[i][i] += 3e-5
      }
      for i in 0..<9 {
        let pivot = m[i][i]
        for k in 0...9 { m[i][k] /= pivot }
        for other in 0..<9 where other != i {
          let factor = m[other][i]
          for k in 0...9 { m[other][k] -= factor * m[i][k] }
        }
      }
      for i in 0..<9 { functions[i][n] = m[i][9] }
      functions[9][n] = meanWeight[n]
      for i in 0..<9 { functions[9][n] -= m[i][9] * meanValues[i][n] }
    }
    let fine = functions.map { Sample.resized(means($0), rows, columns, height, width) }
    return (0..<height * width).map { pixel in
      let values = features(pixel)
      return values.indices.reduce(fine[9][pixel]) { $0 + fine[$1][pixel] * values[$1] }
    }
  }

  /// Of each pixel the label, and by how much it leads.
  func naive(_ width: Int, _ height: Int, isRefined: Bool) -> [(label: UInt16, lead: Double)] {
    let labels = Set(grid).sorted()
    let planes = weights(labels).map { plane in
      isRefined
        ? Sample.resized(filtered(plane), self.height, self.width, height, width)
        : Sample.resized(plane, rows, columns, height, width)
    }
    return (0..<width * height).map { pixel in
      let order = labels.indices.sorted { planes[$0][pixel] > planes[$1][pixel] }
      return (labels[order[0]], planes[order[0]][pixel] - planes[order[1]][pixel])
    }
  }
}

@Suite struct MaskTests {
  /// Float against double: where they differ the lead is rounding's, some hundred
  /// units in the last place of weights of up to 1 (polynomials of colour cancel).
  @Test(arguments: [
    // rows, columns, patch, frame's width and height
    [6, 9, 4, 36, 24], [5, 7, 3, 50, 61], [8, 12, 8, 301, 77], [1, 9, 5, 36, 40], [7, 1, 2, 3, 90],
    [10, 10, 4, 9, 7], [3, 20, 4, 700, 5],
  ])
  func agreesWithTheDefinition(sizes: [Int]) throws {
    let sample = Sample(
      sizes[0], sizes[1], patch: sizes[2], labels: [0, 3, 4, 700, 65535], seed: UInt64(sizes[3]))
    try #require(Set(sample.grid).count > 1)
    for isRefined in [false, true] {
      let drawn = try sample.draw(sizes[3], sizes[4], isRefined: isRefined)
      let naive = sample.naive(sizes[3], sizes[4], isRefined: isRefined)
      var wrong = 0
      for (one, other) in zip(drawn, naive) where one != other.label {
        #expect(other.lead < 2e-5)
        wrong += 1
      }
      #expect(wrong * 500 <= drawn.count)
    }
  }

  @Test func threadsDoNotMatter() throws {
    let sample = Sample(9, 11, patch: 4, labels: [0, 1, 2, 9], seed: 5)
    for isRefined in [false, true] {
      let one = try sample.draw(600, 111, isRefined: isRefined)
      for threads in 2...4 {
        #expect(try sample.draw(600, 111, isRefined: isRefined, threads: threads) == one)
      }
    }
  }

  /// Two halves of different colours, labels blurred over the edge between them
  /// and two pixels off: refined masks find the edge, and bilinear ones do not.
  @Test func refinedMasksFollowTheEdge() throws {
    var sample = Sample(8, 12, patch: 8, labels: [0, 1], seed: 1)
    let edge = 50  // not at a patch's side; half the frame is 48
    for pixel in sample.guide.indices {
      sample.guide[pixel] = pixel % sample.width < edge ? 40 : 200
    }
    for patch in sample.grid.indices {
      let x = Double(patch % 12 * 8 + 4)
      let weight = UInt16(65535 / (1 + exp((x - 46) / 6)))
      sample.grid[patch] = weight > 32767 ? 1 : 0
      for place in 0..<4 { sample.entries[patch * 4 + place] = .init(label: 0, weight: 0) }
      sample.entries[patch * 4] = .init(label: 1, weight: weight)
      sample.entries[patch * 4 + 1] = .init(label: 0, weight: 65535 - weight)
    }
    func wrong(_ labels: [UInt16]) -> Int {
      labels.indices.count { (labels[$0] == 1) != ($0 % 96 < edge) }
    }
    let bilinear = wrong(try sample.draw(96, 64, isRefined: false))
    let refined = wrong(try sample.draw(96, 64, isRefined: true))
    #expect(bilinear >= 64 * 3)
    #expect(refined == 0)
  }

  @Test func onlyLabelsWithAPatchAreDrawn() throws {
    var sample = Sample(6, 6, patch: 4, labels: [1, 2, 3], seed: 9)
    for patch in sample.grid.indices where sample.grid[patch] == 3 { sample.grid[patch] = 1 }
    try #require(sample.entries.contains { $0.label == 3 && $0.weight > 20000 })
    let drawn = try sample.draw(90, 90, isRefined: true)
    #expect(Set(drawn) == [1, 2])
  }

  @Test func tooManyLabelsAreNotDrawn() throws {
    let count = LabelPlanes.most + 1
    let grid = (0..<count).map { UInt16($0) }
    let entries = grid.flatMap { label in
      (0..<4).map { SoftLabels.Entry(label: label, weight: $0 == 0 ? 65535 : 0) }
    }
    #expect(try LabelPlanes(grid, entries, patches: count, budget: nil).weights == nil)
    #expect(try LabelPlanes(grid, entries, patches: count - 1, budget: nil).weights != nil)
    #expect(try LabelPlanes([7], entries, patches: 1, budget: nil).weights == nil)
  }

  @Test func softLabelsAreSoftmaxOfDistances() throws {
    var random = SeededRandom(seed: 3)
    let labels: [UInt16] = [0, 5, 0, 2, 9, 5, 1]
    for tau: Float in [0.3, 1, 4] {
      for _ in 0..<50 {
        let distances = labels.map { _ in Float(random.uniform()) * 2 }
        var near = [NearCentre](repeating: .none, count: 4)
        NearCentre.select(labels.count, into: &near) { distances[$0] }
        let order = labels.indices.sorted { distances[$0] < distances[$1] }.prefix(4)
        #expect(near.map(\.cluster) == order.map { Int32($0) })
        #expect(near.map(\.distance) == order.map { distances[$0] })
        near[3] = random.uniform() < 0.5 ? .none : near[3]

        var expected: [UInt16: Double] = [:]
        for each in near where each.cluster >= 0 {
          expected[labels[Int(each.cluster)], default: 0] += exp(
            -Double(each.distance) / (0.5 * Double(tau)))
        }
        let sum = expected.values.reduce(0, +)
        let soft = try SoftLabels(near, count: 1, tau: tau, budget: nil) { cluster, _ in labels[cluster] }
        let found = (0..<4).map { soft.entries[$0] }.filter { $0.weight > 0 }
        #expect(zip(found, found.dropFirst()).allSatisfy { $0.weight >= $1.weight })
        #expect(Set(found.map(\.label)).count == found.count)
        for (label, weight) in expected {
          let entry = found.first { $0.label == label }?.weight ?? 0
          // Half a unit, and the kernel's exponential.
          #expect(abs(Double(entry) - 65535 * weight / sum) < 0.6)
        }
      }
    }
  }

  @Test func regionsAreThoseOfThePixels() throws {
    var random = SeededRandom(seed: 8)
    let (width, height, rows, columns) = (37, 23, 4, 5)
    let labels = (0..<width * height).map { UInt16($0 / 7 % 3 * Int(random.uniform() * 3)) }
    let confidence = (0..<rows * columns).map { _ in Float(random.uniform()) }
    let found = try PixelRegions.measure(
      labels, width: width, height: height, confidence: confidence, rows: rows,
      columns: columns, maximumID: 4)
    #expect(found.map(\.id).sorted() == Set(labels).subtracting([0]).map(Int.init).sorted())
    #expect(zip(found, found.dropFirst()).allSatisfy { $0.area >= $1.area })
    for region in found {
      let pixels = labels.indices.filter { Int(labels[$0]) == region.id }
      let (xs, ys) = (pixels.map { $0 % width }, pixels.map { $0 / width })
      #expect(region.area == Int64(pixels.count))
      #expect(region.x == xs.min()! && region.x + region.width == xs.max()! + 1)
      #expect(region.y == ys.min()! && region.y + region.height == ys.max()! + 1)
      let count = Double(pixels.count)
      #expect(region.centroidX == Float(Double(xs.reduce(0, +)) / count))
      #expect(region.centroidY == Float(Double(ys.reduce(0, +)) / count))
      let mean = pixels.reduce(0.0) {
        $0 + Double(confidence[$1 / width * rows / height * columns + $1 % width * columns / width])
      }
      #expect(abs(Double(region.confidence) - mean / count) < 1e-6)
    }
    #expect(throws: CoveyError.self) {
      try PixelRegions.measure(
        labels, width: width, height: height, confidence: confidence, rows: rows,
        columns: columns, maximumID: 1)
    }
  }

  /// Every look of the guided filter at whether to go on may be the last.
  @Test func guidesCanBeLeft() throws {
    let guide = [UInt8](repeating: 100, count: 3 * 24 * 40)
    var looks = 0
    func filter(stopAt: Int) throws {
      looks = 0
      _ = try GuidedFilter(
        guide, height: 24, width: 40, rows: 6, columns: 10, workers: 1, budget: nil
      ) {
        looks += 1
        return looks > stopAt
      }
    }
    try filter(stopAt: .max)
    let all = looks
    #expect(all >= 6 + 9)
    for stop in 0..<all {
      let error = #expect(throws: CoveyError.self) { try filter(stopAt: stop) }
      #expect(error?.kind == .cancelled && looks == stop + 1)
    }
  }
}
