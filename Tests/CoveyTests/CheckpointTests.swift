import Foundation
import Testing

@testable import Covey

private typealias Sample = WeightFileSample

@Suite struct CheckpointTests {
  private func message(_ change: (inout Sample) -> Void) -> String {
    var sample = Sample()
    change(&sample)
    return Sample.load(sample.file).error?.message ?? "no error"
  }

  /// The sample's values under the names by which inference has them.
  private func expected(_ sample: Sample) -> [String: [Float]] {
    var expected: [String: [Float]] = [:]
    let optional = ["encoder.norm.", "encoder.blocks.1.", "correlator."]
    let kept = [".norm1.", ".attn.qkv."]
    for tensor in sample.tensors {
      let isOptional = optional.contains { tensor.name.hasPrefix($0) }
      if !isOptional || kept.contains(where: { tensor.name.contains($0) }) {
        expected[tensor.name] = tensor.values
      }
    }
    let square = Sample.c * Sample.c
    let qkv = expected.removeValue(forKey: "correlator.attn.qkv.weight") ?? []
    expected["correlator.query.weight"] = Array(qkv[..<square])
    expected["correlator.key.weight"] = Array(qkv[square..<(2 * square)])
    return expected
  }

  // ---- What is read -------------------------------------------------------------

  @Test(arguments: [false, true], [false, true])
  func weightsAreWhereTheyBelong(half: Bool, whole: Bool) throws {
    let sample = Sample(half: half, whole: whole)
    let model = try #require(Sample.load(sample.file).model)
    #expect(model.inferenceWeights == expected(sample))
    #expect(model.dtype == (half ? .f16 : .f32))
    #expect(model.name == "sample")
    #expect(model.parameterCount == sample.tensors.reduce(0) { $0 + $1.values.count })
    let matrices = sample.tensors.filter(\.isMatrix).reduce(0) { $0 + $1.values.count }
    #expect(model.weightBytes == 4 * model.parameterCount - (half ? 2 * matrices : 0))
    let read = expected(sample).filter { Sample.isMatrix($0.key) }.values.reduce(0) {
      $0 + $1.count
    }
    // And the correlator's, of which the values' rows are left out.
    #expect(model.convertedBytes == (half ? 4 * (read + 2 * Sample.c * Sample.c) : 0))
  }

  @Test func configuration() throws {
    let config = try #require(Sample.load(Sample().file).model).config
    #expect(config.patchSize == 8)
    #expect(config.patchInputs == 192)
    #expect(config.embedDim == 24)
    #expect(config.depth == 2)
    #expect(config.heads == 3)
    #expect(config.mlpDim == 48)
    #expect(config.positionGrid == 4)
    #expect(config.layerNormEps == 1e-6)
    #expect(config.hasClsSaliency)
    #expect(config.correlatorHeads == 2)
    #expect(config.correlatorEps == 1e-5)
    #expect(config.mean == SIMD3(0.485, 0.456, 0.406))
    #expect(config.std == SIMD3(0.229, 0.224, 0.225))
    #expect(config.workingHeight == 32)
    #expect(config.workingWidth == 48)
    #expect(config.tau == 0.75)
    #expect(config.window == 3)
    #expect(config.keyStride == 10)
    #expect(config.keyPool == 2)
  }

