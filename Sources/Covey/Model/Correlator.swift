import CCoveyKernels

/// The spatio-temporal block, as far as inference needs it: features to the
/// queries and keys whose products are the attention maps.
///
///     z = norm1(f);  q = W_q z;  k = W_k z                         [n, C]
///
/// No bias, no position, no residual; value, proj and MLP serve only training.
/// In fp32 whatever the backbone is: two products of all its many, and what int8
/// would lose in them no later layer evens out (docs/INT8.md).
struct Correlator {
  private let checkpoint: Checkpoint  // keeps the weights alive

  private static let tileRows = 320

  init(_ checkpoint: Checkpoint) { self.checkpoint = checkpoint }

  /// - Parameters:
  ///   - features: [count, C]; overwritten with z
  ///   - isNormalised: whether they are z already
  ///   - queries, keys: [count, C] each; nil where not wanted
  ///   - monitor: where it is cancelled, some rows are not done
  func project(
    _ features: UnsafeMutablePointer<Float>, count: Int,
    isNormalised: Bool = false, queries: UnsafeMutablePointer<Float>?,
    keys: UnsafeMutablePointer<Float>?, pool: ThreadPool, monitor: Monitor = Monitor()
  ) {
    defer { withExtendedLifetime(checkpoint) {} }
    let (channels, weights) = (checkpoint.config.embedDim, checkpoint.correlator)
    let norm = weights.norm1
    let tiles = RowTiles(rows: count, size: Correlator.tileRows)
    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      let tile = tiles.range(index)
      let first = tile.lowerBound * channels
      let z = features + first
      if !isNormalised {
        cv_rows().pointee.layer_norm(
          z, channels, tile.count, channels, norm.weight, norm.bias, norm.eps, z, channels)
      }
      func multiply(_ matrix: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>?) {
        guard let out, !monitor.isCancelled else { return }
        BLAS.multiply(
          tile.count, channels, channels, z, channels, matrix, channels, transposed: true,
          into: out + first, channels)
        monitor.pulse(worker: worker)
      }
      multiply(weights.query, queries)
      multiply(weights.key, keys)
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
