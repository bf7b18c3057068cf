import Foundation

@testable import Covey

/// Vigna's SplitMix64, for tests that must repeat.
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed &* 0x2545_F491_4F6C_DD1D &+ 1 }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// In [0, 1).
  mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// Of mean 0 and variance 1 (Box and Muller).
  mutating func normal() -> Double {
    (-2 * log(1 - uniform())).squareRoot() * cos(2 * .pi * uniform())
  }
}

/// A small model with random weights of the size that trained ones have:
/// matrices keep the variance of what goes through them, norms lie around 1.
/// Put into a weight file in memory, as docs/FORMAT.md has it.
struct TestCheckpoint {
  var patch = 8
  var channels = 24
  var depth = 2
  var heads = 3
  var mlp = 56
  var grid = 4
  var registers = 0
  /// Of the positions; nil: the file does not say.
  var resize: String?
  var epsilon: Float = 1e-6
  var saliency = true
  var correlatorHeads = 2
  var correlatorEpsilon: Float = 1e-5
  /// On the correlator's matrix: larger ones give sharper maps.
  var sharpness = 1.0
  /// Of the default working size.
  var rows = 4
  var columns = 6
  var tau: Float = 1
  var referenceTau: Float?
  var window = 3
  var keyStride = 10
  var keyPool = 1
  var seed: UInt64 = 1
  /// With the tensors that only training reads.
  var whole = false

  static let mean: [Float] = [0.5, 0.4, 0.3]
  static let std: [Float] = [0.25, 0.2, 0.3]

  struct Tensor {
    let name: String
    let shape: [Int]  // row-major
    let values: [Float]
  }

  /// What a tensor is made of: matrices as [outputs, inputs].
  private enum Scale {
    case matrix(Double)
    case around(Double)
  }

  var tensors: [Tensor] {
    var random = SeededRandom(seed: seed)
    var made: [Tensor] = []
    func add(_ name: String, _ shape: [Int], _ scale: Scale) {
      let inputs = shape.dropFirst().reduce(1, *)
      let values = (0..<shape.reduce(1, *)).map { _ -> Float in
        switch scale {
        case .matrix(let gain): Float(gain * random.normal() / Double(inputs).squareRoot())
        case .around(let middle): Float(middle + 0.2 * random.normal())
        }
      }
      made.append(Tensor(name: name, shape: shape, values: values))
    }
    let (c, p) = (channels, patch)
    add("encoder.cls_token", [c], .around(0))
    add("encoder.pos_embed", [1 + grid * grid, c], .around(0))
    if registers > 0 { add("encoder.register_tokens", [registers, c], .around(0)) }
    add("encoder.patch_embed.proj.weight", [c, 3, p, p], .matrix(1))
    add("encoder.patch_embed.proj.bias", [c], .around(0))
    for index in 0..<depth {
      let prefix = "encoder.blocks.\(index)"
      add("\(prefix).norm1.weight", [c], .around(1))
      add("\(prefix).norm1.bias", [c], .around(0))
      // Scores of spread 2 or so: attention that is neither flat nor one-hot.
      add("\(prefix).attn.qkv.weight", [3 * c, c], .matrix(1.5))
      add("\(prefix).attn.qkv.bias", [3 * c], .around(0))
      guard whole || index < depth - 1 else { continue }
      add("\(prefix).attn.proj.weight", [c, c], .matrix(1))
      add("\(prefix).attn.proj.bias", [c], .around(0))
      add("\(prefix).norm2.weight", [c], .around(1))
      add("\(prefix).norm2.bias", [c], .around(0))
      add("\(prefix).mlp.fc1.weight", [mlp, c], .matrix(1))
      add("\(prefix).mlp.fc1.bias", [mlp], .around(0))
      add("\(prefix).mlp.fc2.weight", [c, mlp], .matrix(1))
      add("\(prefix).mlp.fc2.bias", [c], .around(0))
    }
    add("correlator.norm1.weight", [c], .around(1))
    add("correlator.norm1.bias", [c], .around(0))
    add("correlator.attn.qkv.weight", [3 * c, c], .matrix(sharpness))
    guard whole else { return made }
    add("correlator.attn.proj.weight", [c, c], .matrix(0.5))
    add("correlator.attn.proj.bias", [c], .around(0))
    add("correlator.norm2.weight", [c], .around(1))
    add("correlator.norm2.bias", [c], .around(0))
    add("correlator.mlp.fc1.weight", [2 * c, c], .matrix(1))
    add("correlator.mlp.fc1.bias", [2 * c], .around(0))
    add("correlator.mlp.fc2.weight", [c, 2 * c], .matrix(0.5))
    add("correlator.mlp.fc2.bias", [c], .around(0))
    return made
  }

