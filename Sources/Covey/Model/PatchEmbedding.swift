import CCoveyKernels

/// Pixels to tokens: x = patches W^T + b + positions, behind the CLS token and the
/// registers, which have no position.
///
/// The convolution p x p with stride p is a product with the patches as rows.
struct PatchEmbedding {
  let rows: Int
  let columns: Int
  var tokens: Int { leading + rows * columns }  // n

  private let weights: EmbeddingWeights
  private let patchSize: Int  // p
  private let channels: Int  // C
  private let leading: Int  // 1 + R: CLS and the registers
  private let positions: Buffer<Float>  // [1 + N, C]
  private let tiles: RowTiles
  private let gathered: Buffer<Float>  // [threads, tile, 3pp]

  /// Patches gathered at a time: enough that a product of so many rows is worth
  /// OpenBLAS's packing, few enough to cost no memory.
  private static let tileRows = 64

  init(
    _ checkpoint: Checkpoint, height: Int, width: Int, threads: Int, budget: Budget
  ) throws(CoveyError) {
    let config = checkpoint.config
    weights = checkpoint.embedding
    patchSize = config.patchSize
    channels = config.embedDim
    leading = config.leadingTokens
    rows = height / patchSize
    columns = width / patchSize
    tiles = RowTiles(rows: rows * columns, size: PatchEmbedding.tileRows)
    positions = try Buffer((1 + rows * columns) * channels, budget: budget, for: "positions")
    gathered = try Buffer(
      threads * tiles.size * weights.patch.inputs, budget: budget, for: "patches")
    PositionEmbedding.resize(
      weights.positions, grid: config.positionGrid, channels: channels, to: rows, columns,
      config.positionResize, into: positions.base)
  }

  static func byteCount(_ config: ModelConfig, height: Int, width: Int, threads: Int) -> Int {
    let patches = (height / config.patchSize) * (width / config.patchSize)
    let tile = RowTiles(rows: patches, size: tileRows).size
    return 4 * ((1 + patches) * config.embedDim + threads * tile * config.patchInputs)
  }

  /// Pieces of work `run` reports to its monitor.
  var pieces: Int { tiles.count }

  /// - Parameters:
  ///   - planes: [3, H, W], normalised
  ///   - x: [n, C]
  func run(
    _ planes: UnsafePointer<Float>, into x: UnsafeMutablePointer<Float>, pool: ThreadPool,
    monitor: Monitor
  ) {
    let (channels, inputs, tiles) = (channels, weights.patch.inputs, tiles)
    let (weights, positions, gathered) = (weights, positions.base, gathered.base)
    let leading = leading
    let kernels = cv_rows().pointee

    x.copy(from: positions, count: channels)
    kernels.accumulate(weights.clsToken, channels, x)
    if let registers = weights.registers {
      (x + channels).copy(from: registers, count: (leading - 1) * channels)
    }
    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      let tile = tiles.range(index)
      let patches = gathered + worker * tiles.size * inputs
      for patch in tile {
        gather(patch, planes, into: patches + (patch - tile.lowerBound) * inputs)
      }
      let out = x + (leading + tile.lowerBound) * channels
      out.copy(
        from: positions + (1 + tile.lowerBound) * channels, count: tile.count * channels)
      BLAS.multiply(
        tile.count, channels, inputs, patches, inputs, weights.patch.weight, inputs,
        transposed: true, into: out, channels, add: 1)
      kernels.bias_add(out, channels, tile.count, channels, weights.patch.bias)
      monitor.advance(worker: worker)
    }
  }

  /// - Parameter out: [3, p, p]
  private func gather(
    _ patch: Int, _ planes: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>
  ) {
    let width = columns * patchSize
    let plane = rows * patchSize * width
    let (row, column) = patch.quotientAndRemainder(dividingBy: columns)
    let corner = planes + row * patchSize * width + column * patchSize
    for channel in 0..<3 {
      for line in 0..<patchSize {
        (out + (channel * patchSize + line) * patchSize).update(
          from: corner + channel * plane + line * width, count: patchSize)
      }
    }
  }
}
