import Foundation
import Testing

@testable import Covey

private typealias Sample = WeightFileSample

@Suite struct CheckpointWriterTests {
  private func bytes(_ path: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  /// What is saved is, byte for byte, what the sample's own code puts together.
  @Test(arguments: [false, true], [false, true])
  func writesTheFileExpected(half: Bool, whole: Bool) throws {
    try Sample.withFolder { folder in
      for from in [false, true] {
        let model = try #require(Sample.load(Sample(half: from, whole: whole).file).model)
        try model.save(path: "\(folder)/a", dtype: half ? .f16 : .f32)
        // The sample's numbers are exact in both types.
        let expected = Sample(half: half, whole: whole).completed().file
        #expect(try bytes("\(folder)/a") == expected)
      }
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["a"])
    }
  }

  /// The alignment becomes 64, and the order of keys and tensors stays.
  @Test func normalises() throws {
    try Sample.withFolder { folder in
      var sample = Sample()
      sample.tensors.reverse()
      sample.entries.reverse()
      var small = sample
      small.alignment = 8
      small.set("general.alignment", 8)
      let model = try #require(Sample.load(small.file).model)
      try model.save(path: "\(folder)/a", dtype: .f32)
      #expect(try bytes("\(folder)/a") == sample.completed().file)
      // Without the key it is put at the end, before the checksum.
      small.remove("general.alignment")
      small.alignment = 32
      try #require(Sample.load(small.file).model).save(path: "\(folder)/a", dtype: .f32)
      sample.remove("general.alignment")
      sample.set("general.alignment", 64)
      #expect(try bytes("\(folder)/a") == sample.completed().file)
    }
  }

  /// Values of every type survive, and a second round changes nothing.
  @Test(arguments: ["tiny-f32", "tiny-f16", "tiny-q8"]) func goldenRoundTrip(name: String) throws {
    try Sample.withFolder { folder in
      let path = Sample.goldenFolder.appendingPathComponent("\(name).gguf").path
      let model = try #require(Sample.load(path: path).model)
      try model.save(path: "\(folder)/a", dtype: model.dtype)
      let again = try #require(Sample.load(path: "\(folder)/a").model)
      defer { withExtendedLifetime((model, again)) {} }
      for entry in model.metadata {
        let found = again.metadata.first { $0.key == entry.key }
        #expect(found?.value.text == entry.value.text, "\(entry.key)")
        #expect(found?.value.typeName == entry.value.typeName, "\(entry.key)")
      }
      #expect(again.metadata.contains { $0.key == "covey.checksum.crc32" })
      #expect(again.file.tensors.map(\.name) == model.file.tensors.map(\.name))
      for (one, other) in zip(model.file.tensors, again.file.tensors) {
        #expect(one.data.elementsEqual(other.data), "\(one.name)")
        #expect(other.offset % 64 == 0)
      }
      try again.save(path: "\(folder)/b", dtype: again.dtype)
      #expect(try bytes("\(folder)/a") == bytes("\(folder)/b"))
    }
  }

  /// Rounded once, and never again.
  @Test func halvesAreStable() throws {
    try Sample.withFolder { folder in
      var random = SeededRandom(seed: 3)
      var sample = Sample()
      for index in sample.tensors.indices {
        for place in sample.tensors[index].values.indices {
          // Of all sizes that halves have, their subnormals included.
          let exponent = Float.random(in: -26..<15, using: &random)
          sample.tensors[index].values[place] =
            Float.random(in: -1...1, using: &random) * Float(exp2(exponent))
        }
      }
      let f32 = try #require(Sample.load(sample.file).model)
      try f32.save(path: "\(folder)/a16", dtype: .f16)
      let f16 = try #require(Sample.load(path: "\(folder)/a16").model)
      defer { withExtendedLifetime(f16) {} }
      for tensor in f16.file.tensors where tensor.element == .f16 {
        let expected = sample.values(tensor.name).map { Float16($0).bitPattern }
        #expect(Array(tensor.data.bindMemory(to: UInt16.self)) == expected, "\(tensor.name)")
      }
      try f16.save(path: "\(folder)/b32", dtype: .f32)
      try #require(Sample.load(path: "\(folder)/b32").model)
        .save(path: "\(folder)/b16", dtype: .f16)
      #expect(try bytes("\(folder)/a16") == bytes("\(folder)/b16"))
      #expect(f16.weightBytes < f32.weightBytes)
    }
  }

