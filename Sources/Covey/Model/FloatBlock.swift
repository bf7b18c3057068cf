import CCoveyKernels

/// One pre-norm block of the backbone in fp32, in place on the residual stream.
///
/// Two passes over the rows, each tile of rows on one thread:
///   1. qkv = W_qkv norm1(x) + b                                [n, 3C]
///   2. everything else, which is local to the rows of x: for each head scores
///      against all keys, softmax, times the values; proj; norm2 and the MLP.
/// So nothing of size n x n exists: a thread holds the scores of `queryRows`
/// rows of one head.
struct FloatBlock {
  /// What one thread works in.
  private struct Scratch {
    let normed: UnsafeMutablePointer<Float>  // [tile, C]
    let attended: UnsafeMutablePointer<Float>  // [tile, C]
    let hidden: UnsafeMutablePointer<Float>  // [tile, F]
    let scores: UnsafeMutablePointer<Float>  // [queryRows, n]
  }

  /// Rows of a tile: large enough that OpenBLAS's packing of the weights does
  /// not count (10 % at 256 rows), small enough to cancel within milliseconds
  /// and to share among threads.
  private static let tileRows = 320
  /// Rows whose scores are held at a time: 96 x 2401 floats stay in a level-2
  /// cache of 1 MB.
  private static let queryRows = 96

  private let scratch: [Scratch]
  private let tokens: Int  // n = 1 + R + N
  private let leading: Int  // 1 + R: CLS and the registers
  private let channels: Int  // C
  private let heads: Int  // H
  private let tiles: RowTiles
  private let qkv: Buffer<Float>  // [n, 3C]
  private let scratchStorage: Buffer<Float>

  init(
    tokens: Int, config: ModelConfig, threads: Int, budget: Budget
  ) throws(CoveyError) {
    self.tokens = tokens
    leading = config.leadingTokens
    let tiles = RowTiles(rows: tokens, size: FloatBlock.tileRows)
    self.tiles = tiles
    channels = config.embedDim
    heads = config.heads
    qkv = try Buffer(tokens * 3 * channels, budget: budget, for: "queries, keys and values")
    let sizes = FloatBlock.scratchSizes(tokens: tokens, config: config, tiles: tiles)
    let each = sizes.rows * 2 + sizes.hidden + sizes.scores
    let storage = try Buffer<Float>(each * threads, budget: budget, for: "scratch of the threads")
    scratchStorage = storage
    scratch = (0..<threads).map { thread in
      let base = storage.base + thread * each
      return Scratch(
        normed: base, attended: base + sizes.rows, hidden: base + 2 * sizes.rows,
        scores: base + 2 * sizes.rows + sizes.hidden)
    }
  }

  private static func scratchSizes(
    tokens: Int, config: ModelConfig, tiles: RowTiles
  ) -> (rows: Int, hidden: Int, scores: Int) {
    // Whole cache lines, so that threads do not share one.
    func lines(_ floats: Int) -> Int { (floats + 15) / 16 * 16 }
    return (
      lines(tiles.size * config.embedDim),
      lines(tiles.size * max(config.mlpDim, config.embedDim)),
      lines(queryRows * tokens)
    )
  }

  static func byteCount(tokens: Int, config: ModelConfig, threads: Int) -> Int {
    let tiles = RowTiles(rows: tokens, size: tileRows)
    let sizes = scratchSizes(tokens: tokens, config: config, tiles: tiles)
    let each = sizes.rows * 2 + sizes.hidden + sizes.scores
    return 4 * (tokens * 3 * config.embedDim + threads * each)
  }

  /// Pieces of work that `count` blocks and `lastKeys` report.
  func pieces(_ count: Int) -> Int { tiles.count * (2 * count + 1) }

  /// x [n, C] = block(x)
  func run(
    _ weights: BlockWeights, _ x: UnsafeMutablePointer<Float>, pool: ThreadPool, monitor: Monitor
  ) throws(CoveyError) {
    project(weights.norm1, weights.qkv, x, pool, monitor)
    attendAndTransform(weights, x, pool, monitor)
    try monitor.check()
  }

