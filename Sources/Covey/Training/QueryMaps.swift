import CCoveyKernels

/// The maps of the queries as distributions over the patches of the clip, and how
/// much each query counts.  No gradient goes through either.
///
///     p_q = a_q / sum a_q over the patches of all frames, CLS columns left out
///     e_q = sum_c p_q(c) ln(p_q(c) + 1e-10)
///     weight = softmax of e over the queries of a frame: sharp maps count more
struct QueryMaps {
  /// Under the logarithms, as released.
  static let tiny: Float = 1e-10

  let maps: Buffer<Float>  // [Q, n]: means over heads, then p, 0 at CLS
  let weights: Buffer<Float>  // [Q]; those of a frame add up to 1
  private let logs: Buffer<Float>  // [T, n]
  let shape: ClipShape
  private let perFrame: Int

  init(_ shape: ClipShape, perFrame: Int, budget: Budget?) throws(CoveyError) {
    (self.shape, self.perFrame) = (shape, perFrame)
    let count = shape.frames * perFrame
    maps = try Buffer(count * shape.tokens, budget: budget, for: "maps of the queries")
    weights = try Buffer(count, budget: budget, for: "weights of the queries")
    logs = try Buffer(shape.frames * shape.tokens, budget: budget, for: "logarithms of maps")
  }

  /// `maps` from means over heads to distributions, and `weights`.
  func normalise(pool: ThreadPool) {
    let (shape, perFrame, n) = (shape, perFrame, shape.tokens)
    let (maps, weights, logs) = (maps.base, weights.base, logs.base)
    let kernels = cv_rows().pointee
    pool.run(shape.frames) { frame, _ in
      let line = logs + frame * n
      let scores = weights + frame * perFrame
      for index in 0..<perFrame {
        let row = maps + (frame * perFrame + index) * n
        QueryMaps.clearClass(row, shape)
        kernels.scale(row, n, QueryMaps.inverse(kernels.sum(row, n)))
        QueryMaps.logarithm(row, n, factor: 1, into: line)
        scores[index] = Float(kernels.dot(row, line, n))
      }
      kernels.softmax(scores, perFrame, 1, perFrame, 1)
    }
    withExtendedLifetime(self) {}
  }

  /// Sets the columns of CLS tokens to 0.
  static func clearClass(_ row: UnsafeMutablePointer<Float>, _ shape: ClipShape) {
    guard shape.hasClass else { return }
    for frame in 0..<shape.frames { row[shape.firstPatch(frame) - 1] = 0 }
  }

  /// 1 / sum, of a row that may have nothing: PyTorch's `normalize` divides by 1e-12 then.
  static func inverse(_ sum: Double) -> Float { Float(1 / max(sum, 1e-12)) }

  /// ln(factor * row + 1e-10)
  static func logarithm(
    _ row: UnsafePointer<Float>, _ n: Int, factor: Float, into line: UnsafeMutablePointer<Float>
  ) {
    for column in 0..<n { line[column] = row[column] * factor + tiny }
    cv_rows().pointee.log_rows(line, n, 1, n, 1e-37, line, n)
  }
}

/// Which queries the losses weigh by the sharpness of their maps.
enum EntropyWeighting: Int32 {
  /// Motion consistency alone, as the released code does.
  case motion = 0
  /// Both losses, as figure 3 of the paper has it.
  case both = 1
}
