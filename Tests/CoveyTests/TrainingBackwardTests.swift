import CCoveyKernels
import Foundation
import Testing

@testable import Covey

/// Each stage's backward pass against differences of its own forward pass: along
/// random directions d, (L(x + h d) - L(x - h d)) / 2h = dL/dx . d, with
/// L = sum of r y for random r.  With h = 0.01 the differences of fp32 have an error of
/// about 1e-7 sqrt(count) / h of their terms, and h^2 of the third derivative.
/// Observed: up to 6e-4 of |dL/dx|, which is the size that a product has.
@Suite struct TrainingBackwardTests {
  private static let tolerance = 4e-3

  private let layout: BlockLayout
  private let shape: ClipShape
  private let pool: ThreadPool

  init() throws {
    layout = try BlockLayout(channels: 24, heads: 3, hidden: 40, epsilon: 1e-5)
    shape = try ClipShape(frames: 2, patches: 45)  // 92 tokens: more than one tile of rows
    pool = try ThreadPool(threads: 2)
  }

  private func random(_ count: Int, _ seed: Int, _ spread: Double = 1) -> [Float] {
    var random = SeededRandom(seed: UInt64(seed))
    return (0..<count).map { _ in Float(spread * random.normal()) }
  }

  private func dot(_ a: UnsafePointer<Float>, _ b: [Float]) -> Double {
    b.indices.reduce(0) { $0 + Double(a[$1]) * Double(b[$1]) }
  }

