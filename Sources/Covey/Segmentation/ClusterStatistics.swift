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
    /// Sum over its patches of the squared distance to the frame's centre, the
    /// frame being 1 x 1.
    var spread = 0.0
    var saliency = 0.0  // sum over its patches
  }

  private var clusters: [Cluster]
  let patchCount: Int  // over all frames
  let patchesPerFrame: Int
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
    patchesPerFrame = rows * columns
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
          }
          let y = (Double(row) + 0.5) / Double(rows) - 0.5
          let x = (Double(column) + 0.5) / Double(columns) - 0.5
          clusters[cluster].spread += x * x + y * y
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
    totalSaliency = hasSaliency && saliencySum > 0 ? saliencySum : nil
  }
}
