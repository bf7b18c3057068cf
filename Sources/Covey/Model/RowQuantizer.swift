/// Floats to int8, row by row: scale = largest magnitude / 127, and every number
/// the integer nearest to weight / scale.  Adds up what is lost by it.
struct RowQuantizer {
  /// Sums over all that was quantised, in its order: (weight - scale * value)^2
  /// and weight^2.
  private var lost = 0.0
  private var whole = 0.0

  /// ||W - W'|| / ||W|| (Frobenius); 0 for zeros.
  var relativeError: Float { whole > 0 ? Float((lost / whole).squareRoot()) : 0 }

  /// - Parameter largest: magnitude in the row.
  /// - Returns: over 0; 1 for rows of zeros, and of numbers so small that their
  ///   scale would be 0.  Infinity where 127 times the scale, which the largest
  ///   number becomes, is not finite.
  static func scale(_ largest: Float) -> Float {
    let scale = largest / 127
    guard scale > 0 else { return 1 }
    return (127 * scale).isFinite ? scale : .infinity
  }

  /// The largest magnitude of `count` finite floats, or `largest`.
  static func magnitude(
    _ source: UnsafePointer<Float>, count: Int, atLeast largest: Float
  ) -> Float {
    var bits = largest.bitPattern
    for index in 0..<count {
      bits = max(bits, source[index].bitPattern & 0x7FFF_FFFF)
    }
    return Float(bitPattern: bits)
  }

  /// To the nearest of the exact quotient, ties to even: a double tells on which
  /// side of a tie the quotient of two floats lies.
  ///
  /// - Parameters:
  ///   - source: `count` finite floats of one row.
  ///   - target: `count` values, -127 to 127.
  mutating func quantize(
    _ source: UnsafePointer<Float>, count: Int, scale: Float, to target: UnsafeMutablePointer<Int8>
  ) {
    // Added to a small number, it leaves no place for a fraction, and the
    // integer stands in the last bits.
    let shift = 0x1.8p52
    let scale = Double(scale)
    for index in 0..<count {
      let weight = Double(source[index])
      let shifted = min(max(weight / scale, -127), 127) + shift
      target[index] = Int8(truncatingIfNeeded: shifted.bitPattern)
      let difference = weight - scale * (shifted - shift)
      lost += difference * difference
      whole += weight * weight
    }
  }
}
