import CCoveyKernels
import Foundation
import Testing

@testable import Covey

private typealias Sample = WeightFileSample

/// int8 files, against `WeightFileSample.quantized()` and files of NumPy.
@Suite struct QuantizationTests {
  private func bytes(_ path: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  private func load(_ sample: Sample, verify: Bool = true) throws -> Checkpoint {
    try #require(Sample.load(sample.file, verify: verify).model)
  }

  private let matrix = "encoder.blocks.0.mlp.fc1.weight"

  /// Numbers of all sizes, ties between two integers, and rows of extremes.
  private func hardSample() -> Sample {
    var random = SeededRandom(seed: 7)
    var sample = Sample()
    for index in sample.tensors.indices
    where sample.tensors[index].isMatrix && !Sample.staysFloat(sample.tensors[index].name) {
      let columns = sample.tensors[index].shape[1]
      for row in 0..<sample.tensors[index].shape[0] {
        // Rows of one size each, within what floats have.
        let size = Float(exp2(Double.random(in: -140..<100, using: &random)))
        for column in 0..<columns {
          sample.tensors[index].values[row * columns + column] =
            size * Float.random(in: -1...1, using: &random)
        }
      }
    }
    sample.change(matrix) { tensor in
      func row(_ row: Int, _ values: (Int) -> Float) {
        for column in 0..<24 { tensor.values[row * 24 + column] = values(column) }
      }
      row(0) { _ in 0 }
      row(1) { _ in -0.0 }
      // The scale is 1 and 2^-20: every second number is a tie.
      row(2) { $0 == 0 ? 127 : Float($0 - 12) / 2 }
      row(3) { $0 == 23 ? -127 * 0x1p-20 : Float($0 - 12) * 0x1p-21 }
      // A place beside a tie, on either side.
      row(4) { $0 == 0 ? 127 : $0 % 2 == 0 ? Float(2.5).nextUp : Float(2.5).nextDown }
      // Subnormal, with scales that are far from a 127th, or would be 0.
      row(5) { Float($0 - 12) * Float.leastNonzeroMagnitude * 10 }
      row(6) { Float($0 - 12) * Float.leastNonzeroMagnitude }
      row(7) { $0 == 3 ? Float.leastNonzeroMagnitude : 0 }
      // The largest that fit.
      row(8) { ($0 % 2 == 0 ? 1 : -1) * Float.greatestFiniteMagnitude * 0.99999 }
    }
    return sample
  }

  // ---- What is written ------------------------------------------------------------

  /// Byte for byte what the formula gives, from F32 and from F16.
  @Test(arguments: [false, true], [false, true])
  func writesTheFileExpected(half: Bool, whole: Bool) throws {
    try Sample.withFolder { folder in
      try load(Sample(half: half, whole: whole)).save(path: "\(folder)/a", dtype: .q8)
      // The sample's numbers are exact in both types.
      let expected = Sample(whole: whole).quantized().completed()
      #expect(try bytes("\(folder)/a") == expected.file)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["a"])
    }
  }

  /// A file that NumPy and the gguf package made, quantised by NumPy.
  @Test func agreesWithNumPy() throws {
    try Sample.withFolder { folder in
      let golden = Sample.goldenFolder
      let f32 = golden.appendingPathComponent("tiny-f32.gguf").path
      try #require(Sample.load(path: f32).model).save(path: "\(folder)/a", dtype: .q8)
      let expected = try bytes(golden.appendingPathComponent("tiny-q8.gguf").path)
      #expect(try bytes("\(folder)/a") == expected)
    }
  }

  @Test func hardNumbers() throws {
    try Sample.withFolder { folder in
      let sample = hardSample()
      let expected = sample.quantized()
      // The cases are what they are meant to be.
      let values = expected.values(matrix)
      let scales = expected.values("\(matrix).scale")
      #expect(scales[0] == 1 && scales[1] == 1 && scales[2] == 1 && scales[3] == 0x1p-20)
      #expect(values[(2 * 24 + 1)..<(2 * 24 + 6)] == [-6, -5, -4, -4, -4])  // -5.5 -5 -4.5 -4 -3.5
      #expect(values[(4 * 24 + 1)..<(4 * 24 + 4)] == [2, 3, 2])
      #expect(scales[5] == .leastNonzeroMagnitude && scales[6] == 1 && scales[7] == 1)
      try load(sample).save(path: "\(folder)/a", dtype: .q8)
      #expect(try bytes("\(folder)/a") == expected.completed().file)
      #expect(Sample.load(path: "\(folder)/a").error == nil)
    }
  }

  /// Halves of all sizes, their subnormals included.
  @Test func fromHalves() throws {
    try Sample.withFolder { folder in
      var random = SeededRandom(seed: 8)
      var sample = Sample(half: true)
      for index in sample.tensors.indices where sample.tensors[index].isMatrix {
        for place in sample.tensors[index].values.indices {
          let bits = UInt16.random(in: 0..<0x7C00, using: &random)
          sample.tensors[index].values[place] = Float(Float16(bitPattern: bits))
        }
      }
      try load(sample).save(path: "\(folder)/a", dtype: .q8)
      #expect(try bytes("\(folder)/a") == sample.quantized().completed().file)
    }
  }

  /// Rows of more than one piece of 65,536 elements, and pieces of many rows.
  @Test func largeMatrices() throws {
    try Sample.withFolder { folder in
      var sample = Sample()
      let width = 65536 + 1021
      for (name, shape) in [
        ("fc1.weight", [width, 24]), ("fc1.bias", [width]), ("fc2.weight", [24, width]),
      ] {
        sample.change("correlator.mlp.\(name)") {
          $0.shape = shape
          $0.values = (0..<shape.reduce(1, *)).map { Float($0 % 1021 - 500) / 512 }
        }
      }
      // The largest number of a row is its last.
      sample.change("correlator.mlp.fc2.weight") { $0.values[2 * width - 1] = 9 }
      try load(sample).save(path: "\(folder)/a", dtype: .q8)
      let expected = sample.quantized()
      #expect(try bytes("\(folder)/a") == expected.completed().file)
      // And back, in pieces that end within rows.
      try #require(Sample.load(path: "\(folder)/a").model).save(path: "\(folder)/b", dtype: .f32)
      #expect(try bytes("\(folder)/b") == expected.dequantized().completed().file)
    }
  }

  /// The largest of a row stays within half a step of its scale, and so does all.
  @Test func withinHalfAStep() throws {
    let sample = Sample()
    let quantized = sample.quantized()
    for tensor in sample.tensors where tensor.isMatrix && !Sample.staysFloat(tensor.name) {
      let scales = quantized.values("\(tensor.name).scale")
      let found = quantized.dequantized().values(tensor.name)
      let steps = zip(tensor.values, found).enumerated().map { place, pair in
        abs(Double(pair.0) - Double(pair.1)) / Double(scales[place / tensor.shape[1]])
      }
      // Half a step, and the rounding of a float of at most 127 steps.
      let worst = steps.max() ?? 1
      #expect(worst > 0.25 && worst < 0.5 + 127 * 0x1p-24, "\(tensor.name)")
    }
  }

  // ---- From int8 --------------------------------------------------------------------

  @Test func savedAgainUnchanged() throws {
    try Sample.withFolder { folder in
      // Wherever the scales stand, and whether the errors are told or not.
      var turned = Sample().quantized()
      turned.tensors.reverse()
      turned.set("covey.quantization.error", floats: (0..<11).map { Float($0) / 64 })
      var silent = Sample(whole: false).quantized()
      silent.remove("covey.quantization.error")
      // And the correlator's matrix in the other types that are read.
      let others = [Sample().quantized(correlator: 0), Sample().quantized(correlator: 24)]
      for sample in [Sample().quantized(), turned, silent] + others {
        let file = sample.completed().file
        try #require(Sample.load(file).model).save(path: "\(folder)/a", dtype: .q8)
        #expect(try bytes("\(folder)/a") == file)
      }
    }
  }

  @Test(arguments: [false, true], [UInt32(0), 1, 24])
  func toFloats(half: Bool, correlator: UInt32) throws {
    try Sample.withFolder { folder in
      let sample = Sample().quantized(correlator: correlator)
      try load(sample).save(path: "\(folder)/a", dtype: half ? .f16 : .f32)
      var expected = sample.dequantized()
      if half {
        for index in expected.tensors.indices where expected.tensors[index].isMatrix {
          expected.tensors[index].type = 1
        }
        expected.set("general.file_type", 1)
      }
      #expect(try bytes("\(folder)/a") == expected.completed().file)
    }
  }

  // ---- What is read -------------------------------------------------------------

  @Test(arguments: [false, true], [UInt32(0), 1, 24])
  func read(whole: Bool, correlator: UInt32) throws {
    let plain = Sample(whole: whole)
    let sample = plain.quantized(correlator: correlator)
    let model = try load(sample)
    #expect(model.dtype == .q8)
    // inferenceWeights of the same numbers as floats, which other tests look at.
    let expected = try load(sample.dequantized()).inferenceWeights
    let found = model.inferenceWeights
    #expect(found.keys.sorted() == expected.keys.sorted())
    // Of the last block's qkv the values are of no use, and are not packed.
    for (name, values) in found {
      var right = Array(expected[name]!.prefix(values.count))
      if name == "encoder.blocks.0.attn.qkv.bias" {
        // The keys' would add the same to all logits of a query.
        for index in 24..<48 { right[index] = 0 }
      }
      if name == "encoder.blocks.0.mlp.fc2.bias" {
        // With what bytes of 0 stand for, times the sums of the matrix's rows.
        let rows = found["encoder.blocks.0.mlp.fc2.weight"]!
        for (index, value) in values.enumerated() {
          let sum = rows[index * 48..<(index + 1) * 48].reduce(0) { $0 + Double($1) }
          let exact = Double(right[index]) + Double(CV_GELU_LEAST) * sum
          #expect(abs(Double(value) - exact) <= 1e-6)
        }
      } else {
        #expect(values == right, "\(name)")
      }
    }
    #expect(model.parameterCount == plain.tensors.reduce(0) { $0 + $1.values.count })
    let matrices = sample.tensors.filter { $0.type == 24 }
    #expect(matrices.count == (whole ? 11 : 5) + (correlator == 24 ? 1 : 0))
    let numbers = matrices.reduce(0) { $0 + $1.values.count }
    let rows = matrices.reduce(0) { $0 + $1.shape[0] }
    let halves = sample.tensors.reduce(0) { $0 + ($1.type == 1 ? $1.values.count : 0) }
    #expect(
      model.weightBytes == 4 * model.parameterCount - 3 * numbers - 2 * halves + 4 * rows)
    #expect(model.file.tensors.count == plain.tensors.count + matrices.count)
  }

