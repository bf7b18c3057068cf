import CCoveyPlatform

/// One value of a file's metadata: checked, and left where it lies in the
/// file, whose bytes must outlive it.
struct GGUFValue {
  /// Numbers as in the file.
  enum Kind: UInt32 {
    case uint8 = 0
    case int8 = 1
    case uint16 = 2
    case int16 = 3
    case uint32 = 4
    case int32 = 5
    case float32 = 6
    case bool = 7
    case string = 8
    case uint64 = 10
    case int64 = 11
    case float64 = 12

    /// The number that stands for an array, which has a kind of element.
    static let arrayNumber: UInt32 = 9

    /// Bytes of an element; nil for strings, which have a length in front.
    var size: Int? {
      switch self {
      case .uint8, .int8, .bool: 1
      case .uint16, .int16: 2
      case .uint32, .int32, .float32: 4
      case .uint64, .int64, .float64: 8
      case .string: nil
      }
    }

    var name: String {
      switch self {
      case .uint8: "u8"
      case .int8: "i8"
      case .uint16: "u16"
      case .int16: "i16"
      case .uint32: "u32"
      case .int32: "i32"
      case .float32: "f32"
      case .bool: "bool"
      case .string: "string"
      case .uint64: "u64"
      case .int64: "i64"
      case .float64: "f64"
      }
    }
  }

  /// Of the elements, in an array.
  let kind: Kind
  let isArray: Bool
  /// Elements of the array; 1 for what is none.
  let count: Int
  /// The elements as they lie in the file; strings with their length (u64) in
  /// front, arrays without their kind and count.
  let bytes: UnsafeRawBufferPointer

  /// For messages: `u32`, `f32[3]`.
  var typeName: String { isArray ? "\(kind.name)[\(count)]" : kind.name }

  // ---- Single values; nil where the type is another -------------------------

  var uint32: UInt32? {
    isArray || kind != .uint32 ? nil : UInt32(littleEndian: load(0, UInt32.self))
  }

  var uint64: UInt64? {
    isArray || kind != .uint64 ? nil : UInt64(littleEndian: load(0, UInt64.self))
  }

  var float32: Float? {
    isArray || kind != .float32 ? nil : float(0)
  }

  var bool: Bool? {
    isArray || kind != .bool ? nil : bytes[0] != 0
  }

  /// Without the length in front.
  var string: UnsafeRawBufferPointer? {
    isArray || kind != .string ? nil : UnsafeRawBufferPointer(rebasing: bytes[8...])
  }

  /// Three floats; nil where it is something else.
  var float32Triple: SIMD3<Float>? {
    isArray && kind == .float32 && count == 3 ? SIMD3(float(0), float(4), float(8)) : nil
  }

  /// The floats of an array of any length; nil where it is something else.
  var float32Array: [Float]? {
    isArray && kind == .float32 ? (0..<count).map { float(4 * $0) } : nil
  }

  private func float(_ offset: Int) -> Float {
    Float(bitPattern: UInt32(littleEndian: load(offset, UInt32.self)))
  }

  private func load<T: FixedWidthInteger & BitwiseCopyable>(_ offset: Int, _ type: T.Type) -> T {
    bytes.loadUnaligned(fromByteOffset: offset, as: type)
  }

  // ---- As text --------------------------------------------------------------

  /// Numbers in decimal, the shortest that read back the same; `true` and
  /// `false`; strings as they are; arrays as `[0.485, 0.456, 0.406]`, of more
  /// than 16 elements the first 16 and `...`, with strings in quotes.
  var text: String {
    guard isArray else { return element(at: 0).text }
    var result = "["
    var offset = 0
    for index in 0..<min(count, 16) {
      let (text, size) = element(at: offset)
      result += index > 0 ? ", " : ""
      result += kind == .string ? "\"\(text)\"" : text
      offset += size
    }
    result += count > 16 ? ", ...]" : "]"
    return result
  }

  /// The element that begins at byte `offset`, and its bytes.
  private func element(at offset: Int) -> (text: String, size: Int) {
    switch kind {
    case .uint8: return ("\(load(offset, UInt8.self))", 1)
    case .int8: return ("\(load(offset, Int8.self))", 1)
    case .uint16: return ("\(UInt16(littleEndian: load(offset, UInt16.self)))", 2)
    case .int16: return ("\(Int16(littleEndian: load(offset, Int16.self)))", 2)
    case .uint32: return ("\(UInt32(littleEndian: load(offset, UInt32.self)))", 4)
    case .int32: return ("\(Int32(littleEndian: load(offset, Int32.self)))", 4)
    case .uint64: return ("\(UInt64(littleEndian: load(offset, UInt64.self)))", 8)
    case .int64: return ("\(Int64(littleEndian: load(offset, Int64.self)))", 8)
    case .bool: return (bytes[offset] != 0 ? "true" : "false", 1)
    case .float32:
      return (NumberText.of(float(offset)), 4)
    case .float64:
      let bits = UInt64(littleEndian: load(offset, UInt64.self))
      return (NumberText.of(Double(bitPattern: bits)), 8)
    case .string:
      // The reader has checked that it lies within the file.
      let length = Int(truncatingIfNeeded: UInt64(littleEndian: load(offset, UInt64.self)))
      let characters = UnsafeRawBufferPointer(rebasing: bytes[(offset + 8)..<(offset + 8 + length)])
      return (String(decoding: characters, as: UTF8.self), 8 + length)
    }
  }
}

/// A key of a file's metadata and its value.  Lives as long as the file.
struct GGUFEntry {
  /// UTF-8 without control characters.
  let keyBytes: UnsafeRawBufferPointer
  let value: GGUFValue

  var key: String { String(decoding: keyBytes, as: UTF8.self) }
}
