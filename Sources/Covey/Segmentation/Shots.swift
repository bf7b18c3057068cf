/// The shots of a video, as far as it has been pushed.
struct Shots {
  private var detector: ShotDetector?  // nil: all is one shot
  private let keyStride: Int
  /// First frames, of a stream of the last shot only.
  private(set) var starts = [0]
  private let isStreaming: Bool
  /// Whether the last frame may begin a shot, which the next one will tell.
  private(set) var isOpen = false

  init(_ settings: Settings) {
    detector = settings.splitsShots ? ShotDetector() : nil
    keyStride = settings.keyStride
    isStreaming = settings.isStreaming
  }

  var byteCount: Int { detector?.byteCount ?? 0 }

  /// Key frames are 0, r, 2r, ... of their shot.
  func isKey(_ frame: Int) -> Bool { (frame - starts[starts.count - 1]) % keyStride == 0 }

  /// Takes the frame that `encoder` has just encoded.
  /// - Parameters:
  ///   - frames: those not clustered yet; receives this one, the last of them with keys or
  ///     without as their shot has it, and as an open one may need them.
  ///   - time: of the frame.
  /// - Returns: where among `frames` a shot begins, if one does.
  mutating func take(
    _ frame: EncodedFrame, at time: Int, of encoder: FrameEncoder,
    into frames: inout [EncodedFrame], monitor: Monitor
  ) throws(CoveyError) -> Int? {
    guard detector != nil else {
      frames.append(frame)
      return nil
    }
    let summary = try encoder.summary(of: frame, monitor: monitor)
    let verdict = try encoder.claimed { detector?.take(summary) } ?? .goesOn
    // What was open had keys in any case.
    let isSpare = isOpen && verdict != .begins(ago: 1) && !isKey(time - 1)
    isOpen = verdict == .open
    var beginning: Int?
    if case .begins(let ago) = verdict {
      starts = isStreaming ? [time - ago] : starts + [time - ago]
      beginning = frames.count - ago
    }
    let needsKeys = isOpen || isKey(time)
    frames.append(
      needsKeys && frame.keys == nil ? try encoder.withKeys(frame, monitor: monitor) : frame)
    if !needsKeys { frames[frames.count - 1] = frame.withoutKeys() }
    if isSpare { frames[frames.count - 2] = frames[frames.count - 2].withoutKeys() }
    return beginning
  }

  /// No more frames: one that is still open is of the shot.
  mutating func end(at time: Int, _ frames: inout [EncodedFrame]) {
    guard isOpen else { return }
    isOpen = false
    if !isKey(time - 1), let last = frames.last {
      frames[frames.count - 1] = last.withoutKeys()
    }
  }

  /// Of a whole video of so many frames.
  func ranges(_ count: Int) -> [Range<Int>] {
    starts.indices.map { starts[$0]..<($0 + 1 < starts.count ? starts[$0 + 1] : count) }
  }

  /// Shots that estimates reckon with: none shorter than `key_stride` in the mean, or
  /// than two frames.
  static func most(frames: Int, _ settings: Settings) -> Int {
    settings.splitsShots ? max(1, frames / max(2, settings.keyStride)) : 1
  }
}
