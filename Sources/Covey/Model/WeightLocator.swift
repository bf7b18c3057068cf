/// Finds the weights that inference reads, as aligned floats: where they lie in
/// the file if they are that, else converted into one buffer.  int8 matrices are
/// had as they are, but for what stays in floats.
///
/// Only for files that `GGUFReader.check` has passed: asking for a tensor that
/// is not required is a bug.
struct WeightLocator {
  let converted: Buffer<Float>
  private let file: GGUFReader
  /// By index in the file; nil for what inference does not read.
  private let pointers: [UnsafePointer<Float>?]

  /// - Throws: `.memory`.
  init(_ file: GGUFReader, _ specs: [TensorSpec]) throws(CoveyError) {
    var required: [(index: Int, count: Int)] = []
    for spec in specs where spec.isRequired {
      guard let index = file.tensorIndex(spec.name) else { continue }
      if let scale = file.scaleIndex(ofMatrixAt: index), !spec.staysFloat {
        required.append((scale, spec.shape[0]))
      } else {
        let count = file.tensors[index].count
        required.append((index, count / spec.shape[0] * spec.rowsRead))
      }
    }
    // No more elements than the file has bytes.
    let count = required.reduce(0) {
      $0 + (file.tensors[$1.index].alignedFloats == nil ? $1.count : 0)
    }
    let converted = try Buffer<Float>(count, for: "converted weights")
    var pointers = [UnsafePointer<Float>?](repeating: nil, count: file.tensors.count)
    var next = converted.base
    for (index, count) in required {
      let tensor = file.tensors[index]
      if let floats = tensor.alignedFloats {
        pointers[index] = floats
      } else {
        file.stored(index).read(0, count, to: next)
        pointers[index] = UnsafePointer(next)
        next += count
      }
    }
    self.file = file
    self.converted = converted
    self.pointers = pointers
  }

  func pointer(_ name: String) -> UnsafePointer<Float> {
    guard let index = file.tensorIndex(name), let pointer = pointers[index] else {
      preconditionFailure("a tensor that was not checked")
    }
    return pointer
  }

  /// Of an int8 file.
  func int8Matrix(_ name: String) -> Int8Matrix {
    guard let index = file.tensorIndex(name), let scale = file.scaleIndex(ofMatrixAt: index),
      let floats = pointers[scale], let values = file.tensors[index].data.baseAddress
    else {
      preconditionFailure("an int8 matrix that was not checked")
    }
    let shape = file.tensors[index].shape
    return Int8Matrix(
      rows: shape[0], columns: shape[1], values: values.assumingMemoryBound(to: Int8.self),
      scale: floats)
  }

  func norm(_ prefix: String, _ eps: Float) -> LayerNormWeights {
    LayerNormWeights(
      weight: pointer("\(prefix).weight"), bias: pointer("\(prefix).bias"), eps: eps)
  }

  func linear(_ prefix: String, _ outputs: Int, _ inputs: Int) -> LinearWeights {
    LinearWeights(
      outputs: outputs, inputs: inputs, weight: pointer("\(prefix).weight"),
      bias: pointer("\(prefix).bias"))
  }

  func embedding(_ config: ModelConfig) -> EmbeddingWeights {
    EmbeddingWeights(
      patch: linear("encoder.patch_embed.proj", config.embedDim, config.patchInputs),
      clsToken: pointer("encoder.cls_token"), positions: pointer("encoder.pos_embed"),
      registers: config.registers > 0 ? pointer("encoder.register_tokens") : nil)
  }

  func correlator(_ config: ModelConfig) -> CorrelatorWeights {
    let matrix = pointer("correlator.attn.qkv.weight")
    return CorrelatorWeights(
      norm1: norm("correlator.norm1", config.correlatorEps),
      query: matrix, key: matrix + config.embedDim * config.embedDim)
  }

  /// Of a file of floats.
  func floatNetwork(_ config: ModelConfig) -> FloatNetwork {
    let c = config.embedDim
    let last = "encoder.blocks.\(config.depth - 1)"
    return FloatNetwork(
      blocks: (0..<config.depth - 1).map { block("encoder.blocks.\($0)", config) },
      last: LastBlockWeights(
        norm1: norm("\(last).norm1", config.layerNormEps),
        qkv: linear("\(last).attn.qkv", 3 * c, c)))
  }

  private func block(_ prefix: String, _ config: ModelConfig) -> BlockWeights {
    let (c, f) = (config.embedDim, config.mlpDim)
    return BlockWeights(
      norm1: norm("\(prefix).norm1", config.layerNormEps),
      qkv: linear("\(prefix).attn.qkv", 3 * c, c),
      proj: linear("\(prefix).attn.proj", c, c),
      norm2: norm("\(prefix).norm2", config.layerNormEps),
      fc1: linear("\(prefix).mlp.fc1", f, c),
      fc2: linear("\(prefix).mlp.fc2", c, f))
  }
}

extension GGUFTensor {
  /// Where the tensor can be used where it lies.
  var alignedFloats: UnsafePointer<Float>? {
    guard element == .f32, let base = data.baseAddress,
      UInt(bitPattern: base) % UInt(MemoryLayout<Float>.alignment) == 0
    else { return nil }
    return base.assumingMemoryBound(to: Float.self)
  }
}
