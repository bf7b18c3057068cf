import CCoveyKernels

/// Random numbers that are a function of where they are used: Philox4x32-10
/// (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3;
/// SC 2011).  There is no state: nothing depends on the order in which threads
/// ask, a mask can be drawn again in the backward pass, and a run continues with
/// nothing saved but its step.
struct CounterRandom {
  /// The third word of the counter: purpose * 65536 + a number below 65536.
  enum Purpose: UInt32 {
    case attention = 0  // + head
    case projection = 1
    case hidden = 2
    case output = 3
    case positions = 4
    case initialisation = 5
    case augmentation = 6
  }

  let seed: UInt64
  var step: UInt32 = 0

  private var key: (UInt32, UInt32) {
    (UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
  }

  /// Four words for a counter of (block, row, stream, step).
  func block(
    _ purpose: Purpose, _ number: Int = 0, row: UInt32 = 0, block: UInt32
  ) -> (UInt32, UInt32, UInt32, UInt32) {
    CounterRandom.philox((block, row, CounterRandom.stream(purpose, number), step), key: key)
  }

  static func philox(
    _ counter: (UInt32, UInt32, UInt32, UInt32), key: (UInt32, UInt32)
  ) -> (UInt32, UInt32, UInt32, UInt32) {
    var (c, k) = (counter, key)
    for _ in 0..<10 {
      let p0 = UInt64(c.0) &* 0xD251_1F53
      let p1 = UInt64(c.2) &* 0xCD9E_8D57
      c = (
        UInt32(truncatingIfNeeded: p1 >> 32) ^ c.1 ^ k.0, UInt32(truncatingIfNeeded: p1),
        UInt32(truncatingIfNeeded: p0 >> 32) ^ c.3 ^ k.1, UInt32(truncatingIfNeeded: p0)
      )
      k = (k.0 &+ 0x9E37_79B9, k.1 &+ 0xBB67_AE85)
    }
    return c
  }

  /// What element (row, column) of a matrix is dropped by: 16 bits each.  A rate
  /// is rounded to a multiple of 1 / 65536, and what is kept is scaled by the
  /// rounded one: the mean stays exactly what it was.
  /// - Parameter rate: 0 to 0.99.
  func dropout(_ rate: Float, _ purpose: Purpose, _ number: Int = 0) -> cv_dropout {
    let threshold = UInt32((rate * 65536).rounded())
    return cv_dropout(
      key: key, stream: CounterRandom.stream(purpose, number), step: step,
      threshold: threshold, factor: 65536 / (65536 - Float(threshold)))
  }

  /// `count` different numbers below `limit`, in the order drawn: Floyd's
  /// algorithm, which needs no memory beside its result.
  /// - Parameter out: [count]; count at most limit.
  func draw(_ count: Int, below limit: Int, into out: UnsafeMutablePointer<Int32>) {
    for drawn in 0..<count {
      let upper = limit - count + drawn  // 0...upper are candidates
      let words = block(.positions, block: UInt32(drawn))
      // 64 bits times a range below 2^31: biased by less than 2^-33.
      let wide = UInt64(words.0) << 32 | UInt64(words.1)
      let candidate = Int32(wide.multipliedFullWidth(by: UInt64(upper) + 1).high)
      let isTaken = (0..<drawn).contains { out[$0] == candidate }
      out[drawn] = isTaken ? Int32(upper) : candidate
    }
  }

  /// Of mean 0 and variance 1: Marsaglia's polar method, whose only function but
  /// the square root is the row kernels' logarithm, the same bits everywhere.
  func normal(_ purpose: Purpose, _ index: Int) -> Float {
    var attempt: UInt32 = 0
    while true {
      let words = block(purpose, row: attempt, block: UInt32(truncatingIfNeeded: index))
      // The upper 24 bits, centred: in (-1, 1), never 0.
      let x = (Float(words.0 >> 8) + 0.5) * 0x1p-23 - 1
      let y = (Float(words.1 >> 8) + 0.5) * 0x1p-23 - 1
      var square = x * x + y * y
      if square < 1, square > 0 {
        let size = square
        withUnsafeMutablePointer(to: &square) {
          cv_rows().pointee.log_rows($0, 1, 1, 1, 1e-37, $0, 1)
        }
        return x * (-2 * square / size).squareRoot()
      }
      attempt &+= 1
    }
  }

  /// In [0, 1): the upper 24 bits of a word.
  static func uniform(_ word: UInt32) -> Float { Float(word >> 8) * 0x1p-24 }

  private static func stream(_ purpose: Purpose, _ number: Int) -> UInt32 {
    purpose.rawValue << 16 | UInt32(truncatingIfNeeded: number) & 0xffff
  }
}
