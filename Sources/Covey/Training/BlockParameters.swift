/// The weights of the whole spatio-temporal block, for training.
struct BlockParameters {
  let layout: BlockLayout
  let values: Buffer<Float>  // [layout.count]

  /// Those of a weight file, whatever type it has.
  /// - Throws: `.unsupported` naming the tensor where the file has only what
  ///   inference reads; `.memory`.
  init(_ checkpoint: Checkpoint, budget: Budget? = nil) throws(CoveyError) {
    defer { withExtendedLifetime(checkpoint) {} }
    let (config, file) = (checkpoint.config, checkpoint.file)
    guard let fc1 = file.tensorIndex("correlator.mlp.fc1.weight") else {
      throw BlockParameters.missing("mlp.fc1.weight")
    }
    let layout = try BlockLayout(
      channels: config.embedDim, heads: config.correlatorHeads,
      hidden: file.tensors[fc1].shape[0], epsilon: config.correlatorEps)
    let values = try Buffer<Float>(layout.count, budget: budget, for: "parameters of the block")
    for tensor in layout.tensors {
      // The file's shapes were checked when it was loaded.
      guard let index = file.tensorIndex("correlator.\(tensor.name)") else {
        throw BlockParameters.missing(tensor.name)
      }
      file.stored(index).read(0, tensor.count, to: values.base + tensor.offset)
    }
    (self.layout, self.values) = (layout, values)
  }

  /// Fresh ones: matrices from a normal distribution of deviation 0.02, cut off at
  /// +- 2 as timm's `trunc_normal_` has it, so in effect not at all; biases 0,
  /// weights of norms 1.  The same for the same seed, everywhere.
  init(_ layout: BlockLayout, seed: UInt64, budget: Budget? = nil) throws(CoveyError) {
    let values = try Buffer<Float>(layout.count, budget: budget, for: "parameters of the block")
    values.fill(0)
    for (offset, value) in [(layout.norm1Weight, Float(1)), (layout.norm2Weight, 1)] {
      (values.base + offset).update(repeating: value, count: layout.channels)
    }
    let random = CounterRandom(seed: seed)
    for tensor in layout.tensors where tensor.isMatrix {
      let target = values.base + tensor.offset
      for index in 0..<tensor.count {
        target[index] = 0.02 * random.normal(.initialisation, tensor.offset + index)
      }
    }
    (self.layout, self.values) = (layout, values)
  }

  private static func missing(_ name: StaticString) -> CoveyError {
    CoveyError(
      .unsupported,
      "correlator.\(name): missing; the file has only what inference reads of the block, "
        + "which cannot be trained further")
  }
}
