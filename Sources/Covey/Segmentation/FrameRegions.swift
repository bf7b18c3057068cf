/// The regions of one frame: patches of one cluster that hang together and do not move
/// apart; and what is known of them from this frame and those around it.
///
/// What the frames around say follows the patches: every patch takes over what is known of
/// the place where it was, or will be, as far as that is of its cluster.
struct FrameRegions {
  /// What is known of a patch, or of those of a region: sums, a frame further away
  /// counting less.
  struct Sums {
    var patches: Float = 0
    var told: Float = 0  // patches in frames whose motion is known
    var evidence: Float = 0  // of motion
    var residual = SIMD2<Float>(0, 0)  // motion of its own, pixels; fades sooner
    var recent: Float = 0  // patches that `residual` is of
    /// Patches at the frame's border over the outline of a square of the region's area.
    var contact: Float = 0
    var saliency: Float = 0

    mutating func add(_ other: Sums, times factor: Float = 1) {
      patches += factor * other.patches
      told += factor * other.told
      evidence += factor * other.evidence
      residual += factor * other.residual
      recent += factor * other.recent
      contact += factor * other.contact
      saliency += factor * other.saliency
    }

    /// Nil where nothing is known of motion.
    var meanEvidence: Double? { told > 0 ? Double(evidence / told) : nil }
    var velocity: SIMD2<Float> { recent > 0 ? residual / recent : SIMD2(0, 0) }
  }

  /// The patches of a frame, known from it and all frames on one side of it.
  struct Trail {
    fileprivate var labels: [Int32]  // [N], clusters; -1: one that is no more
    fileprivate var sums: [Sums]  // [N]

    mutating func forgetCluster(_ cluster: Int32) {
      labels = labels.map { ObjectFinder.number($0, without: cluster) }
    }
  }

  let grid: GridRegions
  let clusters: [Int32]  // of each region
  /// Of each region.
  private(set) var sums: [Sums]
  private let contacts: [Float]  // of each region
  private let frame: ObjectFinder.Frame
  private let rows: Int
  private let columns: Int

  /// What a frame further away still counts.
  private static let persistence: Float = 0.98
  /// What is left of its motion then: where a thing went long ago says little of where its
  /// parts go now.
  private static let recency: Float = 0.9
  /// Of what its region is known for, a patch takes over this part.
  private static let sharing: Float = 0.1
  /// Where less of the place where it was is of its cluster, nothing is known of a patch.
  private static let leastOverlap: Float = 0.25
  /// Patches of a cluster are parted where their motions differ by more than that of one
  /// thing: there is more noise in them than in those of regions.
  private static let leastDifference: Float = 1

  init(_ frame: ObjectFinder.Frame, rows: Int, columns: Int) {
    (self.frame, self.rows, self.columns) = (frame, rows, columns)
    let labels = frame.labels
    let motions = frame.motion.map {
      FrameRegions.smooth($0.residuals.base, labels, rows: rows, columns: columns)
    }
    grid = GridRegions(rows: rows, columns: columns, touching: .sides) { a, b in
      guard labels[a] == labels[b] else { return false }
      guard let motions else { return true }
      let allowed = ObjectFinder.difference(
        ofOneThing: motions[a], motions[b], least: FrameRegions.leastDifference)
      return (motions[a] - motions[b]).length <= allowed
    }
    var contacts = [Float](repeating: 0, count: grid.count)
    for row in 0..<rows {
      for column in 0..<columns
      where row == 0 || row == rows - 1 || column == 0 || column == columns - 1 {
        contacts[Int(grid.numbers[row * columns + column])] += 1
      }
    }
    for region in contacts.indices {
      contacts[region] /= 4 * Float(grid.sizes[region]).squareRoot()
    }
    self.contacts = contacts
    var clusters = [Int32](repeating: -1, count: grid.count)
    for patch in 0..<rows * columns { clusters[Int(grid.numbers[patch])] = labels[patch] }
    self.clusters = clusters
    sums = [Sums](repeating: Sums(), count: grid.count)
    for patch in 0..<rows * columns { sums[Int(grid.numbers[patch])].add(own(patch)) }
  }

