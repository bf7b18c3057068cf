/// Reads the header of a GGUF file front to back.  `offset` never passes the
/// end of what may be read.
struct ByteCursor {
  /// The file, or as much of it as a header may take.
  private let bytes: UnsafeRawBufferPointer
  private let fileSize: Int
  private(set) var offset = 0

  var remaining: Int { bytes.count - offset }

  init(_ bytes: UnsafeRawBufferPointer, limit: Int) {
    self.bytes = UnsafeRawBufferPointer(rebasing: bytes.prefix(limit))
    fileSize = bytes.count
  }

  /// The next `size` bytes.
  mutating func take(_ size: UInt64, _ what: String) throws(CoveyError) -> UnsafeRawBufferPointer {
    guard let size = Int(exactly: size), size <= remaining else {
      throw overrun("\(size) bytes", what)
    }
    let taken = UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + size)])
    offset += size
    return taken
  }

  private func overrun(_ size: String, _ what: String) -> CoveyError {
    CoveyError(
      .format,
      bytes.count < fileSize
        ? "\(what): \(size) at byte \(offset) make a header of more than \(bytes.count) bytes"
        : "\(what): truncated, \(size) at byte \(offset), the file has \(fileSize)")
  }

  mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type, _ what: String
  ) throws(CoveyError) -> T {
    let bytes = try take(UInt64(MemoryLayout<T>.size), what)
    return T(littleEndian: bytes.loadUnaligned(as: type))
  }

  mutating func count(upTo maximum: Int, _ what: String) throws(CoveyError) -> Int {
    let count = try integer(UInt64.self, what)
    guard let count = Int(exactly: count), count <= maximum else {
      throw CoveyError(.format, "expected at most \(maximum) \(what), found \(count)")
    }
    return count
  }

  /// A key or the name of a tensor.
  mutating func name(
    upTo maximum: Int, _ what: String, _ index: Int
  ) throws(CoveyError) -> UnsafeRawBufferPointer {
    let what = "\(what) \(index)"
    let length = try integer(UInt64.self, what)
    guard length >= 1, length <= maximum else {
      throw CoveyError(
        .format, "\(what): expected a name of 1 to \(maximum) bytes, found \(length)")
    }
    let name = try take(length, what)
    guard isUTF8(name), !name.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
      throw CoveyError(.format, "\(what): its name is not UTF-8, or has control characters")
    }
    return name
  }

  /// The value of a key: its type, then itself.
  mutating func value(of key: UnsafeRawBufferPointer) throws(CoveyError) -> GGUFValue {
    let key = String(decoding: key, as: UTF8.self)
    var type = try integer(UInt32.self, key)
    let isArray = type == GGUFValue.Kind.arrayNumber
    if isArray {
      type = try integer(UInt32.self, key)
      guard type != GGUFValue.Kind.arrayNumber else {
        throw CoveyError(.unsupported, "\(key): arrays of arrays are not read")
      }
    }
    guard let kind = GGUFValue.Kind(rawValue: type) else {
      throw CoveyError(.format, "\(key): there is no type of number \(type)")
    }
    let count = isArray ? try integer(UInt64.self, key) : 1
    // No element takes less than a byte: a larger count is refused here, and
    // what follows cannot overflow.
    guard let count = Int(exactly: count), count <= remaining else {
      throw overrun("\(count) elements", key)
    }
    let start = offset
    if let size = kind.size {
      let (total, overflow) = UInt64(count).multipliedReportingOverflow(by: UInt64(size))
      let elements = try take(overflow ? .max : total, key)
      guard kind != .bool || !elements.contains(where: { $0 > 1 }) else {
        throw CoveyError(.format, "\(key): expected bools of 0 or 1, found something else")
      }
    } else {
      for _ in 0..<count {
        let text = try take(try integer(UInt64.self, key), key)
        guard isUTF8(text), !text.contains(0) else {
          throw CoveyError(.format, "\(key): its text is not UTF-8, or has NUL characters")
        }
      }
    }
    return GGUFValue(
      kind: kind, isArray: isArray, count: count,
      bytes: UnsafeRawBufferPointer(rebasing: bytes[start..<offset]))
  }
}

/// Whether the bytes are UTF-8: shortest forms only, no surrogates, nothing
/// beyond U+10FFFF (The Unicode Standard, table 3-7).
func isUTF8(_ bytes: UnsafeRawBufferPointer) -> Bool {
  var index = 0
  while index < bytes.count {
    let lead = bytes[index]
    index += 1
    let following: Int
    // What the second byte may be; any further one is 80...BF.
    var second: ClosedRange<UInt8> = 0x80...0xBF
    switch lead {
    case 0x00...0x7F: continue
    case 0xC2...0xDF: following = 1
    case 0xE0: (following, second) = (2, 0xA0...0xBF)
    case 0xED: (following, second) = (2, 0x80...0x9F)
    case 0xE1...0xEF: following = 2
    case 0xF0: (following, second) = (3, 0x90...0xBF)
    case 0xF1...0xF3: following = 3
    case 0xF4: (following, second) = (3, 0x80...0x8F)
    default: return false
    }
    guard following <= bytes.count - index, second.contains(bytes[index]) else { return false }
    for next in (index + 1)..<(index + following) where bytes[next] & 0xC0 != 0x80 {
      return false
    }
    index += following
  }
  return true
}
