/// The tokens of a clip: for every frame the CLS token, where there is one, then its
/// patches.
struct ClipShape: Equatable {
  let frames: Int  // T
  let patches: Int  // N, of a frame
  let hasClass: Bool  // whether frames have a CLS token

  /// - Throws: `.argument`.
  init(frames: Int, patches: Int, hasClass: Bool = true) throws(CoveyError) {
    guard (1...64).contains(frames) else {
      throw CoveyError(.argument, "frames: expected 1 to 64, found \(frames)")
    }
    guard patches >= 1, patches <= 1 << 20 else {
      throw CoveyError(.argument, "patches: expected 1 to \(1 << 20), found \(patches)")
    }
    (self.frames, self.patches, self.hasClass) = (frames, patches, hasClass)
  }

  var frameTokens: Int { patches + (hasClass ? 1 : 0) }  // N or N + 1
  var tokens: Int { frames * frameTokens }  // n

  /// Of the first patch of a frame; its CLS token, if any, is the one before.
  func firstPatch(_ frame: Int) -> Int { frame * frameTokens + (hasClass ? 1 : 0) }
  func token(_ frame: Int, _ patch: Int) -> Int { firstPatch(frame) + patch }
}

/// Shares of elements that are dropped: 0 to 0.99.
struct DropoutRates {
  var attention: Float = 0.4  // of the maps, after the softmax
  var projection: Float = 0.1  // of what attention adds
  var mlp: Float = 0.1  // of the hidden layer behind GELU, and of what the MLP adds
}
