/// The tokens of a clip: for every frame the CLS token, then its patches.
struct ClipShape: Equatable {
  let frames: Int  // T
  let patches: Int  // N, of a frame

  /// - Throws: `.argument`.
  init(frames: Int, patches: Int) throws(CoveyError) {
    guard (1...64).contains(frames) else {
      throw CoveyError(.argument, "frames: expected 1 to 64, found \(frames)")
    }
    guard patches >= 1, patches <= 1 << 20 else {
      throw CoveyError(.argument, "patches: expected 1 to \(1 << 20), found \(patches)")
    }
    (self.frames, self.patches) = (frames, patches)
  }

  var frameTokens: Int { patches + 1 }
  var tokens: Int { frames * frameTokens }  // n

  /// Of the first patch of a frame; its CLS token is the one before.
  func firstPatch(_ frame: Int) -> Int { frame * frameTokens + 1 }
  func token(_ frame: Int, _ patch: Int) -> Int { firstPatch(frame) + patch }
}

/// Shares of elements that are dropped: 0 to 0.99.
struct DropoutRates {
  var attention: Float = 0.4  // of the maps, after the softmax
  var projection: Float = 0.1  // of what attention adds
  var mlp: Float = 0.1  // of the hidden layer behind GELU, and of what the MLP adds

  static let none = DropoutRates(attention: 0, projection: 0, mlp: 0)
}
