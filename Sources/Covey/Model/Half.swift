/// IEEE 754 binary16 to and from binary32, without branches, so that the loops
/// vectorise for any CPU.  `Float16` would call a function per element where
/// the CPU has no instruction for it, and x86-64's baseline has none.
enum Half {
  /// Exact.  Neither pointer needs to be aligned for its element.
  ///
  /// - Parameters:
  ///   - source: `count` halves.
  ///   - target: `count` floats; must not overlap `source`.
  static func widen(
    _ source: UnsafeRawPointer, to target: UnsafeMutablePointer<Float>, count: Int
  ) {
    let bits = UnsafeMutableRawPointer(target)
    for index in 0..<count {
      let half = UInt16(
        littleEndian: source.loadUnaligned(fromByteOffset: 2 &* index, as: UInt16.self))
      bits.storeBytes(of: widened(half).bitPattern, toByteOffset: 4 &* index, as: UInt32.self)
    }
  }

  /// To the nearest, ties to even; from 65520 on to infinity.  The result is
  /// little-endian.
  ///
  /// - Parameters:
  ///   - source: `count` floats.
  ///   - target: `count` halves; must not overlap `source`.
  static func narrow(
    _ source: UnsafePointer<Float>, to target: UnsafeMutablePointer<UInt16>, count: Int
  ) {
    for index in 0..<count {
      target[index] = narrowed(source[index]).littleEndian
    }
  }

  @inline(__always)
  static func widened(_ half: UInt16) -> Float {
    let sign = UInt32(half & 0x8000) << 16
    let magnitude = UInt32(half & 0x7FFF) << 13
    // Exponent bias 15 to 127; to 255 for infinities and NaNs.
    let normal = magnitude &+ 112 << 23 &+ (magnitude >= 0x7C00 << 13 ? 112 << 23 : 0)
    // A subnormal m is 2^-14 + m less 2^-14: read as if it had the leading one.
    let subnormal = Float(bitPattern: magnitude &+ 113 << 23) - Float(bitPattern: 113 << 23)
    return Float(
      bitPattern: sign | (magnitude < 0x0400 << 13 ? subnormal.bitPattern : normal))
  }

  @inline(__always)
  static func narrowed(_ float: Float) -> UInt16 {
    let sign = float.bitPattern >> 16 & 0x8000
    let magnitude = float.bitPattern & 0x7FFF_FFFF
    // Half the last place, less one where the bit kept is even; a carry goes
    // into the exponent, from 65520 on into infinity.
    let normal = (magnitude &- 112 << 23 &+ 0xFFF &+ (magnitude >> 13 & 1)) >> 13
    // Beside 0.5 the last place of a float is that of half subnormals, 2^-24.
    let subnormal = (Float(bitPattern: magnitude) + 0.5).bitPattern &- Float(0.5).bitPattern
    let finite = magnitude < 113 << 23 ? subnormal : normal
    let special: UInt32 = magnitude > 0x7F80_0000 ? 0x7E00 | (magnitude >> 13 & 0x3FF) : 0x7C00
    return UInt16(truncatingIfNeeded: sign | (magnitude >= 143 << 23 ? special : finite))
  }
}
