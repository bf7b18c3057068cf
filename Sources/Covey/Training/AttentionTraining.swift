import CCoveyKernels

/// Attention with dropout on the maps, forward and backward, in memory that grows
/// with the tokens and not with their square.
///
///     S = q k^T / sqrt D;  P = softmax S;  Y = dropout(P);  o = Y v     per head
///
/// Forward keeps o and the logarithm of each row's sum; whoever wants rows of the
/// maps later (`maps`, backward) computes them again from these, with the same
/// elements dropped, as FlashAttention does (Dao et al., arXiv 2205.14135).
/// CLS tokens are tokens as all others.  What is left behind by a call that is
/// cancelled is undefined.
struct AttentionTraining {
  /// Of the scores that a thread holds, [rows, n] once or twice.  Products with the
  /// keys and values are thin (D columns): more rows share the reading of them.
  private static let rows = 64
  /// A head's backward pass is cut into so many tasks, each of which sums the
  /// gradients of the keys and values over its part of the rows: 8 heads then
  /// keep 16 threads busy, and the sums do not depend on how many there are.
  private static let segments = 2

  let layout: BlockLayout
  let shape: ClipShape
  private let scoreStride: Int  // n, to whole vectors
  private let scratchEach: Int
  private let scratch: Buffer<Float>  // [threads] x (2 [rows, n], 2 [n, D])
  private let partial: Buffer<Float>  // [segments - 1, n, 2C]

  init(
    _ layout: BlockLayout, _ shape: ClipShape, threads: Int, budget: Budget?
  ) throws(CoveyError) {
    (self.layout, self.shape) = (layout, shape)
    scoreStride = (shape.tokens + 15) / 16 * 16
    scratchEach = (2 * AttentionTraining.rows + 2 * layout.headDim) * scoreStride
    scratch = try Buffer(threads * scratchEach, budget: budget, for: "scores of the threads")
    partial = try Buffer(
      (AttentionTraining.segments - 1) * shape.tokens * 2 * layout.channels, budget: budget,
      for: "partial gradients of keys and values")
  }

  private var scale: Float { 1 / Float(layout.headDim).squareRoot() }

  // ---- Forward ----------------------------------------------------------------

  /// - Parameters:
  ///   - qkv: [n, 3C]
  ///   - dropout: by head, [H]
  ///   - out: [n, C]
  ///   - lse: [H, n], ln of the sum of exp S
  func forward(
    _ qkv: UnsafePointer<Float>, _ dropout: [cv_dropout], out: UnsafeMutablePointer<Float>,
    lse: UnsafeMutablePointer<Float>, pool: ThreadPool, monitor: Monitor
  ) {
    let (n, c, d, stride) = (shape.tokens, layout.channels, layout.headDim, scoreStride)
    let (scratch, scratchEach, scale) = (scratch, scratchEach, scale)
    let kernels = cv_rows().pointee
    let tiles = RowTiles(rows: n, exactly: AttentionTraining.rows)
    pool.run(tiles.count * layout.heads) { task, worker in
      if monitor.isCancelled { return }
      let (head, index) = task.quotientAndRemainder(dividingBy: tiles.count)
      let tile = tiles.range(index)
      let first = tile.lowerBound
      let scores = scratch.base + worker * scratchEach
      let query = qkv + first * 3 * c + head * d
      BLAS.multiply(
        tile.count, n, d, query, 3 * c, qkv + c + head * d, 3 * c, transposed: true,
        into: scores, stride)
      withUnsafePointer(to: dropout[head]) {
        kernels.softmax_dropout(
          scores, stride, tile.count, n, scale, $0, UInt32(first), lse + head * n + first)
      }
      BLAS.multiply(
        tile.count, d, n, scores, stride, qkv + 2 * c + head * d, 3 * c, transposed: false,
        into: out + first * c + head * d, c)
      monitor.pulse(worker: worker)
    }
    withExtendedLifetime(scratch) {}
  }

  /// Mean over the heads of the dropped maps, of some rows.
  /// - Parameters:
  ///   - tokens: [count], the rows
  ///   - out: [count, n]
  func maps(
    of tokens: UnsafePointer<Int32>, count: Int, _ qkv: UnsafePointer<Float>,
    lse: UnsafePointer<Float>, _ dropout: [cv_dropout], out: UnsafeMutablePointer<Float>,
    pool: ThreadPool, monitor: Monitor
  ) {
    let (n, c, d, stride) = (shape.tokens, layout.channels, layout.headDim, scoreStride)
    let (heads, scratch, scratchEach, scale) = (layout.heads, scratch, scratchEach, scale)
    let kernels = cv_rows().pointee
    // The rows lie apart: those of a tile are brought together, [rows, D] a head.
    let tiles = RowTiles(rows: count, exactly: AttentionTraining.rows)
    pool.run(tiles.count) { index, worker in
      let tile = tiles.range(index)
      let scores = scratch.base + worker * scratchEach
      let queries = scores + 2 * AttentionTraining.rows * stride
      for head in 0..<heads {
        if monitor.isCancelled { return }
        for row in tile {
          (queries + (row - tile.lowerBound) * d).copy(
            from: qkv + Int(tokens[row]) * 3 * c + head * d, count: d)
        }
        BLAS.multiply(
          tile.count, n, d, queries, d, qkv + c + head * d, 3 * c, transposed: true,
          into: scores, stride)
        withUnsafePointer(to: dropout[head]) {
          for row in tile {
            kernels.map_add(
              scores + (row - tile.lowerBound) * stride, n, scale, $0, UInt32(tokens[row]),
              lse[head * n + Int(tokens[row])], 1 / Float(heads), head > 0 ? 1 : 0, out + row * n)
          }
        }
        monitor.pulse(worker: worker)
      }
    }
    withExtendedLifetime(scratch) {}
  }

