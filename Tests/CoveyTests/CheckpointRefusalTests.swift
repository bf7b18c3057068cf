import Foundation
import Testing

@testable import Covey

private typealias Sample = WeightFileSample

@Suite struct CheckpointRefusalTests {
  private func message(_ change: (inout Sample) -> Void) -> String {
    var sample = Sample()
    change(&sample)
    return Sample.load(sample.file).error?.message ?? "no error"
  }

  // ---- What is refused: metadata ------------------------------------------------

  private static let numbers: [(key: String, wrong: [UInt32])] = [
    ("covey.vit.patch_size", [0, 65, .max]),
    ("covey.vit.embed_dim", [0, 7, 8193, 1 << 31]),
    ("covey.vit.depth", [0, 129, .max]),
    ("covey.vit.heads", [0, 5, 25, .max]),
    ("covey.vit.mlp_dim", [0, 65537, .max]),
    ("covey.vit.position_grid", [0, 1025, 1 << 31]),
    ("covey.correlator.heads", [0, 7, 25]),
    ("covey.input.height", [0, 4, 33, 8200, .max]),
    ("covey.input.width", [0, 4, 33, 8200, .max]),
    ("covey.clustering.window", [0, 65]),
    ("covey.clustering.key_stride", [0, 10001]),
    ("covey.clustering.key_pool", [0, 65]),
  ]

  private static let floats: [(key: String, wrong: [Float])] = [
    ("covey.vit.layer_norm_eps", [0, -1e-6, .nan, .infinity, -.infinity]),
    ("covey.correlator.layer_norm_eps", [0, -1e-6, .nan, .infinity]),
    ("covey.clustering.tau", [0, -0.0, -1, 1000.5, .nan, .infinity]),
  ]

  @Test func everyKeyIsNeeded() {
    let keys =
      Self.numbers.map(\.key) + Self.floats.map(\.key) + [
        "covey.vit.cls_saliency", "covey.input.mean", "covey.input.std", "covey.format_version",
        "general.file_type",
      ]
    for key in keys {
      #expect(message { $0.remove(key) } == "\(key): missing")
      #expect(message { $0.set(key, string: "1") }.hasPrefix("\(key): expected "))
      #expect(message { $0.set(key, string: "1") }.hasSuffix(", found string"))
      #expect(message { $0.set(key, type: 10, Sample.bytes(UInt64(8))) }.hasSuffix(", found u64"))
      #expect(message { $0.set(key, floats: [1, 1]) }.hasSuffix(", found f32[2]"))
    }
    #expect(message { $0.remove("general.name") } == "no error")
  }

