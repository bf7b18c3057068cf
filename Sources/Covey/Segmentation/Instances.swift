/// Objects of a video: regions of patches that are followed by what their patches were a
/// frame before.  Two regions of a frame are never one instance.
///
/// Frames come one after the other, so whole videos and streams are the same to it.
struct Instances {
  struct Instance {
    var cluster: Int32  // of most of its patches, where it was last seen well
    /// That by which it is one of a kind: stays when the cluster changes; -1: not known yet,
    /// or no more.
    var kind: Int32 = -1
    var lastFrame = 0
    /// In which it was seen: no speck.
    var frames = 0
    /// Where it was seen first.
    var entry = (frame: 0, area: 0, centre: SIMD2<Float>(0, 0))
    /// The one that it turned out to be, which goes on in its place.
    var isReally: Int32 = -1
    var lastArea = 0
    var largestArea = 0
    var patches = 0  // over all frames
    var probability = 0.0  // sum over its patches
    var centre = SIMD2<Float>(0, 0)  // x, y in patches, where it was last seen
    var velocity = SIMD2<Float>(0, 0)  // patches a frame, of the frames up to there

    /// Whether it goes where another went, within half of the faster one's speed.
    func moves(as other: Instance) -> Bool {
      let speed = max(velocity.squaredLength, other.velocity.squaredLength)
      return (velocity - other.velocity).squaredLength <= speed / 4 + 0.0625
    }

    /// Another turned out to be this one.
    mutating func goOn(as other: Instance) {
      (centre, velocity) = (other.centre, other.velocity)
      (lastFrame, lastArea) = (other.lastFrame, other.lastArea)
      largestArea = max(largestArea, other.largestArea)
      frames += other.frames
      patches += other.patches
      probability += other.probability
    }

    /// That of the mean patch.
    var objectness: Float { patches > 0 ? Float(probability / Double(patches)) : 0 }
  }

  let rows: Int
  let columns: Int
  private let leastPatches: Int
  private(set) var instances: [Instance] = []
  private var owners: [Int32]  // [N] of the last frame; -1: none

  /// What has fewer patches is a speck, a rest beside what hides it or a flaw: not shown.
  static let leastPatches = 3
  /// A claim of fewer of a region's patches, or of the instance's, is chance.
  private static let leastClaim = 0.25
  /// What has been apart for less long than this, or was never larger than this part of
  /// what it meets, was a piece of it.
  private static let shortLife = 5
  private static let smallPart = 0.2
  /// Something unseen for up to so many frames is sought where it would be by now.
  private static let absence = 15
  private static let alikeInArea = 2.0
  /// After so many frames one that came into sight is known for what it is.
  private static let settling = 4
  /// What a frame adds to the velocity.
  private static let renewal: Float = 0.3

  init(rows: Int, columns: Int, leastPatches: Int) {
    (self.rows, self.columns, self.leastPatches) = (rows, columns, leastPatches)
    owners = [Int32](repeating: -1, count: rows * columns)
  }

  /// - Parameters:
  ///   - parts: [N], what may be one region; -1: background.
  ///   - clusters: [N]
  ///   - probability: [N], of being of an object.
  ///   - origins: [N], where each patch was in the frame before, -1: outside; nil: in its
  ///     place.
  ///   - moved: [N], patches since the frame before; nil where nothing is known.
  /// - Returns: [N], the instance of each patch, -1: none.
  mutating func add(
    parts: [Int32], clusters: UnsafePointer<Int32>, probability: UnsafePointer<Float>,
    origins: [Int32]?, moved: ((_ patch: Int) -> SIMD2<Float>)?, time: Int
  ) -> [Int32] {
    let regions = GridRegions(
      rows: rows, columns: columns, touching: .corners, includes: { parts[$0] >= 0 }
    ) { parts[$0] == parts[$1] }
    let votes = self.votes(regions, origins)
    var claims = self.claims(regions, votes)
    var found = [Int32](repeating: -1, count: rows * columns)
    /// Of each region the one instance that it is; -1: several.
    var whole = [Int32](repeating: -1, count: regions.count)
    for region in 0..<regions.count {
      if claims[region].count > 1 { claims[region] = grown(claims[region], time) }
      if claims[region].count == 1 { whole[region] = claims[region][0] }
    }
    let main = Instances.commonest(regions) { clusters[$0] }
    for region in 0..<regions.count where claims[region].isEmpty {
      whole[region] = born(main[region], time)
    }
    for patch in found.indices where regions.numbers[patch] >= 0 {
      let region = Int(regions.numbers[patch])
      if whole[region] >= 0 {
        found[patch] = whole[region]
      } else if claims[region].contains(votes[patch]) {
        found[patch] = votes[patch]
      }
    }
    spread(&found, over: regions)
    note(found, clusters, probability, moved, time)
    recognise(&found)
    owners = found
    return found.map { $0 >= 0 && instances[Int($0)].lastArea >= leastPatches ? $0 : -1 }
  }

