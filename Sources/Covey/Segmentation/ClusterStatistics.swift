/// What is known of each cluster from the frames seen so far.
struct ClusterStatistics {
  struct Cluster {
    var index = 0
    var patches = 0  // over all frames
    var frames = 0  // in which it has a patch
    var firstFrame = -1
    var firstArea = 0  // patches in that frame
    var largestShare: Float = 0  // of a frame, at its largest
    var borderPatches = 0  // that lie at the frame's border, over all frames
    /// Sum over its patches of the squared distance to the frame's centre, the
    /// frame being 1 x 1.
    var spread = 0.0
    var saliency = 0.0  // sum over its patches
  }

  private var clusters: [Cluster]
  private let rows: Int
  private let columns: Int
  private(set) var frameCount = 0
  private var saliency = 0.0  // sum over all patches
  private var hasSaliency = true

  var count: Int { clusters.count }
  var patchesPerFrame: Int { rows * columns }
  var patchCount: Int { frameCount * patchesPerFrame }
  /// nil where the model has none.
  var totalSaliency: Double? { hasSaliency && saliency > 0 ? saliency : nil }

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
  ///   - attention: of the CLS token, [rows, columns]
  mutating func add(
    _ labels: UnsafePointer<Int32>, saliency attention: UnsafePointer<Float>?, time: Int
  ) {
    frameCount += 1
    if attention == nil { hasSaliency = false }
    var areas = [Int](repeating: 0, count: count)
    for row in 0..<rows {
      for column in 0..<columns {
        let patch = row * columns + column
        let cluster = Int(labels[patch])
        areas[cluster] += 1
        if row == 0 || row == rows - 1 || column == 0 || column == columns - 1 {
          clusters[cluster].borderPatches += 1
        }
        let y = (Double(row) + 0.5) / Double(rows) - 0.5
        let x = (Double(column) + 0.5) / Double(columns) - 0.5
        clusters[cluster].spread += x * x + y * y
        if let attention {
          clusters[cluster].saliency += Double(attention[patch])
          saliency += Double(attention[patch])
        }
      }
    }
    for i in 0..<count where areas[i] > 0 {
      if clusters[i].frames == 0 {
        clusters[i].firstFrame = time
        clusters[i].firstArea = areas[i]
      }
      clusters[i].frames += 1
      clusters[i].patches += areas[i]
      clusters[i].largestShare = max(
        clusters[i].largestShare, Float(areas[i]) / Float(rows * columns))
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
