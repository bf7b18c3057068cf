/// From clusters of patches to objects: regions of one cluster, whether their patches are
/// of an object, which of them are parts of one thing, and things followed over time.
///
/// Takes all frames of a video at once, or those of a stream window by window.
struct ObjectFinder {
  private let rows: Int
  private let columns: Int
  private let leastObjectness: Float
  private var scale = MotionScale()
  private var clusterMotion = ClusterMotion()
  private var saliency = (sum: 0.0, patches: 0)
  var instances: Instances
  /// From the frames that were taken.
  private var trail: FrameRegions.Trail?
  private var wasForeground: [Bool]

  /// Two regions that touch move as one where their motions differ by no more than this,
  /// in pixels a frame, and a part of the faster one's.
  private static let leastDifference: Float = 0.5
  private static let shareOfSpeed: Float = 0.35
  private static let loyalty: Float = 3
  /// Patches: of fewer, motion says nothing.
  private static let small = 4

  struct Frame {
    let labels: UnsafePointer<Int32>  // [N], clusters
    let saliency: UnsafePointer<Float>?  // [N]
    var motion: Motion?
  }

  /// Of the patches of the frames that were taken.
  struct Findings {
    let probability: Buffer<Float>  // [T, N], of being of an object
    let instances: Buffer<Int32>  // [T, N], -1: none
  }

  init(rows: Int, columns: Int, _ settings: Settings) {
    (self.rows, self.columns) = (rows, columns)
    leastObjectness = settings.leastObjectness
    instances = Instances(
      rows: rows, columns: columns, leastPatches: settings.minArea > 0 ? Instances.leastPatches : 1)
    wasForeground = [Bool](repeating: false, count: rows * columns)
  }

  /// - Parameters:
  ///   - time: of the first of the frames.
  ///   - patchSize: pixels of the working size.
  mutating func take(
    _ frames: [Frame], time: Int, patchSize: Int, monitor: Monitor, budget: Budget
  ) throws(CoveyError) -> Findings {
    let patches = rows * columns
    var frames = frames
    // What came before the first frame, if anything, is another shot.
    if trail == nil, !frames.isEmpty { frames[0].motion = nil }
    let findings = Findings(
      probability: try Buffer(frames.count * patches, budget: budget, for: "probabilities"),
      instances: try Buffer(frames.count * patches, budget: budget, for: "objects"))
    defer { withExtendedLifetime((findings, frames)) {} }
    let back = frames.map { ObjectFinder.moved($0.motion, times: 1 / Float(patchSize)) }
    let onward = frames.map { ObjectFinder.moved($0.motion, times: -1 / Float(patchSize)) }
    let origins = back.map { moved in moved.map { self.origins($0) } }
    var regions: [FrameRegions] = []
    for (index, frame) in frames.enumerated() {
      try monitor.check()
      var own = FrameRegions(frame, rows: rows, columns: columns)
      trail = own.hear(from: trail, moved: back[index])
      regions.append(own)
      if let attention = frame.saliency {
        for patch in 0..<patches { saliency.sum += Double(attention[patch]) }
        saliency.patches += patches
      }
    }
    var later: FrameRegions.Trail?
    for index in regions.indices.reversed() {
      try monitor.check()
      let moved = index + 1 < frames.count ? onward[index + 1] : nil
      later = regions[index].hear(from: later, moved: moved)
    }
    clusterMotion.fade(frames: frames.count)
    for frame in frames {
      if let motion = frame.motion { clusterMotion.add(frame.labels, motion, count: patches) }
    }
    scale.fade(frames: frames.count)
    for frame in regions {
      for region in frame.sums.indices {
        if let evidence = frame.sums[region].meanEvidence {
          scale.add(evidence, weight: Double(frame.grid.sizes[region]))
        }
      }
    }
    let foreground = Foreground(
      scale, saliency: saliency.patches > 0 ? saliency.sum / Double(saliency.patches) : nil)
    for index in frames.indices {
      try monitor.check()
      let probability = findings.probability.base + index * patches
      judge(regions[index], foreground, frames[index].motion, into: probability)
      let isForeground = (0..<patches).map { patch in
        let origin = origins[index].map { Int($0[patch]) } ?? patch
        let before = origin >= 0 && wasForeground[origin]
        return probability[patch]
          >= Foreground.threshold(leastObjectness, wasForeground: before)
      }
      let parts = joined(
        regions[index], isForeground, instances.owners(regions[index].grid, origins[index]))
      let found = instances.add(
        parts: (0..<patches).map {
          isForeground[$0] ? parts[Int(regions[index].grid.numbers[$0])] : -1
        },
        clusters: frames[index].labels, probability: probability, origins: origins[index],
        moved: onward[index], time: time + index)
      for patch in 0..<patches {
        findings.instances.base[index * patches + patch] = found[patch]
      }
      wasForeground = isForeground
    }
    return findings
  }