  /// A stream's cluster is no more; those behind it move up.
  mutating func forgetCluster(_ cluster: Int32) {
    for index in instances.indices {
      func renumber(_ own: inout Int32) { own = ObjectFinder.number(own, without: cluster) }
      renumber(&instances[index].cluster)
      renumber(&instances[index].kind)
    }
  }

  /// Those that could not be found again are no more; the others move up.
  /// - Returns: which, falling.
  mutating func forget(before time: Int) -> [Int] {
    let gone = instances.indices.filter { time - instances[$0].lastFrame > Instances.absence }
    guard !gone.isEmpty else { return [] }
    var numbers = [Int32](repeating: -1, count: instances.count)
    var left: [Instance] = []
    for index in instances.indices where time - instances[index].lastFrame <= Instances.absence {
      numbers[index] = Int32(left.count)
      left.append(instances[index])
    }
    for index in left.indices where left[index].isReally >= 0 {
      // Whatever goes on as another does so for longer than it was seen itself.
      left[index].isReally = numbers[Int(left[index].isReally)]
    }
    instances = left
    owners = owners.map { $0 < 0 ? -1 : numbers[Int($0)] }
    return gone.reversed()
  }

  /// Of each patch the instance that it was of a frame before; -1: none.
  private func votes(_ regions: GridRegions, _ origins: [Int32]?) -> [Int32] {
    (0..<rows * columns).map { patch in
      guard regions.numbers[patch] >= 0 else { return -1 }
      let origin = origins.map { Int($0[patch]) } ?? patch
      return origin < 0 ? -1 : owners[origin]
    }
  }

  /// Of each region the instance that most of its patches were a frame before; -1: none.
  func owners(_ regions: GridRegions, _ origins: [Int32]?) -> [Int32] {
    let votes = self.votes(regions, origins)
    return Instances.commonest(regions) { votes[$0] }
  }

  /// Of each region the value that most of its patches have, the least on ties.
  private static func commonest(_ regions: GridRegions, _ value: (Int) -> Int32) -> [Int32] {
    var own = [[Int32]](repeating: [], count: regions.count)
    for patch in regions.numbers.indices where regions.numbers[patch] >= 0 {
      own[Int(regions.numbers[patch])].append(value(patch))
    }
    return own.map { commonest($0) }
  }

  private static func commonest(_ values: [Int32]) -> Int32 {
    let values = values.sorted()
    var (best, most, start) = (Int32(-1), 0, 0)
    for index in values.indices {
      if values[index] != values[start] { start = index }
      if index - start + 1 > most { (best, most) = (values[index], index - start + 1) }
    }
    return best
  }

  /// Of each region the instances that go on in it.  An instance goes on in one region,
  /// that with most of its patches.
  private func claims(_ regions: GridRegions, _ votes: [Int32]) -> [[Int32]] {
    var counts = [[(instance: Int32, votes: Int)]](repeating: [], count: regions.count)
    for patch in votes.indices where votes[patch] >= 0 {
      let region = Int(regions.numbers[patch])
      if let place = counts[region].firstIndex(where: { $0.instance == votes[patch] }) {
        counts[region][place].votes += 1
      } else {
        counts[region].append((votes[patch], 1))
      }
    }
    var best: [(instance: Int32, region: Int, votes: Int)] = []
    for region in counts.indices {
      for count in counts[region] {
        let size = min(regions.sizes[region], instances[Int(count.instance)].lastArea)
        guard Double(count.votes) >= Instances.leastClaim * Double(size) else { continue }
        if let place = best.firstIndex(where: { $0.instance == count.instance }) {
          if count.votes > best[place].votes {
            best[place] = (count.instance, region, count.votes)
          }
        } else {
          best.append((count.instance, region, count.votes))
        }
      }
    }
    var claims = [[Int32]](repeating: [], count: regions.count)
    for each in best { claims[each.region].append(each.instance) }
    return claims.map { $0.sorted() }
  }

  /// Of instances that meet those that have been something of their own.
  private func grown(_ claims: [Int32], _ time: Int) -> [Int32] {
    func age(_ instance: Int32) -> Int { instances[Int(instance)].frames }
    var oldest = claims[0]
    for claim in claims where age(claim) > age(oldest) { oldest = claim }
    let area = Double(instances[Int(oldest)].lastArea)
    return claims.filter {
      $0 == oldest
        || (age($0) >= Instances.shortLife
          && Double(instances[Int($0)].lastArea) >= Instances.smallPart * area)
    }
  }

