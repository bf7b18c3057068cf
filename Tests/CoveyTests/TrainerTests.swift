import Foundation
import Testing

@testable import Covey

extension TestVideo {
  /// Calls with frames of these numbers.
  func withFrames<Result>(
    _ numbers: [Int], _ body: ([Frame]) throws -> Result
  ) rethrows -> Result {
    let pixels = numbers.map { number in
      let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: 3 * width * height)
      _ = copy.initialize(from: frames[number])
      return copy
    }
    defer { for copy in pixels { copy.deallocate() } }
    return try body(
      pixels.map {
        Frame(
          format: .rgb8, width: width, height: height,
          planes: (UnsafePointer($0.baseAddress), nil, nil), strides: (0, 0, 0), timestamp: 0)
      })
  }
}

/// A trainer of a small model, and what there is to say of it.
struct TestTrainer {
  let trainer: Trainer
  static let video = TestVideo(frames: 6, width: 60, height: 44)

  init(
    _ checkpoint: Checkpoint? = nil, _ change: (inout TrainerOptions) -> Void = { _ in },
    callback: Monitor.Callback? = nil
  ) throws {
    var options = TrainerOptions()
    (options.threads, options.seed, options.positions) = (2, 11, 4)
    (options.learningRate, options.totalSteps) = (1e-3, 50)
    change(&options)
    trainer = try Trainer(
      checkpoint ?? TestCheckpoint(seed: 5, whole: true).load(), options, callback: callback)
  }

  /// Bits of the weights.
  var weights: [UInt32] { bits(trainer.parameters.values) }
  /// Bits of all that a step changes.
  var state: [UInt32] {
    weights + bits(trainer.optimiser.first) + bits(trainer.optimiser.second)
      + [UInt32(trainer.optimiser.step)]
  }

  private func bits(_ buffer: Buffer<Float>) -> [UInt32] {
    (0..<buffer.count).map { buffer[$0].bitPattern }
  }

  func encode(
    _ numbers: [Int] = [0, 1, 2], draw: UInt64 = 0, _ video: TestVideo = TestTrainer.video
  ) throws -> [Float] {
    var features = [Float](repeating: .nan, count: trainer.featureCount)
    try video.withFrames(numbers) { try trainer.encode($0, draw: draw, into: &features) }
    return features
  }

  @discardableResult
  func step(_ numbers: [Int] = [0, 1, 2]) throws -> Trainer.Metrics {
    try Self.video.withFrames(numbers) { try trainer.step(frames: $0) }
  }
}

@Suite struct TrainerTests {
  // ---- Features -------------------------------------------------------------------

  /// The keys of inference to the bit, and the CLS token's output by its formula.
  @Test(arguments: [false, true], [0, 4])
  func featuresAreTheBackbones(isQuantised: Bool, registers: Int) throws {
    let model = TestCheckpoint(
      channels: 48, depth: 3, heads: 3, mlp: 100, registers: registers, sharpness: 2, seed: 8,
      whole: true)
    let checkpoint = isQuantised ? try model.loadQuantised() : try model.load()
    let test = try TestTrainer(checkpoint) { $0.isAugmented = false }
    let features = try test.encode()
    let shape = test.trainer.shape
    #expect(shape.hasClass && shape.patches == 24)
    let settings = try Settings(SessionOptions(), checkpoint.config.defaults)
    let (width, height) = (TestTrainer.video.width, TestTrainer.video.height)
    let encoder = try FrameEncoder(
      checkpoint, settings, frameWidth: width, frameHeight: height,
      pool: try ThreadPool(threads: 1), budget: Budget())
    let resample = try ResamplePlan(
      frameWidth: width, frameHeight: height, outWidth: 48, outHeight: 32,
      mean: checkpoint.config.mean, std: checkpoint.config.std, workers: 1)
    let naive = NaiveVisionTransformer(model, quantised: isQuantised)
    for number in 0..<3 {
      var keys = [Float](repeating: 0, count: 24 * 48)
      var planes = [Float](repeating: 0, count: 3 * 32 * 48)
      try TestTrainer.video.withFrames([number]) {
        let source = try $0[0].validate()
        try encoder.keysOfLastBlock(source, into: &keys, saliency: nil, monitor: Monitor())
        resample.rows(0..<32, of: source, worker: 0, into: &planes)
      }
      let first = shape.firstPatch(number) * 48
      #expect(Array(features[first..<first + 24 * 48]) == keys)
      let expected = naive.classOutput(planes, rows: 4, columns: 6)
      let size = expected.map { abs($0) }.max() ?? 0
      let found = features[first - 48..<first].map { Double($0) }
      let error = zip(found, expected).map { abs($0 - $1) / size }.max() ?? 1
      // Observed: 6e-7, with the rounding of int8 activations before it .03.
      #expect(error <= (isQuantised ? 0.1 : 3e-6), "\(error)")
    }
  }