  /// - Parameter loss: of a point.
  private func compare(
    _ point: [Float], _ gradient: [Float], seed: Int, _ name: String,
    h: Float = 0.01, loss: ([Float]) throws -> Double
  ) throws {
    let size = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
    #expect(size > 0, "\(name): nothing to compare")
    for each in 0..<3 {
      let direction = random(point.count, seed + 1000 * each)
      func moved(_ step: Float) -> [Float] { zip(point, direction).map { $0 + step * $1 } }
      let difference =
        (try loss(moved(h)) - (try loss(moved(-h)))) / (2 * Double(h))
      let product = zip(gradient, direction).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
      #expect(
        abs(difference - product) < Self.tolerance * size, "\(name): \(difference), \(product)")
    }
  }

  @Test(arguments: [Float(0), 0.4])
  func attention(rate: Float) throws {
    let (n, c) = (shape.tokens, layout.channels)
    let stage = try AttentionTraining(layout, shape, threads: 2, budget: nil)
    let dropout = (0..<layout.heads).map {
      CounterRandom(seed: 8, step: 1).dropout(rate, .attention, $0)
    }
    let point = random(n * 3 * c, 1)
    let tokens: [Int32] = [3, 50, 51, 91, 0]
    let (weightOut, weightMaps) = (random(n * c, 2), random(tokens.count * n, 3))
    var lse = [Float](repeating: 0, count: layout.heads * n)

    func loss(_ qkv: [Float]) -> Double {
      var out = [Float](repeating: 0, count: n * c)
      var maps = [Float](repeating: 0, count: tokens.count * n)
      stage.forward(qkv, dropout, out: &out, lse: &lse, pool: pool, monitor: Monitor())
      stage.maps(
        of: tokens, count: tokens.count, qkv, lse: lse, dropout, out: &maps, pool: pool,
        monitor: Monitor())
      return dot(out, weightOut) + dot(maps, weightMaps)
    }
    _ = loss(point)
    var rowOf = [Int32](repeating: -1, count: n)
    for (row, token) in tokens.enumerated() { rowOf[Int(token)] = Int32(row) }
    var gradient = [Float](repeating: .nan, count: n * 3 * c)
    stage.backward(
      point, lse: lse, dropout, dOut: weightOut, mapRow: rowOf, dMaps: weightMaps,
      dQKV: &gradient, pool: pool, monitor: Monitor())
    try compare(point, gradient, seed: 4, "attention", loss: loss)
  }

  @Test func everyTensorOfTheBlock() throws {
    let (n, c) = (shape.tokens, layout.channels)
    let block = try BlockTraining(layout, shape, threads: 2, budget: nil)
    let dropouts = BlockTraining.Dropouts(
      DropoutRates(), CounterRandom(seed: 4, step: 9), heads: layout.heads)
    let parameters = random(layout.count, 5, 0.2)
    let (features, weight) = (random(n * c, 6), random(n * c, 7))
    block.x.base.copy(from: features, count: n * c)
    let none = [Int32](repeating: -1, count: n)
    try block.forward(parameters, dropouts, pool: pool, monitor: Monitor())
    block.dY.base.copy(from: weight, count: n * c)
    var gradient = [Float](repeating: 0, count: layout.count)
    try block.backward(
      parameters, dropouts, mapRow: none, dMaps: weight, into: &gradient, pool: pool,
      monitor: Monitor())
    for tensor in layout.tensors {
      let range = tensor.offset..<tensor.offset + tensor.count
      try compare(
        Array(parameters[range]), Array(gradient[range]), seed: tensor.offset, "\(tensor.name)"
      ) { values in
        var changed = parameters
        changed.replaceSubrange(range, with: values)
        try block.forward(changed, dropouts, pool: pool, monitor: Monitor())
        return dot(block.y.base, weight)
      }
    }
  }

  /// A ranking by maps of random numbers, and these.
  private func ranking() throws -> (Ranking, maps: [Float]) {
    let ranking = try Ranking(
      shape, positions: 3,
      Ranking.Counts(positives: 5, negatives: 9, motionPositives: 3, motionNegatives: 4),
      budget: nil)
    ranking.place([2, 17, 44])
    let maps = random(6 * shape.tokens, 8).map { exp(2 * $0) }
    ranking.rank(maps, pool: pool, monitor: Monitor())
    return (ranking, maps)
  }

  @Test func ranksAreThoseOfASort() throws {
    let (ranking, maps) = try ranking()
    #expect(Array(UnsafeBufferPointer(start: ranking.queries.base, count: 6)) == [
      3, 18, 45, 49, 64, 91,
    ])
    for query in 0..<6 {
      for frame in 0..<2 {
        let row = (0..<45).map { maps[query * 92 + frame * 46 + 1 + $0] }
        let order = row.indices.sorted { row[$0] > row[$1] }.map { Int32(frame * 46 + 1 + $0) }
        let found = (0..<14).map { ranking.semantic[(query * 2 + frame) * 14 + $0] }
        #expect(found == Array(order.prefix(5) + order.suffix(9)))
        guard query / 3 == frame else { continue }
        let own = (0..<7).map { ranking.motion[query * 7 + $0] }
        #expect(own == Array(order.prefix(3) + order.suffix(4)))
      }
    }
  }

  @Test func equalEntriesAreRankedByPatch() throws {
    let ranking = try Ranking(
      ClipShape(frames: 1, patches: 6), positions: 1,
      Ranking.Counts(positives: 2, negatives: 3, motionPositives: 1, motionNegatives: 9),
      budget: nil)
    ranking.place([0])
    ranking.rank([9, 0.5, 0, 0.5, 0, 0, 0.75], pool: pool, monitor: Monitor())
    #expect((0..<5).map { ranking.semantic[$0] } == [6, 1, 2, 4, 5])
    // Nine of six patches are all.
    #expect((0..<7).map { ranking.motion[$0] } == [6, 6, 1, 3, 2, 4, 5])
  }

  @Test(arguments: [false, true])
  func semanticConsistency(weighted: Bool) throws {
    let (ranking, _) = try ranking()
    let stage = try SemanticLoss(layout, ranking, budget: nil)
    let outputs = random(shape.tokens * layout.channels, 9)
    let weights: [Float] = [0.2, 0.5, 0.3, 0.1, 0.1, 0.8]
    var gradient = [Float](repeating: .nan, count: outputs.count)
    func run(_ outputs: [Float], _ scale: Float) throws -> Double {
      try weights.withUnsafeBufferPointer {
        try stage.run(
          outputs, ranking, weights: weighted ? $0.baseAddress : nil, scale: scale,
          gradients: &gradient, pool: pool, monitor: Monitor())
      }
    }
    #expect(try run(outputs, 1) > 0.1)
    let found = gradient
    // Small steps, lest they cross the corner of some hinge.
    try compare(outputs, found, seed: 10, "semantic", h: 1e-3) { try run($0, 1) }
    _ = try run(outputs, 0.25)
    #expect(zip(gradient, found).allSatisfy { abs($0 - $1 / 4) <= 1e-6 * abs($1) + 1e-9 })
  }

  @Test func motionConsistency() throws {
    let (ranking, maps) = try ranking()
    let n = shape.tokens
    let queries = try QueryMaps(shape, perFrame: 3, budget: nil)
    queries.maps.base.copy(from: maps, count: maps.count)
    queries.normalise(pool: pool)
    for frame in 0..<2 {
      let weights = (0..<3).map { queries.weights[frame * 3 + $0] }
      #expect(abs(weights.reduce(0, +) - 1) < 1e-6)
    }
    var stage = try MotionLoss(ranking, threads: 2, budget: nil)
    stage.collect(ranking)
    // In logarithms, so that no step leaves the positive numbers.
    let point = random(stage.rowCount * n, 11)
    func run(_ logarithms: [Float]) throws -> Double {
      for index in logarithms.indices { stage.maps.base[index] = exp(logarithms[index]) }
      return try stage.run(queries, ranking, scale: 1, pool: pool, monitor: Monitor())
    }
    #expect(try run(point) > 0.1)
    let gradient = point.indices.map { stage.maps[$0] * exp(point[$0]) }
    try compare(point, gradient, seed: 12, "motion", loss: run)
  }
}
