/// Where shots begin, frame by frame, from what came before and at most one frame after:
/// the same for a stream as for a whole video.
///
/// A *cut*: a frame and its successor are far from the last frame of the shot, much farther
/// than its last frames were from each other, and near each other.  So a single flash or damaged frame is none, nor is a film in which no
/// frame is like another.  A *fade*: the frame is far from the one `reach` before it, and
/// those between are mixtures of the two.  What comes into view by motion is none: a
/// picture that moves is no mixture of its ends.  Frames without a picture (black, plain)
/// are of the shot before them; what follows is compared with the last frame that had one.
/// docs/ALGORITHM.md has the figures that the constants come from.
struct ShotDetector {
  enum Verdict: Equatable {
    /// The shot goes on; the frame before, if it was open, is part of it.
    case goesOn
    /// The frame may begin a shot: the next one will tell.
    case open
    /// A shot begins, so many frames ago.
    case begins(ago: Int)
  }

  /// Distances of neighbouring frames are up to .48, of frames of different shots from
  /// .70 on.
  private static let cutDistance: Float = 0.63
  /// Of distances of the last frames from each other, which rise in a swing of the camera.
  private static let leap: Float = 1.2
  private static let mostSteps = 3
  /// Of the ends of a fade, which may not be quite over.
  private static let fadeDistance: Float = 0.65
  /// Of luma.  The same picture, however the exposure has changed, is more alike.
  private static let sameCorrelation: Float = 0.8
  /// Frames: about as long as a fade.
  private static let reach = 12
  /// Mean over the frames between the ends: up to .11 in fades, from .18 on in motion.
  private static let mixtureRest: Float = 0.14
  /// Of the contrast of the shot, or of 255: below, there is no picture.
  private static let blank: (share: Float, least: Float) = (0.15, 2)
  /// Contrast of one end of a fade over the other's: below, it is still going on.
  private static let evenness: Float = 0.5
  /// Contrast of the ends, of 255: plain scenes change a lot when one thing leaves.
  private static let fadeContrast: Float = 12

  /// The last frames of the shot that have a picture, at most `reach` and one more.
  private var recent: [FrameSummary] = []
  /// Frames that the oldest of these must still move on, so that no fade is found twice.
  private var pause = 0
  /// Distances between the last of these.
  private var steps: [Float] = []
  /// The frame before, where it was like none of the shot.
  private var stray: FrameSummary?

  var byteCount: Int {
    var bytes = stray?.byteCount ?? 0
    for frame in recent { bytes += frame.byteCount }
    return bytes
  }

  /// BLAS must be claimed.
  mutating func take(_ frame: FrameSummary) -> Verdict {
    let before = stray
    stray = nil
    guard let last = recent.last else {
      if frame.contrast >= ShotDetector.blank.least { recent = [frame] }
      return .goesOn
    }
    var contrast: Float = 0
    for each in recent { contrast = max(contrast, each.contrast) }
    let least = max(ShotDetector.blank.least, ShotDetector.blank.share * contrast)
    if frame.contrast < least { return .goesOn }
    let step = frame.distance(to: last)
    let usual = ShotDetector.leap * (steps.max() ?? 0)
    guard step > max(ShotDetector.cutDistance, usual), isAnother(frame, last) else {
      steps = steps.suffix(ShotDetector.mostSteps - 1) + [step]
      recent.append(frame)
      if recent.count > ShotDetector.reach + 1 {
        recent.removeFirst()
        pause = max(0, pause - 1)
      }
      guard pause == 0, isFaded else { return .goesOn }
      (recent, steps, pause) = ([frame], [], ShotDetector.reach)
      return .begins(ago: 0)
    }
    if let before {
      let step = frame.distance(to: before)
      if step <= ShotDetector.cutDistance || !isAnother(frame, before) {
        (recent, steps, pause) = ([before, frame], [step], 0)
        return .begins(ago: 1)
      }
    }
    stray = frame
    return .open
  }

  /// Whether it is another picture, not the same in another exposure.
  private func isAnother(_ a: FrameSummary, _ b: FrameSummary) -> Bool {
    a.correlation(with: b) < ShotDetector.sameCorrelation
  }

  /// Whether the oldest of the recent frames has become the last one by a fade.
  private var isFaded: Bool {
    guard recent.count > ShotDetector.reach, let last = recent.last else { return false }
    let first = recent[0]
    guard
      min(first.contrast, last.contrast)
        >= max(
          ShotDetector.fadeContrast,
          ShotDetector.evenness * max(first.contrast, last.contrast)),
      isAnother(first, last), first.distance(to: last) > ShotDetector.fadeDistance
    else { return false }
    var rest: Float = 0
    for frame in recent[1..<ShotDetector.reach] {
      rest += frame.rest(withoutMixtureOf: first, last)
    }
    return rest < ShotDetector.mixtureRest * Float(ShotDetector.reach - 1)
  }

  /// Summaries that there are at once: the recent ones, a stray, and the next, before the
  /// oldest goes.
  static let mostSummaries = reach + 4
}
