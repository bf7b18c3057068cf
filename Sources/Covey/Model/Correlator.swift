import CCoveyKernels

/// The spatio-temporal block, as far as inference needs it: features to the
/// queries and keys whose products are the attention maps.
///
///     z = norm1(f);  q = W_q z;  k = W_k z                         [n, C]
///
/// No bias, no position, no residual; value, proj and MLP serve only training.
struct Correlator {
  let channels: Int  // C
  let heads: Int  // H
  private let checkpoint: Checkpoint  // keeps the weights alive

  init(_ checkpoint: Checkpoint) {
    self.checkpoint = checkpoint
    channels = checkpoint.config.embedDim
    heads = checkpoint.config.correlatorHeads
  }

  /// - Parameters:
  ///   - features: [count, C], overwritten with z
  ///   - queries, keys: [count, C] each; nil where not wanted
  func project(
    _ features: UnsafeMutablePointer<Float>, count: Int,
    queries: UnsafeMutablePointer<Float>?, keys: UnsafeMutablePointer<Float>?,
    pool: ThreadPool
  ) {
    let weights = checkpoint.correlator
    let channels = channels
    let tiles = RowTiles(rows: count, size: VisionTransformer.tileRows)
    let kernels = cv_rows().pointee
    pool.run(tiles.count) { index, _ in
      let tile = tiles.range(index)
      let z = features + tile.lowerBound * channels
      kernels.layer_norm(
        z, channels, tile.count, channels, weights.norm1.weight, weights.norm1.bias,
        weights.norm1.eps, z, channels)
      if let queries {
        BLAS.multiply(
          tile.count, channels, channels, z, channels, weights.query, channels,
          transposed: true, into: queries + tile.lowerBound * channels, channels)
      }
      if let keys {
        BLAS.multiply(
          tile.count, channels, channels, z, channels, weights.key, channels,
          transposed: true, into: keys + tile.lowerBound * channels, channels)
      }
    }
  }

  /// Averages keys [rows, columns, C] over blocks of `pool` x `pool` patches;
  /// blocks cut off by the border average what they have.
  /// - Parameter out: [ceil(rows / pool) * ceil(columns / pool), C]
  static func averageBlocks(
    _ keys: UnsafePointer<Float>, rows: Int, columns: Int, channels: Int, pool: Int,
    into out: UnsafeMutablePointer<Float>
  ) {
    let kernels = cv_rows().pointee
    var target = out
    for top in stride(from: 0, to: rows, by: pool) {
      for left in stride(from: 0, to: columns, by: pool) {
        let (bottom, right) = (min(top + pool, rows), min(left + pool, columns))
        target.update(repeating: 0, count: channels)
        for row in top..<bottom {
          for column in left..<right {
            kernels.accumulate(keys + (row * columns + column) * channels, channels, target)
          }
        }
        kernels.scale(target, channels, 1 / Float((bottom - top) * (right - left)))
        target += channels
      }
    }
  }
}