  /// Matrices of more than one piece of 65,536 elements, with an odd rest.
  @Test func largeMatrices() throws {
    try Sample.withFolder { folder in
      var sample = Sample()
      let width = 8191
      sample.set("covey.vit.mlp_dim", UInt32(width))
      for (name, shape) in [
        ("fc1.weight", [width, 24]), ("fc1.bias", [width]), ("fc2.weight", [24, width]),
      ] {
        for block in ["encoder.blocks.0", "encoder.blocks.1"] {
          sample.change("\(block).mlp.\(name)") {
            $0.shape = shape
            $0.values = (0..<shape.reduce(1, *)).map { Float($0 % 1021) / 512 }
          }
        }
      }
      let model = try #require(Sample.load(sample.file).model)
      try model.save(path: "\(folder)/a", dtype: .f16)
      for index in sample.tensors.indices where sample.tensors[index].isMatrix {
        sample.tensors[index].type = 1
      }
      sample.set("general.file_type", 1)
      #expect(try bytes("\(folder)/a") == sample.completed().file)
    }
  }

  /// On any error nothing is left, and what was there stays.
  @Test func errorsLeaveNothingBehind() throws {
    try Sample.withFolder { folder in
      let path = "\(folder)/a"
      try Data("before".utf8).write(to: URL(fileURLWithPath: path))
      func unchanged() throws -> Bool {
        try FileManager.default.contentsOfDirectory(atPath: folder) == ["a"]
          && bytes(path) == Array("before".utf8)
      }
      var sample = Sample()
      let name = "encoder.blocks.1.mlp.fc2.weight"
      // Rounds to 65504, the largest half; the next float would be infinite.
      sample.change(name) { $0.values[7] = Float(65520).nextDown }
      try #require(Sample.load(sample.file).model).save(path: "\(folder)/b", dtype: .f16)
      try FileManager.default.removeItem(atPath: "\(folder)/b")
      for large in [65520, -65520, 1e30] as [Float] {
        sample.change(name) { $0.values[7] = large }
        let error = Sample.save(try #require(Sample.load(sample.file).model), path: path, .f16)
        #expect(error?.kind == .argument)
        #expect(error?.message == "\(name): element 7 is too large for F16")
        #expect(try unchanged())
      }
      sample.change(name) { $0.values[7] = .nan }
      let unverified = try #require(Sample.load(sample.file, verify: false).model)
      for dtype in [WeightType.f32, .f16, .q8] {
        let error = Sample.save(unverified, path: path, dtype)
        #expect(error?.kind == .format)
        #expect(error?.message == "\(name): element 7 is not a finite number")
        #expect(try unchanged())
      }
      let model = try #require(Sample.load(Sample().file).model)
      #expect(Sample.save(model, path: folder, .f32)?.kind == .io)
      #expect(Sample.save(model, path: "\(folder)/none/a", .f32)?.kind == .io)
      #expect(Sample.save(model, path: "", .f32)?.kind == .io)
      #expect(Sample.save(model, path: "/dev/null", .f32)?.kind == .io)
      #expect(try unchanged())
    }
  }

  /// The file that a checkpoint is mapped from may be replaced by its own
  /// saving, and the checkpoint goes on with the old one.
  @Test func savesOverItself() throws {
    try Sample.withFolder { folder in
      let path = "\(folder)/a"
      try Data(Sample().file).write(to: URL(fileURLWithPath: path))
      let model = try #require(Sample.load(path: path).model)
      let before = model.inferenceWeights
      try model.save(path: path, dtype: .f16)
      #expect(model.inferenceWeights == before)
      #expect(try #require(Sample.load(path: path).model).dtype == .f16)
      try model.save(path: path, dtype: .f32)
      #expect(try bytes(path) == Sample().completed().file)
    }
  }
}
