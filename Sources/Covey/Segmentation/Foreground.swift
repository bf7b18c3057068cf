/// What is known of each cluster over the whole video.
struct ClusterStatistics {
  struct Cluster {
    var index = 0
    var patches = 0  // over all frames
    var frames = 0  // in which it has a patch
    var firstFrame = -1
    var firstArea = 0  // patches in that frame
    var largestShare: Float = 0  // of a frame, at its largest
    var borderPatches = 0  // that lie at the frame's border, over all frames
    var saliency: Double = 0  // sum over its patches
  }

  private var clusters: [Cluster]
  let patchCount: Int  // over all frames
  let borderPatchCount: Int
  let totalSaliency: Double?  // nil where the model has none

  var count: Int { clusters.count }
  subscript(index: Int) -> Cluster { clusters[index] }

  /// - Parameter labels: [T, rows, columns], 0 ..< clusters
  init(
    _ labels: UnsafePointer<Int32>, clusters count: Int, frames: [EncodedFrame],
    rows: Int, columns: Int
  ) {
    clusters = (0..<count).map { Cluster(index: $0) }
    patchCount = frames.count * rows * columns
    var border = 0
    var areas = [Int](repeating: 0, count: count)
    var hasSaliency = true
    var saliencySum = 0.0
    for (time, frame) in frames.enumerated() {
      if frame.saliency == nil { hasSaliency = false }
      for i in 0..<count { areas[i] = 0 }
      let grid = labels + time * rows * columns
      for row in 0..<rows {
        for column in 0..<columns {
          let patch = row * columns + column
          let cluster = Int(grid[patch])
          areas[cluster] += 1
          if row == 0 || row == rows - 1 || column == 0 || column == columns - 1 {
            clusters[cluster].borderPatches += 1
            border += 1
          }
          if let saliency = frame.saliency {
            clusters[cluster].saliency += Double(saliency[patch])
            saliencySum += Double(saliency[patch])
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
    borderPatchCount = border
    totalSaliency = hasSaliency && saliencySum > 0 ? saliencySum : nil
  }
}

/// Which clusters are objects.  The method itself does not say; this is a rule
/// of this library (docs/ALGORITHM.md has its measurement).
///
/// Things stand inside the picture, what is behind them reaches its border.  So
/// the objectness of a cluster falls with the share of the frame's border that
/// it holds and with its area; where the model has a meaningful CLS token, it
/// rises with the attention the cluster gets relative to its area.
struct Foreground {
  let objectness: [Float]
  let isObject: [Bool]

  /// A cluster that holds this share of the border has an objectness of
  /// 1/2 by its border alone.
  static let halfBorderShare = 0.15
  static let halfAreaShare = 0.35
  static let threshold: Float = 0.5

  init(_ clusters: ClusterStatistics) {
    var objectness: [Float] = []
    for i in 0..<clusters.count {
      let cluster = clusters[i]
      let area = Double(cluster.patches) / Double(clusters.patchCount)
      let border = Double(cluster.borderPatches) / Double(max(clusters.borderPatchCount, 1))
      var score = Foreground.falling(border, half: Foreground.halfBorderShare)
        * Foreground.falling(area, half: Foreground.halfAreaShare)
      if let total = clusters.totalSaliency {
        let attention = cluster.saliency / total / area  // 1 is the average
        score = (score * attention / (1 + attention) * 2).squareRoot()
      }
      objectness.append(Float(min(max(score, 0), 1)))
    }
    self.objectness = objectness
    isObject = objectness.map { $0 >= Foreground.threshold }
  }

  /// 1 at 0, 1/2 at `half`, towards 0.
  private static func falling(_ x: Double, half: Double) -> Double {
    let ratio = x / half
    return 1 / (1 + ratio * ratio)
  }

  func ranks(_ a: Int, before b: Int) -> Bool {
    objectness[a] != objectness[b] ? objectness[a] > objectness[b] : a < b
  }
}
