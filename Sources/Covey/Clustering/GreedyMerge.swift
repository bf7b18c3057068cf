import CCoveyKernels

/// The greedy merge of maps that lie within tau of a leader (level 1, second
/// half, and all higher levels): scan in order; an unclaimed map leads; its
/// centre is the unweighted mean of all unclaimed maps within tau of it, which
/// are thereby claimed.
///
/// Only the leaders' rows of the distance matrix are ever looked at, so only
/// they are computed: a few hundred instead of P.
struct GreedyMerge {
  private let pool: ThreadPool
  private let monitor: Monitor
  /// Maps not yet claimed, in order; what was claimed is squeezed out.
  private let unclaimed: Buffer<Int32>
  private let distances: Buffer<Float>
  private let partialSum: Buffer<Float>

  /// Below this many elements a thread is not worth waking.
  private static let serialElements = 1 << 16
  private static let rowsPerTask = 64
  /// fp32 sums of no more maps than this go into the whole one by one.
  private static let rowsPerSum = 256

  init(
    capacity: Int, keyCount: Int, pool: ThreadPool, monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    self.pool = pool
    self.monitor = monitor
    unclaimed = try Buffer(capacity, budget: budget, for: "unclaimed maps")
    distances = try Buffer(capacity, budget: budget, for: "distances to a leader")
    partialSum = try Buffer(keyCount, budget: budget, for: "partial sum of maps")
  }

  static func byteCount(capacity: Int, keyCount: Int) -> Int { 8 * capacity + 4 * keyCount }

  /// Pieces of work that `run` may be told to report for `count` maps, a tile of
  /// `MeanShift` being one.
  static func pieces(_ count: Int) -> Int {
    (count + Divergence.tileRows - 1) / Divergence.tileRows
  }

  /// Appends the centres of maps [count, M] with logarithms `logs` to `centres`.
  /// - Parameter pieces: of work, reported as maps are claimed.
  func run(
    _ maps: UnsafePointer<Float>, logs: UnsafePointer<Float>, count: Int, tau: Float,
    pieces: Int = 0, into centres: Centres
  ) throws(CoveyError) {
    let (unclaimed, distances) = (unclaimed.base, distances.base)
    for i in 0..<count { unclaimed[i] = Int32(i) }
    var left = count
    while left > 0 {
      let leader = Int(unclaimed[0])
      measure(maps, logs, leader: leader, left, keyCount: centres.keyCount)
      try monitor.check()
      // Claimed maps to the centre, the others closer together.
      let centre = try centres.append()
      var sum = Mean(centre, partialSum.base, centres.keyCount)
      var kept = 0
      for i in 0..<left {
        let member = Int(unclaimed[i])
        if i == 0 || distances[i] <= tau {
          if monitor.isCancelled { break }
          monitor.pulse(worker: 0)
          sum.add(maps + member * centres.keyCount)
        } else {
          unclaimed[kept] = Int32(member)
          kept += 1
        }
      }
      try monitor.check()
      sum.finish()
      monitor.advance(
        pieces * (count - kept) / count - pieces * (count - left) / count, worker: 0)
      left = kept
    }
  }

  private func measure(
    _ maps: UnsafePointer<Float>, _ logs: UnsafePointer<Float>, leader: Int, _ left: Int,
    keyCount: Int
  ) {
    let (unclaimed, distances) = (unclaimed.base, distances.base)
    let kernels = cv_rows().pointee
    func rows(_ range: Range<Int>) {
      for i in range {
        let member = Int(unclaimed[i])
        distances[i] = Float(
          kernels.jeffreys(
            maps + leader * keyCount, logs + leader * keyCount, maps + member * keyCount,
            logs + member * keyCount, keyCount))
      }
    }
    if left * keyCount < GreedyMerge.serialElements {
      rows(0..<left)
      return
    }
    let size = GreedyMerge.rowsPerTask
    let monitor = monitor
    pool.run((left + size - 1) / size) { index, worker in
      if monitor.isCancelled { return }
      rows(index * size..<min(left, (index + 1) * size))
      monitor.pulse(worker: worker)
    }
  }

  /// The mean of rows added one by one.  fp32 sums of blocks of rows, and of
  /// the blocks, so that thousands of rows lose no more than hundreds do.
  private struct Mean {
    private let total: UnsafeMutablePointer<Float>
    private let part: UnsafeMutablePointer<Float>
    private let n: Int
    private var rows = 0
    private let kernels = cv_rows().pointee

    init(
      _ total: UnsafeMutablePointer<Float>, _ part: UnsafeMutablePointer<Float>, _ n: Int
    ) {
      (self.total, self.part, self.n) = (total, part, n)
      total.update(repeating: 0, count: n)
      part.update(repeating: 0, count: n)
    }

    mutating func add(_ row: UnsafePointer<Float>) {
      kernels.accumulate(row, n, part)
      rows += 1
      if rows % GreedyMerge.rowsPerSum == 0 { flush() }
    }

    mutating func finish() {
      flush()
      kernels.scale(total, n, 1 / Float(rows))
    }

    private func flush() {
      kernels.accumulate(part, n, total)
      part.update(repeating: 0, count: n)
    }
  }
}
