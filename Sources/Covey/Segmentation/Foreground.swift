/// Which clusters are objects.  The method itself does not say; this is a rule
/// of this library (docs/ALGORITHM.md has its measurement).
///
/// Things stand inside the picture; what is behind them reaches its border,
/// fills much of it, or lies about its rim.  The objectness of a cluster is the
/// product of one term for each of these cues, 1 where the cue is absent and
/// 1/2 where it reaches the value below.  Where the model has a meaningful CLS
/// token, the attention that the cluster gets is a fourth.
struct Foreground {
  /// Of each cluster, in [0, 1].
  let objectness: [Float]

  private static let threshold: Float = 0.5
  /// Below, what was an object no longer is one; above it stays, so that what is
  /// near the threshold does not come and go.
  private static let fading: Float = 0.4

  /// Patches at the frame's border over the outline of a square of the
  /// cluster's area: 1 for the whole frame, about 1/4 for a square that leans
  /// against one side.
  static let halfContact = 0.2
  /// Share of the frame.
  static let halfArea = 0.5
  /// Mean squared distance from the centre of a frame of 1 x 1: 1/6 for the
  /// whole frame, 1/4 in the middle of a side, 1/2 in a corner.
  static let halfSpread = 0.25
  /// CLS attention over that of the average patch.
  static let halfAttention = 0.5

  init(_ clusters: ClusterStatistics) {
    var objectness: [Float] = []
    for i in 0..<clusters.count {
      let cluster = clusters[i]
      guard cluster.patches > 0 else {  // found, but nearest to no patch
        objectness.append(0)
        continue
      }
      let patches = Double(cluster.patches)
      let area = patches / Double(max(cluster.frames, 1))  // patches of a frame
      let contact = Double(cluster.borderPatches) / Double(max(cluster.frames, 1))
      var score =
        Foreground.falling(contact / (4 * area.squareRoot()), half: Foreground.halfContact)
        * Foreground.falling(area / Double(clusters.patchesPerFrame), half: Foreground.halfArea)
        * Foreground.falling(cluster.spread / patches, half: Foreground.halfSpread)
      if let total = clusters.totalSaliency {
        let average = total / Double(clusters.patchCount)
        let attention = cluster.saliency / patches / average
        score *= 1 - Foreground.falling(attention, half: Foreground.halfAttention)
      }
      objectness.append(Float(score))
    }
    self.objectness = objectness
  }

  /// - Parameters:
  ///   - cluster: of those that `init` was given.
  ///   - minArea: the share of a frame that it must have had.
  ///   - wasObject: before the last frames.
  func isObject(
    _ cluster: ClusterStatistics.Cluster, minArea: Float, wasObject: Bool = false
  ) -> Bool {
    cluster.largestShare > minArea
      && objectness[cluster.index] >= (wasObject ? Foreground.fading : Foreground.threshold)
  }

  func track(_ cluster: ClusterStatistics.Cluster) -> Segmentation.Track {
    Segmentation.Track(
      objectness: objectness[cluster.index], firstFrame: cluster.firstFrame)
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
