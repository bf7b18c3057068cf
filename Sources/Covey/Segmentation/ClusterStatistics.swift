/// What is known of each cluster from the frames seen so far.
struct ClusterStatistics {
  struct Cluster {
    var index = 0
    var patches = 0  // over all frames
    var frames = 0  // in which it has a patch
    var firstFrame = -1
    var firstArea = 0  // patches in that frame
    var probability = 0.0  // of being of an object, sum over its patches

    /// That of the mean patch.
    var objectness: Float { patches > 0 ? Float(probability / Double(patches)) : 0 }

    var track: Segmentation.Track {
      Segmentation.Track(objectness: objectness, firstFrame: firstFrame)
    }
  }

  private var clusters: [Cluster]
  private let rows: Int
  private let columns: Int

  var count: Int { clusters.count }

  subscript(index: Int) -> Cluster { clusters[index] }

  init(rows: Int, columns: Int, clusters count: Int) {
    self.rows = rows
    self.columns = columns
    clusters = []
    for _ in 0..<count { appendCluster() }
  }

  mutating func appendCluster() {
    clusters.append(Cluster(index: clusters.count))
  }

  /// The clusters behind it move up.
  mutating func remove(at index: Int) {
    clusters.remove(at: index)
    for i in index..<clusters.count { clusters[i].index = i }
  }

  /// - Parameters:
  ///   - labels: [rows, columns] of one frame, 0 ..< count
  ///   - probability: of being of an object, [rows, columns]
  mutating func add(
    _ labels: UnsafePointer<Int32>, probability: UnsafePointer<Float>, time: Int
  ) {
    var areas = [Int](repeating: 0, count: count)
    for patch in 0..<rows * columns {
      let cluster = Int(labels[patch])
      areas[cluster] += 1
      clusters[cluster].probability += Double(probability[patch])
    }
    for i in 0..<count where areas[i] > 0 {
      if clusters[i].frames == 0 {
        clusters[i].firstFrame = time
        clusters[i].firstArea = areas[i]
      }
      clusters[i].frames += 1
      clusters[i].patches += areas[i]
    }
  }

  /// The order in which clusters get ids: as they come into sight, large ones
  /// first.
  func comesIntoSight(_ a: Int, before b: Int) -> Bool {
    let (a, b) = (clusters[a], clusters[b])
    if a.firstFrame != b.firstFrame { return a.firstFrame < b.firstFrame }
    if a.firstArea != b.firstArea { return a.firstArea > b.firstArea }
    return a.index < b.index
  }
}
