import CCoveyKernels

/// One pre-norm block of the backbone with int8 products, in place on the
/// residual stream, which stays fp32 as do norms, GELU and the sums of attention.
///
/// Two passes over the rows:
///   1. a tile of tokens at a time: norm1, quantised row by row; its queries
///      (int8, a scale per token and head), and its keys and values packed as a
///      block that attention reads (Int8Attention).
///   2. everything else, which is local to the rows of x: attention over all
///      blocks of keys, proj, norm2, MLP.
/// So nothing of size n x n exists, and of the network's activations only x is
/// kept in fp32.
struct Int8Block {
  private let tokens: Int  // n = 1 + R + N
  private let leading: Int  // 1 + R: CLS and the registers
  private let channels: Int  // C
  private let heads: Int  // H
  private let tiles: RowTiles  // of pass 2
  private let attention: Int8Attention
  private let storage: ScratchStorage

  /// Rows of a tile in pass 2: the hidden activations of so many, and the
  /// weights that meet them, stay in a level-2 cache of 1 MB.  A multiple of all
  /// instruction sets' tiles, 4, 6 and 8 rows: what is missing to those is
  /// computed for nothing.
  private static let tileRows = 48

  private static func tiles(tokens: Int) -> RowTiles {
    RowTiles(rows: tokens, exactly: tileRows)
  }

  init(
    tokens: Int, config: ModelConfig, threads: Int, budget: Budget
  ) throws(CoveyError) {
    self.tokens = tokens
    leading = config.leadingTokens
    channels = config.embedDim
    heads = config.heads
    tiles = Int8Block.tiles(tokens: tokens)
    attention = try Int8Attention(tokens: tokens, config: config, budget: budget)
    storage = try ScratchStorage(
      Int8Block.scratchSizes(tokens: tokens, config: config), threads: threads, budget: budget)
  }

  static func byteCount(tokens: Int, config: ModelConfig, threads: Int) -> Int {
    Int8Attention.byteCount(tokens: tokens, config: config)
      + threads * scratchSizes(tokens: tokens, config: config).total
  }

  /// Pieces of work that `count` blocks and `lastKeys` report.
  func pieces(_ count: Int) -> Int { (attention.blocks.count + tiles.count) * count + tiles.count }

  /// x [n, C] = block(x)
  func run(
    _ weights: Int8BlockWeights, _ x: UnsafeMutablePointer<Float>, pool: ThreadPool,
    monitor: Monitor
  ) throws(CoveyError) {
    project(weights, x, pool, monitor)
    attendAndTransform(weights, x, pool, monitor)
    try monitor.check()
  }

  /// Pass 1: queries, keys and values of norm1(x).
  private func project(
    _ weights: Int8BlockWeights, _ x: UnsafePointer<Float>, _ pool: ThreadPool, _ monitor: Monitor
  ) {
    let (channels, attention, storage) = (channels, attention, storage)
    let rows = cv_rows().pointee
    let products = cv_int8().pointee
    pool.run(attention.blocks.count) { index, worker in
      if monitor.isCancelled { return }
      let block = attention.blocks.range(index)
      let scratch = storage[worker]
      let (inputs, scales, out) = (scratch.inputs, scratch.scales, scratch.floats)
      let stride = weights.query.inputBytes
      rows.norm_quantise(
        x + block.lowerBound * channels, channels, block.count, channels, weights.norm1.weight,
        weights.norm1.bias, weights.norm1.eps, inputs, stride, scales)
      func multiply(_ matrix: cv_packed) {
        withUnsafePointer(to: matrix) {
          products.linear(block.count, inputs, stride, scales, $0, 0, out, channels)
        }
      }
      multiply(weights.query)
      attention.setQueries(out, block)
      multiply(weights.value)
      attention.setValues(out, index)
      multiply(weights.key)
      // The inputs are done with, and make room for the keys as rows.
      attention.setKeys(out, index, bytes: inputs, scales: scales)
      monitor.advance(worker: worker)
    }
  }

