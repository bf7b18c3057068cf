import CCoveyKernels

/// The backbone for frames of one working size: pixels to the keys of the last
/// block.
///
///     planes [3, H, W] -> x [n, C], n = 1 + R + N            (PatchEmbedding)
///     depth - 1 times   x += proj(attention(norm1(x)))       (FloatBlock or
///                       x += fc2(gelu(fc1(norm2(x))))         Int8Block)
///     last block        keys = W_k norm1(x) + b_k            [N, C]
///                       and on request queries, likewise
///
/// The last block's attention and MLP, and the final norm, do not count for the
/// keys and are never run.
struct VisionTransformer {
  var rows: Int { embedding.rows }
  var columns: Int { embedding.columns }
  var patches: Int { rows * columns }  // N
  let channels: Int  // C

  private let checkpoint: Checkpoint  // keeps the weights alive
  private let pool: ThreadPool
  private let embedding: PatchEmbedding
  private let x: Buffer<Float>  // [n, C]: the residual stream
  private let float: FloatBlock?  // one of the two, as the weights are
  private let int8: Int8Block?

  init(
    _ checkpoint: Checkpoint, height: Int, width: Int, pool: ThreadPool, budget: Budget
  ) throws(CoveyError) {
    let config = checkpoint.config
    self.checkpoint = checkpoint
    self.pool = pool
    channels = config.embedDim
    embedding = try PatchEmbedding(
      checkpoint, height: height, width: width, threads: pool.threads, budget: budget)
    let tokens = embedding.tokens
    x = try Buffer(tokens * channels, budget: budget, for: "tokens")
    float =
      checkpoint.float == nil
      ? nil : try FloatBlock(tokens: tokens, config: config, threads: pool.threads, budget: budget)
    int8 =
      checkpoint.int8 == nil
      ? nil : try Int8Block(tokens: tokens, config: config, threads: pool.threads, budget: budget)
  }

  /// [n, C], CLS first, then the registers: what `encode` gave the last block.
  var stream: UnsafePointer<Float> { UnsafePointer(x.base) }

  /// Pieces of work `encode` reports to its monitor.
  var pieces: Int {
    let depth = checkpoint.config.depth - 1
    return embedding.pieces + (float?.pieces(depth) ?? 0) + (int8?.pieces(depth) ?? 0)
  }

  /// - Parameters:
  ///   - planes: [3, H, W], normalised
  ///   - keys: [N, C] receives the keys of the last block
  ///   - queries: [N, C] receives its queries
  ///   - saliency: [N] receives the CLS token's attention in the last block,
  ///     mean over heads
  func encode(
    _ planes: UnsafePointer<Float>, keys: UnsafeMutablePointer<Float>,
    queries: UnsafeMutablePointer<Float>? = nil, saliency: UnsafeMutablePointer<Float>? = nil,
    monitor: Monitor
  ) throws(CoveyError) {
    embedding.run(planes, into: x.base, pool: pool, monitor: monitor)
    try monitor.check()
    if let block = float, let network = checkpoint.float {
      for weights in network.blocks {
        try block.run(weights, x.base, pool: pool, monitor: monitor)
      }
      block.lastKeys(
        network.last, x.base, keys: keys, queries: queries, saliency: saliency, pool: pool,
        monitor: monitor)
    }
    if let block = int8, let network = checkpoint.int8 {
      for weights in network.blocks {
        try block.run(weights, x.base, pool: pool, monitor: monitor)
      }
      block.lastKeys(
        network.last, x.base, keys: keys, queries: queries, saliency: saliency, pool: pool,
        monitor: monitor)
    }
    try monitor.check()
  }

  /// Bytes an instance takes, for the estimate.
  static func byteCount(_ checkpoint: Checkpoint, height: Int, width: Int, threads: Int) -> Int {
    let config = checkpoint.config
    let tokens = config.tokens(
      patches: (height / config.patchSize) * (width / config.patchSize))
    let blocks =
      checkpoint.int8 == nil
      ? FloatBlock.byteCount(tokens: tokens, config: config, threads: threads)
      : Int8Block.byteCount(tokens: tokens, config: config, threads: threads)
    return PatchEmbedding.byteCount(config, height: height, width: width, threads: threads)
      + 4 * tokens * config.embedDim + blocks
  }
}