  /// Files of the gguf package; their first and last numbers as NumPy has them.
  @Test func goldenFiles() throws {
    let folder = Sample.goldenFolder
    let f32 = try #require(
      Sample.load(path: folder.appendingPathComponent("tiny-f32.gguf").path).model)
    #expect(f32.name == "tiny")
    #expect(f32.dtype == .f32)
    #expect(f32.convertedBytes == 0)
    #expect(!f32.config.hasClsSaliency)
    let f16 = try #require(
      Sample.load(path: folder.appendingPathComponent("tiny-f16.gguf").path).model)
    #expect(f16.name == "")
    #expect(f16.dtype == .f16)
    #expect(f16.config.hasClsSaliency)
    let weights = f32.inferenceWeights
    let some: [(String, Float, Float)] = [
      ("encoder.pos_embed", 0.07577684, -0.031518247),
      ("encoder.blocks.0.mlp.fc2.weight", -0.009029165, 0.13975336),
      ("correlator.norm1.bias", 0.073747054, 0.012791915),
      ("correlator.query.weight", 0.09376455, 0.055761736),
      ("correlator.key.weight", -0.03340003, 0.045827523),
    ]
    for (name, first, last) in some {
      #expect(weights[name]?.first == first, "\(name)")
      #expect(weights[name]?.last == last, "\(name)")
    }
    let halves = f16.inferenceWeights
    #expect(halves["encoder.blocks.0.mlp.fc2.weight"]?.first == Float(Float16(-0.009026)))
    #expect(halves["encoder.blocks.0.mlp.fc2.weight"]?.last == Float(Float16(0.1398)))
    #expect(halves["correlator.key.weight"]?.last == Float(Float16(0.05658)))
    #expect(halves["correlator.norm1.bias"]?.last == 0.21330161)
  }

  @Test func metadataAsText() throws {
    let path = Sample.goldenFolder.appendingPathComponent("tiny-f32.gguf").path
    let model = try #require(Sample.load(path: path).model)
    let texts = withExtendedLifetime(model) {
      Dictionary(uniqueKeysWithValues: model.metadata.map { ($0.key, $0.value.text) })
    }
    let expected = [
      "general.architecture": "covey", "general.license": "CC0-1.0", "general.alignment": "64",
      "covey.vit.layer_norm_eps": "1e-06", "covey.vit.cls_saliency": "false",
      "covey.input.mean": "[0.485, 0.456, 0.406]", "covey.clustering.tau": "0.75",
      "test.u8": "200", "test.i8": "-100", "test.u16": "60000", "test.i16": "-30000",
      "test.i32": "-2000000000", "test.u64": "18446744073709551615",
      "test.i64": "-9223372036854775808", "test.f64": "0.1",
      "test.many": "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, ...]",
      "test.words": "[\"Ein\", \"schöner\", \"Schwarm\"]",
    ]
    for (key, text) in expected {
      #expect(texts[key] == text, "\(key)")
    }
    var sample = Sample()
    sample.set("a", type: 9, Sample.bytes(UInt32(0)) + Sample.bytes(UInt64(16)) + [UInt8](1...16))
    sample.set("b", floats: [])
    let other = try #require(Sample.load(sample.file).model)
    // The values lie in the checkpoint, which is gone after its last use.
    let arrays = withExtendedLifetime(other) { other.metadata.suffix(2).map(\.value.text) }
    #expect(arrays == ["[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]", "[]"])
  }

  /// At every address modulo 8, without a copy: what cannot be used where it
  /// lies is converted.
  @Test(arguments: [false, true]) func anyAddress(half: Bool) throws {
    let sample = Sample(half: half)
    let file = sample.file
    let expected = expected(sample)
    let aligned = try #require(Sample.load(file).model).convertedBytes
    for shift in 0..<8 {
      // Of exactly the size needed, so that a checker of addresses notices.
      let memory = UnsafeMutableRawPointer.allocate(byteCount: file.count + shift, alignment: 64)
      defer { memory.deallocate() }
      UnsafeMutableRawBufferPointer(start: memory + shift, count: file.count).copyBytes(from: file)
      let bytes = UnsafeRawBufferPointer(start: memory + shift, count: file.count)
      let model = try Checkpoint(bytes: bytes, copy: false, verify: true)
      #expect(model.inferenceWeights == expected, "shift \(shift)")
      let floats = expected.values.reduce(0) { $0 + $1.count }
      #expect(model.convertedBytes == (shift % 4 == 0 ? aligned : 4 * floats), "shift \(shift)")
    }
  }

  @Test func mappedAndCopied() throws {
    let sample = Sample()
    try Sample.withFolder { folder in
      let path = "\(folder)/a.gguf"
      try Data(sample.file).write(to: URL(fileURLWithPath: path))
      for copy in [false, true] {
        let model = try #require(Sample.load(path: path, copy: copy).model)
        #expect(model.inferenceWeights == expected(sample))
        #expect(model.convertedBytes == 0)
      }
      #expect(Sample.load(path: "\(folder)/none.gguf").error?.kind == .io)
      #expect(
        Sample.load(path: "\(folder)/none.gguf").error?.message
          == "\(folder)/none.gguf: No such file or directory")
      #expect(Sample.load(path: folder).error?.kind == .io)
      try Data().write(to: URL(fileURLWithPath: path))
      #expect(Sample.load(path: path).error?.kind == .format)
      #expect(Sample.load(path: path, copy: true).error?.kind == .format)
    }
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
