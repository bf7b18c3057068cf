import Foundation

/// The clustering written as literally as it is described, in Double: maps of
/// all frames, whole matrices of distances.  It also notes how close it came
/// to deciding otherwise.
struct NaiveClustering {
  let frames: [[Double]]  // queries of each [N, C]
  let keys: [Double]  // [M, C]
  let channels: Int
  let heads: Int

  typealias Map = [Double]

  struct Outcome {
    var labels: [Int32] = []
    var confidence: [Float] = []
    /// The two smallest distances of each patch.
    var nearest: [(Double, Double)] = []
    var clusters = 0
    /// min |D - tau| over all distances that were compared with tau.
    var closest = Double.infinity
    /// min D_second - D_best over all patches.
    var margin = Double.infinity
  }

  init(frames: [[Float]], keys: [Float], channels: Int, heads: Int) {
    self.frames = frames.map { $0.map { Double($0) } }
    self.keys = keys.map { Double($0) }
    self.channels = channels
    self.heads = heads
  }

  /// [N] maps over [M] keys: mean over heads of the softmax over all keys.
  func maps(of queries: [Double]) -> [Map] {
    let (d, m) = (channels / heads, keys.count / channels)
    return (0..<queries.count / channels).map { patch in
      var map = Map(repeating: 0, count: m)
      for head in 0..<heads {
        let scores = (0..<m).map { key in
          var product = 0.0
          for i in head * d..<(head + 1) * d {
            product += queries[patch * channels + i] * keys[key * channels + i]
          }
          return product / Double(d).squareRoot()
        }
        let top = scores.max()!
        let exponentials = scores.map { exp($0 - top) }
        let sum = exponentials.reduce(0, +)
        for key in 0..<m { map[key] += exponentials[key] / sum / Double(heads) }
      }
      return map
    }
  }

  static func logarithms(_ map: Map) -> Map { map.map { log(max($0, 1e-37)) } }

  /// [rows, columns]: sum (p - q)(ln p - ln q).
  static func distances(_ a: [Map], _ b: [Map]) -> [[Double]] {
    let (logsA, logsB) = (a.map(logarithms), b.map(logarithms))
    return a.indices.map { i in
      b.indices.map { j in
        distance(a[i], logsA[i], b[j], logsB[j])
      }
    }
  }

  private static func distance(_ p: Map, _ lp: Map, _ q: Map, _ lq: Map) -> Double {
    p.withUnsafeBufferPointer { p in
      lp.withUnsafeBufferPointer { lp in
        q.withUnsafeBufferPointer { q in
          lq.withUnsafeBufferPointer { lq in
            var sum = 0.0
            for c in p.indices { sum += (p[c] - q[c]) * (lp[c] - lq[c]) }
            return sum
          }
        }
      }
    }
  }

  /// Every map to the sum of its neighbours, itself included, scaled to 1.
  static func meanShift(_ maps: [Map], _ tau: Double, _ closest: inout Double) -> [Map] {
    let distances = distances(maps, maps)
    return maps.indices.map { i in
      var sum = Map(repeating: 0, count: maps[i].count)
      for j in maps.indices {
        if i != j { closest = min(closest, abs(distances[i][j] - tau)) }
        if distances[i][j] <= tau {
          for c in sum.indices { sum[c] += maps[j][c] }
        }
      }
      let total = sum.reduce(0, +)
      return sum.map { $0 / total }
    }
  }

  /// The unclaimed within tau of the first unclaimed, again and again.
  static func greedyMerge(_ maps: [Map], _ tau: Double, _ closest: inout Double) -> [Map] {
    let distances = distances(maps, maps)
    var isClaimed = [Bool](repeating: false, count: maps.count)
    var centres: [Map] = []
    for i in maps.indices where !isClaimed[i] {
      var members: [Int] = []
      for j in maps.indices where !isClaimed[j] {
        if i != j { closest = min(closest, abs(distances[i][j] - tau)) }
        if distances[i][j] <= tau { members.append(j) }
      }
      for j in members { isClaimed[j] = true }
      centres.append(
        maps[i].indices.map { c in
          members.reduce(0) { $0 + maps[$1][c] } / Double(members.count)
        })
    }
    return centres
  }

  func run(window: Int, tau: Float) -> Outcome {
    let tau = Double(tau)
    var outcome = Outcome()
    let maps = frames.map { self.maps(of: $0) }
    var centres: [Map] = []
    for start in stride(from: 0, to: frames.count, by: window) {
      let all = maps[start..<min(start + window, frames.count)].flatMap { $0 }
      let shifted = Self.meanShift(all, tau, &outcome.closest)
      centres += Self.greedyMerge(shifted, tau, &outcome.closest)
    }
    while true {
      let merged = Self.greedyMerge(centres, tau, &outcome.closest)
      if merged.count == centres.count { break }
      centres = merged
    }

    var numbers = [Int](repeating: -1, count: centres.count)
    var raw: [Int] = []
    for map in maps.flatMap({ $0 }) {
      let distances = Self.distances(centres, [map]).map { $0[0] }
      let best = distances.indices.min { distances[$0] < distances[$1] }!
      let second = distances.indices.filter { $0 != best }.map { distances[$0] }.min()
      raw.append(best)
      numbers[best] = 0
      outcome.margin = min(outcome.margin, (second ?? .infinity) - distances[best])
      outcome.nearest.append((distances[best], second ?? .infinity))
      outcome.confidence.append(Float(second.map { 1 - distances[best] / $0 } ?? 1))
    }
    // Clusters without a patch vanish.
    for index in numbers.indices where numbers[index] == 0 {
      numbers[index] = outcome.clusters
      outcome.clusters += 1
    }
    outcome.labels = raw.map { Int32(numbers[$0]) }
    return outcome
  }

  /// Hubert and Arabie's adjusted Rand index of two labellings: 1 where they
  /// are the same but for the names, 0 as by chance.
  static func adjustedRandIndex(_ a: [Int32], _ b: [Int32]) -> Double {
    func pairs(_ count: Int) -> Double { Double(count) * Double(count - 1) / 2 }
    func sum<Key: Hashable>(_ keys: [Key]) -> Double {
      Dictionary(keys.map { ($0, 1) }, uniquingKeysWith: +).values.reduce(0) { $0 + pairs($1) }
    }
    let both = sum(zip(a, b).map { [$0, $1] })
    let (inA, inB, all) = (sum(a), sum(b), pairs(a.count))
    let chance = all == 0 ? 0 : inA * inB / all
    let most = (inA + inB) / 2
    return most == chance ? 1 : (both - chance) / (most - chance)
  }
}
