import Foundation

import CCoveyKernels
@testable import Covey

/// A weight file as a list of its parts, put into bytes by code of its own:
/// the library's writer is not needed to test its reader, and any part can be
/// made wrong.
struct WeightFileSample {
  struct Entry {
    var key: String
    var type: UInt32
    var payload: [UInt8]
  }

  struct Tensor {
    var name: String
    var shape: [Int]  // row-major
    var type: UInt32 = 0
    /// Of an int8 tensor (type 24) its integers.
    var values: [Float]
    var isMatrix: Bool { WeightFileSample.isMatrix(name) }
  }

  var magic: [UInt8] = Array("GGUF".utf8)
  var version: UInt32 = 3
  var entries: [Entry] = []
  var tensors: [Tensor] = []
  var alignment = 64
  /// Added to what the header says; the parts themselves stay.
  var tensorCountError: Int64 = 0
  var entryCountError: Int64 = 0

  // ---- A small model ----------------------------------------------------------

  static let (c, p, depth, grid, f) = (24, 8, 2, 4, 48)

  /// - Parameters:
  ///   - half: matrices as F16.
  ///   - whole: with the tensors that inference does not read.
  init(half: Bool = false, whole: Bool = true) {
    set("general.architecture", string: "covey")
    set("general.name", string: "sample")
    set("general.file_type", half ? 1 : 0)
    set("general.alignment", 64)
    set("covey.format_version", 1)
    set("covey.vit.patch_size", UInt32(Self.p))
    set("covey.vit.embed_dim", UInt32(Self.c))
    set("covey.vit.depth", UInt32(Self.depth))
    set("covey.vit.heads", 3)
    set("covey.vit.mlp_dim", UInt32(Self.f))
    set("covey.vit.position_grid", UInt32(Self.grid))
    set("covey.vit.layer_norm_eps", float: 1e-6)
    set("covey.vit.cls_saliency", bool: 1)
    set("covey.correlator.heads", 2)
    set("covey.correlator.layer_norm_eps", float: 1e-5)
    set("covey.input.mean", floats: [0.485, 0.456, 0.406])
    set("covey.input.std", floats: [0.229, 0.224, 0.225])
    set("covey.input.height", 32)
    set("covey.input.width", 48)
    set("covey.clustering.tau", float: 0.75)
    set("covey.clustering.window", 3)
    set("covey.clustering.key_stride", 10)
    set("covey.clustering.key_pool", 2)
    let (c, f) = (Self.c, Self.f)
    add("encoder.cls_token", [c])
    add("encoder.pos_embed", [1 + Self.grid * Self.grid, c])
    add("encoder.patch_embed.proj.weight", [c, 3, Self.p, Self.p])
    add("encoder.patch_embed.proj.bias", [c])
    func block(_ prefix: String, full: Bool, qkvBias: Bool, mlp: Int) {
      add("\(prefix).norm1.weight", [c])
      add("\(prefix).norm1.bias", [c])
      add("\(prefix).attn.qkv.weight", [3 * c, c])
      if qkvBias { add("\(prefix).attn.qkv.bias", [3 * c]) }
      guard full || whole else { return }
      add("\(prefix).attn.proj.weight", [c, c])
      add("\(prefix).attn.proj.bias", [c])
      add("\(prefix).norm2.weight", [c])
      add("\(prefix).norm2.bias", [c])
      add("\(prefix).mlp.fc1.weight", [mlp, c])
      add("\(prefix).mlp.fc1.bias", [mlp])
      add("\(prefix).mlp.fc2.weight", [c, mlp])
      add("\(prefix).mlp.fc2.bias", [c])
    }
    block("encoder.blocks.0", full: true, qkvBias: true, mlp: f)
    block("encoder.blocks.1", full: false, qkvBias: true, mlp: f)
    if whole {
      add("encoder.norm.weight", [c])
      add("encoder.norm.bias", [c])
    }
    block("correlator", full: false, qkvBias: false, mlp: 4 * c)
    if half {
      for index in tensors.indices where tensors[index].isMatrix {
        tensors[index].type = 1
      }
    }
  }

  /// The same with its matrices as int8, made by the formula, in double, but for
  /// the correlator's; with the errors, but without a checksum.
  ///
  /// - Parameter correlator: type of its matrix; as written, or as it is read too.
  func quantized(correlator: UInt32 = 1) -> WeightFileSample {
    var made = self
    made.tensors = []
    var errors: [Float] = []
    for var tensor in tensors {
      let isCorrelator = Self.staysFloat(tensor.name)
      guard tensor.isMatrix, !isCorrelator || correlator == 24 else {
        tensor.type = isCorrelator ? correlator : 0
        if tensor.type == 1 { tensor.values = tensor.values.map { Float(Float16($0)) } }
        made.tensors.append(tensor)
        continue
      }
      let columns = tensor.shape[1]
      let weights = tensor.values.map { Double($0) }
      var (scales, values): ([Float], [Double]) = ([], [])
      for row in 0..<tensor.shape[0] {
        let weights = weights[(row * columns)..<((row + 1) * columns)]
        let scale = Float(weights.map { abs($0) }.max() ?? 0) / 127
        scales.append(scale > 0 ? scale : 1)
        values += weights.map {
          max(-127, min(127, ($0 / Double(scales[row])).rounded(.toNearestOrEven)))
        }
      }
      var (lost, whole) = (0.0, 0.0)
      for (place, weight) in weights.enumerated() {
        lost += pow(weight - Double(scales[place / columns]) * values[place], 2)
        whole += weight * weight
      }
      errors.append(whole > 0 ? Float((lost / whole).squareRoot()) : 0)
      made.tensors.append(
        // Integers have no negative zero.
        Tensor(
          name: tensor.name, shape: tensor.shape, type: 24, values: values.map { Float(Int($0)) }))
      made.tensors.append(
        Tensor(name: "\(tensor.name).scale", shape: [tensor.shape[0]], values: scales))
    }
    made.set("general.file_type", 7)
    made.set("covey.quantization.error", floats: errors)
    return made
  }

