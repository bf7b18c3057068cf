import Foundation
import Testing

@testable import Covey

@Suite struct TrainingStateTests {
  private func folder(_ body: (String) throws -> Void) throws {
    try WeightFileSample.withFolder { try body($0) }
  }

  @Test func goesOnBitForBit() throws {
    try folder { folder in
      let whole = try TestTrainer()
      var metrics = Trainer.Metrics()
      for _ in 0..<6 { metrics = try whole.step() }
      let begun = try TestTrainer()
      for _ in 0..<3 { try begun.step() }
      try begun.trainer.save(path: "\(folder)/state")
      // Begun otherwise, with another number of threads.
      let resumed = try TestTrainer {
        ($0.start, $0.threads) = (.random, 1)
      }
      try resumed.step()
      try resumed.trainer.restore(path: "\(folder)/state")
      #expect(resumed.state == begun.state)
      var last = Trainer.Metrics()
      for _ in 0..<3 { last = try resumed.step() }
      #expect(resumed.state == whole.state)
      #expect(last.losses.total == metrics.losses.total && last.step == 6)
    }
  }

  /// Cut anywhere, and with any byte another: an error, and nothing has changed.
  @Test func damagedFilesAreRefused() throws {
    try folder { folder in
      let test = try TestTrainer()
      try test.step()
      try test.trainer.save(path: "\(folder)/state")
      let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: "\(folder)/state")))
      try test.step()
      let before = test.state
      func refused(_ bytes: [UInt8], _ what: String) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/bad"))
        let found = kind { try test.trainer.restore(path: "\(folder)/bad") }
        #expect(found != nil && found != .internalError, "\(what)")
        #expect(test.state == before, "\(what)")
      }
      var random = SeededRandom(seed: 3)
      for length in [0, 3, 4, 23, 24, 100, 1000, bytes.count / 2, bytes.count - 1] {
        try refused(Array(bytes[..<length]), "\(length) bytes")
      }
      for _ in 0..<60 {
        let place = Int(random.next() % UInt64(bytes.count))
        var damaged = bytes
        damaged[place] ^= UInt8(1 + random.next() % 255)
        // A key of no meaning may be renamed into another such: none is here.
        try refused(damaged, "byte \(place)")
      }
      try Data(bytes).write(to: URL(fileURLWithPath: "\(folder)/bad"))
      try test.trainer.restore(path: "\(folder)/bad")
      #expect(test.state != before)
    }
  }

  /// Of every byte of the header a bit: refused, or, in the padding behind it and in the
  /// number that says how padding goes, of no effect.
  @Test func damagedHeadersAreRefused() throws {
    try folder { folder in
      let saved = try TestTrainer()
      try saved.step()
      try saved.trainer.save(path: "\(folder)/state")
      var bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: "\(folder)/state")))
      let test = try TestTrainer()
      let data = bytes.count - test.trainer.parameters.layout.tensors.reduce(0) {
        $0 + 3 * ((4 * $1.count + 63) & ~63)
      }
      #expect(data > 2000 && data % 64 == 0)
      let path = "\(folder)/bad"
      var accepted = 0
      for place in 0..<data {
        bytes[place] ^= 1 << UInt8(place % 8)
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        bytes[place] ^= 1 << UInt8(place % 8)
        guard kind({ try test.trainer.restore(path: path) }) == nil else { continue }
        accepted += 1
        #expect(test.state == saved.state, "byte \(place)")
      }
      #expect(accepted < 64, "more than padding can be")
    }
  }

  @Test func nothingUnusableIsSaved() throws {
    try folder { folder in
      let test = try TestTrainer()
      try test.step()
      try test.trainer.save(path: "\(folder)/state")
      let before = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/state"))
      test.trainer.optimiser.second.base[7] = .infinity
      #expect(kind { try test.trainer.save(path: "\(folder)/state") } == .state)
      #expect(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/state")) == before)
      try test.trainer.restore(path: "\(folder)/state")
      try test.trainer.save(path: "\(folder)/state")
      #expect(try Data(contentsOf: URL(fileURLWithPath: "\(folder)/state")) == before)
    }
  }

  @Test func otherModelsAndOptionsAreRefused() throws {
    try folder { folder in
      let path = "\(folder)/state"
      try TestTrainer().trainer.save(path: path)
      func refusal(
        _ checkpoint: Checkpoint? = nil, _ change: (inout TrainerOptions) -> Void = { _ in }
      ) throws -> String? {
        let test = try TestTrainer(checkpoint, change)
        do throws(CoveyError) {
          try test.trainer.restore(path: path)
          return nil
        } catch {
          #expect(error.kind == .argument && error.message.hasPrefix(path), "\(error)")
          return error.message
        }
      }
      func names(_ key: String, _ message: String?) {
        #expect(
          message?.contains("covey.training.\(key):") == true, "\(key): \(message ?? "accepted")")
      }
      let accepted = try refusal {
        $0.threads = 1
        $0.totalSteps = 7
        $0.start = .identity
      }
      #expect(accepted == nil)
      names("seed", try refusal { $0.seed = 12 })
      names("learning_rate", try refusal { $0.learningRate = 2e-3 })
      names("weight_decay", try refusal { $0.weightDecay = -1 })
      names("clip_norm", try refusal { $0.clipNorm = 1 })
      names("dropout", try refusal { $0.dropout = 0.2 })
      names("attention_dropout", try refusal { $0.attentionDropout = 0.2 })
      names("clip_length", try refusal { $0.clipLength = 2 })
      names("clips_per_step", try refusal { $0.clipsPerStep = 2 })
      names("positions", try refusal { $0.positions = 5 })
      names("weigh_both", try refusal { $0.weighting = .both })
      names("augmentation", try refusal { $0.isAugmented = false })
      names("working_height", try refusal { ($0.workingHeight, $0.workingWidth) = (16, 96) })
      names("backbone", try refusal(TestCheckpoint(seed: 6, whole: true).load()))
      names("backbone", try refusal(TestCheckpoint(seed: 5, whole: true).loadQuantised()))
      for key in ["covey.vit.heads", "covey.vit.layer_norm_eps"] {
        names("backbone", try refusal(changed(key, in: "\(folder)/other")))
      }
      #expect(kind { try TestTrainer().trainer.restore(path: "\(folder)/none") } == .io)
      #expect(kind { try TestTrainer().trainer.save(path: "\(folder)/none/none") } == .io)
      // A weight file is none.
      try TestCheckpoint(seed: 5, whole: true).load().save(path: path, dtype: .f32)
      #expect(kind { try TestTrainer().trainer.restore(path: path) } == .format)
    }
  }

  /// The trainer's model with another number of heads, or epsilon, under its tensors.
  private func changed(_ key: String, in path: String) throws -> Checkpoint {
    try TestCheckpoint(seed: 5, whole: true).load().save(path: path, dtype: .f32)
    var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    let name = try #require(bytes.range(of: Data(key.utf8)))
    // Behind the key its type, then four bytes: 1 head; for the epsilon the largest half.
    let value = name.upperBound + 4
    let isCount = key.hasSuffix("heads")
    let new = isCount ? UInt32(1) : Float(0.5).bitPattern
    withUnsafeBytes(of: new.littleEndian) { bytes.replaceSubrange(value..<value + 4, with: $0) }
    try bytes.write(to: URL(fileURLWithPath: path))
    return try Checkpoint(path: path, copy: true, verify: true)
  }

  // ---- Export ---------------------------------------------------------------------

  private func values(_ checkpoint: Checkpoint, _ name: String) throws -> [Float] {
    let index = try #require(checkpoint.file.tensorIndex(name), "\(name)")
    var values = [Float](repeating: 0, count: checkpoint.file.tensors[index].count)
    checkpoint.file.stored(index).read(0, values.count, to: &values)
    return values
  }

  /// Of each type; the block is as trained, to the rounding of the type, and all else
  /// to the bit.
  @Test(arguments: [WeightType.f32, .f16, .q8], [false, true])
  func exportedModels(dtype: WeightType, whole: Bool) throws {
    try folder { folder in
      try TestCheckpoint(tau: 0.5, referenceTau: 0.2, seed: 5, whole: whole).load().save(path: "\(folder)/m", dtype: dtype)
      let model = try Checkpoint(path: "\(folder)/m", copy: true, verify: true)
      let test = try TestTrainer(model)
      try test.step()
      let exported = try test.trainer.export(tau: 0.25)
      #expect(exported.dtype == dtype && exported.config.tau == 0.25)
      // In the ratio in which tau has changed.
      #expect(abs(exported.config.referenceTau - 0.1) < 1e-7)
      #expect(try test.trainer.export(tau: nil).config.referenceTau == 0.2)
      #expect(try test.trainer.export(tau: nil).config.tau == model.config.tau)
      let said = try #require(exported.file.value("covey.provenance")?.string)
      let before = model.file.value("covey.provenance")?.string.map { String(decoding: $0, as: UTF8.self) }
      #expect(
        String(decoding: said, as: UTF8.self) == (before.map { "\($0); " } ?? "")
          + "block adapted to video without labels, 1 steps, seed \(test.trainer.settings.seed)")
      for tensor in model.file.tensors where tensor.name.hasPrefix("encoder.") {
        let index = try #require(exported.file.tensorIndex(tensor.name))
        let other = exported.file.tensors[index]
        #expect(other.element == tensor.element && other.data.elementsEqual(tensor.data))
      }
      for tensor in test.trainer.parameters.layout.tensors {
        let found = try values(exported, "correlator.\(tensor.name)")
        let trained = (0..<tensor.count).map { test.trainer.parameters.values[tensor.offset + $0] }
        let size = trained.map { abs($0) }.max() ?? 0
        let isRounded = tensor.isMatrix && dtype != .f32
        // Half of the last bit of F16, of the 127 steps of int8 (of a row).
        let tolerance = !isRounded ? 0 : dtype == .f16 ? size / 2048 : size / 253
        #expect(
          zip(found, trained).allSatisfy { abs($0 - $1) <= tolerance }, "\(tensor.name) \(dtype)")
      }
      if dtype == .q8 {
        let matrices = exported.file.tensors.indices.filter {
          exported.file.tensors[$0].element == .i8
        }
        #expect(matrices.count == model.quantizationErrors.count { $0 != nil } + (whole ? 0 : 3))
        #expect(matrices.allSatisfy { exported.quantizationErrors[$0] != nil })
      }

      // It is a model as any other: it segments, is saved, and trained further.
      var options = SessionOptions()
      (options.output, options.tau, options.threads) = (.clusters, 0.05, 1)
      let session = try Session(exported, options, callback: nil)
      try TestTrainer.video.pushAll(to: session)
      try session.finish()
      #expect(try TestResults(of: session).labels.count == 6)
      try exported.save(path: "\(folder)/q", dtype: .q8)
      let saved = try Checkpoint(path: "\(folder)/q", copy: true, verify: true)
      #expect(saved.dtype == .q8)
      #expect(try TestTrainer(exported).step().step == 1)
      if dtype == .f32 { #expect(try TestTrainer(exported).weights == test.weights) }
    }
  }
}