  /// Of this frame.
  private func own(_ patch: Int) -> Sums {
    var sums = Sums()
    sums.patches = 1
    sums.contact = contacts[Int(grid.numbers[patch])]
    if let saliency = frame.saliency { sums.saliency = saliency[patch] }
    if let motion = frame.motion {
      sums.told = 1
      sums.evidence = motion.evidence.base[patch]
      sums.residual = motion.residuals.base[patch]
      sums.recent = 1
    }
    return sums
  }

  /// Takes in what the frames on one side say.
  ///
  /// - Parameters:
  ///   - trail: of the next frame there; nil where there is none.
  ///   - moved: of a patch, x and y in patches, to its place there; nil: in its place.
  /// - Returns: with this frame.
  mutating func hear(from trail: Trail?, moved: ((_ patch: Int) -> SIMD2<Float>)?) -> Trail {
    let count = rows * columns
    var heard = [Sums](repeating: Sums(), count: count)
    if let trail {
      var means = [Sums](repeating: Sums(), count: grid.count)
      for patch in 0..<count {
        heard[patch] = at(patch, moved?(patch) ?? SIMD2(0, 0), trail)
        let region = Int(grid.numbers[patch])
        means[region].add(heard[patch], times: 1 / Float(grid.sizes[region]))
      }
      for patch in 0..<count {
        let region = Int(grid.numbers[patch])
        var known = Sums()
        known.add(heard[patch], times: FrameRegions.persistence * (1 - FrameRegions.sharing))
        known.add(means[region], times: FrameRegions.persistence * FrameRegions.sharing)
        known.residual *= FrameRegions.recency
        known.recent *= FrameRegions.recency
        heard[patch] = known
        sums[region].add(known)
      }
    }
    for patch in 0..<count { heard[patch].add(own(patch)) }
    return Trail(labels: Array(UnsafeBufferPointer(start: frame.labels, count: count)), sums: heard)
  }

  /// What is known of a place between patches, of those of the same cluster.
  private func at(_ patch: Int, _ moved: SIMD2<Float>, _ trail: Trail) -> Sums {
    let x = Float(patch % columns) + moved.x
    let y = Float(patch / columns) + moved.y
    let (left, top) = (Int(x.rounded(.down)), Int(y.rounded(.down)))
    let (right, bottom) = (x - Float(left), y - Float(top))
    var (found, overlap) = (Sums(), Float(0))
    for row in max(top, 0)..<max(min(top + 2, rows), max(top, 0)) {
      for column in max(left, 0)..<max(min(left + 2, columns), max(left, 0)) {
        let place = row * columns + column
        guard trail.labels[place] == frame.labels[patch] else { continue }
        let share = (row == top ? 1 - bottom : bottom) * (column == left ? 1 - right : right)
        found.add(trail.sums[place], times: share)
        overlap += share
      }
    }
    guard overlap >= FrameRegions.leastOverlap else { return Sums() }
    var mean = Sums()
    mean.add(found, times: 1 / overlap)
    return mean
  }

  /// Of each patch the median, in each direction, of those about it that are of its
  /// cluster.
  private static func smooth(
    _ motion: UnsafePointer<SIMD2<Float>>, _ labels: UnsafePointer<Int32>, rows: Int,
    columns: Int
  ) -> [SIMD2<Float>] {
    (0..<rows * columns).map { patch in
      let (row, column) = (patch / columns, patch % columns)
      var (across, down) = (Sorted(), Sorted())
      for y in max(row - 1, 0)...min(row + 1, rows - 1) {
        for x in max(column - 1, 0)...min(column + 1, columns - 1)
        where labels[y * columns + x] == labels[patch] {
          across.insert(motion[y * columns + x].x)
          down.insert(motion[y * columns + x].y)
        }
      }
      return SIMD2(across.median, down.median)
    }
  }

  /// Up to nine values.
  private struct Sorted {
    private var values = InlineArray<9, Float>(repeating: 0)
    private var count = 0

    mutating func insert(_ value: Float) {
      var place = count
      while place > 0, values[place - 1] > value {
        values[place] = values[place - 1]
        place -= 1
      }
      values[place] = value
      count += 1
    }

    /// The upper one of two.
    var median: Float { values[count / 2] }
  }
}
