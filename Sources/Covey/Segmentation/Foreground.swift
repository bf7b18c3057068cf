import CCoveyKernels

/// What is of an object.  The method itself does not say; this is a rule of this library
/// (docs/ALGORITHM.md has its measurement).
///
/// Things move by themselves, and stand inside the picture; what is behind them reaches
/// its border.  The probability that a patch is of an object is a logistic function of four
/// cues: how much its region moves, over the frames around, how much it does itself, and
/// how much its cluster does, compared with the video; and of its region the contact with
/// the border.
struct Foreground {
  /// From here on a patch is of an object.  Below 1/2, as objects are the lesser part of
  /// most pictures and their masks are judged by what they share with the truth: the best
  /// threshold of F1 is half of what is reached there (Lipton, Elkan, Naryanaswamy:
  /// Optimal thresholding of classifiers to maximize F1 measure, 2014).
  private static let threshold: Float = 0.3
  /// What was of an object a frame before stays one down to here, so that what is near the
  /// threshold does not come and go.
  private static let fading: Float = 0.2
  /// The mean over an object's patches: what only just reached the threshold is seldom one.
  static let leastObjectness: Float = 0.3

  /// Where another is asked for, what patches need changes with it.
  /// - Parameter wasForeground: the patch, a frame before.
  static func threshold(_ leastObjectness: Float, wasForeground: Bool) -> Float {
    (wasForeground ? fading : threshold) * leastObjectness / Foreground.leastObjectness
  }

  /// Fitted on made-up films (docs/ALGORITHM.md).
  private static let bias: Float = -0.76
  private static let regionMotion: Float = 0.54
  private static let patchMotion: Float = 0.14
  private static let clusterMotion: Float = 0.67
  private static let contact: Float = -2.6
  /// CLS attention over that of the average patch, where the model has one that means
  /// something: the probability is halved there.
  private static let halfAttention = 0.5

  private let relative: (Double) -> Float
  private let saliency: Double?

  /// - Parameter saliency: of the mean patch of all frames; nil where the model has none.
  init(_ scale: MotionScale, saliency: Double?) {
    relative = scale.relative()
    self.saliency = saliency
  }

  /// - Parameters:
  ///   - region: what is known of it.
  ///   - clusterEvidence: of motion, of the mean patch of its cluster.
  ///   - evidence: of motion about a patch of it; nil where nothing is known.
  func probability(
    _ region: FrameRegions.Sums, clusterEvidence: Double?
  ) -> (_ evidence: Double?) -> Float {
    let moves = region.meanEvidence.map(relative) ?? 0
    let rest =
      Foreground.bias + Foreground.regionMotion * moves
      + Foreground.clusterMotion * (clusterEvidence.map(relative) ?? 0)
      + Foreground.contact * region.contact / region.patches
    var factor: Float = 1
    if let saliency, saliency > 0 {
      let ratio = Double(region.saliency / region.patches) / saliency / Foreground.halfAttention
      factor = Float(ratio * ratio / (1 + ratio * ratio))
    }
    return { [relative] evidence in
      let own = evidence.map(relative) ?? moves
      return factor * Foreground.logistic(rest + Foreground.patchMotion * own)
    }
  }

  /// The same bits on every CPU, unlike libm's exp.
  private static func logistic(_ logit: Float) -> Float {
    withUnsafeTemporaryAllocation(of: Float.self, capacity: 2) { pair in
      guard let base = pair.baseAddress else { return 0 }
      (base[0], base[1]) = (logit, 0)
      cv_rows().pointee.softmax(base, 2, 1, 2, 1)
      return base[0]
    }
  }
}
