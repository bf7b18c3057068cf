/// Builds the header of a GGUF file, version 3: all that comes before the data
/// section, padding included.
struct GGUFWriter {
  let alignment: Int
  private var entryCount: UInt64 = 0
  private var entries: [UInt8] = []
  private var tensorCount: UInt64 = 0
  private var tensors: [UInt8] = []
  /// Bytes of the data section so far, padding after the last tensor included.
  private(set) var dataSize = 0

  /// - Parameter alignment: of every tensor; a power of two.
  init(alignment: Int) {
    self.alignment = alignment
  }

  mutating func add(_ key: UnsafeRawBufferPointer, _ value: GGUFValue) {
    begin(key)
    if value.isArray {
      Self.append(GGUFValue.Kind.arrayNumber, to: &entries)
    }
    Self.append(value.kind.rawValue, to: &entries)
    if value.isArray {
      Self.append(UInt64(value.count), to: &entries)
    }
    entries.append(contentsOf: value.bytes)
  }

  mutating func add(_ key: UnsafeRawBufferPointer, _ value: UInt32) {
    begin(key)
    Self.append(GGUFValue.Kind.uint32.rawValue, to: &entries)
    Self.append(value, to: &entries)
  }

  mutating func add(_ key: UnsafeRawBufferPointer, _ value: UInt64) {
    begin(key)
    Self.append(GGUFValue.Kind.uint64.rawValue, to: &entries)
    Self.append(value, to: &entries)
  }

  mutating func add(_ key: UnsafeRawBufferPointer, _ value: Float) {
    begin(key)
    Self.append(GGUFValue.Kind.float32.rawValue, to: &entries)
    Self.append(value.bitPattern, to: &entries)
  }

  mutating func add(_ key: UnsafeRawBufferPointer, string: UnsafeRawBufferPointer) {
    begin(key)
    Self.append(GGUFValue.Kind.string.rawValue, to: &entries)
    Self.append(string: string, to: &entries)
  }

  mutating func add(_ key: UnsafeRawBufferPointer, _ values: [Float]) {
    begin(key)
    Self.append(GGUFValue.Kind.arrayNumber, to: &entries)
    Self.append(GGUFValue.Kind.float32.rawValue, to: &entries)
    Self.append(UInt64(values.count), to: &entries)
    for value in values {
      Self.append(value.bitPattern, to: &entries)
    }
  }

  /// Tensors lie one after another in the order of these calls.
  ///
  /// - Parameter size: bytes of its data.
  mutating func addTensor(
    _ name: UnsafeRawBufferPointer, _ shape: [Int], _ element: GGUFTensor.Element, size: Int
  ) {
    tensorCount += 1
    Self.append(string: name, to: &tensors)
    Self.append(UInt32(shape.count), to: &tensors)
    for size in shape.reversed() {
      Self.append(UInt64(size), to: &tensors)
    }
    Self.append(element.rawValue, to: &tensors)
    Self.append(UInt64(dataSize), to: &tensors)
    dataSize += size + padding(after: size)
  }

  /// Zero bytes that follow `size` bytes, up to the next multiple of the
  /// alignment.
  func padding(after size: Int) -> Int {
    -size & (alignment - 1)
  }

  var header: [UInt8] {
    var bytes: [UInt8] = Array("GGUF".utf8)
    Self.append(UInt32(3), to: &bytes)
    Self.append(tensorCount, to: &bytes)
    Self.append(entryCount, to: &bytes)
    bytes += entries
    bytes += tensors
    bytes += [UInt8](repeating: 0, count: padding(after: bytes.count))
    return bytes
  }

  private mutating func begin(_ key: UnsafeRawBufferPointer) {
    entryCount += 1
    Self.append(string: key, to: &entries)
  }

  private static func append(string: UnsafeRawBufferPointer, to bytes: inout [UInt8]) {
    append(UInt64(string.count), to: &bytes)
    bytes.append(contentsOf: string)
  }

  private static func append<T: FixedWidthInteger>(_ number: T, to bytes: inout [UInt8]) {
    for index in 0..<MemoryLayout<T>.size {
      bytes.append(UInt8(truncatingIfNeeded: number >> T(8 * index)))
    }
  }
}
