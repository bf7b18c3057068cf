/// Where samples at half-pixel centres come from when `size` samples become
/// `count`: sample i lies at (i + 1/2) size / count - 1/2, clamped to the first
/// and the last, and is first * (1 - weight) + second * weight.
struct Taps {
  struct Tap: BitwiseCopyable {
    var first: Int32
    var second: Int32
    var weight: Float
  }

  let taps: Buffer<Tap>  // [count]

  init(_ count: Int, from size: Int, budget: Budget?) throws(CoveyError) {
    taps = try Buffer(count, budget: budget, for: "positions of samples")
    let denominator = 2 * Int64(count)
    for index in 0..<count {
      let numerator = max(0, (2 * Int64(index) + 1) * Int64(size) - Int64(count))
      let first = Int(numerator / denominator)
      let second = min(first + 1, size - 1)
      taps.base[index] = Tap(
        first: Int32(first), second: Int32(second),
        weight: second == first
          ? 0 : Float(Double(numerator % denominator) / Double(denominator)))
    }
  }

  static func byteCount(_ count: Int) -> Int { count * MemoryLayout<Tap>.stride }
}

/// Two rows at hand, made when they are asked for.  Rows asked for in ascending
/// order are made once.
struct RowPair {
  private(set) var near: UnsafeMutablePointer<Float>
  private(set) var far: UnsafeMutablePointer<Float>
  private var nearRow: Int32 = -1
  private var farRow: Int32 = -1

  /// - Parameter storage: two rows of `stride` elements.
  init(_ storage: UnsafeMutablePointer<Float>, stride: Int) {
    near = storage
    far = storage + stride
  }

  /// `near` and `far` become the rows of a tap; where its second is its first,
  /// `far` is left as it is, and must have no weight.
  @inline(__always)
  mutating func move(
    to tap: Taps.Tap, make: (_ row: Int, UnsafeMutablePointer<Float>) -> Void
  ) {
    if nearRow != tap.first {
      if farRow == tap.first {
        swap(&near, &far)
        swap(&nearRow, &farRow)
      } else {
        make(Int(tap.first), near)
        nearRow = tap.first
      }
    }
    if tap.second != tap.first, farRow != tap.second {
      make(Int(tap.second), far)
      farRow = tap.second
    }
  }

  /// What `far` may be read as for this tap.
  func second(_ tap: Taps.Tap) -> UnsafeMutablePointer<Float> {
    tap.second == tap.first ? near : far
  }
}
