import CCoveyKernels

/// The whole spatio-temporal block on the tokens of a clip, forward and backward:
///
///     z1 = norm1(x);  q k v = W_qkv z1;  o = attention               [n, C]
///     x1 = x + dropout(W_proj o + b)
///     z2 = norm2(x1);  h = W_fc1 z2 (+ b);  g = dropout(gelu(h))     [n, F]
///     y = x1 + dropout(W_fc2 g + b)
///
/// Dropout is where the released code's (timm's) block has it, in the MLP behind
/// GELU and at the end.  Kept between the passes: z1, q k v, o, x1, z2 and h, of
/// which backward makes the gradients that belong to them; maps are not.
struct BlockTraining {
  private static let tileRows = 256
  /// Rows of a weight's gradient that are one task.
  private static let gradientRows = 96

  let layout: BlockLayout
  let shape: ClipShape
  let attention: AttentionTraining
  private let tiles: RowTiles

  let x: Buffer<Float>  // [n, C], the features
  let y: Buffer<Float>  // [n, C]
  let qkv: Buffer<Float>  // [n, 3C]
  let lse: Buffer<Float>  // [H, n]
  private let z1: Buffer<Float>  // [n, C]
  private let attended: Buffer<Float>  // o [n, C]
  private let x1: Buffer<Float>  // [n, C]
  private let z2: Buffer<Float>  // [n, C]
  private let hidden: Buffer<Float>  // h without its bias, then g [n, F]

  let dY: Buffer<Float>  // [n, C]; backward makes dx1 of it
  private let dOutput: Buffer<Float>  // of W_fc2 g + b [n, C]
  private let dHidden: Buffer<Float>  // of h [n, F]
  private let dProjected: Buffer<Float>  // of W_proj o + b [n, C]
  private let dAttended: Buffer<Float>  // of o [n, C]
  private let dQKV: Buffer<Float>  // [n, 3C]
  private let normPartial: Buffer<Float>  // [tiles, 2C]
  private let scratch: Buffer<Float>  // [threads, tile, max(F, C)]

  /// What is dropped in one step.
  struct Dropouts {
    let attention: [cv_dropout]  // by head
    let projection: cv_dropout
    let hidden: cv_dropout
    let output: cv_dropout

    init(_ rates: DropoutRates, _ random: CounterRandom, heads: Int) {
      attention = (0..<heads).map { random.dropout(rates.attention, .attention, $0) }
      projection = random.dropout(rates.projection, .projection)
      hidden = random.dropout(rates.mlp, .hidden)
      output = random.dropout(rates.mlp, .output)
    }
  }

  init(
    _ layout: BlockLayout, _ shape: ClipShape, threads: Int, budget: Budget?
  ) throws(CoveyError) {
    (self.layout, self.shape) = (layout, shape)
    attention = try AttentionTraining(layout, shape, threads: threads, budget: budget)
    let (n, c, f) = (shape.tokens, layout.channels, layout.hidden)
    tiles = RowTiles(rows: n, size: BlockTraining.tileRows)
    func buffer(_ columns: Int) throws(CoveyError) -> Buffer<Float> {
      try Buffer(n * columns, budget: budget, for: "activations of the block")
    }
    (x, y, qkv, lse) = (try buffer(c), try buffer(c), try buffer(3 * c), try buffer(layout.heads))
    (z1, attended, x1, z2) = (try buffer(c), try buffer(c), try buffer(c), try buffer(c))
    hidden = try buffer(f)
    (dY, dOutput, dHidden) = (try buffer(c), try buffer(c), try buffer(f))
    (dProjected, dAttended, dQKV) = (try buffer(c), try buffer(c), try buffer(3 * c))
    normPartial = try Buffer(tiles.count * 2 * c, budget: budget, for: "partial gradients")
    scratch = try Buffer(
      threads * tiles.size * max(f, c), budget: budget, for: "scratch of the threads")
  }

  // ---- Forward ----------------------------------------------------------------

