import CCoveyKernels

/// The attention maps: for a query row the mean over heads of its softmax over
/// all M keys of the video jointly, a distribution over M keys.
///
///     A[i] = 1/H sum_h softmax_m(q_ih . k_mh / sqrt D)              [M]
///
/// Maps are made for the rows asked for, tile by tile, one head at a time; the
/// H maps of a row never exist together.
struct Affinity {
  let keys: UnsafePointer<Float>  // [M, C]
  let keyCount: Int  // M
  let channels: Int  // C
  let heads: Int  // H

  /// Rows of a tile: keys are packed once for each, and its products [tile, M]
  /// pass through the cache once for the softmax.
  static let tileRows = 192

  /// maps [count, M] of queries [count, C]; `scores` holds [tileRows, M].
  func maps(
    _ queries: UnsafePointer<Float>, count: Int, into maps: UnsafeMutablePointer<Float>,
    scores: UnsafeMutablePointer<Float>, monitor: Monitor, worker: Int
  ) {
    let headDim = channels / heads
    let kernels = cv_rows().pointee
    for first in stride(from: 0, to: count, by: Affinity.tileRows) {
      let rows = min(Affinity.tileRows, count - first)
      for head in 0..<heads {
        if monitor.isCancelled { return }
        BLAS.multiply(
          rows, keyCount, headDim,
          queries + first * channels + head * headDim, channels,
          keys + head * headDim, channels, transposed: true, into: scores, keyCount)
        kernels.softmax_mean(
          scores, keyCount, rows, keyCount, 1 / Float(headDim).squareRoot(), 1 / Float(heads),
          head == 0 ? 0 : 1, maps + first * keyCount, keyCount)
        monitor.pulse(worker: worker)
      }
    }
  }
}
