import CCoveyKernels

/// What is kept of the patches seen so far: mean queries of patches that look
/// alike, and how many patches each stands for.
///
/// A query, unlike a map, does not depend on which keys there are: its map over
/// any keys can be made when it is wanted.  That is what lets prototypes of one
/// window be compared with those of another, and outlive the keys they were
/// found with.
struct Prototypes {
  let channels: Int  // C
  private(set) var weights: [Float] = []
  private(set) var queries: Buffer<Float>  // [capacity, C]
  private let budget: Budget

  var count: Int { weights.count }

  init(channels: Int, budget: Budget) throws(CoveyError) {
    self.channels = channels
    self.budget = budget
    queries = try Buffer(64 * channels, budget: budget, for: "prototypes")
  }

  /// The mean of queries [_, C] of each group of a partition.
  init(
    meansOf rows: UnsafePointer<Float>, _ rowWeights: [Float], _ partition: MergeTree.Partition,
    channels: Int, budget: Budget
  ) throws(CoveyError) {
    self.channels = channels
    self.budget = budget
    weights = partition.weights
    queries = try Buffer(
      max(partition.count, 1) * channels, budget: budget, for: "prototypes")
    Prototypes.means(rows, rowWeights, partition, width: channels, into: queries.base)
  }

  mutating func append(_ other: Prototypes) throws(CoveyError) {
    let total = count + other.count
    if total * channels > queries.count || !isKnownUniquelyReferenced(&queries) {
      let larger = try Buffer<Float>(2 * total * channels, budget: budget, for: "prototypes")
      larger.base.copy(from: queries.base, count: count * channels)
      queries = larger
    }
    (queries.base + count * channels).copy(
      from: other.queries.base, count: other.count * channels)
    weights += other.weights
  }

  /// means [groups, width]: of each group the weighted mean of its rows.
  static func means(
    _ rows: UnsafePointer<Float>, _ weights: [Float], _ partition: MergeTree.Partition,
    width: Int, into means: UnsafeMutablePointer<Float>
  ) {
    means.update(repeating: 0, count: partition.count * width)
    for (row, group) in partition.groups.enumerated() where group >= 0 {
      let mean = means + Int(group) * width
      let share = weights[row] / partition.weights[Int(group)]
      let values = rows + row * width
      for i in 0..<width { mean[i] += share * values[i] }
    }
  }

  /// Of a list that has grown to `count`: while it grows, old and new exist.
  static func byteCount(_ count: Int, channels: Int) -> Int {
    4 * 3 * max(count, 64) * channels
  }
}