  @Test func everyKeyHasItsRange() {
    for (key, wrong) in Self.numbers {
      for number in wrong {
        let text = message { $0.set(key, number) }
        #expect(text.hasPrefix("\(key): expected ") && text.hasSuffix("found \(number)"), "\(text)")
      }
    }
    for (key, wrong) in Self.floats {
      for number in wrong {
        let text = message { $0.set(key, float: number) }
        #expect(text.hasPrefix("\(key): expected more than 0"), "\(text)")
      }
    }
    #expect(
      message { $0.set("covey.input.mean", floats: [0, .nan, 0]) }
        == "covey.input.mean: expected finite numbers, found [0, nan, 0]")
    #expect(
      message { $0.set("covey.input.std", floats: [1, 0, 1]) }
        == "covey.input.std: expected positive numbers, found [1, 0, 1]")
    #expect(
      message { $0.set("covey.input.std", floats: [1, 1, .infinity]) }.hasPrefix(
        "covey.input.std: expected finite"))
    #expect(message { $0.set("covey.clustering.tau", float: 1000) } == "no error")
  }

  /// Of older files, and of those whose modes want the same, it is tau.
  @Test func tauOfTheReferenceMode() throws {
    let key = "covey.clustering.reference_tau"
    func config(_ change: (inout Sample) -> Void) throws -> ModelConfig {
      var sample = Sample()
      change(&sample)
      return try #require(Sample.load(sample.file).model).config
    }
    #expect(try config { _ in }.referenceTau == 0.75)
    let both = try config { $0.set(key, float: 0.5) }
    #expect(both.tau == 0.75 && both.referenceTau == 0.5)
    for wrong: Float in [0, -1, 1000.5, .nan, .infinity] {
      #expect(message { $0.set(key, float: wrong) }.hasPrefix("\(key): expected more than 0"))
    }
    #expect(message { $0.set(key, 1) } == "\(key): expected f32, found u32")
  }

  @Test func otherArchitecturesAndVersions() {
    func kind(_ change: (inout Sample) -> Void) -> CoveyError.Kind? {
      var sample = Sample()
      change(&sample)
      return Sample.load(sample.file).error?.kind
    }
    #expect(
      message { $0.set("general.architecture", string: "llama") }
        == "general.architecture: expected covey, found llama")
    #expect(
      message { $0.remove("general.architecture") } == "general.architecture: missing, or no string"
    )
    #expect(kind { $0.set("covey.format_version", 3) } == .version)
    #expect(kind { $0.set("covey.format_version", 0) } == .format)
    #expect(kind { $0.set("general.file_type", 2) } == .unsupported)
  }

  /// What version 1 has not: readers of it would overlook the keys.
  @Test func registersAndResizing() throws {
    let resize = "covey.vit.position_resize"
    let count = "covey.vit.register_count"
    let needs = ": needs covey.format_version 2, found 1"
    #expect(message { $0.set(resize, string: "bicubic") } == resize + needs)
    #expect(message { $0.set(count, 4) } == count + needs)
    func newer(_ change: (inout Sample) -> Void) -> String {
      message {
        $0.set("covey.format_version", 2)
        change(&$0)
      }
    }
    #expect(newer { _ in } == "no error")
    #expect(newer { $0.set(resize, string: "bicubic_antialias") } == "no error")
    #expect(
      newer { $0.set(resize, string: "linear") }
        == "\(resize): expected bicubic_offset, bicubic or bicubic_antialias, found linear")
    #expect(newer { $0.set(resize, 1) } == "\(resize): expected string, found u32")
    #expect(newer { $0.set(count, 65) } == "\(count): expected 0 to 64, found 65")
    #expect(newer { $0.set(count, 4) } == "encoder.register_tokens: missing")
    #expect(newer { $0.set(count, 0) } == "no error")

    var model = TestCheckpoint(registers: 3, resize: "bicubic")
    let checkpoint = try model.load()
    #expect(checkpoint.config.registers == 3 && checkpoint.config.positionResize == .bicubic)
    #expect(checkpoint.config.leadingTokens == 4 && checkpoint.config.tokens(patches: 5) == 9)
    let expected = model.tensors.first { $0.name == "encoder.register_tokens" }!.values
    #expect(checkpoint.inferenceWeights["encoder.register_tokens"] == expected)
    // Saved, it is the same; the registers stay floats in int8.
    let quantised = try model.loadQuantised()
    #expect(quantised.inferenceWeights["encoder.register_tokens"] == expected)
    #expect(quantised.config.positionResize == .bicubic)
    model.resize = nil
    #expect(try model.load().config.positionResize == .bicubicOffset)
  }

  // ---- What is refused: tensors -------------------------------------------------

  @Test func shapes() {
    let name = "encoder.blocks.0.attn.qkv.weight"
    let narrow = message {
      $0.change(name) {
        $0.shape = [72, 12]
        $0.values = Array($0.values.prefix(72 * 12))
      }
    }
    #expect(narrow == "\(name): expected 72x24, found 72x12")
    let turned = message { $0.change(name) { $0.shape = [24, 72] } }
    #expect(turned == "\(name): expected 72x24, found 24x72")
    let flat = message { $0.change("encoder.cls_token") { $0.shape = [1, 24] } }
    #expect(flat == "encoder.cls_token: expected 24, found 1x24")
    let patch = message { $0.change("encoder.patch_embed.proj.weight") { $0.shape = [24, 192] } }
    #expect(patch == "encoder.patch_embed.proj.weight: expected 24x3x8x8, found 24x192")
    // All sizes are those the metadata gives, the optional tensors' too.
    #expect(
      message { $0.set("covey.vit.mlp_dim", 40) }
        == "encoder.blocks.0.mlp.fc1.weight: expected 40x24, found 48x24")
    #expect(message { $0.set("covey.vit.depth", 3) }.hasSuffix("missing"))
    #expect(
      message { $0.set("covey.vit.depth", 1) }
        == "encoder.blocks.1.norm1.weight: no tensor of this model has this name")
    let last = message { $0.change("encoder.blocks.1.mlp.fc2.weight") { $0.shape = [48, 24] } }
    #expect(last == "encoder.blocks.1.mlp.fc2.weight: expected 24x48, found 48x24")
    // The spatio-temporal block's MLP may have a width of its own.
    let other = message { sample in
      for (name, shape) in [("fc1.weight", [5, 24]), ("fc1.bias", [5]), ("fc2.weight", [24, 5])] {
        sample.change("correlator.mlp.\(name)") {
          $0.shape = shape
          $0.values = Array($0.values.prefix(shape.reduce(1, *)))
        }
      }
    }
    #expect(other == "no error")
    #expect(
      message { $0.change("correlator.mlp.fc1.weight") { $0.shape = [24, 96] } }
        == "correlator.mlp.fc1.weight: expected 24x24, found 24x96")
  }

  @Test func missingAndUnknown() {
    let required = Set(Sample(whole: false).tensors.map(\.name))
    for tensor in Sample().tensors {
      let text = message { $0.tensors.removeAll { $0.name == tensor.name } }
      // Without fc1 the width expected of the correlator's others is 4C, which it is.
      #expect(text == (required.contains(tensor.name) ? "\(tensor.name): missing" : "no error"))
    }
    #expect(
      message { $0.tensors.append(.init(name: "encoder.clstoken", shape: [1], values: [0])) }
        == "encoder.clstoken: no tensor of this model has this name")
    #expect(message { $0.tensors = [] } == "encoder.cls_token: missing")
  }

  @Test func types() {
    for tensor in Sample().tensors {
      let text = message { $0.change(tensor.name) { $0.type = 1 } }
      #expect(text == "\(tensor.name): expected F32, found F16")
      var sample = Sample(half: true)
      sample.change(tensor.name) { $0.type = 1 - $0.type }
      let other = Sample.load(sample.file).error?.message
      #expect(
        other == "\(tensor.name): "
          + (tensor.isMatrix ? "expected F16, found F32" : "expected F32, found F16"))
    }
  }

  @Test func weightsThatAreNotFinite() throws {
    var sample = Sample()
    sample.set("covey.vit.mlp_dim", 400)  // fc1.weight of more than one look
    for (name, shape) in [
      ("fc1.weight", [400, 24]), ("fc1.bias", [400]), ("fc2.weight", [24, 400]),
    ] {
      for block in ["encoder.blocks.0", "encoder.blocks.1"] {
        sample.change("\(block).mlp.\(name)") {
          $0.shape = shape
          $0.values = [Float](repeating: 0.5, count: shape.reduce(1, *))
        }
      }
    }
    let name = "encoder.blocks.0.mlp.fc1.weight"
    for type in [0, 1] as [UInt32] {
      sample.set("general.file_type", type)
      for index in sample.tensors.indices where sample.tensors[index].isMatrix {
        sample.tensors[index].type = type
      }
      #expect(Sample.load(sample.file).error == nil)
      for place in [0, 1, 4095, 4096, 9599] {
        for wrong in [Float.nan, .infinity, -.infinity] {
          var changed = sample
          changed.change(name) { $0.values[place] = wrong }
          #expect(
            Sample.load(changed.file).error?.message
              == "\(name): element \(place) is not a finite number")
          #expect(Sample.load(changed.file, verify: false).error == nil)
        }
      }
    }
    var large = sample
    large.change("encoder.cls_token") { $0.values[3] = .greatestFiniteMagnitude }
    #expect(Sample.load(large.file).error == nil)
    // In what inference does not read too: it would be saved.
    sample.change("correlator.mlp.fc2.bias") { $0.values[0] = .nan }
    #expect(
      Sample.load(sample.file).error?.message
        == "correlator.mlp.fc2.bias: element 0 is not a finite number")
  }

  @Test func checksum() throws {
    var sample = Sample()
    var crc = CRC32()
    sample.data.withUnsafeBytes { crc.append($0) }
    sample.set("covey.checksum.crc32", crc.value)
    let file = sample.file
    #expect(Sample.load(file).error == nil)
    // One bit of any of a hundred bytes, and of the padding at the end.
    for place in stride(
      from: file.count - 1, to: file.count - sample.data.count, by: -(sample.data.count / 100))
    {
      var damaged = file
      damaged[place] ^= 1
      let message = Sample.load(damaged).error?.message ?? "no error"
      #expect(
        message.hasPrefix(
          "covey.checksum.crc32: the file is damaged: expected \(crc.value), found "))
      #expect(Sample.load(damaged, verify: false).error == nil)
    }
    sample.set("covey.checksum.crc32", string: "x")
    #expect(Sample.load(sample.file).error?.kind == .format)
  }
}