  /// What an int8 file's matrices stand for: the same with its matrices as F32,
  /// and no word of errors.
  func dequantized() -> WeightFileSample {
    var made = self
    made.tensors = []
    for var tensor in tensors where !tensor.name.hasSuffix(".scale") {
      guard tensor.type == 24 else {
        tensor.type = 0
        made.tensors.append(tensor)
        continue
      }
      let scales = values("\(tensor.name).scale")
      let values = tensor.values.enumerated().map { scales[$0 / tensor.shape[1]] * $1 }
      made.tensors.append(Tensor(name: tensor.name, shape: tensor.shape, values: values))
    }
    made.set("general.file_type", 0)
    made.remove("covey.quantization.error")
    return made
  }

  /// With the checksum of its data; where it had none, before the errors of
  /// quantising.
  func completed() -> WeightFileSample {
    var sample = self
    var crc = CRC32()
    sample.data.withUnsafeBytes { crc.append($0) }
    let errors = entries.last { $0.key == "covey.quantization.error" }
    let isNew = !entries.contains { $0.key == "covey.checksum.crc32" }
    sample.set("covey.checksum.crc32", crc.value)
    if isNew, let errors {
      sample.remove(errors.key)
      sample.entries.append(errors)
    }
    return sample
  }

  static func isMatrix(_ name: String) -> Bool {
    ["attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight"]
      .contains { name.hasSuffix($0) }
  }

  /// A matrix that is F16 in an int8 file.
  static func staysFloat(_ name: String) -> Bool { name == "correlator.attn.qkv.weight" }

  /// Multiples of 1/512 between -1 and 1, exact in F16, different in every
  /// tensor and place.
  private mutating func add(_ name: String, _ shape: [Int]) {
    var state = name.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 }
    let values = (0..<shape.reduce(1, *)).map { _ in
      state = state &* 1_664_525 &+ 1_013_904_223
      return Float(Int(state >> 22) - 512) / 512
    }
    tensors.append(Tensor(name: name, shape: shape, values: values))
  }

  // ---- Changes ----------------------------------------------------------------

  mutating func set(_ key: String, type: UInt32, _ payload: [UInt8]) {
    let entry = Entry(key: key, type: type, payload: payload)
    if let index = entries.firstIndex(where: { $0.key == key }) {
      entries[index] = entry
    } else {
      entries.append(entry)
    }
  }

  mutating func set(_ key: String, _ value: UInt32) { set(key, type: 4, Self.bytes(value)) }

  mutating func set(_ key: String, float: Float) {
    set(key, type: 6, Self.bytes(float.bitPattern))
  }

  mutating func set(_ key: String, floats: [Float]) {
    set(
      key, type: 9,
      Self.bytes(UInt32(6)) + Self.bytes(UInt64(floats.count))
        + floats.flatMap { Self.bytes($0.bitPattern) })
  }

  mutating func set(_ key: String, bool: UInt8) { set(key, type: 7, [bool]) }

  mutating func set(_ key: String, string: String) {
    set(key, type: 8, Self.bytes(UInt64(string.utf8.count)) + Array(string.utf8))
  }

  mutating func remove(_ key: String) { entries.removeAll { $0.key == key } }

  mutating func change(_ tensor: String, _ body: (inout Tensor) -> Void) {
    guard let index = tensors.firstIndex(where: { $0.name == tensor }) else {
      fatalError("no tensor \(tensor) in the sample")
    }
    body(&tensors[index])
  }

  func values(_ name: String) -> [Float] {
    tensors.first { $0.name == name }?.values ?? []
  }

  // ---- Bytes ------------------------------------------------------------------

  static func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }

  var header: [UInt8] {
    var out = magic + Self.bytes(version)
    out += Self.bytes(UInt64(bitPattern: Int64(tensors.count) &+ tensorCountError))
    out += Self.bytes(UInt64(bitPattern: Int64(entries.count) &+ entryCountError))
    for entry in entries {
      out += Self.bytes(UInt64(entry.key.utf8.count)) + Array(entry.key.utf8)
      out += Self.bytes(entry.type) + entry.payload
    }
    var offset = 0
    for tensor in tensors {
      out += Self.bytes(UInt64(tensor.name.utf8.count)) + Array(tensor.name.utf8)
      out += Self.bytes(UInt32(tensor.shape.count))
      for size in tensor.shape.reversed() { out += Self.bytes(UInt64(size)) }
      out += Self.bytes(tensor.type) + Self.bytes(UInt64(offset))
      offset += Self.padded(Self.data(tensor).count, alignment)
    }
    return out
  }

  var data: [UInt8] {
    tensors.flatMap { tensor in
      let bytes = Self.data(tensor)
      return bytes
        + [UInt8](repeating: 0, count: Self.padded(bytes.count, alignment) - bytes.count)
    }
  }

  var file: [UInt8] {
    let header = header
    return header
      + [UInt8](repeating: 0, count: Self.padded(header.count, alignment) - header.count)
      + data
  }

  private static func data(_ tensor: Tensor) -> [UInt8] {
    switch tensor.type {
    case 1: tensor.values.flatMap { bytes(Float16($0).bitPattern) }
    case 24: tensor.values.map { UInt8(bitPattern: Int8($0)) }
    default: tensor.values.flatMap { bytes($0.bitPattern) }
    }
  }

  static func padded(_ size: Int, _ alignment: Int) -> Int {
    (size + alignment - 1) / alignment * alignment
  }
}
