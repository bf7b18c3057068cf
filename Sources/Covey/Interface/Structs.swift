import CCovey

// Structs of the caller that may be older or newer than this library: each
// starts with its size as the caller knows it.

/// Larger than any struct will ever be; what is beyond was never set.
private let largestStruct = 4096

private func structSize(
  _ pointer: UnsafeRawPointer, _ name: StaticString, minimum: Int
) throws(CoveyError) -> Int {
  let size = Int(pointer.loadUnaligned(as: UInt32.self))
  guard size >= minimum, size <= largestStruct else {
    throw CoveyError(
      .argument, "\(name).struct_size: expected \(minimum) or a little more, found \(size)")
  }
  return size
}

/// A copy of a struct of the caller, of which the fields he does not know are
/// zero.
///
/// - Parameter minimum: its size in the first version of the interface.
func readStruct<Struct: BitwiseCopyable>(
  _ pointer: UnsafePointer<Struct>, _ name: StaticString,
  minimum: Int = MemoryLayout<Struct>.size
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

/// Fills a struct of the caller as far as he knows it; what only he knows is
/// set to zero.
func writeStruct<Struct: BitwiseCopyable>(
  _ value: Struct, to pointer: UnsafeMutablePointer<Struct>, _ name: StaticString,
  minimum: Int = MemoryLayout<Struct>.size
) throws(CoveyError) {
  let raw = UnsafeMutableRawPointer(pointer)
  let size = try structSize(raw, name, minimum: minimum)
  raw.initializeMemory(as: UInt8.self, repeating: 0, count: size)
  withUnsafeBytes(of: value) { bytes in
    raw.copyMemory(from: bytes.baseAddress!, byteCount: min(size, bytes.count))
  }
  raw.storeBytes(of: UInt32(size), as: UInt32.self)
}
