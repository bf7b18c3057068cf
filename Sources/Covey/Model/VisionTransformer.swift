import CCoveyKernels

/// The backbone for frames of one working size: pixels to the keys of the last
/// block.
///
///     planes [3, H, W] -> patches -> x [1 + N, C]
///     depth - 1 times   x += proj(attention(norm1(x)))      (TransformerBlock)
///                       x += fc2(gelu(fc1(norm2(x))))
///     last block        keys = W_k norm1(x) + b_k            [N, C]
///
/// The last block's attention and MLP, and the final norm, do not count for the
/// keys and are never run.
struct VisionTransformer {
  let rows: Int
  let columns: Int
  var patches: Int { rows * columns }  // N
  let channels: Int  // C

  private let checkpoint: Checkpoint  // keeps the weights alive
  private let pool: ThreadPool
  private let positions: Buffer<Float>  // [1 + N, C]
  private let x: Buffer<Float>  // [1 + N, C]: the residual stream
  private let block: TransformerBlock
  private let tiles: RowTiles

  /// Rows of a tile: large enough that OpenBLAS's packing of the weights does
  /// not count (10 % at 256 rows), small enough to cancel within milliseconds
  /// and to share among threads.
  static let tileRows = 320

  init(
    _ checkpoint: Checkpoint, height: Int, width: Int, pool: ThreadPool, budget: Budget
  ) throws(CoveyError) {
    let config = checkpoint.config
    self.checkpoint = checkpoint
    self.pool = pool
    rows = height / config.patchSize
    columns = width / config.patchSize
    channels = config.embedDim
    let tokens = 1 + rows * columns
    tiles = RowTiles(rows: tokens, size: VisionTransformer.tileRows)
    positions = try Buffer(tokens * channels, budget: budget, for: "position embedding")
    x = try Buffer(tokens * channels, budget: budget, for: "tokens")
    block = try TransformerBlock(
      tokens: tokens, config: config, tiles: tiles, threads: pool.threads, budget: budget)
    PositionEmbedding.resize(
      checkpoint.encoder.positions, grid: config.positionGrid, channels: channels,
      to: rows, columns, into: positions.base)
  }

  /// Pieces of work `encode` reports to its monitor.
  var pieces: Int { tiles.count * (2 * checkpoint.encoder.blocks.count + 2) }

  /// - Parameters:
  ///   - planes: [3, H, W], normalised
  ///   - keys: [N, C] receives the keys of the last block
  ///   - saliency: [N] receives the CLS token's attention in the last block,
  ///     mean over heads
  func encode(
    _ planes: UnsafePointer<Float>, keys: UnsafeMutablePointer<Float>,
    saliency: UnsafeMutablePointer<Float>? = nil, monitor: Monitor
  ) throws(CoveyError) {
    embed(planes, monitor)
    try monitor.check()
    for weights in checkpoint.encoder.blocks {
      try block.run(weights, x.base, pool: pool, monitor: monitor)
    }
    block.lastKeys(
      checkpoint.encoder.last, x.base, keys: keys, saliency: saliency, pool: pool,
      monitor: monitor)
    try monitor.check()
  }

  /// x = patches W^T + b + positions; the convolution p x p with stride p is a
  /// product with the patches as rows.
  private func embed(_ planes: UnsafePointer<Float>, _ monitor: Monitor) {
    let (rows, columns, channels) = (rows, columns, channels)
    let patch = checkpoint.config.patchSize
    let inputs = checkpoint.config.patchInputs
    let weights = checkpoint.encoder.patch
    let plane = rows * patch * columns * patch
    let width = columns * patch
    let (x, positions, tiles) = (x.base, positions.base, tiles)
    let clsToken = checkpoint.encoder.clsToken
    let kernels = cv_rows().pointee
    let scratch = block.scratch

    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      let tile = tiles.range(index)
      let gathered = scratch[worker].hidden  // [tile, 3pp] in pieces that fit
      let target = x + tile.lowerBound * channels
      target.update(from: positions + tile.lowerBound * channels, count: tile.count * channels)
      var first = tile.lowerBound
      if first == 0 {
        kernels.accumulate(clsToken, channels, x)
        first = 1
      }
      let piece = max(1, scratch[worker].hiddenCapacity / inputs)
      while first < tile.upperBound {
        let count = min(piece, tile.upperBound - first)
        for i in 0..<count {
          let (row, column) = (first + i - 1).quotientAndRemainder(dividingBy: columns)
          var out = gathered + i * inputs
          for channel in 0..<3 {
            for line in 0..<patch {
              out.update(
                from: planes + channel * plane + (row * patch + line) * width + column * patch,
                count: patch)
              out += patch
            }
          }
        }
        BLAS.multiply(
          count, channels, inputs, gathered, inputs, weights.weight, inputs, transposed: true,
          into: x + first * channels, channels, add: 1)
        kernels.bias_add(x + first * channels, channels, count, channels, weights.bias)
        first += count
      }
      monitor.advance(worker: worker)
    }
  }

  /// Bytes an instance takes, for the estimate.
  static func byteCount(config: ModelConfig, height: Int, width: Int, threads: Int) -> Int {
    let tokens = 1 + (height / config.patchSize) * (width / config.patchSize)
    let floats = 2 * tokens * config.embedDim
    return floats * 4
      + TransformerBlock.byteCount(
        tokens: tokens, config: config, tiles: RowTiles(rows: tokens, size: tileRows),
        threads: threads)
  }
}