  /// A file in memory stays there; one that is mapped leaves its matrices on disk.
  @Test func memoryOfWeights() throws {
    let sample = Sample().quantized()
    let path = "\(FileManager.default.temporaryDirectory.path)/q8-\(UUID().uuidString).gguf"
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Data(sample.file).write(to: URL(fileURLWithPath: path))
    let mapped = try Checkpoint(path: path, copy: false, verify: true)
    let copied = try Checkpoint(path: path, copy: true, verify: true)
    let matrices = copied.file.tensors.reduce(0) { $0 + ($1.element == .f32 ? 0 : $1.data.count) }
    #expect(matrices > 0)
    #expect(copied.residentBytes == copied.weightBytes + copied.convertedBytes)
    #expect(mapped.residentBytes == copied.residentBytes - matrices)
  }

  @Test func errorsAreTold() throws {
    func errors(_ model: Checkpoint) -> [String: Float?] {
      defer { withExtendedLifetime(model) {} }
      return Dictionary(
        uniqueKeysWithValues: zip(model.file.tensors.map(\.name), model.quantizationErrors))
    }
    var sample = Sample().quantized()
    let told = errors(try load(sample))
    let names = Sample().tensors.filter { $0.isMatrix && !Sample.staysFloat($0.name) }.map(\.name)
    #expect(names.count == 11 && told.count == sample.tensors.count)
    #expect(Set(told.filter { $0.value != nil }.keys) == Set(names))
    // Errors of values spread evenly over 254 steps are a step over the root of 12,
    // the numbers' own root of mean square 127 steps over the root of 3.
    for name in names {
      let error = try #require(told[name] ?? nil)
      #expect(abs(error * 254 - 1) < 0.25, "\(name): \(error)")
    }
    // They go by the order of the file.
    sample.tensors.reverse()
    let turned = errors(try load(sample))
    #expect(turned[names[0]] == told[names[10]] && turned[names[4]] == told[names[6]])
    sample.remove("covey.quantization.error")
    #expect(errors(try load(sample)).values.allSatisfy { $0 == nil })
    #expect(errors(try load(Sample())).values.allSatisfy { $0 == nil })
  }