  // ---- Backward ---------------------------------------------------------------

  /// Gradients of q, k and v from those of o and of some rows of the mean maps.
  ///
  ///     dY = do v^T + da / H;  dv = Y^T do
  ///     dP = dropout(dY);  dS = P (dP - sum P dP)
  ///     dq = dS k / sqrt D;  dk = dS^T q / sqrt D
  ///
  /// - Parameters:
  ///   - dOut: [n, C]
  ///   - mapRow: [n], for every token the row of `dMaps` that is its, or -1
  ///   - dMaps: [*, n], gradients of `maps`
  ///   - dQKV: [n, 3C], overwritten
  func backward(
    _ qkv: UnsafePointer<Float>, lse: UnsafePointer<Float>, _ dropout: [cv_dropout],
    dOut: UnsafePointer<Float>, mapRow: UnsafePointer<Int32>, dMaps: UnsafePointer<Float>,
    dQKV: UnsafeMutablePointer<Float>, pool: ThreadPool, monitor: Monitor
  ) {
    let (n, c, d, stride) = (shape.tokens, layout.channels, layout.headDim, scoreStride)
    let (heads, scale) = (layout.heads, scale)
    let (scratch, scratchEach, partial) = (scratch, scratchEach, partial)
    let rows = AttentionTraining.rows
    let kernels = cv_rows().pointee
    let segments = AttentionTraining.segments
    // Segments of whole tiles.
    let tileCount = (n + rows - 1) / rows
    let segmentRows = (tileCount + segments - 1) / segments * rows

    pool.run(heads * segments) { task, worker in
      let (head, segment) = task.quotientAndRemainder(dividingBy: segments)
      let scores = scratch.base + worker * scratchEach
      let gradients = scores + rows * stride
      let dKey = gradients + rows * stride  // [n, D]
      let dValue = dKey + n * d  // [n, D]
      dKey.update(repeating: 0, count: 2 * n * d)
      let (query, key, value) = (qkv + head * d, qkv + c + head * d, qkv + 2 * c + head * d)

      var first = segment * segmentRows
      while first < min(n, (segment + 1) * segmentRows) {
        if monitor.isCancelled { return }
        let count = min(rows, n - first)
        let dRows = dOut + first * c + head * d
        BLAS.multiply(
          count, n, d, query + first * 3 * c, 3 * c, key, 3 * c, transposed: true, into: scores,
          stride)
        BLAS.multiply(
          count, n, d, dRows, c, value, 3 * c, transposed: true, into: gradients, stride)
        for row in 0..<count where mapRow[first + row] >= 0 {
          kernels.add_scaled(
            dMaps + Int(mapRow[first + row]) * n, n, 1 / Float(heads), gradients + row * stride)
        }
        withUnsafePointer(to: dropout[head]) {
          kernels.softmax_backward(
            scores, gradients, stride, count, n, scale, $0, UInt32(first),
            lse + head * n + first)
        }
        BLAS.multiplyTransposed(n, d, count, scores, stride, dRows, c, into: dValue, d, add: 1)
        BLAS.multiplyTransposed(
          n, d, count, gradients, stride, query + first * 3 * c, 3 * c, into: dKey, d, add: 1)
        BLAS.multiply(
          count, d, n, gradients, stride, key, 3 * c, transposed: false,
          into: dQKV + first * 3 * c + head * d, 3 * c)
        first += count
        monitor.pulse(worker: worker)
      }

      // The first segment's sums go to their place, the others' beside it.
      let (target, targetStride) =
        segment == 0
        ? (dQKV + c, 3 * c) : (partial.base + (segment - 1) * n * 2 * c, 2 * c)
      for token in 0..<n {
        let row = target + token * targetStride + head * d
        row.copy(from: dKey + token * d, count: d)
        (row + c).copy(from: dValue + token * d, count: d)
      }
    }

    let tiles = RowTiles(rows: n, exactly: 256)
    pool.run(tiles.count) { index, _ in
      for segment in 1..<segments {
        for token in tiles.range(index) {
          kernels.accumulate(
            partial.base + ((segment - 1) * n + token) * 2 * c, 2 * c, dQKV + token * 3 * c + c)
        }
      }
    }
    withExtendedLifetime((scratch, partial)) {}
  }
}
