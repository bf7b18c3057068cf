import CCoveyKernels
import Foundation
import Testing

@testable import Covey

/// The network of int8 files, against the plain one in double with the numbers
/// that such a file stands for.
@Suite struct Int8InferenceTests {
  /// Channels that are no multiple of 4 or of a panel's 64, heads of 6 to 96, and
  /// tokens in one block of keys, in several, and one more than fit.
  static let cases: [(TestCheckpoint, rows: Int, columns: Int)] = [
    (TestCheckpoint(depth: 1), 1, 1),
    (TestCheckpoint(seed: 2), 1, 1),
    (TestCheckpoint(seed: 3), 1, 7),
    (TestCheckpoint(patch: 4, channels: 18, depth: 3, heads: 3, mlp: 41, seed: 4), 3, 5),
    (TestCheckpoint(patch: 4, channels: 22, depth: 2, heads: 1, mlp: 7, seed: 5), 9, 7),
    (TestCheckpoint(patch: 4, channels: 36, depth: 3, heads: 3, mlp: 50, seed: 6), 8, 8),
    (TestCheckpoint(patch: 4, channels: 40, depth: 3, heads: 2, mlp: 130, seed: 7), 10, 13),
    (TestCheckpoint(patch: 8, channels: 96, depth: 2, heads: 4, mlp: 384, seed: 8), 11, 17),
    (TestCheckpoint(patch: 4, channels: 100, depth: 2, heads: 5, mlp: 1, seed: 9), 5, 19),
    (
      TestCheckpoint(patch: 14, channels: 96, depth: 3, heads: 1, mlp: 200, grid: 3, seed: 10), 5, 7
    ),
    (TestCheckpoint(patch: 2, channels: 24, depth: 3, heads: 4, mlp: 66, seed: 11), 11, 29),
    (TestCheckpoint(patch: 2, channels: 36, depth: 2, heads: 2, mlp: 50, seed: 12), 16, 20),
    (TestCheckpoint(patch: 2, channels: 48, depth: 2, heads: 4, mlp: 97, seed: 13), 25, 27),
    (TestCheckpoint(patch: 40, channels: 8, depth: 2, heads: 2, mlp: 9, seed: 14), 2, 3),
    (TestCheckpoint(patch: 4, channels: 36, depth: 3, heads: 3, registers: 4, seed: 15), 4, 5),
    (TestCheckpoint(patch: 2, channels: 36, heads: 2, mlp: 50, registers: 4, seed: 16), 20, 17),
    (TestCheckpoint(patch: 4, depth: 2, registers: 64, seed: 17), 2, 3),
  ]

  /// Root of the mean square of the errors, relative to that of the numbers.
  private func error(_ found: [Float], _ exact: [Double]) -> Double {
    let lost = zip(found, exact).reduce(0) { $0 + pow(Double($1.0) - $1.1, 2) }
    return (lost / exact.reduce(0) { $0 + $1 * $1 }).squareRoot()
  }

  /// Observed: 0.4 to 1.6 % of the keys and queries, 0.1 to 4.5 % of the saliency; 0.5 to
  /// 2.1 % of the keys where the weights are as before rounding.
  @Test(arguments: cases.indices)
  func agreesWithDouble(index: Int) throws {
    let (model, rows, columns) = Self.cases[index]
    let checkpoint = try model.loadQuantised()
    let planes = planes(model, rows, columns)
    let found = try encode(checkpoint, planes, rows: rows, columns: columns)
    let exact = NaiveVisionTransformer(model, quantised: true).run(
      planes, rows: rows, columns: columns)
    let errors = (error(found.keys, exact.keys), error(found.saliency, exact.saliency))
    #expect(errors.0 <= 0.03 && errors.1 <= 0.07, "\(errors)")
    #expect(error(found.queries, exact.queries) <= 0.03)
    // It is another computation than in floats, whose error would be below 1e-6.
    #expect(errors.0 > 1e-4)
    #expect(found.saliency.allSatisfy { $0 > 0 } && found.saliency.reduce(0, +) < 1)
    // What rounding the weights loses comes on top.
    let floats = NaiveVisionTransformer(model).run(planes, rows: rows, columns: columns)
    #expect(error(found.keys, floats.keys) <= 0.04)
  }

