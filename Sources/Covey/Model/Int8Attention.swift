import CCoveyKernels

/// Queries, keys and values of all tokens for one block of the network, in
/// int8, and attention over them with an online softmax.
///
/// Keys and values are kept in blocks of tokens, packed as the products want
/// them: keys with a scale per token and head, values with one per channel and
/// block.  Memory is O(n): what attention computes of n x n is [rows of a
/// product's tile, keys of a block] at a time.
struct Int8Attention {
  let heads: Int  // H
  let blocks: RowTiles  // of tokens, as keys and values
  private let dim: Int  // D
  private let rowBytes: Int  // of one head's queries
  private let channels: Int  // C
  private let queries: Buffer<UInt8>  // [n, H, rowBytes]
  private let queryScales: Buffer<Float>  // [n, H], with 1 / sqrt D
  private let parts: Parts
  private let storage: Buffer<UInt8>  // [H, blocks, parts]
  private let table: Buffer<cv_key_block>  // [H, blocks]

  /// Keys of a block: so many that adding up the blocks costs little beside
  /// their products, so few that the logits of a tile stay in a level-1 cache.
  private static let blockTokens = 320

  /// Whole panels of keys, in as many blocks as threads share well.
  static func blocks(tokens: Int) -> RowTiles {
    let size = RowTiles(rows: tokens, size: blockTokens).size
    let panel = CV_PANEL
    return RowTiles(rows: tokens, exactly: (size + panel - 1) / panel * panel)
  }

  /// Offsets in bytes of what one head has in one block.
  private struct Parts {
    let keySums, keyScales, values, valueSums, valueScales, total: Int

    init(keys: Int, dim: Int) {
      let panel = CV_PANEL
      let columns = (dim + panel - 1) / panel * panel
      keySums = cv_packed_bytes(keys, dim)
      keyScales = keySums + 4 * keys
      values = keyScales + 4 * keys
      valueSums = values + cv_packed_bytes(dim, keys)
      valueScales = valueSums + 4 * columns
      total = valueScales + 4 * columns
    }
  }

  init(tokens: Int, config: ModelConfig, budget: Budget) throws(CoveyError) {
    channels = config.embedDim
    heads = config.heads
    dim = channels / heads
    rowBytes = (dim + 3) / 4 * 4
    blocks = Int8Attention.blocks(tokens: tokens)
    parts = Parts(keys: blocks.size, dim: dim)
    queries = try Buffer(tokens * heads * rowBytes, budget: budget, for: "queries")
    queryScales = try Buffer(tokens * heads, budget: budget, for: "scales of the queries")
    storage = try Buffer(
      heads * blocks.count * parts.total, budget: budget, for: "keys and values")
    table = try Buffer(heads * blocks.count, budget: budget, for: "blocks of keys")
    for head in 0..<heads {
      for block in 0..<blocks.count {
        let base = UnsafeRawPointer(part(head, block))
        table.base[head * blocks.count + block] = cv_key_block(
          keys: base.assumingMemoryBound(to: Int8.self),
          key_sums: (base + parts.keySums).assumingMemoryBound(to: Int32.self),
          key_scale: (base + parts.keyScales).assumingMemoryBound(to: Float.self),
          values: (base + parts.values).assumingMemoryBound(to: Int8.self),
          value_sums: (base + parts.valueSums).assumingMemoryBound(to: Int32.self),
          value_scale: (base + parts.valueScales).assumingMemoryBound(to: Float.self),
          count: blocks.range(block).count, factor_limit: 0)
      }
    }
  }

  static func byteCount(tokens: Int, config: ModelConfig) -> Int {
    let blocks = blocks(tokens: tokens)
    let dim = config.embedDim / config.heads
    let each = Parts(keys: blocks.size, dim: dim).total + MemoryLayout<cv_key_block>.stride
    return config.heads * (tokens * ((dim + 3) / 4 * 4 + 4) + blocks.count * each)
  }

  private func part(_ head: Int, _ block: Int) -> UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(storage.base + (head * blocks.count + block) * parts.total)
  }

  /// - Parameter q: [tokens of the range, C]
  func setQueries(_ q: UnsafePointer<Float>, _ range: Range<Int>) {
    let kernels = cv_rows().pointee
    let first = range.lowerBound * heads
    let scales = queryScales.base + first
    kernels.quantise(
      q, dim, range.count * heads, dim, queries.base + first * rowBytes, rowBytes, scales)
    kernels.scale(scales, range.count * heads, 1 / Float(dim).squareRoot())
  }

  /// - Parameters:
  ///   - k: [tokens of the block, C]
  ///   - bytes: room for [tokens, H, rowBytes]
  ///   - scales: room for [tokens, H]
  func setKeys(
    _ k: UnsafePointer<Float>, _ block: Int, bytes: UnsafeMutablePointer<UInt8>,
    scales: UnsafeMutablePointer<Float>
  ) {
    let count = blocks.range(block).count
    cv_rows().pointee.quantise(k, dim, count * heads, dim, bytes, rowBytes, scales)
    for head in 0..<heads {
      let base = part(head, block)
      cv_pack_keys(
        bytes + head * rowBytes, heads * rowBytes, scales + head, heads, count, dim,
        base.assumingMemoryBound(to: Int8.self),
        (base + parts.keySums).assumingMemoryBound(to: Int32.self),
        (base + parts.keyScales).assumingMemoryBound(to: Float.self),
        &table.base[head * blocks.count + block].factor_limit)
    }
  }

  /// - Parameter v: [tokens of the block, C]
  func setValues(_ v: UnsafePointer<Float>, _ block: Int) {
    let count = blocks.range(block).count
    let panel = CV_PANEL
    for head in 0..<heads {
      let base = part(head, block)
      cv_rows().pointee.pack_values(
        v + head * dim, channels, count, dim, (count + panel - 1) / panel * panel,
        (base + parts.values).assumingMemoryBound(to: Int8.self),
        (base + parts.valueSums).assumingMemoryBound(to: Int32.self),
        (base + parts.valueScales).assumingMemoryBound(to: Float.self))
    }
  }

  /// softmax(q k^T / sqrt D) v of one head for the tokens of a range.
  ///
  /// - Parameters:
  ///   - scratch: cv_attend_scratch(tokens of the range, blocks.size) bytes
  ///   - out: [tokens of the range, C], of which the head's columns are set
  func attend(
    _ head: Int, _ range: Range<Int>, scratch: UnsafeMutableRawPointer,
    into out: UnsafeMutablePointer<Float>
  ) {
    let first = range.lowerBound * heads + head
    cv_int8().pointee.attend(
      table.base + head * blocks.count, blocks.count, dim, range.count,
      queries.base + first * rowBytes, heads * rowBytes, queryScales.base + first, heads,
      scratch, out + head * dim, channels)
  }
}