  /// What came into sight may be one that was lost: told while it is new, as soon as enough
  /// of it is seen.  Larger ones first: they have the better right.
  private mutating func recognise(_ found: inout [Int32]) {
    let new = instances.indices.filter {
      instances[$0].frames > 0 && instances[$0].frames < Instances.settling
        && instances[$0].isReally < 0
    }.sorted {
      let (a, b) = (instances[$0].lastArea, instances[$1].lastArea)
      return a != b ? a > b : $0 < $1
    }
    for index in new {
      guard let old = lost(instances[index]) else { continue }
      instances[index].isReally = Int32(old)
      instances[old].goOn(as: instances[index])
      for patch in found.indices where Int(found[patch]) == index { found[patch] = Int32(old) }
    }
  }

  /// The one that was lost sight of and would be about where the new one came into it.
  private func lost(_ new: Instance) -> Int? {
    var (nearest, least) = (Int?.none, Float.infinity)
    for (index, old) in instances.enumerated() where old.isReally < 0 && old.frames > 0 {
      let gap = new.entry.frame - old.lastFrame
      guard gap >= 2, gap <= Instances.absence, old.cluster == new.cluster else { continue }
      // It may have been going out of sight, and come into it.
      guard Double(new.lastArea) <= Instances.alikeInArea * Double(old.largestArea),
        Double(new.lastArea) * Instances.alikeInArea >= Double(old.lastArea)
      else { continue }
      let expected = old.centre + old.velocity * Float(gap)
      // What left the picture is sought where it left.
      let place = expected.clamped(
        lowerBound: SIMD2(0, 0), upperBound: SIMD2(Float(columns - 1), Float(rows - 1)))
      var reach = Float(old.largestArea).squareRoot() + 1
      if place == expected {
        guard new.moves(as: old) else { continue }
        reach += old.velocity.length * Float(gap) / 2
      }
      let distance = (new.entry.centre - place).length
      if distance <= reach, distance < least { (nearest, least) = (index, distance) }
    }
    return nearest
  }

  private mutating func born(_ cluster: Int32, _ time: Int) -> Int32 {
    instances.append(Instance(cluster: cluster, lastFrame: time))
    return Int32(instances.count - 1)
  }

  /// Patches of a region that several share and that none claims, to the nearest claimed.
  private func spread(_ found: inout [Int32], over regions: GridRegions) {
    var border = found.indices.filter { found[$0] >= 0 }
    while !border.isEmpty {
      var next: [Int] = []
      for patch in border {
        let (row, column) = (patch / columns, patch % columns)
        for y in max(row - 1, 0)...min(row + 1, rows - 1) {
          for x in max(column - 1, 0)...min(column + 1, columns - 1) {
            let other = y * columns + x
            guard found[other] < 0, regions.numbers[other] == regions.numbers[patch] else {
              continue
            }
            found[other] = found[patch]
            next.append(other)
          }
        }
      }
      border = next
    }
  }

  private mutating func note(
    _ found: [Int32], _ clusters: UnsafePointer<Int32>, _ probability: UnsafePointer<Float>,
    _ moved: ((_ patch: Int) -> SIMD2<Float>)?, _ time: Int
  ) {
    var areas = [Int](repeating: 0, count: instances.count)
    var sums = [SIMD2<Float>](repeating: SIMD2(0, 0), count: instances.count)
    var motions = sums
    var owned = [[Int32]](repeating: [], count: instances.count)
    for patch in found.indices where found[patch] >= 0 {
      let index = Int(found[patch])
      areas[index] += 1
      sums[index] += SIMD2(Float(patch % columns), Float(patch / columns))
      if let moved { motions[index] += moved(patch) }
      owned[index].append(clusters[patch])
      instances[index].probability += Double(probability[patch])
    }
    for index in instances.indices where areas[index] > 0 {
      let centre = sums[index] / Float(areas[index])
      var instance = instances[index]
      // A rest of it, at a border or beside what hides it, tells little.
      let isSeenWell = 2 * areas[index] >= instance.largestArea
      if isSeenWell { instance.cluster = Instances.commonest(owned[index]) }
      if moved != nil, isSeenWell {
        let velocity = motions[index] / Float(areas[index])
        let share = instance.frames > 1 ? Instances.renewal : 1
        instance.velocity += share * (velocity - instance.velocity)
      }
      if areas[index] >= leastPatches {
        if instance.frames == 0 { instance.entry = (time, areas[index], centre) }
        if instance.kind < 0 { instance.kind = instance.cluster }
        instance.frames += 1
      }
      instance.centre = centre
      instance.lastFrame = time
      instance.lastArea = areas[index]
      instance.largestArea = max(instance.largestArea, areas[index])
      instance.patches += areas[index]
      instances[index] = instance
    }
  }
}
