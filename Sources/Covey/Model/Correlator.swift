import CCoveyKernels

/// The spatio-temporal block, as far as inference needs it: features to the
/// queries and keys whose products are the attention maps.
///
///     z = norm1(f);  q = W_q z;  k = W_k z                         [n, C]
///
/// No bias, no position, no residual; value, proj and MLP serve only training.
struct Correlator {
  private let checkpoint: Checkpoint  // keeps the weights alive
  private let channels: Int  // C
  private let inputs: Buffer<UInt8>  // [threads, tile, C in fours]: z in int8
  private let scales: Buffer<Float>  // [threads, tile]

  private static let tileRows = 320

  init(_ checkpoint: Checkpoint, threads: Int, budget: Budget) throws(CoveyError) {
    self.checkpoint = checkpoint
    channels = checkpoint.config.embedDim
    let sizes = Correlator.scratchSizes(checkpoint)
    inputs = try Buffer(threads * sizes.inputs, budget: budget, for: "features in int8")
    scales = try Buffer(threads * sizes.scales, budget: budget, for: "scales of the features")
  }

  static func byteCount(_ checkpoint: Checkpoint, threads: Int) -> Int {
    let sizes = scratchSizes(checkpoint)
    return threads * (sizes.inputs + 4 * sizes.scales)
  }

  private static func scratchSizes(_ checkpoint: Checkpoint) -> (inputs: Int, scales: Int) {
    guard let weights = checkpoint.int8?.correlator else { return (0, 0) }
    return (tileRows * weights.query.inputBytes, tileRows)
  }

  /// - Parameters:
  ///   - features: [count, C], overwritten
  ///   - queries, keys: [count, C] each; nil where not wanted
  func project(
    _ features: UnsafeMutablePointer<Float>, count: Int,
    queries: UnsafeMutablePointer<Float>?, keys: UnsafeMutablePointer<Float>?,
    pool: ThreadPool
  ) {
    let tiles = RowTiles(rows: count, size: Correlator.tileRows)
    pool.run(tiles.count) { [self] index, worker in
      let tile = tiles.range(index)
      let first = tile.lowerBound * channels
      let (queries, keys) = (queries.map { $0 + first }, keys.map { $0 + first })
      if let weights = checkpoint.float?.correlator {
        project(weights, features + first, tile.count, queries, keys)
      }
      if let weights = checkpoint.int8?.correlator {
        project(weights, features + first, tile.count, queries, keys, worker)
      }
    }
  }

  private func project(
    _ weights: CorrelatorWeights, _ z: UnsafeMutablePointer<Float>, _ count: Int,
    _ queries: UnsafeMutablePointer<Float>?, _ keys: UnsafeMutablePointer<Float>?
  ) {
    cv_rows().pointee.layer_norm(
      z, channels, count, channels, weights.norm1.weight, weights.norm1.bias, weights.norm1.eps,
      z, channels)
    func multiply(_ matrix: UnsafePointer<Float>, _ out: UnsafeMutablePointer<Float>?) {
      guard let out else { return }
      BLAS.multiply(
        count, channels, channels, z, channels, matrix, channels, transposed: true, into: out,
        channels)
    }
    multiply(weights.query, queries)
    multiply(weights.key, keys)
  }

  private func project(
    _ weights: Int8KeyWeights, _ features: UnsafePointer<Float>, _ count: Int,
    _ queries: UnsafeMutablePointer<Float>?, _ keys: UnsafeMutablePointer<Float>?,
    _ worker: Int
  ) {
    let stride = weights.query.inputBytes
    let z = inputs.base + worker * Correlator.tileRows * stride
    let scale = scales.base + worker * Correlator.tileRows
    cv_rows().pointee.norm_quantise(
      features, channels, count, channels, weights.norm1.weight, weights.norm1.bias,
      weights.norm1.eps, z, stride, scale)
    func multiply(_ matrix: cv_packed, _ out: UnsafeMutablePointer<Float>?) {
      guard let out else { return }
      withUnsafePointer(to: matrix) {
        cv_int8().pointee.linear(count, z, stride, scale, $0, 0, out, channels)
      }
    }
    multiply(weights.query, queries)
    multiply(weights.key, keys)
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
