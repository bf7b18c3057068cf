import CCoveyKernels
import Foundation
import Testing

@testable import Covey

@Suite struct TrainingStepTests {
  private func features(_ count: Int, _ seed: Int) -> [Float] {
    var random = SeededRandom(seed: UInt64(seed))
    return (0..<count).map { _ in Float(random.normal()) }
  }

  /// Sizes with several tiles of every kind; with more threads than tasks of some.
  @Test func resultsDoNotDependOnTheThreads() throws {
    // Whoever computes holds OpenBLAS to one thread; tests beside this one come and go.
    BLAS.claim()
    defer { BLAS.release() }
    let layout = try BlockLayout(channels: 48, heads: 4, hidden: 200, epsilon: 1e-5)
    let shape = try ClipShape(frames: 3, patches: 250)
    let parameters = try BlockParameters(layout, seed: 1)
    let x = features(shape.tokens * layout.channels, 2)
    var first: (bits: [UInt32], losses: [UInt64])?
    for threads in [1, 2, 3, 11] {
      let pool = try ThreadPool(threads: threads)
      var step = try TrainingStep(
        layout, shape, positions: 8, TrainingStep.Options(), threads: threads, budget: nil)
      var gradients = [Float](repeating: 0, count: layout.count)
      let losses = try step.run(
        parameters.values.base, features: x, positions: [0, 1, 30, 77, 120, 160, 200, 249],
        CounterRandom(seed: 5, step: 6), into: &gradients, pool: pool)
      let found = (
        gradients.map(\.bitPattern), [losses.semantic.bitPattern, losses.motion.bitPattern]
      )
      #expect(gradients.contains { $0 != 0 } && gradients.allSatisfy(\.isFinite))
      if let first {
        #expect(first.bits == found.0 && first.losses == found.1, "\(threads) threads")
      } else {
        first = found
      }
    }
  }

  /// Running two clips into one buffer gives the mean of running each alone.
  @Test func accumulatesOverClips() throws {
    // Whoever computes holds OpenBLAS to one thread; tests beside this one come and go.
    BLAS.claim()
    defer { BLAS.release() }
    let layout = try BlockLayout(channels: 16, heads: 2, hidden: 32, epsilon: 1e-5)
    let shape = try ClipShape(frames: 2, patches: 30)
    let parameters = try BlockParameters(layout, seed: 3)
    let pool = try ThreadPool(threads: 1)
    var options = TrainingStep.Options()
    options.counts = Ranking.Counts(
      positives: 5, negatives: 8, motionPositives: 3, motionNegatives: 5)
    var step = try TrainingStep(
      layout, shape, positions: 4, options, threads: 1, budget: nil)
    func run(_ clip: Int, _ scale: Float, into gradients: inout [Float]) throws {
      _ = try step.run(
        parameters.values.base, features: features(shape.tokens * 16, clip),
        positions: [1, 5, 9, 29], CounterRandom(seed: 1, step: UInt32(clip)), scale: scale,
        into: &gradients, pool: pool)
    }
    let zeros = [Float](repeating: 0, count: layout.count)
    var (one, two, both) = (zeros, zeros, zeros)
    try run(1, 1, into: &one)
    try run(2, 1, into: &two)
    try run(1, 0.5, into: &both)
    try run(2, 0.5, into: &both)
    let size = both.map { abs($0) }.max() ?? 0
    for index in both.indices {
      #expect(abs(both[index] - (one[index] + two[index]) / 2) < 1e-6 * size)
    }
  }

