import Foundation

import CCoveyKernels
@testable import Covey

// ---- Loading ------------------------------------------------------------------

extension WeightFileSample {
  enum Loaded {
    case model(Checkpoint)
    case refused(CoveyError)

    var error: CoveyError? {
      if case .refused(let error) = self { error } else { nil }
    }

    var model: Checkpoint? {
      if case .model(let model) = self { model } else { nil }
    }
  }

  /// Loads a copy of the bytes: the checkpoint needs nothing but itself.
  static func load(_ bytes: [UInt8], verify: Bool = true) -> Loaded {
    bytes.withUnsafeBytes { bytes in
      do throws(CoveyError) {
        return .model(try Checkpoint(bytes: bytes, copy: true, verify: verify))
      } catch {
        return .refused(error)
      }
    }
  }

  static func load(path: String, copy: Bool = false) -> Loaded {
    do throws(CoveyError) {
      return .model(try Checkpoint(path: path, copy: copy, verify: true))
    } catch {
      return .refused(error)
    }
  }

  /// What saving throws; nil where it is done.
  static func save(_ model: Checkpoint, path: String, _ dtype: WeightType) -> CoveyError? {
    do throws(CoveyError) {
      try model.save(path: path, dtype: dtype)
      return nil
    } catch {
      return error
    }
  }

  static let goldenFolder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("golden")

  /// A folder that is gone when the body has ended.
  static func withFolder<R>(_ body: (String) throws -> R) throws -> R {
    let folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("covey-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try body(folder.path)
  }
}

extension Checkpoint {
  /// What inference reads, by name: read through the pointers it is given.
  var inferenceWeights: [String: [Float]] {
    defer { withExtendedLifetime(self) {} }
    var found: [String: [Float]] = [:]
    func take(_ name: String, _ pointer: UnsafePointer<Float>, _ count: Int) {
      found[name] = Array(UnsafeBufferPointer(start: pointer, count: count))
    }
    func norm(_ name: String, _ weights: LayerNormWeights) {
      take("\(name).weight", weights.weight, config.embedDim)
      take("\(name).bias", weights.bias, config.embedDim)
    }
    func linear(_ name: String, _ weights: LinearWeights) {
      take("\(name).weight", weights.weight, weights.outputs * weights.inputs)
      take("\(name).bias", weights.bias, weights.outputs)
    }
    let grid = config.positionGrid
    take("encoder.cls_token", embedding.clsToken, config.embedDim)
    if let registers = embedding.registers {
      take("encoder.register_tokens", registers, config.registers * config.embedDim)
    }
    take("encoder.pos_embed", embedding.positions, (1 + grid * grid) * config.embedDim)
    linear("encoder.patch_embed.proj", embedding.patch)
    norm("correlator.norm1", correlator.norm1)
    let square = config.embedDim * config.embedDim
    take("correlator.query.weight", correlator.query, square)
    take("correlator.key.weight", correlator.key, square)
    let last = "encoder.blocks.\(config.depth - 1)"
    if let network = float {
      for (index, block) in network.blocks.enumerated() {
        let prefix = "encoder.blocks.\(index)"
        norm("\(prefix).norm1", block.norm1)
        linear("\(prefix).attn.qkv", block.qkv)
        linear("\(prefix).attn.proj", block.proj)
        norm("\(prefix).norm2", block.norm2)
        linear("\(prefix).mlp.fc1", block.fc1)
        linear("\(prefix).mlp.fc2", block.fc2)
      }
      norm("\(last).norm1", network.last.norm1)
      linear("\(last).attn.qkv", network.last.qkv)
    }
    if let network = int8 {
      func packed(_ name: String, _ parts: [cv_packed], _ inputs: Int) {
        found["\(name).weight"] = parts.flatMap { $0.floats(inputs: inputs) }
        found["\(name).bias"] = parts.flatMap {
          Array(UnsafeBufferPointer(start: $0.bias, count: $0.columns))
        }
      }
      let c = config.embedDim
      for (index, block) in network.blocks.enumerated() {
        let prefix = "encoder.blocks.\(index)"
        norm("\(prefix).norm1", block.norm1)
        packed("\(prefix).attn.qkv", [block.query, block.key, block.value], c)
        packed("\(prefix).attn.proj", [block.proj], c)
        norm("\(prefix).norm2", block.norm2)
        packed("\(prefix).mlp.fc1", [block.fc1], c)
        packed("\(prefix).mlp.fc2", [block.fc2], config.mlpDim)
      }
      norm("\(last).norm1", network.last.norm1)
      packed("\(last).attn.qkv", [network.last.query, network.last.key], c)
    }
    return found
  }
}

extension cv_packed {
  /// [columns, inputs], as they stood in the file.
  func floats(inputs: Int) -> [Float] {
    let groups = Int(groups)
    return (0..<columns).flatMap { column in
      (0..<inputs).map { input in
        let group = column / 64 * groups + input / 4
        return scale[column] * Float(values[(group * 64 + column % 64) * 4 + input % 4])
      }
    }
  }
}
