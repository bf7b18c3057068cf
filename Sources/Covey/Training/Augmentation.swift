/// How the frames of a clip are changed, all in the same way, as augmentations that
/// are usual in self-supervised training: grayscale, then colours in random order,
/// then a blur.  What they are worth is in `Augmenter`.
struct Augmentation: Equatable {
  enum Change {
    case brightness
    case contrast
    case saturation
    case hue
  }

  struct Jitter: Equatable {
    var brightness: Float = 1  // 0.6 to 1.4
    var contrast: Float = 1  // 0.6 to 1.4
    var saturation: Float = 1  // 0.6 to 1.4
    var hue: Float = 0  // -0.1 to 0.1 of the whole circle
    var order: [Change] = [.brightness, .contrast, .saturation, .hue]
  }

  var isGray = false
  var jitter: Jitter?
  var sigma: Float?  // of the blur, 0.1 to 2 pixels

  init() {}

  /// Of clip number `draw` of a seed; the same on every machine.
  init(seed: UInt64, draw: UInt64) {
    let random = CounterRandom(seed: seed, step: UInt32(truncatingIfNeeded: draw))
    func uniforms(_ block: UInt32) -> (Float, Float, Float, Float) {
      let words = random.block(
        .augmentation, row: UInt32(truncatingIfNeeded: draw >> 32), block: block)
      return (
        CounterRandom.uniform(words.0), CounterRandom.uniform(words.1),
        CounterRandom.uniform(words.2), CounterRandom.uniform(words.3)
      )
    }
    let (whether, size, order) = (uniforms(0), uniforms(1), uniforms(2))
    isGray = whether.0 < 0.2
    if whether.1 < 0.8 {
      var jitter = Jitter()
      jitter.brightness = 0.6 + 0.8 * size.0
      jitter.contrast = 0.6 + 0.8 * size.1
      jitter.saturation = 0.6 + 0.8 * size.2
      jitter.hue = -0.1 + 0.2 * size.3
      jitter.order.swapAt(3, Int(4 * order.0))
      jitter.order.swapAt(2, Int(3 * order.1))
      jitter.order.swapAt(1, Int(2 * order.2))
      self.jitter = jitter
    }
    if whether.2 < 0.5 { sigma = 0.1 + 1.9 * whether.3 }
  }
}
