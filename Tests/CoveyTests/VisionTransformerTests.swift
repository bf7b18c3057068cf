import Foundation
import Testing

@testable import Covey

@Suite struct VisionTransformerTests {
  /// Geometry, and grids whose tokens make one tile or several (320 rows), and
  /// one run of query rows or several (96).
  static let cases: [(TestCheckpoint, rows: Int, columns: Int)] = [
    (TestCheckpoint(depth: 1), 1, 1),
    (TestCheckpoint(depth: 1, seed: 2), 3, 5),
    (TestCheckpoint(seed: 3), 1, 7),
    (TestCheckpoint(seed: 4), 5, 1),
    (TestCheckpoint(patch: 4, channels: 32, depth: 3, heads: 4, mlp: 40, seed: 5), 4, 4),
    (TestCheckpoint(patch: 14, channels: 96, depth: 2, heads: 1, mlp: 384, grid: 3, seed: 6), 5, 7),
    (TestCheckpoint(channels: 40, depth: 3, heads: 2, mlp: 24, grid: 1, seed: 7), 8, 12),
    (TestCheckpoint(channels: 48, depth: 2, heads: 3, mlp: 100, grid: 28, seed: 8), 5, 19),
    (TestCheckpoint(patch: 4, channels: 24, depth: 3, heads: 4, mlp: 7, seed: 9), 18, 18),
    (TestCheckpoint(patch: 4, channels: 24, depth: 2, heads: 1, mlp: 96, seed: 10), 11, 29),
    (TestCheckpoint(patch: 2, channels: 36, depth: 2, heads: 2, mlp: 50, seed: 11), 20, 33),
    // More inputs of a patch than scratch of a tile: gathered one at a time.
    (TestCheckpoint(patch: 40, channels: 8, depth: 2, heads: 2, mlp: 9, seed: 12), 2, 3),
    // Registers: in one tile, in several, and more of them than patches.
    (TestCheckpoint(depth: 3, registers: 4, resize: "bicubic", seed: 13), 3, 5),
    (TestCheckpoint(patch: 2, channels: 36, heads: 2, mlp: 50, registers: 4, seed: 14), 20, 33),
    (TestCheckpoint(depth: 1, registers: 64, seed: 15), 1, 2),
  ]

  /// Relative to the largest key, query and saliency.  Observed: 6e-7, 6e-7 and
  /// 1.5e-6; the tolerances are some four times that.
  @Test(arguments: cases.indices)
  func agreesWithDouble(index: Int) throws {
    let (model, rows, columns) = Self.cases[index]
    let checkpoint = try model.load()
    let planes = planes(model, rows, columns)
    let found = try encode(checkpoint, planes, rows: rows, columns: columns)
    let naive = NaiveVisionTransformer(model).run(planes, rows: rows, columns: columns)
    func error(_ found: [Float], _ naive: [Double]) -> Double {
      let size = naive.map { abs($0) }.max() ?? 0
      // A NaN anywhere is the maximum.
      return zip(found, naive).map { abs(Double($0) - $1) / size }
        .reduce(0) { $1.isNaN ? .infinity : max($0, $1) }
    }
    #expect(error(found.keys, naive.keys) <= 2.5e-6)
    #expect(error(found.queries, naive.queries) <= 2.5e-6)
    #expect(error(found.saliency, naive.saliency) <= 6e-6)
    #expect(found.saliency.allSatisfy { $0 > 0 } && found.saliency.reduce(0, +) < 1)
  }