  @Test func augmentationsAreThoseOfTheDraw() throws {
    let test = try TestTrainer()
    let plain = try TestTrainer { $0.isAugmented = false }
    let first = try test.encode(draw: 3)
    #expect(try test.encode(draw: 3) == first)
    #expect(try test.encode(draw: 4) != first)
    #expect(try plain.encode(draw: 3) == plain.encode(draw: 4))
    #expect(try TestTrainer { $0.threads = 3 }.encode(draw: 3) == first)
    #expect(try TestTrainer { $0.seed = 12 }.encode(draw: 3) != first)
    // Of a draw that changes nothing, the features are those without.
    let none = try #require(
      (0..<500).first { Augmentation(seed: 11, draw: UInt64($0)) == Augmentation() })
    let (found, expected) = (try test.encode(draw: UInt64(none)), try plain.encode())
    // Normalised in two steps instead of one.
    #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 1e-4 } && found != first)
  }

  /// Upright frames turn the working size, and have as many features.
  @Test func uprightFrames() throws {
    let test = try TestTrainer()
    let upright = TestVideo(frames: 3, width: 44, height: 60)
    #expect(try test.encode([0, 1, 2], upright).allSatisfy(\.isFinite))
    #expect(try test.encode() == TestTrainer().encode())
  }

  @Test func withoutAMeaningfulClassToken() throws {
    for model in [TestCheckpoint(saliency: false, whole: true), TestCheckpoint(whole: false)] {
      let test = try TestTrainer(try model.load())
      #expect(!test.trainer.shape.hasClass)
      #expect(test.trainer.featureCount == 3 * 24 * 24)
      #expect(try test.encode().allSatisfy(\.isFinite))
      let before = test.weights
      let metrics = try test.step()
      #expect(metrics.step == 1 && metrics.losses.total > 0 && test.weights != before)
    }
  }

  // ---- Steps ----------------------------------------------------------------------

  /// Frames, and their features; one thread, and three.
  @Test func stepsAreTheSameBits() throws {
    func change(_ options: inout TrainerOptions) {
      (options.clipsPerStep, options.clipNorm) = (2, 0.5)
    }
    let frames = try TestTrainer { change(&$0); $0.threads = 1 }
    let features = try TestTrainer { change(&$0); $0.threads = 3 }
    for step in 0..<3 {
      let one = try frames.step([0, 1, 2, 3, 4, 5])
      let clips = try features.encode([0, 1, 2], draw: UInt64(2 * step))
        + features.encode([3, 4, 5], draw: UInt64(2 * step + 1))
      let other = try features.trainer.step(features: clips)
      #expect(one.losses.semantic == other.losses.semantic && one.norm == other.norm)
      #expect(one.losses.motion == other.losses.motion && one.step == step + 1)
    }
    #expect(frames.state == features.state)
  }

  /// Without dropout, on one clip over and over.
  @Test func fitsOneClip() throws {
    let model = TestCheckpoint(patch: 4, rows: 14, columns: 20, seed: 5, whole: true)
    let test = try TestTrainer(try model.load()) {
      ($0.attentionDropout, $0.dropout, $0.isAugmented) = (-1, -1, false)
      ($0.positions, $0.totalSteps, $0.learningRate) = (16, 150, 3e-3)
    }
    let clip = try test.encode()
    let first = try test.trainer.step(features: clip).losses
    var last = first
    for _ in 1..<150 { last = try test.trainer.step(features: clip).losses }
    // Observed: semantic .88 to .25, motion 1.01 to .07.
    #expect(last.semantic < 0.5 * first.semantic, "\(first) \(last)")
    #expect(last.motion < 0.3 * first.motion, "\(first) \(last)")
  }

  @Test func theRateFollowsTheCosine() throws {
    let test = try TestTrainer { $0.totalSteps = 4 }
    let rates = try (0..<6).map { _ in try test.step().rate }
    for (step, rate) in rates.enumerated() {
      let share = step < 4 ? (1 + cos(Double.pi * Double(step) / 4)) / 2 : 0
      #expect(abs(rate - (1e-6 + (Double(Float(1e-3)) - 1e-6) * share)) < 1e-15)
    }
  }

  @Test func whatFailsChangesNothing() throws {
    let test = try TestTrainer()
    try test.step()
    let before = test.state
    let clip = try test.encode(draw: 1)
    // Features so large that their squares are not numbers.
    let huge = clip.map { $0 * 1e30 }
    #expect(kind { _ = try test.trainer.step(features: huge) } == .argument)
    #expect(kind { try test.step([0, 1]) } == .argument)
    #expect(kind { _ = try test.encode([0, 1, 2, 3]) } == .argument)
    test.trainer.cancelFlag.set()
    #expect(kind { try test.step() } == .cancelled)
    test.trainer.cancelFlag.set()
    #expect(kind { _ = try test.encode() } == .cancelled)
    #expect(test.state == before)

    let other = try TestTrainer()
    try other.step()
    try other.step()
    _ = try test.trainer.step(features: clip)
    #expect(test.state == other.state)
  }

  /// Cancelled at any report of either stage.
  @Test func cancelledByTheCallback() throws {
    final class Reports { var (count, last, stages) = (0, Int.max, [Stage]()) }
    let reports = Reports()
    let test = try TestTrainer {
      $0.clipsPerStep = 2
    } callback: { stage, fraction in
      #expect(fraction >= 0 && fraction <= 1)
      reports.count += 1
      if reports.stages.last != stage { reports.stages.append(stage) }
      return reports.count < reports.last
    }
    let before = test.state
    let clips = [0, 1, 2, 3, 4, 5]
    for last in 1...5 {
      (reports.count, reports.last) = (0, last)
      #expect(kind { try test.step(clips) } == .cancelled)
      #expect(test.state == before)
    }
    (reports.last, reports.stages) = (.max, [])
    try test.step(clips)
    #expect(reports.stages == [.encode, .train, .encode, .train])
    #expect(test.state != before)
  }

  @Test func cannotBeCalledFromItsCallback() throws {
    final class Place { var (trainer, kinds): (Trainer?, [CoveyError.Kind?]) = (nil, []) }
    let place = Place()
    let test = try TestTrainer { _ in
    } callback: { _, _ in
      place.kinds.append(kind { try place.trainer?.restore(path: "none") })
      return true
    }
    place.trainer = test.trainer
    try test.step()
    place.trainer = nil
    #expect(!place.kinds.isEmpty && place.kinds.allSatisfy { $0 == .state })
  }

  @Test func optionsAreChecked() throws {
    let checkpoint = try TestCheckpoint(whole: true).load()
    func refusal(_ change: (inout TrainerOptions) -> Void) -> CoveyError.Kind? {
      kind { _ = try TestTrainer(checkpoint, change) }
    }
    #expect(refusal { _ in } == nil)
    #expect(refusal { $0.clipLength = 1 } == .argument)
    #expect(refusal { $0.clipLength = 17 } == .argument)
    #expect(refusal { $0.clipsPerStep = 1025 } == .argument)
    #expect(refusal { $0.totalSteps = -1 } == .argument)
    #expect(refusal { $0.positions = 25 } == .argument)
    #expect(refusal { $0.workingHeight = 32 } == .argument)
    #expect(refusal { ($0.workingHeight, $0.workingWidth) = (30, 48) } == .argument)
    #expect(refusal { $0.learningRate = -1 } == .argument)
    #expect(refusal { $0.learningRate = .nan } == .argument)
    #expect(refusal { $0.weightDecay = .nan } == .argument)
    #expect(refusal { $0.clipNorm = .infinity } == .argument)
    #expect(refusal { $0.dropout = 1 } == .argument)
    #expect(refusal { $0.attentionDropout = .nan } == .argument)
    #expect(refusal { $0.threads = 257 } == .argument)
    #expect(refusal { $0.memoryLimit = -1 } == .argument)
    #expect(refusal { $0.memoryLimit = 100_000 } == .memory)
  }

  @Test func memoryIsCounted() throws {
    let test = try TestTrainer()
    let created = test.trainer.budget.current
    try test.step()
    let peak = test.trainer.budget.peak
    #expect(peak > created && test.trainer.budget.current <= peak)
    try test.step()
    #expect(test.trainer.budget.peak == peak)
    let tight = try TestTrainer { $0.memoryLimit = peak - 1 }
    let before = tight.state
    #expect(kind { try tight.step() } == .memory)
    #expect(tight.state == before)
    try TestTrainer { $0.memoryLimit = peak }.step()
  }
}
