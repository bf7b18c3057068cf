import CCoveyKernels

/// Motion consistency: patches that a query attends to most in its own frame should
/// attend as it does, those it attends to least should not.
///
///     p_j = a_j / sum a_j over the patches of all frames
///     score(j) = sum_c p_q(c) ln(p_j(c) + 1e-10)
///     L = mean over frames, negatives i, positives j of
///           sum over the frame's queries of weight_q relu(score(i) - score(j) + 1)
///
/// "Row a_i normalised to sum 1" is read as the row over all frames' patches: the
/// query's own frame decides who its positives and negatives are, not what of
/// their maps is compared.  The released code agrees.
struct MotionLoss {
  static let margin: Float = 1

  private let shape: ClipShape
  /// Whose maps are compared: patches that are ranked by some query, once each.
  let rows: Buffer<Int32>  // [R] tokens; `rowCount` of them are set
  let rowOf: Buffer<Int32>  // [n], -1: none
  /// Means over heads, then their gradients.
  let maps: Buffer<Float>  // [R, n]
  private let scores: Buffer<Float>  // [Q, K], K = positives + negatives; then gradients
  private let next: Buffer<Int32>  // [Q, K]: of the pairs with the same row
  private let last: Buffer<Int32>  // [R]: the last such pair
  private let losses: Buffer<Double>  // [Q]
  private let lines: Buffer<Float>  // [threads, lineSize]
  private let lineSize: Int  // n or K, whichever is larger
  private(set) var rowCount = 0

  init(_ ranking: Ranking, threads: Int, budget: Budget?) throws(CoveyError) {
    shape = ranking.shape
    let pairs = ranking.motion.count
    let most = min(pairs, shape.frames * shape.patches)
    rows = try Buffer(most, budget: budget, for: "rows of the maps")
    rowOf = try Buffer(shape.tokens, budget: budget, for: "rows of the maps")
    maps = try Buffer(most * shape.tokens, budget: budget, for: "maps of ranked patches")
    scores = try Buffer(pairs, budget: budget, for: "scores of ranked patches")
    next = try Buffer(pairs, budget: budget, for: "scores of ranked patches")
    last = try Buffer(most, budget: budget, for: "rows of the maps")
    losses = try Buffer(ranking.queryCount, budget: budget, for: "losses of the queries")
    lineSize = max(shape.tokens, ranking.counts.motionPositives + ranking.counts.motionNegatives)
    lines = try Buffer(threads * lineSize, budget: budget, for: "scratch of the threads")
  }

  /// Finds the rows that `maps` is to have.
  mutating func collect(_ ranking: Ranking) {
    rowOf.fill(-1)
    rowCount = 0
    for pair in 0..<ranking.motion.count {
      let token = Int(ranking.motion.base[pair])
      if rowOf.base[token] < 0 {
        rowOf.base[token] = Int32(rowCount)
        rows.base[rowCount] = Int32(token)
        last.base[rowCount] = -1
        rowCount += 1
      }
      let row = Int(rowOf.base[token])
      next.base[pair] = last.base[row]
      last.base[row] = Int32(pair)
    }
  }

  /// The loss; `maps` become `scale` times its gradients with respect to them.
  /// - Throws: `.cancelled`.
  func run(
    _ queries: QueryMaps, _ ranking: Ranking, scale: Float, pool: ThreadPool, monitor: Monitor
  ) throws(CoveyError) -> Double {
    let counts = ranking.counts
    let (positives, negatives) = (counts.motionPositives, counts.motionNegatives)
    let (k, n) = (positives + negatives, shape.tokens)
    let (maps, scores, next, last) = (maps.base, scores.base, next.base, last.base)
    let (lines, losses, shape, size) = (lines.base, losses.base, shape, lineSize)
    let (probabilities, weights) = (queries.maps.base, queries.weights.base)
    let kernels = cv_rows().pointee

    pool.run(rowCount) { row, worker in
      guard !monitor.isCancelled else { return }
      let map = maps + row * n
      let line = lines + worker * size
      QueryMaps.clearClass(map, shape)
      QueryMaps.logarithm(map, n, factor: QueryMaps.inverse(kernels.sum(map, n)), into: line)
      var pair = Int(last[row])
      while pair >= 0 {
        scores[pair] = Float(kernels.dot(probabilities + pair / k * n, line, n))
        pair = Int(next[pair])
      }
      monitor.pulse(worker: worker)
    }
    try monitor.check()

    let mean = 1 / (Double(shape.frames) * Double(positives) * Double(negatives))
    pool.run(ranking.queryCount) { query, worker in
      let score = scores + query * k
      let gradients = lines + worker * size
      let weight = Double(weights[query]) * mean
      var loss = 0.0
      // How many hinges are open for each, which is its gradient but for a factor.
      for rank in 0..<k { gradients[rank] = 0 }
      for positive in 0..<positives {
        for negative in positives..<k {
          let hinge = score[negative] - score[positive] + MotionLoss.margin
          if hinge > 0 {
            loss += Double(hinge)
            gradients[negative] += 1
            gradients[positive] -= 1
          } else if hinge.isNaN {
            loss = .nan
          }
        }
      }
      losses[query] = loss * weight
      let factor = Float(weight) * scale
      for rank in 0..<k { score[rank] = gradients[rank] * factor }
    }

    // ds/dp_j(c) = p_q(c) / (p_j(c) + 1e-10);  da = (dp - sum p dp) / sum a
    pool.run(rowCount) { row, worker in
      guard !monitor.isCancelled else { return }
      let map = maps + row * n
      let line = lines + worker * size
      line.update(repeating: 0, count: n)
      var pair = Int(last[row])
      while pair >= 0 {
        if scores[pair] != 0 {
          kernels.add_scaled(probabilities + pair / k * n, n, scores[pair], line)
        }
        pair = Int(next[pair])
      }
      let factor = QueryMaps.inverse(kernels.sum(map, n))
      for column in 0..<n { line[column] /= map[column] * factor + QueryMaps.tiny }
      let shared = Float(kernels.dot(map, line, n)) * factor
      for column in 0..<n { map[column] = (line[column] - shared) * factor }
      QueryMaps.clearClass(map, shape)
      monitor.pulse(worker: worker)
    }
    try monitor.check()
    withExtendedLifetime((self, queries)) {}
    return (0..<ranking.queryCount).reduce(0) { $0 + losses[$1] }
  }
}