  /// int8 values where they lie in the file, and scales as aligned floats, at every
  /// address modulo 8.
  @Test func matricesForKernels() throws {
    let sample = Sample().quantized()
    let file = sample.file
    for shift in 0..<8 {
      let memory = UnsafeMutableRawPointer.allocate(byteCount: file.count + shift, alignment: 64)
      defer { memory.deallocate() }
      UnsafeMutableRawBufferPointer(start: memory + shift, count: file.count).copyBytes(from: file)
      let bytes = UnsafeRawBufferPointer(start: memory + shift, count: file.count)
      let reader = try GGUFReader(bytes)
      let locator = try WeightLocator(reader, ModelConfig(reader).tensors(in: reader))
      defer { withExtendedLifetime(locator) {} }
      for name in [matrix, "encoder.blocks.1.attn.qkv.weight"] {
        let tensor = try #require(sample.tensors.first { $0.name == name })
        let found = locator.int8Matrix(name)
        #expect(found.rows == tensor.shape[0] && found.columns == tensor.shape[1])
        let count = found.rows * found.columns
        #expect(
          UnsafeBufferPointer(start: found.values, count: count).map { Float($0) } == tensor.values)
        #expect(UnsafeRawPointer(found.values) >= memory + shift)
        #expect(UnsafeRawPointer(found.values) + count <= memory + shift + file.count)
        #expect(UInt(bitPattern: found.scale) % 4 == 0, "shift \(shift)")
        #expect(
          Array(UnsafeBufferPointer(start: found.scale, count: found.rows))
            == sample.values("\(name).scale"), "shift \(shift)")
      }
      let model = try Checkpoint(bytes: bytes, copy: false, verify: true)
      #expect(try model.inferenceWeights == load(sample).inferenceWeights, "shift \(shift)")
    }
  }
}