  /// Weights made and keys computed by others.  Values up to 1 written with
  /// eight decimals.  Observed: 3.3e-7.
  @Test func agreesWithPyTorch() throws {
    let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../golden/tiny-f32.gguf").path
    let checkpoint = try Checkpoint(path: path, copy: true, verify: true)
    let lines = try Golden.lines("vit.txt")
    var cases = 0
    for (index, line) in lines.enumerated() where line.hasPrefix("case ") {
      let n = Golden.numbers(line).map { Int($0) }
      let planes = Golden.noise(seed: n[0], count: 3 * n[0] * n[1] * 64)
      let found = try encode(checkpoint, planes, rows: n[0], columns: n[1])
      for (values, line) in [(found.keys, lines[index + 1]), (found.saliency, lines[index + 2])] {
        let expected = Golden.numbers(line)
        try #require(values.count == expected.count)
        let error = zip(values, expected).map { abs(Double($0) - $1) }.max() ?? .nan
        #expect(error <= 1.4e-6, "\(line.prefix(20))")
      }
      cases += 1
    }
    #expect(cases == 4)
  }

  @Test(arguments: [7, 8, 10])
  func threadsDoNotMatter(index: Int) throws {
    let (model, rows, columns) = Self.cases[index]
    let checkpoint = try model.load()
    let planes = planes(model, rows, columns)
    let one = try encode(checkpoint, planes, rows: rows, columns: columns, threads: 1)
    for threads in 2...4 {
      let more = try encode(checkpoint, planes, rows: rows, columns: columns, threads: threads)
      #expect(more.keys.map(\.bitPattern) == one.keys.map(\.bitPattern))
      #expect(more.queries.map(\.bitPattern) == one.queries.map(\.bitPattern))
      #expect(more.saliency.map(\.bitPattern) == one.saliency.map(\.bitPattern))
    }
    let plain = try encode(checkpoint, planes, rows: rows, columns: columns, all: false)
    #expect(plain.keys.map(\.bitPattern) == one.keys.map(\.bitPattern))
    #expect(plain.saliency.allSatisfy { $0.isNaN } && plain.queries.allSatisfy { $0.isNaN })
  }

  /// Cancelled at any report, encode throws; the next frame is as ever.
  @Test func cancelling() throws {
    let (model, rows, columns) = Self.cases[8]
    let checkpoint = try model.load()
    let planes = planes(model, rows, columns)
    let expected = try encode(checkpoint, planes, rows: rows, columns: columns).keys
    let pool = try ThreadPool(threads: 2)
    let transformer = try VisionTransformer(
      checkpoint, height: rows * model.patch, width: columns * model.patch, pool: pool,
      budget: Budget())
    #expect(transformer.patches == rows * columns && transformer.channels == model.channels)
    let keys = try Buffer<Float>(expected.count, for: "test")
    let flag = CancelFlag()
    flag.set()
    #expect(throws: CoveyError.self) {
      try transformer.encode(planes, keys: keys.base, monitor: Monitor(flag: flag))
    }
    #expect(!flag.isSet)
    try transformer.encode(planes, keys: keys.base, monitor: Monitor(flag: flag))
    #expect((0..<expected.count).allSatisfy { keys[$0] == expected[$0] })
  }

  /// What the monitor is told is what was announced.
  @Test(arguments: [0, 2, 8, 10])
  func progressAddsUp(index: Int) throws {
    let (model, rows, columns) = Self.cases[index]
    let checkpoint = try model.load()
    let planes = planes(model, rows, columns)
    let pool = try ThreadPool(threads: 1)
    let transformer = try VisionTransformer(
      checkpoint, height: rows * model.patch, width: columns * model.patch, pool: pool,
      budget: Budget())
    let keys = try Buffer<Float>(rows * columns * model.channels, for: "test")
    for (announced, fraction) in [(transformer.pieces, Float(1)), (2 * transformer.pieces, 0.5)] {
      var last: Float = -1
      let monitor = Monitor { _, fraction in
        last = fraction
        return true
      }
      monitor.begin(.encode, total: announced)
      try transformer.encode(planes, keys: keys.base, monitor: monitor)
      usleep(11_000)  // past the throttle
      monitor.advance(0, worker: 0)
      #expect(last == fraction)
    }
    withExtendedLifetime(keys) {}
  }
}
