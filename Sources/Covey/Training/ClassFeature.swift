import CCoveyKernels

/// The feature that stands for the CLS token of a frame: the output of the backbone's
/// last block, without the final norm, of that token alone.
///
///     p_h = softmax(q_h k_h^T / sqrt D)                        [n], of each head
///     o_h = W_v,h (sum_j p_h,j z_j) + b_v,h                    as p_h adds up to 1
///     x_1 = x + W_proj o + b;  y = x_1 + MLP(norm2(x_1))       [C]
///
/// with z = norm1 of the block's input x.  The values are never computed: the mean of
/// z is, and its product with W_v.  In fp32 whatever the weights are stored as.
struct ClassFeature {
  private let layout: BlockLayout  // of the backbone's block
  private let tokens: Int  // n = 1 + R + N
  private let leading: Int  // 1 + R: CLS and the registers
  private let weights: Buffer<Float>  // [layout.count + 3C]: and the bias of qkv
  private let normed: Buffer<Float>  // z [n, C]
  private let scores: Buffer<Float>  // [H, n]
  private let means: Buffer<Float>  // [H, C]
  private let rows: Buffer<Float>  // query, o, x_1, norm2 [4, C], keys [1 + R, C], hidden [F]

  private static var bias: String { "attn.qkv.bias" }

  /// Whether the token means something, and the file has the whole block.
  static func exists(_ checkpoint: Checkpoint) -> Bool {
    guard checkpoint.config.hasClsSaliency, let layout = try? layout(checkpoint.config) else {
      return false
    }
    return layout.tensors.allSatisfy { index("\($0.name)", checkpoint) != nil }
  }

  private static func layout(_ config: ModelConfig) throws(CoveyError) -> BlockLayout {
    try BlockLayout(
      channels: config.embedDim, heads: config.heads, hidden: config.mlpDim,
      epsilon: config.layerNormEps)
  }

  private static func index(_ name: String, _ checkpoint: Checkpoint) -> Int? {
    checkpoint.file.tensorIndex("encoder.blocks.\(checkpoint.config.depth - 1).\(name)")
  }

  /// - Parameter patches: N.
  /// - Throws: `.unsupported` where it does not exist, `.memory`.
  init(_ checkpoint: Checkpoint, patches: Int, budget: Budget) throws(CoveyError) {
    defer { withExtendedLifetime(checkpoint) {} }
    let layout = try ClassFeature.layout(checkpoint.config)
    let (c, h) = (layout.channels, layout.heads)
    leading = checkpoint.config.leadingTokens
    let tokens = checkpoint.config.tokens(patches: patches)
    let weights = try Buffer<Float>(
      layout.count + 3 * c, budget: budget, for: "the last block's weights")
    func read(_ name: String, _ count: Int, _ offset: Int) throws(CoveyError) {
      guard let index = ClassFeature.index(name, checkpoint) else {
        throw CoveyError(.unsupported, "\(name) of the backbone's last block: missing")
      }
      checkpoint.file.stored(index).read(0, count, to: weights.base + offset)
    }
    for tensor in layout.tensors { try read("\(tensor.name)", tensor.count, tensor.offset) }
    try read(ClassFeature.bias, 3 * c, layout.count)
    (self.layout, self.tokens, self.weights) = (layout, tokens, weights)
    normed = try Buffer(tokens * c, budget: budget, for: "inputs of the last block")
    scores = try Buffer(h * tokens, budget: budget, for: "attention of the CLS token")
    means = try Buffer(h * c, budget: budget, for: "attention of the CLS token")
    rows = try Buffer(
      (4 + leading) * c + layout.hidden, budget: budget, for: "output of the CLS token")
  }

  /// - Parameters:
  ///   - stream: x [n, C], CLS first, then the registers
  ///   - keys: [N, C] of the patches
  ///   - out: y [C]
  func run(
    _ stream: UnsafePointer<Float>, keys: UnsafePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    defer { withExtendedLifetime(self) {} }
    let (c, f, h, d, n) = (
      layout.channels, layout.hidden, layout.heads, layout.headDim, tokens
    )
    let (weights, z, scores, means) = (weights.base, normed.base, scores.base, means.base)
    let (query, attended) = (rows.base, rows.base + c)
    let (x1, normed) = (rows.base + 2 * c, rows.base + 3 * c)
    let others = rows.base + 4 * c
    let hidden = others + leading * c
    let kernels = cv_rows().pointee
    /// y = W x + b of one row.
    func linear(
      _ x: UnsafePointer<Float>, _ matrix: Int, _ bias: Int, outputs: Int, inputs: Int,
      _ y: UnsafeMutablePointer<Float>
    ) {
      BLAS.multiply(
        1, outputs, inputs, x, inputs, weights + matrix, inputs, transposed: true, into: y,
        outputs)
      kernels.accumulate(weights + bias, outputs, y)
    }
    kernels.layer_norm(
      stream, c, n, c, weights + layout.norm1Weight, weights + layout.norm1Bias, layout.epsilon,
      z, c)
    let (qkv, bias) = (layout.qkvWeight, layout.count)
    linear(z, qkv, bias, outputs: c, inputs: c, query)
    for token in 0..<leading {
      linear(z + token * c, qkv + c * c, bias + c, outputs: c, inputs: c, others + token * c)
    }
    for head in 0..<h {
      let row = scores + head * n
      for token in 0..<leading {
        row[token] = Float(kernels.dot(query + head * d, others + token * c + head * d, d))
      }
      BLAS.multiply(
        1, n - leading, d, query + head * d, c, keys + head * d, c, transposed: true,
        into: row + leading, n)
    }
    kernels.softmax(scores, n, h, n, 1 / Float(d).squareRoot())
    BLAS.multiply(h, c, n, scores, n, z, c, transposed: false, into: means, c)
    for head in 0..<h {
      linear(
        means + head * c, qkv + (2 * c + head * d) * c, bias + 2 * c + head * d, outputs: d,
        inputs: c, attended + head * d)
    }
    linear(attended, layout.projWeight, layout.projBias, outputs: c, inputs: c, x1)
    kernels.accumulate(stream, c, x1)
    kernels.layer_norm(
      x1, c, 1, c, weights + layout.norm2Weight, weights + layout.norm2Bias, layout.epsilon,
      normed, c)
    BLAS.multiply(
      1, f, c, normed, c, weights + layout.fc1Weight, c, transposed: true, into: hidden, f)
    kernels.bias_gelu(hidden, f, 1, f, weights + layout.fc1Bias)
    linear(hidden, layout.fc2Weight, layout.fc2Bias, outputs: c, inputs: f, out)
    kernels.accumulate(x1, c, out)
  }
}
