/// The regions of one frame, of one cluster each, what is known of them from this frame
/// and those around it, and which regions of the frame before they were.
struct FrameRegions {
  /// Sums over patches.
  struct Sums {
    var patches = 0.0
    var told = 0.0  // patches in frames whose motion is known
    var evidence = 0.0  // of motion
    var residual = SIMD2<Double>(0, 0)  // motion of its own, pixels
    /// Patches at the frame's border over the outline of a square of the region's area.
    var contact = 0.0
    /// Squared distance to the frame's centre, the frame being 1 x 1.
    var spread = 0.0
    var saliency = 0.0

    mutating func add(_ other: Sums, times factor: Double) {
      patches += factor * other.patches
      told += factor * other.told
      evidence += factor * other.evidence
      residual += factor * other.residual
      contact += factor * other.contact
      spread += factor * other.spread
      saliency += factor * other.saliency
    }

    /// Nil where nothing is known of motion.
    var meanEvidence: Double? { told > 0 ? evidence / told : nil }
    var velocity: SIMD2<Double> { told > 0 ? residual / told : SIMD2(0, 0) }
  }

  /// Patches of a region that were of a region of the frame before.
  struct Link {
    let before: Int
    let now: Int
    var patches = 0
  }

  let grid: GridRegions
  private(set) var labels: [Int32]  // [N], clusters; -1: one that is no more
  private(set) var sums: [Sums]
  /// With those of the frames before, each frame less by a factor.
  private(set) var sinceBefore: [Sums]
  /// With those of the frames after, likewise.
  private(set) var untilAfter: [Sums]
  private let links: [Link]

  /// What a frame further away still counts.
  private static let persistence = 0.98

  /// - Parameters:
  ///   - labels: [N], clusters.
  ///   - origins: [N], where each patch was in the frame before; nil: in its place.
  init(
    _ labels: UnsafePointer<Int32>, motion: Motion?, saliency: UnsafePointer<Float>?,
    origins: [Int32]?, after before: FrameRegions?, rows: Int, columns: Int
  ) {
    let count = rows * columns
    grid = GridRegions(rows: rows, columns: columns, touching: .sides) {
      labels[$0] == labels[$1]
    }
    self.labels = Array(UnsafeBufferPointer(start: labels, count: count))
    sums = [Sums](repeating: Sums(), count: grid.count)
    for row in 0..<rows {
      for column in 0..<columns {
        let patch = row * columns + column
        let region = Int(grid.numbers[patch])
        sums[region].patches += 1
        if row == 0 || row == rows - 1 || column == 0 || column == columns - 1 {
          sums[region].contact += 1
        }
        let y = (Double(row) + 0.5) / Double(rows) - 0.5
        let x = (Double(column) + 0.5) / Double(columns) - 0.5
        sums[region].spread += x * x + y * y
        if let saliency { sums[region].saliency += Double(saliency[patch]) }
        if let motion {
          sums[region].told += 1
          sums[region].evidence += Double(motion.evidence.base[patch])
          sums[region].residual += SIMD2<Double>(motion.residuals.base[patch])
        }
      }
    }
    for region in sums.indices {
      // Patches at the border over the outline, for each patch.
      sums[region].contact *= sums[region].patches.squareRoot() / 4
    }
    var links: [Link] = []
    if let before {
      var pairs: [Int] = []
      for patch in 0..<count {
        let origin = origins.map { Int($0[patch]) } ?? patch
        let own = labels[patch]
        for place in [origin, patch] where place >= 0 && before.labels[place] == own {
          pairs.append(Int(before.grid.numbers[place]) * count + Int(grid.numbers[patch]))
          break
        }
      }
      pairs.sort()
      for (place, pair) in pairs.enumerated() {
        if place == 0 || pair != pairs[place - 1] {
          links.append(Link(before: pair / count, now: pair % count))
        }
        links[links.count - 1].patches += 1
      }
    }
    self.links = links
    (sinceBefore, untilAfter) = (sums, sums)
    if let before {
      for link in links {
        let share = Double(link.patches) / before.sums[link.before].patches
        sinceBefore[link.now].add(
          before.sinceBefore[link.before], times: FrameRegions.persistence * share)
      }
    }
  }

  /// Labels above that of a cluster that is no more move down.
  mutating func forgetCluster(_ cluster: Int32) {
    labels = labels.map { $0 == cluster ? -1 : $0 > cluster ? $0 - 1 : $0 }
  }

  /// Takes in what came after.
  mutating func hear(from after: FrameRegions) {
    for link in after.links {
      let share = Double(link.patches) / after.sums[link.now].patches
      untilAfter[link.before].add(
        after.untilAfter[link.now], times: FrameRegions.persistence * share)
    }
  }

  /// Of a region, from all frames.
  func all(_ region: Int) -> Sums {
    var all = sinceBefore[region]
    all.add(untilAfter[region], times: 1)
    all.add(sums[region], times: -1)
    return all
  }
}