  @Test func refusesWhatItCannotDo() throws {
    let layout = try BlockLayout(channels: 16, heads: 2, hidden: 32, epsilon: 1e-5)
    let shape = try ClipShape(frames: 2, patches: 3)
    func make(_ positions: Int, _ change: (inout TrainingStep.Options) -> Void = { _ in }) throws {
      var options = TrainingStep.Options()
      change(&options)
      _ = try TrainingStep(
        layout, shape, positions: positions, options, threads: 1, budget: nil)
    }
    try make(3)
    #expect(throws: CoveyError.self) { try make(4) }
    #expect(throws: CoveyError.self) { try make(0) }
    #expect(throws: CoveyError.self) { try make(3) { $0.rates.mlp = 1 } }
    #expect(throws: CoveyError.self) { try make(3) { $0.rates.attention = .nan } }
    #expect(throws: CoveyError.self) { try make(3) { $0.counts.negatives = 0 } }
    #expect(throws: CoveyError.self) {
      try BlockLayout(channels: 16, heads: 3, hidden: 32, epsilon: 1e-5)
    }
    var step = try TrainingStep(
      layout, shape, positions: 1, TrainingStep.Options(), threads: 1, budget: nil)
    var gradients = [Float](repeating: 0, count: layout.count)
    let parameters = try BlockParameters(layout, seed: 3)
    let pool = try ThreadPool(threads: 1)
    for position in [Int32(-1), 3] {
      #expect(throws: CoveyError.self) {
        try step.run(
          parameters.values.base, features: features(8 * 16, 1), positions: [position],
          CounterRandom(seed: 1), into: &gradients, pool: pool)
      }
    }
    #expect(gradients.allSatisfy { $0 == 0 })
  }

  /// A flag set before ends one run, and the next is as if there had been none.
  @Test func cancellingEndsOneStep() throws {
    // Whoever computes holds OpenBLAS to one thread; tests beside this one come and go.
    BLAS.claim()
    defer { BLAS.release() }
    let layout = try BlockLayout(channels: 16, heads: 2, hidden: 32, epsilon: 1e-5)
    let shape = try ClipShape(frames: 2, patches: 90)
    let parameters = try BlockParameters(layout, seed: 3)
    let pool = try ThreadPool(threads: 2)
    var step = try TrainingStep(
      layout, shape, positions: 4, TrainingStep.Options(), threads: 2, budget: nil)
    let flag = CancelFlag()
    let zeros = [Float](repeating: 0, count: layout.count)
    let x = features(shape.tokens * 16, 1)
    func run(_ gradients: inout [Float]) throws -> Double {
      try step.run(
        parameters.values.base, features: x, positions: [1, 5, 9, 89],
        CounterRandom(seed: 1), into: &gradients, pool: pool, monitor: Monitor(flag: flag)
      ).total
    }
    var (before, between, after) = (zeros, zeros, zeros)
    let first = try run(&before)
    flag.set()
    #expect(throws: CoveyError.self) { try run(&between) }
    #expect(!flag.isSet)
    let last = try run(&after)
    #expect(first == last && before == after)
  }

  /// The sizes of the published training: 3,459 tokens.
  @Test(arguments: [(384, 1_500_000_000), (192, 500_000_000)])
  func memoryOfARealClip(channels: Int, limit: Int) throws {
    let layout = try BlockLayout(
      channels: channels, heads: 8, hidden: 4 * channels, epsilon: 1e-5)
    let shape = try ClipShape(frames: 3, patches: 24 * 48)
    let budget = Budget(limit: limit)
    let step = try TrainingStep(
      layout, shape, positions: 8, TrainingStep.Options(), threads: 4, budget: budget)
    let parameters = try BlockParameters(layout, seed: 3, budget: budget)
    let optimiser = try AdamW(layout, budget: budget)
    // About 200 and 108 MB with four threads, without what OpenBLAS has.
    #expect(budget.peak < limit / 4)
    withExtendedLifetime((step, parameters, optimiser)) {}
  }

  @Test func parametersAreReadFromAWeightFile() throws {
    let sample = WeightFileSample(whole: true)
    let checkpoint = try #require(WeightFileSample.load(sample.file).model)
    let parameters = try BlockParameters(.model, checkpoint, seed: 1)
    for tensor in parameters.layout.tensors {
      let stored = try #require(sample.tensors.first { $0.name == "correlator.\(tensor.name)" })
      #expect(stored.values.count == tensor.count)
      #expect(
        (0..<tensor.count).allSatisfy {
          parameters.values[tensor.offset + $0] == stored.values[$0]
        }, "\(tensor.name)")
    }
    #expect(parameters.layout.tensors.reduce(0) { $0 + $1.count } == parameters.layout.count)
  }

  /// A branch of which something is missing is drawn anew, and adds nothing.
  @Test(arguments: ["mlp.fc1.weight", "attn.proj.bias", "norm2.weight"])
  func whatIsMissingIsDrawnAnew(missing: String) throws {
    var sample = WeightFileSample(whole: true)
    sample.tensors.removeAll { $0.name == "correlator.\(missing)" }
    let checkpoint = try #require(WeightFileSample.load(sample.file).model)
    let parameters = try BlockParameters(.model, checkpoint, seed: 1)
    let fresh = try BlockParameters(.random, checkpoint, seed: 1)
    let isProj = missing.hasPrefix("attn")
    for tensor in parameters.layout.tensors {
      let isDrawn = tensor.offset >= parameters.layout.norm2Weight ? !isProj
        : tensor.offset >= parameters.layout.projWeight && isProj
      let stored = sample.tensors.first { $0.name == "correlator.\(tensor.name)" }
      for index in 0..<tensor.count {
        let found = parameters.values[tensor.offset + index]
        if isDrawn {
          let isLast = tensor.isMatrix && "\(tensor.name)" != "mlp.fc1.weight"
          #expect(found == (isLast ? 0 : fresh.values[tensor.offset + index]), "\(tensor.name)")
        } else {
          #expect(found == stored?.values[index], "\(tensor.name)")
        }
      }
    }
  }

  /// Maps are those of `IdentityCorrelator`, and outputs the features.
  @Test func identityStart() throws {
    let checkpoint = try #require(WeightFileSample.load(WeightFileSample(whole: true).file).model)
    let parameters = try BlockParameters(.identity, checkpoint, seed: 1)
    let layout = parameters.layout
    let c = layout.channels
    for row in 0..<2 * c {
      for column in 0..<c {
        #expect(
          parameters.values[layout.qkvWeight + row * c + column] == (row % c == column ? 1 : 0))
      }
    }
    #expect((0..<c).allSatisfy { parameters.values[layout.norm1Weight + $0] == 1 })
    #expect((0..<c * c).allSatisfy { parameters.values[layout.projWeight + $0] == 0 })
    #expect((0..<c * layout.hidden).allSatisfy { parameters.values[layout.fc2Weight + $0] == 0 })
    #expect((0..<c * c).contains { parameters.values[layout.qkvWeight + 2 * c * c + $0] != 0 })
  }

  @Test func freshParametersAreSeeded() throws {
    let layout = try BlockLayout(channels: 32, heads: 2, hidden: 64, epsilon: 1e-5)
    func values(_ seed: UInt64) throws -> [Float] {
      let parameters = try BlockParameters(layout, seed: seed)
      return (0..<layout.count).map { parameters.values[$0] }
    }
    let one = try values(1)
    #expect(try one == values(1))
    #expect(try one != values(2))
    for tensor in layout.tensors {
      let part = one[tensor.offset..<tensor.offset + tensor.count]
      if tensor.isMatrix {
        let variance = part.reduce(0.0) { $0 + Double($1 * $1) } / Double(tensor.count)
        #expect(abs(variance.squareRoot() - 0.02) < 0.001)
      } else {
        let isWeight = "\(tensor.name)".hasSuffix("weight")
        #expect(part.allSatisfy { $0 == (isWeight ? 1 : 0) })
      }
    }
  }

  @Test func cosineScheduleIsThatOfTheFormula() {
    let schedule = CosineSchedule(base: 1e-4, steps: 1000)
    for step in 0..<1000 {
      let expected = 1e-6 + 0.5 * (1e-4 - 1e-6) * (1 + cos(.pi * Double(step) / 1000))
      #expect(abs(schedule.rate(step) - expected) < 1e-19)
    }
    // One that begins below the end does not rise.
    let low = CosineSchedule(base: 1e-8, steps: 10)
    #expect((0..<12).allSatisfy { low.rate($0) == 1e-8 })
    #expect(schedule.rate(0) == 1e-4 && schedule.rate(1000) == 1e-6 && schedule.rate(5000) == 1e-6)
  }

  @Test(arguments: [(0, 3), (1, 1), (2, 1), (7, 3), (50, 50), (64, 90), (1000, 30), (1000, 999)])
  func smallestComeFirst(_ many: Int, _ count: Int) {
    var random = SeededRandom(seed: UInt64(many * 1000 + count))
    for bits in [3, 40] {
      var keys = (0..<many).map { _ in random.next() >> UInt64(64 - bits) }
      let sorted = keys.sorted()
      keys.withUnsafeMutableBufferPointer { sortSmallest($0, count: count) }
      #expect(keys.prefix(count) == sorted.prefix(count))
      #expect(keys.sorted() == sorted)
    }
  }

  @Test func gradientsAreClippedToTheirNorm() {
    var values: [Float] = [3, -4, 12]
    #expect(GradientNorm.clip(&values, count: 3, limit: 20) == 13)
    #expect(values == [3, -4, 12])
    #expect(GradientNorm.clip(&values, count: 3, limit: 6.5) == 13)
    #expect(values == [1.5, -2, 6])
  }
}