  @Test(arguments: [6, 10, 12])
  func threadsDoNotMatter(index: Int) throws {
    let (model, rows, columns) = Self.cases[index]
    let checkpoint = try model.loadQuantised()
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

  @Test func blocksOfKeysAreWholePanels() {
    for tokens in [1, 2, 63, 64, 65, 320, 321, 640, 641, 785, 2401, 3137, 16385] {
      let blocks = Int8Attention.blocks(tokens: tokens)
      #expect(blocks.size % 64 == 0 && blocks.size <= 320 && blocks.size >= 64)
      #expect(blocks.range(0).lowerBound == 0)
      #expect(blocks.range(blocks.count - 1).upperBound == tokens)
      #expect((0..<blocks.count).allSatisfy { !blocks.range($0).isEmpty })
    }
  }

  /// Cancelled before the first report or in the middle of any, encode throws; the
  /// next frame is as ever.
  @Test func cancelling() throws {
    let (model, rows, columns) = Self.cases[12]
    let checkpoint = try model.loadQuantised()
    let planes = planes(model, rows, columns)
    let expected = try encode(checkpoint, planes, rows: rows, columns: columns).keys
    let pool = try ThreadPool(threads: 2)
    let transformer = try VisionTransformer(
      checkpoint, height: rows * model.patch, width: columns * model.patch, pool: pool,
      budget: Budget())
    let keys = try Buffer<Float>(expected.count, for: "test")
    let flag = CancelFlag()
    flag.set()
    #expect(throws: CoveyError.self) {
      try transformer.encode(planes, keys: keys.base, monitor: Monitor(flag: flag))
    }
    #expect(!flag.isSet)
    var reports = 0
    for stop in 1...3 {
      reports = 0
      let monitor = Monitor { _, _ in
        usleep(11_000)  // past the throttle
        reports += 1
        return reports < stop
      }
      monitor.begin(.encode, total: transformer.pieces)
      #expect(throws: CoveyError.self) {
        try transformer.encode(planes, keys: keys.base, monitor: monitor)
      }
      #expect(reports == stop)
    }
    try transformer.encode(planes, keys: keys.base, monitor: Monitor(flag: flag))
    #expect((0..<expected.count).allSatisfy { keys[$0] == expected[$0] })
  }

  /// What the monitor is told is what was announced.
  @Test(arguments: [0, 2, 10, 12])
  func progressAddsUp(index: Int) throws {
    let (model, rows, columns) = Self.cases[index]
    let checkpoint = try model.loadQuantised()
    let planes = planes(model, rows, columns)
    let transformer = try VisionTransformer(
      checkpoint, height: rows * model.patch, width: columns * model.patch,
      pool: try ThreadPool(threads: 1), budget: Budget())
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

  // ---- Sessions -----------------------------------------------------------------

  /// As MemoryEstimateTests: features to the byte, and never less than was taken.
  @Test func memoryEstimate() throws {
    var runs = 0
    for (rows, columns) in [(1, 1), (3, 5), (16, 12), (18, 19)] {
      for frames in [1, 5] {
        for threads in [1, 3] {
          for (window, keyStride, pool) in [(1, 1, 1), (3, 2, 1), (4, 10, 3)] {
            let model = TestCheckpoint(
              patch: 4, channels: 18, heads: 3, mlp: 30, saliency: runs % 2 == 0, rows: rows,
              columns: columns, tau: 3, seed: UInt64(runs))
            let checkpoint = try model.loadQuantised()
            var options = SessionOptions()
            (options.threads, options.window, options.keyStride) = (threads, window, keyStride)
            (options.keyPool, options.output, options.keepsShots) = (pool, .clusters, true)
            options.mode = runs % 2 == 0 ? .edge : .reference
            let video = TestVideo(frames: frames, width: 41, height: 32, seed: UInt64(runs))
            let estimate = try MemoryEstimate(
              checkpoint, options, frameWidth: 41, frameHeight: 32, frames: frames)
            let session = try Session(checkpoint, options, callback: nil)
            try video.pushAll(to: session)
            let features = session.featureBytes
            try session.finish()
            let text = "\(rows)x\(columns), \(frames) frames, \(threads) threads, window \(window)"
            let clusters = try TestResults(of: session).clusters
            try #require(clusters <= max(1, min(window, frames) * rows * columns / 16), "\(text)")
            #expect(estimate.weights == session.weightBytes)
            #expect(estimate.features == features, "\(text)")
            let ratio =
              Double(estimate.features + estimate.workspace) / Double(session.budget.peak)
            // In edge mode there is room for a prototype, and a centre, for every block.
            #expect(ratio >= 1 && ratio <= (options.mode == .edge ? 2.5 : 1.7), "\(text): \(ratio)")
            runs += 1
          }
        }
      }
    }
  }

  /// Most labels of an int8 model are those of the model it was made of, though with
  /// random weights much is close to the limit.  Observed: 89 %.
  @Test func labelsAreThoseOfTheFloatModel() throws {
    let model = TestCheckpoint(sharpness: 4, tau: 0.3, keyStride: 2, seed: 41)
    let video = TestVideo(frames: 7, width: 75, height: 50)
    var options = SessionOptions()
    (options.threads, options.output, options.mode) = (2, .clusters, .reference)
    let results = try [model.load(), model.loadQuantised()].map { checkpoint in
      let session = try Session(checkpoint, options, callback: nil)
      try video.pushAll(to: session)
      try session.finish()
      return try TestResults(of: session)
    }
    let pairs = zip(results[0].labels.flatMap { $0 }, results[1].labels.flatMap { $0 })
    // Of each id the other's most frequent one.
    var counts: [UInt16: [UInt16: Int]] = [:]
    for (float, int8) in pairs { counts[float, default: [:]][int8, default: 0] += 1 }
    let same = counts.values.reduce(0) { $0 + ($1.values.max() ?? 0) }
    let share = Double(same) / Double(7 * 75 * 50)
    #expect(share >= 0.75, "\(share)")
    #expect(results[0].clusters > 1 && results[1].clusters > 1)
  }

  // ---- Damage -------------------------------------------------------------------

  /// Weights that are finite each, but too large together: an error, whatever part
  /// of the network they stand in, with float weights and with int8.
  @Test(arguments: [
    ("encoder.blocks.0.norm1.weight", "encoder.blocks.0.attn.qkv.weight", 0..<24),
    ("encoder.blocks.0.norm1.weight", "encoder.blocks.0.attn.qkv.weight", 24..<48),
    ("encoder.blocks.0.norm1.weight", "encoder.blocks.0.attn.qkv.weight", 24..<25),
    ("encoder.blocks.0.norm1.weight", "encoder.blocks.0.attn.qkv.weight", 48..<49),
    ("encoder.blocks.0.norm2.weight", "encoder.blocks.0.mlp.fc1.weight", 0..<48),
    ("encoder.blocks.1.norm1.weight", "encoder.blocks.1.attn.qkv.weight", 24..<25),
  ])
  func whatOverflowsIsAnError(norm: String, matrix: String, rows: Range<Int>) throws {
    for quantised in [false, true] {
      var sample = quantised ? WeightFileSample().quantized() : WeightFileSample()
      sample.change(norm) { $0.values = $0.values.map { $0 * 1e7 } }
      if quantised {
        sample.change("\(matrix).scale") { for row in rows { $0.values[row] = 2e36 } }
      } else {
        sample.change(matrix) { tensor in
          for row in rows {
            for column in 0..<24 { tensor.values[row * 24 + column] *= 2e36 * 127 }
          }
        }
      }
      let checkpoint = try #require(WeightFileSample.load(sample.file).model)
      let encoder = try FrameEncoder(
        checkpoint, Settings(SessionOptions(), checkpoint.config.defaults), frameWidth: 48,
        frameHeight: 32, pool: ThreadPool(threads: 2), budget: Budget())
      let video = TestVideo(frames: 1, width: 48, height: 32)
      let error = video.frames[0].withUnsafeBufferPointer { pixels -> CoveyError? in
        do throws(CoveyError) {
          _ = try encoder.encode(
            Frame(
              format: .rgb8, width: 48, height: 32, planes: (pixels.baseAddress, nil, nil),
              strides: (0, 0, 0), timestamp: 0
            ).validate(), isKey: true, after: nil, monitor: Monitor())
          return nil
        } catch {
          return error
        }
      }
      #expect(error?.kind == .format, "int8 \(quantised)")
      #expect(error?.message.contains("is not a finite number") == true, "int8 \(quantised)")
    }
  }
}
