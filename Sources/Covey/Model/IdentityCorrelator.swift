import CCoveyKernels

/// What the correlator would be without training: its layer norm with a gain of 1
/// and no bias, and the identity for W_q and W_k.
///
///     q = k = (f - mean) / sqrt(variance + eps)                    [n, C]
struct IdentityCorrelator {
  private let channels: Int  // C
  private let eps: Float
  private let gainAndBias: Buffer<Float>  // [2, C]: ones, zeros

  private static let tileRows = 320

  init(_ config: ModelConfig, budget: Budget) throws(CoveyError) {
    channels = config.embedDim
    eps = config.correlatorEps
    gainAndBias = try Buffer(2 * channels, budget: budget, for: "gain of the features' norm")
    gainAndBias.base.update(repeating: 1, count: channels)
    (gainAndBias.base + channels).update(repeating: 0, count: channels)
  }

  static func byteCount(_ config: ModelConfig) -> Int { 4 * 2 * config.embedDim }

  /// - Parameters:
  ///   - features: [count, C]
  ///   - out: [count, C], the queries, which are the keys too
  ///   - monitor: where it is cancelled, some rows are not done
  func project(
    _ features: UnsafePointer<Float>, count: Int, into out: UnsafeMutablePointer<Float>,
    pool: ThreadPool, monitor: Monitor
  ) {
    defer { withExtendedLifetime(gainAndBias) {} }
    let (channels, eps, gain) = (channels, eps, gainAndBias.base)
    let tiles = RowTiles(rows: count, size: IdentityCorrelator.tileRows)
    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      let tile = tiles.range(index)
      let first = tile.lowerBound * channels
      cv_rows().pointee.layer_norm(
        features + first, channels, tile.count, channels, gain, gain + channels, eps,
        out + first, channels)
      monitor.pulse(worker: worker)
    }
  }
}
