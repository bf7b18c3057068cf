/// The weights of the whole spatio-temporal block, for training.
struct BlockParameters {
  let layout: BlockLayout
  let values: Buffer<Float>  // [layout.count]

  /// What a trainer begins with.  A branch of the block that adds nothing yet, for
  /// its last matrix is 0, leaves the block's output what it would be without it,
  /// and learns all the same: the gradient of that matrix is not 0.
  enum Start: Int32 {
    /// The weight file's.  Where it has only what inference reads, the branch behind
    /// the maps (proj) and the MLP are added, drawn anew, and add nothing yet: what
    /// the queries and keys have learned is judged by the features themselves, and
    /// not spoilt by the gradients of random outputs.
    case model = 0
    /// The maps compare the features (see `IdentityCorrelator`), and nothing is added
    /// to them.
    case identity = 1
    /// Normally distributed.
    case random = 2
  }

  /// - Throws: `.argument` for a block that cannot be trained, `.memory`.
  init(
    _ start: Start, _ checkpoint: Checkpoint, seed: UInt64, budget: Budget? = nil
  ) throws(CoveyError) {
    defer { withExtendedLifetime(checkpoint) {} }
    let (config, file) = (checkpoint.config, checkpoint.file)
    let c = config.embedDim
    let hidden = file.tensorIndex("correlator.mlp.fc1.weight").map { file.tensors[$0].shape[0] }
    let layout = try BlockLayout(
      channels: c, heads: config.correlatorHeads, hidden: hidden ?? 4 * c,
      epsilon: config.correlatorEps)
    self = try BlockParameters(layout, seed: seed, budget: budget)
    guard start != .random else { return }
    (values.base + layout.projWeight).update(repeating: 0, count: c * c)
    (values.base + layout.fc2Weight).update(repeating: 0, count: c * layout.hidden)
    switch start {
    case .random: break
    case .identity:
      for matrix in 0..<2 {
        let base = values.base + layout.qkvWeight + matrix * c * c
        base.update(repeating: 0, count: c * c)
        for row in 0..<c { base[row * c + row] = 1 }
      }
    case .model:
      // A branch of which something is missing is drawn anew as a whole.
      let tensors = layout.tensors
      for branch in [tensors[0..<3], tensors[3..<5], tensors[5..<11]] {
        let stored = branch.compactMap { file.tensorIndex("correlator.\($0.name)") }
        guard stored.count == branch.count else { continue }
        for (tensor, index) in zip(branch, stored) {
          // The file's shapes were checked when it was loaded.
          file.stored(index).read(0, tensor.count, to: values.base + tensor.offset)
        }
      }
    }
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
}