  /// A stream's cluster is no more; those behind it move up.
  mutating func forgetCluster(_ index: Int) {
    trail?.forgetCluster(Int32(index))
    clusterMotion.forgetCluster(Int32(index))
    instances.forgetCluster(Int32(index))
  }

  /// A cluster's number when another cluster is no more; -1: it was that one.
  static func number(_ own: Int32, without cluster: Int32) -> Int32 {
    own == cluster ? -1 : own > cluster ? own - 1 : own
  }

  /// By how much the motions of two parts of one thing may differ.
  ///
  /// - Parameter least: by which they differ where nothing moves.
  static func difference(
    ofOneThing u: SIMD2<Float>, _ v: SIMD2<Float>, least: Float
  ) -> Float {
    least + shareOfSpeed * max(u.length, v.length)
  }

  /// Of a patch.
  private static func moved(
    _ motion: Motion?, times factor: Float
  ) -> ((_ patch: Int) -> SIMD2<Float>)? {
    motion.map { motion in { motion.displacements.base[$0] * factor } }
  }

  /// Of each patch where it was a frame before; -1: outside.
  private func origins(_ moved: (_ patch: Int) -> SIMD2<Float>) -> [Int32] {
    (0..<rows * columns).map { patch in
      let moved = moved(patch)
      let row = patch / columns + Int(moved.y.rounded())
      let column = patch % columns + Int(moved.x.rounded())
      guard row >= 0, row < rows, column >= 0, column < columns else { return -1 }
      return Int32(row * columns + column)
    }
  }

  private func judge(
    _ regions: FrameRegions, _ foreground: Foreground, _ motion: Motion?,
    into probability: UnsafeMutablePointer<Float>
  ) {
    let judges = regions.sums.indices.map { region in
      foreground.probability(
        regions.sums[region], clusterEvidence: clusterMotion.evidence(regions.clusters[region]))
    }
    for row in 0..<rows {
      for column in 0..<columns {
        let evidence = motion.map { motion in
          // The mean over 3 x 3 patches.
          var (sum, count) = (0.0, 0.0)
          for y in max(row - 1, 0)...min(row + 1, rows - 1) {
            for x in max(column - 1, 0)...min(column + 1, columns - 1) {
              sum += Double(motion.evidence.base[y * columns + x])
              count += 1
            }
          }
          return sum / count
        }
        let patch = row * columns + column
        probability[patch] = judges[Int(regions.grid.numbers[patch])](evidence)
      }
    }
  }

  /// Of each region the least number of those it is one thing with.
  ///
  /// - Parameter owners: of each region the instance that most of it was of.
  private func joined(
    _ regions: FrameRegions, _ isForeground: [Bool], _ owners: [Int32]
  ) -> [Int32] {
    var sets = DisjointSets(count: regions.sums.count)
    let velocities = regions.sums.indices.map { regions.sums[$0].velocity }
    func meet(_ a: Int, _ b: Int) {
      guard isForeground[a], isForeground[b] else { return }
      let (first, second) = (Int(regions.grid.numbers[a]), Int(regions.grid.numbers[b]))
      guard first != second else { return }
      let (u, v) = (velocities[first], velocities[second])
      var allowed = ObjectFinder.difference(
        ofOneThing: u, v, least: ObjectFinder.leastDifference)
      // What was one thing stays so for longer.
      if owners[first] >= 0, owners[first] == owners[second] { allowed *= ObjectFinder.loyalty }
      let isSmall = min(regions.grid.sizes[first], regions.grid.sizes[second]) < ObjectFinder.small
      if isSmall || (u - v).length <= allowed { sets.join(first, second) }
    }
    for row in 0..<rows {
      for column in 0..<columns {
        let patch = row * columns + column
        if column + 1 < columns { meet(patch, patch + 1) }
        if row + 1 < rows { meet(patch, patch + columns) }
      }
    }
    return regions.sums.indices.map { Int32(sets.root($0)) }
  }

  /// While frames are taken: what is found, and of the regions their numbers, and sums, of
  /// which there are far fewer than patches.
  static func byteCount(frames: Int, patches: Int) -> Int { frames * patches * (4 + 4 + 32) }
}

/// Numbers in sets that join, each set named by its least number.
struct DisjointSets {
  private var parents: [Int32]

  init(count: Int) { parents = (0..<count).map { Int32($0) } }

  func root(_ member: Int) -> Int {
    var root = member
    while Int(parents[root]) != root { root = Int(parents[root]) }
    return root
  }

  mutating func join(_ a: Int, _ b: Int) {
    let (a, b) = (root(a), root(b))
    parents[max(a, b)] = Int32(min(a, b))
  }
}
