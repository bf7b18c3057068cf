import CCoveyKernels
import Foundation
import Testing

@testable import Covey

private typealias Sample = WeightFileSample

/// int8 files that are refused, and what is refused as int8.
@Suite struct QuantizationRefusalTests {
  private func message(verify: Bool = true, _ change: (inout Sample) -> Void) -> String {
    var sample = Sample().quantized()
    change(&sample)
    return Sample.load(sample.file, verify: verify).error?.message ?? "no error"
  }

  private func load(_ sample: Sample, verify: Bool = true) throws -> Checkpoint {
    try #require(Sample.load(sample.file, verify: verify).model)
  }

  private let matrix = "encoder.blocks.0.mlp.fc1.weight"

  // ---- What is refused ------------------------------------------------------------

  @Test func scalesAndMatricesBelongTogether() {
    let names = Sample().tensors.filter { $0.isMatrix && !Sample.staysFloat($0.name) }.map(\.name)
    for name in names + ["correlator.mlp.fc2.weight"] {
      let scale = "\(name).scale"
      #expect(message { $0.tensors.removeAll { $0.name == scale } } == "\(scale): missing")
      #expect(
        message {
          $0.change(scale) {
            $0.shape = [$0.shape[0] - 1]
            $0.values.removeLast()
          }
        }.hasPrefix("\(scale): expected "))
      #expect(message { $0.change(scale) { $0.type = 1 } } == "\(scale): expected F32, found F16")
      for (type, found) in [(UInt32(0), "F32"), (1, "F16")] {
        #expect(
          message { $0.change(name) { $0.type = type } } == "\(name): expected I8, found \(found)")
      }
    }
    #expect(
      message { $0.change("\(matrix).scale") { $0.shape = [48, 1] } }
        == "\(matrix).scale: expected 48, found 48x1")
    #expect(
      message {
        $0.change("\(matrix).scale") {
          $0.shape = [24]
          $0.values.removeLast(24)
        }
      }
        == "\(matrix).scale: expected 48, found 24")
    // Optional ones may be missing, with their scales.
    let optional = "correlator.mlp.fc2.weight"
    #expect(
      message { sample in
        sample.remove("covey.quantization.error")
        sample.tensors.removeAll { $0.name.hasPrefix(optional) }
      } == "no error")
    #expect(
      message { sample in
        sample.remove("covey.quantization.error")
        sample.tensors.removeAll { $0.name == optional }
      } == "\(optional).scale: the matrix that it scales is missing")
    #expect(message { $0.tensors.removeAll { $0.name == matrix } } == "\(matrix): missing")
    #expect(
      message { $0.tensors.append(.init(name: "encoder.cls_token.scale", shape: [1], values: [1])) }
        == "encoder.cls_token.scale: no tensor of this model has this name")
    #expect(
      message {
        $0.change("encoder.cls_token") {
          $0.type = 24
          $0.values = $0.values.map { _ in 1 }
        }
      }
        == "encoder.cls_token: expected F32, found I8")
    // In files of floats.
    for (half, type) in [(false, "F32"), (true, "F16")] {
      var sample = Sample(half: half)
      sample.tensors.append(
        .init(name: "\(matrix).scale", shape: [48], values: Array(repeating: 1, count: 48)))
      #expect(
        Sample.load(sample.file).error?.message
          == "\(matrix).scale: only I8 matrices have scales, this one is \(type)")
      #expect(Sample.load(sample.file).error?.kind == .format)
    }
    // The correlator's matrix has them where it is I8, and only there.
    let correlator = "correlator.attn.qkv.weight"
    let older = Sample().quantized(correlator: 24)
    var bare = older
    bare.tensors.removeAll { $0.name == "\(correlator).scale" }
    #expect(Sample.load(bare.file).error?.message == "\(correlator).scale: missing")
    for type in [UInt32(0), 1] {
      var wrong = older
      wrong.remove("covey.quantization.error")
      wrong.change(correlator) { $0.type = type }
      #expect(
        Sample.load(wrong.file).error?.message
          == "\(correlator).scale: only I8 matrices have scales, this one is "
          + "F\(type == 0 ? 32 : 16)")
    }
    #expect(
      message { $0.change(correlator) { $0.shape = [48, 24] } }
        == "\(correlator): expected 72x24, found 48x24")
    // The type named is not that of the matrices.
    for (number, type) in [(UInt32(0), "F32"), (1, "F16")] {
      #expect(
        message { $0.set("general.file_type", number) }
          == "encoder.blocks.0.attn.qkv.weight: expected \(type), found I8")
    }
    for half in [false, true] {
      var sample = Sample(half: half)
      sample.set("general.file_type", 7)
      #expect(
        Sample.load(sample.file).error?.message
          == "encoder.blocks.0.attn.qkv.weight: expected I8, found \(half ? "F16" : "F32")")
    }
  }

  @Test func values() throws {
    // In what inference does not read too: it would be saved.
    for name in [matrix, "correlator.mlp.fc1.weight"] {
      for place in [0, 1, 1151] {
        let wrong: (inout Sample) -> Void = { $0.change(name) { $0.values[place] = -128 } }
        #expect(
          message(wrong) == "\(name): element \(place): expected -127 to 127, found -128")
        #expect(message(verify: false, wrong) == "no error")
        #expect(message { $0.change(name) { $0.values[place] = -127 } } == "no error")
      }
      let scale = "\(name).scale"
      for (number, text) in [
        (Float.nan, "nan"), (.infinity, "inf"), (-.infinity, "-inf"), (0, "0"), (-0.0, "-0"),
        (-0.5, "-0.5"), (2.75e36, "2.75e+36"),
      ] {
        for place in [0, 47] {
          let wrong: (inout Sample) -> Void = { $0.change(scale) { $0.values[place] = number } }
          #expect(
            message(wrong)
              == "\(scale): element \(place): expected more than 0, 127 times it finite, "
              + "found \(text)"
          )
          #expect(message(verify: false, wrong) == "no error")
        }
      }
      for number in [Float.leastNonzeroMagnitude, 2.625e36] {
        #expect(message { $0.change(scale) { $0.values[3] = number } } == "no error")
      }
    }
  }

  @Test func errorsOfQuantising() {
    let key = "covey.quantization.error"
    #expect(message { $0.remove(key) } == "no error")
    #expect(
      message { $0.set(key, floats: [Float](repeating: 0, count: 12)) }
        == "\(key): expected f32[11], found f32[12]")
    #expect(message { $0.set(key, floats: []) } == "\(key): expected f32[11], found f32[0]")
    #expect(message { $0.set(key, float: 0) } == "\(key): expected f32[11], found f32")
    #expect(message { $0.set(key, string: "0") } == "\(key): expected f32[11], found string")
    for (number, text) in [(Float.nan, "nan"), (.infinity, "inf"), (-1, "-1")] {
      #expect(
        message { $0.set(key, floats: [Float](repeating: 0, count: 10) + [number]) }
          == "\(key): expected finite numbers from 0 on, found \(text)")
    }
    var plain = Sample()
    plain.set(key, floats: [0.5])
    #expect(Sample.load(plain.file).error?.message == "\(key): expected f32[0], found f32[1]")
  }

  /// On any error nothing is left, and what was there stays.
  @Test func savingRefused() throws {
    try Sample.withFolder { folder in
      let path = "\(folder)/a"
      func refused(_ sample: Sample, _ dtype: WeightType) throws -> CoveyError? {
        let error = Sample.save(try load(sample, verify: false), path: path, dtype)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == [])
        return error
      }
      // 127 times a 127th of the largest float is rounded beyond it.
      var large = Sample()
      large.change(matrix) { $0.values[25] = -Float.greatestFiniteMagnitude }
      #expect(try refused(large, .q8)?.message == "\(matrix): row 1 is too large for int8")
      #expect(try refused(large, .q8)?.kind == .argument)
      // What stays in floats does so as a half.
      var wide = Sample()
      wide.change("correlator.attn.qkv.weight") { $0.values[3] = 65520 }
      let tooLarge = "correlator.attn.qkv.weight: element 3 is too large for F16"
      #expect(try refused(wide, .q8)?.message == tooLarge)
      #expect(try refused(wide, .q8)?.kind == .argument)
      // An int8 matrix beyond the halves.
      var coarse = Sample().quantized()
      coarse.change(matrix) { $0.values[24 + 5] = -127 }
      coarse.change("\(matrix).scale") { $0.values[1] = 600 }
      let expected = "\(matrix): element "
      let error = try refused(coarse, .f16)
      #expect(error?.kind == .argument)
      #expect(error?.message.hasPrefix(expected) == true)
      #expect(error?.message.hasSuffix(" is too large for F16") == true)
      // What was loaded unverified is not handed on.
      for dtype in [WeightType.f32, .f16, .q8] {
        var wrong = Sample().quantized()
        wrong.change(matrix) { $0.values[9] = -128 }
        #expect(
          try refused(wrong, dtype)?.message
            == "\(matrix): element 9: expected -127 to 127, found -128")
        wrong = Sample().quantized()
        wrong.change("\(matrix).scale") { $0.values[9] = 0 }
        #expect(try refused(wrong, dtype)?.kind == .format)
      }
    }
  }
}