  /// Pass 2: x += proj(attention); x += fc2(gelu(fc1(norm2(x))))
  private func attendAndTransform(
    _ weights: Int8BlockWeights, _ x: UnsafeMutablePointer<Float>, _ pool: ThreadPool,
    _ monitor: Monitor
  ) {
    let (channels, tiles, attention, storage) = (channels, tiles, attention, storage)
    let hiddenDim = weights.fc1.columns  // F
    let rows = cv_rows().pointee
    let products = cv_int8().pointee

    pool.run(tiles.count) { index, worker in
      let tile = tiles.range(index)
      let scratch = storage[worker]
      let (inputs, scales, floats) = (scratch.inputs, scratch.scales, scratch.floats)
      func multiply(
        _ matrix: cv_packed, into out: UnsafeMutablePointer<Float>, add: Int32
      ) {
        withUnsafePointer(to: matrix) {
          products.linear(
            tile.count, inputs, matrix.inputBytes, scales, $0, add, out, matrix.columns)
        }
      }

      for head in 0..<attention.heads {
        if monitor.isCancelled { return }
        attention.attend(head, tile, scratch: scratch.attention, into: floats)
        monitor.pulse(worker: worker)
      }
      let target = x + tile.lowerBound * channels
      rows.quantise(
        floats, channels, tile.count, channels, inputs, weights.proj.inputBytes, scales)
      multiply(weights.proj, into: target, add: 1)
      if monitor.isCancelled { return }

      rows.norm_quantise(
        target, channels, tile.count, channels, weights.norm2.weight, weights.norm2.bias,
        weights.norm2.eps, inputs, weights.fc1.inputBytes, scales)
      multiply(weights.fc1, into: floats, add: 0)
      rows.gelu_quantise(
        floats, hiddenDim, tile.count, hiddenDim, inputs, weights.fc2.inputBytes, scales)
      multiply(weights.fc2, into: target, add: 1)
      monitor.advance(worker: worker)
    }
  }

  /// keys [N, C] = W_k norm1(x) + b_k of the patches; and, on request, their
  /// queries [N, C] likewise, and the saliency [N]: softmax over all tokens of the
  /// CLS query against the keys, mean over heads, the shares of the CLS token itself and
  /// of the registers left out.
  func lastKeys(
    _ weights: Int8KeyWeights, _ x: UnsafePointer<Float>,
    keys: UnsafeMutablePointer<Float>, queries: UnsafeMutablePointer<Float>?,
    saliency: UnsafeMutablePointer<Float>?, pool: ThreadPool, monitor: Monitor
  ) {
    let (channels, leading, tiles, storage) = (channels, leading, tiles, storage)
    let kernels = cv_rows().pointee
    /// Keys of the tokens in `range`, and queries where wanted.
    func project(
      _ range: Range<Int>, _ worker: Int, keys: UnsafeMutablePointer<Float>,
      queries: UnsafeMutablePointer<Float>?
    ) {
      let scratch = storage[worker]
      let stride = weights.key.inputBytes
      kernels.norm_quantise(
        x + range.lowerBound * channels, channels, range.count, channels, weights.norm1.weight,
        weights.norm1.bias, weights.norm1.eps, scratch.inputs, stride, scratch.scales)
      func multiply(_ matrix: cv_packed, _ out: UnsafeMutablePointer<Float>) {
        withUnsafePointer(to: matrix) {
          cv_int8().pointee.linear(
            range.count, scratch.inputs, stride, scratch.scales, $0, 0, out, channels)
        }
      }
      multiply(weights.key, keys)
      if let queries { multiply(weights.query, queries) }
    }
    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      // CLS and the registers have no place in `keys` and `queries`.
      let tile = tiles.range(index).clamped(to: leading..<tokens)
      let first = (tile.lowerBound - leading) * channels
      project(tile, worker, keys: keys + first, queries: queries.map { $0 + first })
      monitor.advance(worker: worker)
    }
    guard let saliency, !monitor.isCancelled else { return }