  /// From `x` to `y`.
  /// - Parameter parameters: [layout.count]
  /// - Throws: `.cancelled`.
  func forward(
    _ parameters: UnsafePointer<Float>, _ dropouts: Dropouts, pool: ThreadPool, monitor: Monitor
  ) throws(CoveyError) {
    let (layout, c, f) = (layout, layout.channels, layout.hidden)
    let (x, z1, qkv, attended, x1) = (x.base, z1.base, qkv.base, attended.base, x1.base)
    let (z2, hidden, y, scratch) = (z2.base, hidden.base, y.base, scratch.base)
    let (tiles, scratchEach) = (tiles, tiles.size * max(f, c))
    let kernels = cv_rows().pointee

    pool.run(tiles.count) { index, _ in
      if monitor.isCancelled { return }
      let tile = tiles.range(index)
      let first = tile.lowerBound
      kernels.layer_norm(
        x + first * c, c, tile.count, c, parameters + layout.norm1Weight,
        parameters + layout.norm1Bias, layout.epsilon, z1 + first * c, c)
      BLAS.multiply(
        tile.count, 3 * c, c, z1 + first * c, c, parameters + layout.qkvWeight, c,
        transposed: true, into: qkv + first * 3 * c, 3 * c)
    }
    attention.forward(qkv, dropouts.attention, out: attended, lse: lse.base, pool: pool, monitor: monitor)
    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      let tile = tiles.range(index)
      let (first, count) = (tile.lowerBound, tile.count)
      let work = scratch + worker * scratchEach
      BLAS.multiply(
        count, c, c, attended + first * c, c, parameters + layout.projWeight, c,
        transposed: true, into: work, c)
      kernels.bias_add(work, c, count, c, parameters + layout.projBias)
      (x1 + first * c).copy(from: x + first * c, count: count * c)
      withUnsafePointer(to: dropouts.projection) {
        kernels.dropout(work, c, count, c, $0, UInt32(first), 1, x1 + first * c, c)
      }
      kernels.layer_norm(
        x1 + first * c, c, count, c, parameters + layout.norm2Weight,
        parameters + layout.norm2Bias, layout.epsilon, z2 + first * c, c)
      BLAS.multiply(
        count, f, c, z2 + first * c, c, parameters + layout.fc1Weight, c, transposed: true,
        into: hidden + first * f, f)
      work.copy(from: hidden + first * f, count: count * f)
      kernels.bias_gelu(work, f, count, f, parameters + layout.fc1Bias)
      withUnsafePointer(to: dropouts.hidden) {
        kernels.dropout(work, f, count, f, $0, UInt32(first), 0, work, f)
      }
      BLAS.multiply(
        count, c, f, work, f, parameters + layout.fc2Weight, f, transposed: true,
        into: y + first * c, c)
      kernels.bias_add(y + first * c, c, count, c, parameters + layout.fc2Bias)
      withUnsafePointer(to: dropouts.output) {
        kernels.dropout(
          y + first * c, c, count, c, $0, UInt32(first), 0, y + first * c, c)
      }
      for row in tile { kernels.accumulate(x1 + row * c, c, y + row * c) }
      monitor.pulse(worker: worker)
    }
    withExtendedLifetime(self) {}
    try monitor.check()
  }

  // ---- Backward ---------------------------------------------------------------

  /// Adds to `gradients` [layout.count] what follows from `dY` and from gradients of
  /// rows of the maps (see `AttentionTraining.backward`).  Once for each forward:
  /// activations are overwritten.
  /// - Throws: `.cancelled`; `gradients` are undefined then.
  func backward(
    _ parameters: UnsafePointer<Float>, _ dropouts: Dropouts, mapRow: UnsafePointer<Int32>,
    dMaps: UnsafePointer<Float>, into gradients: UnsafeMutablePointer<Float>, pool: ThreadPool,
    monitor: Monitor
  ) throws(CoveyError) {
    let (layout, c) = (layout, layout.channels)
    transformBackward(parameters, dropouts, gradients, pool, monitor)
    attention.backward(
      qkv.base, lse: lse.base, dropouts.attention, dOut: dAttended.base, mapRow: mapRow,
      dMaps: dMaps, dQKV: dQKV.base, pool: pool, monitor: monitor)
    try monitor.check()

    // dz1 = W_qkv^T d(q k v), of use for norm1's weights alone: x is given.
    let (x, dQKV, normPartial, scratch) = (x.base, dQKV.base, normPartial.base, scratch.base)
    let (tiles, scratchEach) = (tiles, tiles.size * max(layout.hidden, c))
    let kernels = cv_rows().pointee
    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      let tile = tiles.range(index)
      let first = tile.lowerBound
      let (work, sums) = (scratch + worker * scratchEach, normPartial + index * 2 * c)
      sums.update(repeating: 0, count: 2 * c)
      BLAS.multiply(
        tile.count, c, 3 * c, dQKV + first * 3 * c, 3 * c, parameters + layout.qkvWeight, c,
        transposed: false, into: work, c)
      kernels.layer_norm_backward(
        x + first * c, c, work, c, tile.count, c, parameters + layout.norm1Weight,
        layout.epsilon, nil, 0, sums, sums + c)
    }
    addNormPartial(gradients, layout.norm1Weight, layout.norm1Bias)
    addWeightGradients(gradients, pool, monitor)
    withExtendedLifetime(self) {}
    try monitor.check()
  }

  /// From dY to the gradients of all that is behind o, row by row.
  private func transformBackward(
    _ parameters: UnsafePointer<Float>, _ dropouts: Dropouts,
    _ gradients: UnsafeMutablePointer<Float>, _ pool: ThreadPool, _ monitor: Monitor
  ) {
    let (layout, c, f) = (layout, layout.channels, layout.hidden)
    let (dY, dOutput, dHidden) = (dY.base, dOutput.base, dHidden.base)
    let (dProjected, dAttended, hidden, x1) = (
      dProjected.base, dAttended.base, hidden.base, x1.base
    )
    let (normPartial, scratch) = (normPartial.base, scratch.base)
    let (tiles, scratchEach) = (tiles, tiles.size * max(f, c))
    let kernels = cv_rows().pointee
    pool.run(tiles.count) { index, worker in
      if monitor.isCancelled { return }
      let tile = tiles.range(index)
      let (first, count) = (tile.lowerBound, tile.count)
      let (work, sums) = (scratch + worker * scratchEach, normPartial + index * 2 * c)
      sums.update(repeating: 0, count: 2 * c)
      withUnsafePointer(to: dropouts.output) {
        kernels.dropout(
          dY + first * c, c, count, c, $0, UInt32(first), 0, dOutput + first * c, c)
      }
      // dg, then d gelu(h), then dh; and g again.
      BLAS.multiply(
        count, f, c, dOutput + first * c, c, parameters + layout.fc2Weight, f,
        transposed: false, into: dHidden + first * f, f)
      withUnsafePointer(to: dropouts.hidden) {
        kernels.dropout(
          dHidden + first * f, f, count, f, $0, UInt32(first), 0, dHidden + first * f, f)
        kernels.gelu_backward(
          hidden + first * f, dHidden + first * f, f, count, f, parameters + layout.fc1Bias)
        kernels.dropout(
          hidden + first * f, f, count, f, $0, UInt32(first), 0, hidden + first * f, f)
      }
      BLAS.multiply(
        count, c, f, dHidden + first * f, f, parameters + layout.fc1Weight, c,
        transposed: false, into: work, c)
      kernels.layer_norm_backward(
        x1 + first * c, c, work, c, count, c, parameters + layout.norm2Weight, layout.epsilon,
        dY + first * c, c, sums, sums + c)
      withUnsafePointer(to: dropouts.projection) {
        kernels.dropout(
          dY + first * c, c, count, c, $0, UInt32(first), 0, dProjected + first * c, c)
      }
      BLAS.multiply(
        count, c, c, dProjected + first * c, c, parameters + layout.projWeight, c,
        transposed: false, into: dAttended + first * c, c)
      monitor.pulse(worker: worker)
    }
    addNormPartial(gradients, layout.norm2Weight, layout.norm2Bias)
  }

  private func addNormPartial(
    _ gradients: UnsafeMutablePointer<Float>, _ weight: Int, _ bias: Int
  ) {
    let (c, kernels) = (layout.channels, cv_rows().pointee)
    for index in 0..<tiles.count {
      kernels.accumulate(normPartial.base + index * 2 * c, c, gradients + weight)
      kernels.accumulate(normPartial.base + (index * 2 + 1) * c, c, gradients + bias)
    }
  }

  /// Of one linear layer y = W x + b.
  private struct Linear {
    let dY: UnsafePointer<Float>  // [n, outputs]
    let outputs: Int
    let x: UnsafePointer<Float>  // [n, inputs]
    let inputs: Int
    let weight: UnsafeMutablePointer<Float>  // [outputs, inputs]
    let bias: UnsafeMutablePointer<Float>?  // [outputs]
  }

  /// dW += dy^T x, db += sum of dy over the tokens, in tasks of some outputs each,
  /// which sum over all tokens: nothing is left to be added up.
  private func addWeightGradients(
    _ gradients: UnsafeMutablePointer<Float>, _ pool: ThreadPool, _ monitor: Monitor
  ) {
    let (n, c, f) = (shape.tokens, layout.channels, layout.hidden)
    let layers = [
      Linear(
        dY: dHidden.base, outputs: f, x: z2.base, inputs: c,
        weight: gradients + layout.fc1Weight, bias: gradients + layout.fc1Bias),
      Linear(
        dY: dOutput.base, outputs: c, x: hidden.base, inputs: f,
        weight: gradients + layout.fc2Weight, bias: gradients + layout.fc2Bias),
      Linear(
        dY: dQKV.base, outputs: 3 * c, x: z1.base, inputs: c,
        weight: gradients + layout.qkvWeight, bias: nil),
      Linear(
        dY: dProjected.base, outputs: c, x: attended.base, inputs: c,
        weight: gradients + layout.projWeight, bias: gradients + layout.projBias),
    ]
    let tiles = layers.map { RowTiles(rows: $0.outputs, exactly: BlockTraining.gradientRows) }
    let kernels = cv_rows().pointee
    pool.run(tiles.reduce(0) { $0 + $1.count }) { task, worker in
      if monitor.isCancelled { return }
      monitor.pulse(worker: worker)
      var (index, layer) = (task, 0)
      while index >= tiles[layer].count {
        index -= tiles[layer].count
        layer += 1
      }
      let (linear, tile) = (layers[layer], tiles[layer].range(index))
      BLAS.multiplyTransposed(
        tile.count, linear.inputs, n, linear.dY + tile.lowerBound, linear.outputs, linear.x,
        linear.inputs, into: linear.weight + tile.lowerBound * linear.inputs, linear.inputs,
        add: 1)
      guard let bias = linear.bias else { return }
      for token in 0..<n {
        kernels.accumulate(
          linear.dY + token * linear.outputs + tile.lowerBound, tile.count,
          bias + tile.lowerBound)
      }
    }
  }
}
