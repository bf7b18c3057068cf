import CCovey

// Structs of the caller that may be older or newer than this library: each
// starts with its size as the caller knows it.

/// Sizes of the structs in version 0.1 of the interface, the least that a caller
/// can know.  Never to be changed, whatever is appended.
enum FirstSize {
  static let modelOptions = 12
  static let modelInfo = 88
  static let tensorInfo = 64
  static let frame = 72
  static let sessionOptions = 72
  static let memory = 48
  static let resultInfo = 48
  static let object = 56
  static let merge = 20
  static let grid = 16
  static let maps = 48
  static let trainClip = 48
  static let trainOptions = 56
  static let trainLosses = 32
  static let trainUpdate = 48
  static let trainerOptions = 96
  static let trainMetrics = 56
  static let trainerInfo = 56
}

/// Zero, but for struct_size: everything at its default.
func initialise<Struct: BitwiseCopyable>(_ pointer: UnsafeMutablePointer<Struct>?, _ size: Int) {
  guard let pointer, size >= 4, size <= UInt32.max else { return }
  let raw = UnsafeMutableRawPointer(pointer)
  raw.initializeMemory(as: UInt8.self, repeating: 0, count: size)
  raw.storeBytes(of: UInt32(size), as: UInt32.self)
}

/// What a size_t of the caller says: one of 2^63 or more is below 0 here.
func bounded(_ size: Int) -> Int { size < 0 ? Int.max : size }

/// Larger than any struct will ever be; what is beyond was never set.
private let largestStruct = 4096

private func structSize(
  _ pointer: UnsafeRawPointer, _ name: StaticString, minimum: Int
) throws(CoveyError) -> Int {
  let size = Int(pointer.loadUnaligned(as: UInt32.self))
  guard size >= minimum else {
    throw CoveyError(
      .argument, "\(name).struct_size: expected \(minimum) or more, found \(size)")
  }
  guard size <= largestStruct else {
    throw CoveyError(
      .version, "\(name).struct_size: expected at most \(largestStruct), found \(size)")
  }
  return size
}

/// A copy of a struct of the caller, of which the fields he does not know are
/// zero.
///
/// - Parameter minimum: a `FirstSize`.
func readStruct<Struct: BitwiseCopyable>(
  _ pointer: UnsafePointer<Struct>, _ name: StaticString,
  minimum: Int
) throws(CoveyError) -> Struct {
  let raw = UnsafeRawPointer(pointer)
  let size = try structSize(raw, name, minimum: minimum)
  let known = MemoryLayout<Struct>.size
  for offset in stride(from: known, to: size, by: 1)
  where raw.load(fromByteOffset: offset, as: UInt8.self) != 0 {
    throw CoveyError(
      .version,
      "\(name): byte \(offset) of \(size) is set, this library knows the first \(known) bytes")
  }
  return withUnsafeTemporaryAllocation(of: Struct.self, capacity: 1) { copy in
    let bytes = UnsafeMutableRawBufferPointer(copy)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    bytes.copyMemory(from: UnsafeRawBufferPointer(start: raw, count: min(size, known)))
    return copy[0]
  }
}

/// Whether `writeStruct` can fill a struct: for calls that must not fail after they
/// have done what they do.
///
/// - Returns: its size as the caller knows it.
@discardableResult
func checkStruct<Struct: BitwiseCopyable>(
  _ pointer: UnsafePointer<Struct>, _ name: StaticString, minimum: Int
) throws(CoveyError) -> Int {
  try structSize(UnsafeRawPointer(pointer), name, minimum: minimum)
}

/// Fills a struct of the caller as far as he knows it; what only he knows is
/// set to zero.
func writeStruct<Struct: BitwiseCopyable>(
  _ value: Struct, to pointer: UnsafeMutablePointer<Struct>, _ name: StaticString,
  minimum: Int
) throws(CoveyError) {
  let raw = UnsafeMutableRawPointer(pointer)
  fillStruct(value, at: raw, size: try structSize(raw, name, minimum: minimum))
}

/// The same of a size that was checked.
func fillStruct<Struct: BitwiseCopyable>(
  _ value: Struct, at raw: UnsafeMutableRawPointer, size: Int
) {
  raw.initializeMemory(as: UInt8.self, repeating: 0, count: size)
  withUnsafeBytes(of: value) { bytes in
    raw.copyMemory(from: bytes.baseAddress!, byteCount: min(size, bytes.count))
  }
  raw.storeBytes(of: UInt32(size), as: UInt32.self)
}
