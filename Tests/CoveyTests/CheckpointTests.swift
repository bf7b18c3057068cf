import Foundation
import Testing

@testable import Covey

private typealias Sample = WeightFileSample

@Suite struct CheckpointTests {
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
}