    defer { withExtendedLifetime(storage) {} }
    let headDim = channels / heads
    let patches = tokens - leading
    let query = storage[0].floats
    let others = query + channels  // [1 + R, C]
    let scores = others + leading * channels  // [n]
    project(0..<1, 0, keys: others, queries: query)
    // One at a time: the inputs' scratch need not have room for all.
    for token in 1..<leading {
      project(token..<token + 1, 0, keys: others + token * channels, queries: nil)
    }
    saliency.update(repeating: 0, count: patches)
    for head in 0..<heads {
      let (q, k) = (query + head * headDim, keys + head * headDim)
      for token in 0..<leading {
        scores[token] = Float(kernels.dot(q, others + token * channels + head * headDim, headDim))
      }
      for patch in 0..<patches {
        scores[leading + patch] = Float(kernels.dot(q, k + patch * channels, headDim))
      }
      kernels.softmax(scores, tokens, 1, tokens, 1 / Float(headDim).squareRoot())
      kernels.accumulate(scores + leading, patches, saliency)
    }
    kernels.scale(saliency, patches, 1 / Float(heads))
  }

  private static func scratchSizes(tokens: Int, config: ModelConfig) -> ScratchStorage.Sizes {
    let tile = tiles(tokens: tokens).size
    let block = Int8Attention.blocks(tokens: tokens).size
    let (c, f) = (config.embedDim, config.mlpDim)
    func bytes(_ inputs: Int) -> Int { (inputs + 3) / 4 * 4 }
    let keyBytes = config.heads * bytes(c / config.heads)
    return ScratchStorage.Sizes(
      inputs: max(block * max(bytes(c), keyBytes), tile * max(bytes(c), bytes(f))),
      scales: max(block * config.heads, tile),
      floats: max(block * c, tile * max(c, f), (1 + config.leadingTokens) * c + tokens),
      attention: cv_attend_scratch(tile, block))
  }
}

/// What the threads of an `Int8Block` work in.
private final class ScratchStorage {
  /// Of one thread.
  struct Scratch {
    let inputs: UnsafeMutablePointer<UInt8>  // rows of a product's left side
    let scales: UnsafeMutablePointer<Float>  // one a row
    let floats: UnsafeMutablePointer<Float>  // what a product gives
    let attention: UnsafeMutableRawPointer
  }

  /// Counts of elements.
  struct Sizes {
    let inputs: Int
    let scales: Int
    let floats: Int
    let attention: Int  // bytes

    /// Bytes, each part in whole cache lines.
    var total: Int {
      lines(inputs) + lines(4 * scales) + lines(4 * floats) + lines(attention)
    }
    func lines(_ bytes: Int) -> Int { (bytes + 63) / 64 * 64 }
  }

  private let sizes: Sizes
  private let buffer: Buffer<UInt8>

  convenience init(_ sizes: Sizes, threads: Int, budget: Budget) throws(CoveyError) {
    self.init(
      sizes, try Buffer(sizes.total * threads, budget: budget, for: "scratch of the threads"))
  }

  private init(_ sizes: Sizes, _ buffer: Buffer<UInt8>) {
    self.sizes = sizes
    self.buffer = buffer
  }

  subscript(worker: Int) -> Scratch {
    let inputs = UnsafeMutableRawPointer(buffer.base + worker * sizes.total)
    let scales = inputs + sizes.lines(sizes.inputs)
    let floats = scales + sizes.lines(4 * sizes.scales)
    return Scratch(
      inputs: inputs.assumingMemoryBound(to: UInt8.self),
      scales: scales.assumingMemoryBound(to: Float.self),
      floats: floats.assumingMemoryBound(to: Float.self),
      attention: floats + sizes.lines(4 * sizes.floats))
  }
}
