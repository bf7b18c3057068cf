/// Builds the header of a GGUF file, version 3: all that comes before the data
/// section, padding included.  Memory that is refused meanwhile is an error of
/// `header()`.
struct GGUFWriter {
  let alignment: Int
  private var entryCount: UInt64 = 0
  private var entries: Bytes
  private var tensorCount: UInt64 = 0
  private var tensors: Bytes
  /// Bytes of the data section so far, padding after the last tensor included.
  private(set) var dataSize = 0

  /// - Parameter alignment: of every tensor; a power of two.
  init(alignment: Int) throws(CoveyError) {
    self.alignment = alignment
    (entries, tensors) = (try Bytes(), try Bytes())
  }

  mutating func add(_ key: UnsafeRawBufferPointer, _ value: GGUFValue) {
    begin(key)
    if value.isArray {
      entries.append(GGUFValue.Kind.arrayNumber)
    }
    entries.append(value.kind.rawValue)
    if value.isArray {
      entries.append(UInt64(value.count))
    }
    entries.append(value.bytes)
  }

  mutating func add(_ key: UnsafeRawBufferPointer, _ value: UInt32) {
    begin(key)
    entries.append(GGUFValue.Kind.uint32.rawValue)
    entries.append(value)
  }

  mutating func add(_ key: UnsafeRawBufferPointer, _ value: UInt64) {
    begin(key)
    entries.append(GGUFValue.Kind.uint64.rawValue)
    entries.append(value)
  }

  mutating func add(_ key: UnsafeRawBufferPointer, _ value: Float) {
    begin(key)
    entries.append(GGUFValue.Kind.float32.rawValue)
    entries.append(value.bitPattern)
  }

  mutating func add(_ key: UnsafeRawBufferPointer, string: UnsafeRawBufferPointer) {
    begin(key)
    entries.append(GGUFValue.Kind.string.rawValue)
    entries.append(string: string)
  }

  mutating func add(_ key: UnsafeRawBufferPointer, _ values: [Float]) {
    begin(key)
    entries.append(GGUFValue.Kind.arrayNumber)
    entries.append(GGUFValue.Kind.float32.rawValue)
    entries.append(UInt64(values.count))
    for value in values {
      entries.append(value.bitPattern)
    }
  }

  /// Tensors lie one after another in the order of these calls.
  ///
  /// - Parameter size: bytes of its data.
  mutating func addTensor(
    _ name: UnsafeRawBufferPointer, _ shape: [Int], _ element: GGUFTensor.Element, size: Int
  ) {
    tensorCount += 1
    tensors.append(string: name)
    tensors.append(UInt32(shape.count))
    for size in shape.reversed() {
      tensors.append(UInt64(size))
    }
    tensors.append(element.rawValue)
    tensors.append(UInt64(dataSize))
    dataSize += size + padding(after: size)
  }

  /// Zero bytes that follow `size` bytes, up to the next multiple of the
  /// alignment.
  func padding(after size: Int) -> Int {
    -size & (alignment - 1)
  }

  /// - Throws: `.memory`.
  func header() throws(CoveyError) -> Buffer<UInt8> {
    var bytes = try Bytes()
    bytes.append(UInt32(0x4655_4747))  // GGUF
    bytes.append(UInt32(3))
    bytes.append(tensorCount)
    bytes.append(entryCount)
    for part in [entries, tensors] {
      if let failure = part.failure { throw failure }
      bytes.append(UnsafeRawBufferPointer(start: part.list.base, count: part.list.count))
    }
    for _ in 0..<padding(after: bytes.list.count) { bytes.append(UInt8(0)) }
    if let failure = bytes.failure { throw failure }
    let header = try Buffer<UInt8>(bytes.list.count, for: Bytes.purpose)
    header.base.copy(from: bytes.list.base, count: header.count)
    return header
  }

  private mutating func begin(_ key: UnsafeRawBufferPointer) {
    entryCount += 1
    entries.append(string: key)
  }
}

/// Bytes one after another.  Memory that is refused is remembered.
private struct Bytes {
  static let purpose: StaticString = "the header of a file"
  private(set) var list: GrowingList<UInt8>
  private(set) var failure: CoveyError?

  init() throws(CoveyError) {
    list = try GrowingList(for: Self.purpose)
  }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard failure == nil, let base = bytes.baseAddress else { return }
    do throws(CoveyError) {
      try list.append(base.assumingMemoryBound(to: UInt8.self), count: bytes.count)
    } catch {
      failure = error
    }
  }

  mutating func append(string: UnsafeRawBufferPointer) {
    append(UInt64(string.count))
    append(string)
  }

  mutating func append<T: FixedWidthInteger>(_ number: T) {
    withUnsafeBytes(of: number.littleEndian) { append($0) }
  }
}