  /// All tensors by name; with `quantised` the matrices as integers times a
  /// scale a row, the correlator's as a half, as docs/FORMAT.md has it.
  func weights(quantised: Bool) -> [String: [Double]] {
    var found: [String: [Double]] = [:]
    for tensor in tensors {
      let values = tensor.values.map { Double($0) }
      guard quantised, WeightFileSample.isMatrix(tensor.name) else {
        found[tensor.name] = values
        continue
      }
      guard !WeightFileSample.staysFloat(tensor.name) else {
        found[tensor.name] = tensor.values.map { Double(Float16($0)) }
        continue
      }
      let columns = tensor.shape[1]
      found[tensor.name] = (0..<tensor.shape[0]).flatMap { row -> [Double] in
        let weights = values[row * columns..<(row + 1) * columns]
        let scale = Double(Float(weights.map { abs($0) }.max() ?? 0) / 127)
        return weights.map { ($0 / scale).rounded(.toNearestOrEven) * scale }
      }
    }
    return found
  }

  // ---- Bytes --------------------------------------------------------------------

  /// A whole weight file.
  var file: [UInt8] {
    let tensors = tensors
    let entries = entries
    var out = Array("GGUF".utf8) + bytes(UInt32(3))
    out += bytes(UInt64(tensors.count)) + bytes(UInt64(entries.count))
    for (key, value) in entries { out += string(key) + value }
    var offset = 0
    for tensor in tensors {
      out += string(tensor.name) + bytes(UInt32(tensor.shape.count))
      for size in tensor.shape.reversed() { out += bytes(UInt64(size)) }
      out += bytes(UInt32(0)) + bytes(UInt64(offset))
      offset += (4 * tensor.values.count + 63) / 64 * 64
    }
    for tensor in tensors {
      out += [UInt8](repeating: 0, count: -out.count & 63)
      tensor.values.withUnsafeBytes { out += $0 }
    }
    return out + [UInt8](repeating: 0, count: -out.count & 63)
  }

  func load() throws -> Checkpoint {
    try file.withUnsafeBytes { try Checkpoint(bytes: $0, copy: true, verify: true) }
  }

  /// As an int8 file has it.
  func loadQuantised() throws -> Checkpoint {
    try WeightFileSample.withFolder { folder in
      try load().save(path: "\(folder)/a", dtype: .q8)
      return try Checkpoint(path: "\(folder)/a", copy: true, verify: true)
    }
  }

  /// Keys with a value's type and bytes.
  private var entries: [(String, [UInt8])] {
    func integer(_ value: Int) -> [UInt8] { bytes(UInt32(4)) + bytes(UInt32(value)) }
    func float(_ value: Float) -> [UInt8] { bytes(UInt32(6)) + bytes(value.bitPattern) }
    func floats(_ values: [Float]) -> [UInt8] {
      bytes(UInt32(9)) + bytes(UInt32(6)) + bytes(UInt64(values.count))
        + values.flatMap { bytes($0.bitPattern) }
    }
    let isNewer = registers > 0 || resize != nil
    let entries = [
      ("general.architecture", bytes(UInt32(8)) + string("covey")),
      ("general.file_type", integer(0)),
      ("general.alignment", integer(64)),
      ("covey.format_version", integer(isNewer ? 2 : 1)),
      ("covey.vit.patch_size", integer(patch)),
      ("covey.vit.embed_dim", integer(channels)),
      ("covey.vit.depth", integer(depth)),
      ("covey.vit.heads", integer(heads)),
      ("covey.vit.mlp_dim", integer(mlp)),
      ("covey.vit.position_grid", integer(grid)),
      ("covey.vit.layer_norm_eps", float(epsilon)),
      ("covey.vit.cls_saliency", bytes(UInt32(7)) + [saliency ? 1 : 0]),
      ("covey.correlator.heads", integer(correlatorHeads)),
      ("covey.correlator.layer_norm_eps", float(correlatorEpsilon)),
      ("covey.input.mean", floats(Self.mean)),
      ("covey.input.std", floats(Self.std)),
      ("covey.input.height", integer(rows * patch)),
      ("covey.input.width", integer(columns * patch)),
      ("covey.clustering.tau", float(tau)),
      ("covey.clustering.window", integer(window)),
      ("covey.clustering.key_stride", integer(keyStride)),
      ("covey.clustering.key_pool", integer(keyPool)),
    ]
    return entries
      + (referenceTau.map { [("covey.clustering.reference_tau", float($0))] } ?? [])
      + (registers > 0 ? [("covey.vit.register_count", integer(registers))] : [])
      + (resize.map { [("covey.vit.position_resize", bytes(UInt32(8)) + string($0))] } ?? [])
  }

  private func string(_ text: String) -> [UInt8] {
    bytes(UInt64(text.utf8.count)) + Array(text.utf8)
  }

  private func bytes<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }
}