  /// Pass 1: qkv = W_qkv norm1(x) + b
  private func project(
    _ norm: LayerNormWeights, _ linear: LinearWeights, _ x: UnsafePointer<Float>,
    _ pool: ThreadPool, _ monitor: Monitor
  ) {
    let (channels, tiles, qkv, scratch) = (channels, tiles, qkv.base, scratch)
    let kernels = cv_rows().pointee
    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      let tile = tiles.range(index)
      let normed = scratch[worker].normed
      let out = qkv + tile.lowerBound * 3 * channels
      kernels.layer_norm(
        x + tile.lowerBound * channels, channels, tile.count, channels, norm.weight, norm.bias,
        norm.eps, normed, channels)
      BLAS.multiply(
        tile.count, 3 * channels, channels, normed, channels, linear.weight, channels,
        transposed: true, into: out, 3 * channels)
      kernels.bias_add(out, 3 * channels, tile.count, 3 * channels, linear.bias)
      monitor.advance(worker: worker)
    }
  }

  /// Pass 2: x += proj(softmax(q k^T / sqrt D) v); x += fc2(gelu(fc1(norm2(x))))
  private func attendAndTransform(
    _ weights: BlockWeights, _ x: UnsafeMutablePointer<Float>, _ pool: ThreadPool,
    _ monitor: Monitor
  ) {
    let (tokens, channels, heads, tiles) = (tokens, channels, heads, tiles)
    let (qkv, scratch) = (qkv.base, scratch)
    let headDim = channels / heads  // D
    let hiddenDim = weights.fc1.outputs  // F
    let scale = 1 / Float(headDim).squareRoot()
    let kernels = cv_rows().pointee

    pool.run(tiles.count) { index, worker in
      let tile = tiles.range(index)
      let (normed, attended) = (scratch[worker].normed, scratch[worker].attended)
      let (hidden, scores) = (scratch[worker].hidden, scratch[worker].scores)

      for head in 0..<heads {
        let queries = qkv + head * headDim
        let keys = qkv + channels + head * headDim
        let values = qkv + 2 * channels + head * headDim
        var first = tile.lowerBound
        while first < tile.upperBound {
          if monitor.isCancelled { return }
          let count = min(FloatBlock.queryRows, tile.upperBound - first)
          BLAS.multiply(
            count, tokens, headDim, queries + first * 3 * channels, 3 * channels,
            keys, 3 * channels, transposed: true, into: scores, tokens)
          kernels.softmax(scores, tokens, count, tokens, scale)
          BLAS.multiply(
            count, headDim, tokens, scores, tokens, values, 3 * channels, transposed: false,
            into: attended + (first - tile.lowerBound) * channels + head * headDim, channels)
          first += count
          monitor.pulse(worker: worker)
        }
      }

      let rows = x + tile.lowerBound * channels
      BLAS.multiply(
        tile.count, channels, channels, attended, channels, weights.proj.weight, channels,
        transposed: true, into: rows, channels, add: 1)
      kernels.bias_add(rows, channels, tile.count, channels, weights.proj.bias)
      if monitor.isCancelled { return }

      kernels.layer_norm(
        rows, channels, tile.count, channels, weights.norm2.weight, weights.norm2.bias,
        weights.norm2.eps, normed, channels)
      BLAS.multiply(
        tile.count, hiddenDim, channels, normed, channels, weights.fc1.weight, channels,
        transposed: true, into: hidden, hiddenDim)
      kernels.bias_gelu(hidden, hiddenDim, tile.count, hiddenDim, weights.fc1.bias)
      BLAS.multiply(
        tile.count, channels, hiddenDim, hidden, hiddenDim, weights.fc2.weight, hiddenDim,
        transposed: true, into: rows, channels, add: 1)
      kernels.bias_add(rows, channels, tile.count, channels, weights.fc2.bias)
      monitor.advance(worker: worker)
    }
  }

  /// keys [N, C] = W_k norm1(x) + b_k of the patches; and, on request, their
  /// queries [N, C] likewise, and the saliency [N]: softmax over all tokens of the
  /// CLS query against the keys, mean over heads, the shares of the CLS token itself and
  /// of the registers left out.
  func lastKeys(
    _ weights: LastBlockWeights, _ x: UnsafePointer<Float>,
    keys: UnsafeMutablePointer<Float>, queries: UnsafeMutablePointer<Float>?,
    saliency: UnsafeMutablePointer<Float>?, pool: ThreadPool, monitor: Monitor
  ) {
    let (channels, leading, tiles, scratch) = (channels, leading, tiles, scratch)
    let (norm, qkv) = (weights.norm1, weights.qkv)
    let kernels = cv_rows().pointee

    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      // CLS and the registers have no place in `keys` and `queries`.
      let tile = tiles.range(index).clamped(to: leading..<tokens)
      let normed = scratch[worker].normed
      kernels.layer_norm(
        x + tile.lowerBound * channels, channels, tile.count, channels, norm.weight, norm.bias,
        norm.eps, normed, channels)
      func project(_ slice: Int, _ target: UnsafeMutablePointer<Float>) {
        let out = target + (tile.lowerBound - leading) * channels
        BLAS.multiply(
          tile.count, channels, channels, normed, channels,
          qkv.weight + slice * channels * channels, channels, transposed: true, into: out,
          channels)
        kernels.bias_add(out, channels, tile.count, channels, qkv.bias + slice * channels)
      }
      project(1, keys)
      if let queries { project(0, queries) }
      monitor.advance(worker: worker)
    }
    guard let saliency, !monitor.isCancelled else { return }

    let (headDim, patches) = (channels / heads, tokens - leading)
    let scores = scratch[0].scores
    // Each has a tile's rows, of which there are more than leading tokens.
    let (normed, query, others) = (scratch[0].normed, scratch[0].attended, scratch[0].hidden)
    kernels.layer_norm(
      x, channels, leading, channels, norm.weight, norm.bias, norm.eps, normed, channels)
    func project(_ slice: Int, _ token: Int, _ out: UnsafeMutablePointer<Float>) {
      BLAS.multiply(
        1, channels, channels, normed + token * channels, channels,
        qkv.weight + slice * channels * channels, channels, transposed: true, into: out, channels)
      kernels.accumulate(qkv.bias + slice * channels, channels, out)
    }
    project(0, 0, query)
    for token in 0..<leading { project(1, token, others + token * channels) }
    for head in 0..<heads {
      let query = query + head * headDim
      for token in 0..<leading {
        scores[token] = Float(
          kernels.dot(query, others + token * channels + head * headDim, headDim))
      }
      BLAS.multiply(
        1, patches, headDim, query, channels, keys + head * headDim, channels, transposed: true,
        into: scores + leading, tokens)
      kernels.softmax(scores, tokens, 1, tokens, 1 / Float(headDim).squareRoot())
      if head == 0 { saliency.update(repeating: 0, count: patches) }
      kernels.accumulate(scores + leading, patches, saliency)
    }
    kernels.scale(saliency, patches, 1 / Float(heads))
  }
}
