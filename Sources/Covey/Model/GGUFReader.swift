#if !_endian(little)
  #error("weights are used where they lie in the file, which is little-endian")
#endif

/// One tensor of a file: checked, and left where it lies.
struct GGUFTensor {
  /// Numbers as in the file; the others that GGUF has are not read.
  enum Element: UInt32 {
    case f32 = 0
    case f16 = 1
    case i8 = 24

    var size: Int {
      switch self {
      case .f32: 4
      case .f16: 2
      case .i8: 1
      }
    }

    var name: String {
      switch self {
      case .f32: "F32"
      case .f16: "F16"
      case .i8: "I8"
      }
    }
  }

  let nameBytes: UnsafeRawBufferPointer
  /// Row-major: the last one is contiguous.  The file has them reversed.  1 to
  /// 4 of them, none 0.
  let shape: [Int]
  let element: Element
  /// Product of `shape`.
  let count: Int
  /// From the start of the data section.
  let offset: Int
  let data: UnsafeRawBufferPointer

  var name: String { String(decoding: nameBytes, as: UTF8.self) }

  /// For messages: `1152x384`.
  static func text(_ shape: [Int]) -> String {
    var text = ""
    for (index, size) in shape.enumerated() {
      text += index > 0 ? "x\(size)" : "\(size)"
    }
    return text
  }
}

/// Metadata and tensors of a GGUF file, version 3, little-endian.
///
/// Whatever the bytes are: an error or a reader all of whose pointers lie
/// within them, in time O(bytes + n log n) for n keys and tensors.  The bytes
/// must outlive the reader and what is asked of it.
struct GGUFReader {
  /// In the order of the file.
  let entries: [GGUFEntry]
  /// In the order of the file.
  let tensors: [GGUFTensor]
  let alignment: Int
  /// From the start of the data section to the end of the file.
  let data: UnsafeRawBufferPointer

  /// Indices of `entries` and `tensors`, by the bytes of their names.
  private let entryOrder: [Int]
  private let tensorOrder: [Int]

  // Far beyond any model of this family; they bound what a hostile file costs.
  static let maximumEntries = 4096
  static let maximumTensors = 4096
  static let maximumHeader = 64 << 20
  static let maximumKeyLength = 256
  static let maximumNameLength = 64  // GGUF's own limit
  static let maximumValue = 64 << 10  // bytes, of the metadata of files of ours
  static let maximumMetadata = 1 << 20  // likewise, keys and values together

  init(_ bytes: UnsafeRawBufferPointer) throws(CoveyError) {
    var cursor = ByteCursor(bytes, limit: Self.maximumHeader)
    try Self.readMagic(&cursor)
    let tensorCount = try cursor.count(upTo: Self.maximumTensors, "tensors")
    let entryCount = try cursor.count(upTo: Self.maximumEntries, "metadata entries")

    var entries: [GGUFEntry] = []
    for index in 0..<entryCount {
      let key = try cursor.name(upTo: Self.maximumKeyLength, "key", index)
      entries.append(GGUFEntry(keyBytes: key, value: try cursor.value(of: key)))
    }
    let entryOrder = Self.order(of: entries.map { $0.keyBytes })
    for (one, next) in zip(entryOrder, entryOrder.dropFirst())
    where compare(entries[one].keyBytes, entries[next].keyBytes) == 0 {
      throw CoveyError(.format, "\(entries[one].key): the key is there twice")
    }

    var alignment = 32  // GGUF's default
    if let index = Self.find("general.alignment", entryOrder, { entries[$0].keyBytes }) {
      let value = entries[index].value
      guard let number = value.uint32 else {
        throw CoveyError(.format, "general.alignment: expected u32, found \(value.typeName)")
      }
      guard number >= 8, number <= 4096, number & (number - 1) == 0 else {
        throw CoveyError(
          .format, "general.alignment: expected a power of two from 8 to 4096, found \(number)")
      }
      alignment = Int(number)
    }

    var infos: [TensorInfo] = []
    for index in 0..<tensorCount {
      infos.append(try TensorInfo(&cursor, index))
    }
    // The header ends within its limit, so this cannot overflow.
    let dataStart = (cursor.offset + alignment - 1) & ~(alignment - 1)
    guard dataStart <= bytes.count || infos.isEmpty else {
      throw CoveyError(
        .format, "truncated: the tensors begin at byte \(dataStart), the file has \(bytes.count)")
    }
    let data = UnsafeRawBufferPointer(rebasing: bytes[min(dataStart, bytes.count)...])

    var tensors: [GGUFTensor] = []
    for info in infos {
      tensors.append(try info.tensor(in: data, alignment: alignment))
    }
    let tensorOrder = Self.order(of: tensors.map { $0.nameBytes })
    for (one, next) in zip(tensorOrder, tensorOrder.dropFirst())
    where compare(tensors[one].nameBytes, tensors[next].nameBytes) == 0 {
      throw CoveyError(.format, "\(tensors[one].name): the tensor is there twice")
    }
    let places = tensors.indices.sorted { tensors[$0].offset < tensors[$1].offset }
    for (one, next) in zip(places, places.dropFirst())
    where tensors[one].data.count > tensors[next].offset - tensors[one].offset {
      throw CoveyError(.format, "\(tensors[one].name): overlaps \(tensors[next].name)")
    }

    self.entries = entries
    self.tensors = tensors
    self.alignment = alignment
    self.data = data
    self.entryOrder = entryOrder
    self.tensorOrder = tensorOrder
  }

  /// - Complexity: O(log n).
  func value(_ key: String) -> GGUFValue? {
    Self.find(key, entryOrder) { entries[$0].keyBytes }.map { entries[$0].value }
  }

  /// Index in `tensors`.
  ///
  /// - Complexity: O(log n).
  func tensorIndex(_ name: String) -> Int? {
    Self.find(name, tensorOrder) { tensors[$0].nameBytes }
  }

  // ---- Parts of init --------------------------------------------------------

  private static func readMagic(_ cursor: inout ByteCursor) throws(CoveyError) {
    let magic = try cursor.integer(UInt32.self, "magic")
    guard magic != 0x4747_5546 else {
      throw CoveyError(.unsupported, "big-endian GGUF file: only little-endian ones are read")
    }
    guard magic == 0x4655_4747 else {
      throw CoveyError(.format, "not a GGUF file: it does not begin with \"GGUF\"")
    }
    let version = try cursor.integer(UInt32.self, "version")
    guard version != 3 else { return }
    guard version & 0xFFFF != 0 else {
      throw CoveyError(.unsupported, "big-endian GGUF file: only little-endian ones are read")
    }
    guard version <= 3 else {
      throw CoveyError(.version, "GGUF version: expected 3, found \(version)")
    }
    throw CoveyError(.unsupported, "GGUF version: expected 3, found \(version)")
  }

  private static func order(of names: [UnsafeRawBufferPointer]) -> [Int] {
    names.indices.sorted { compare(names[$0], names[$1]) < 0 }
  }

  private static func find(
    _ name: String, _ order: [Int], _ nameOf: (Int) -> UnsafeRawBufferPointer
  ) -> Int? {
    var name = name
    return name.withUTF8 { utf8 in
      let wanted = UnsafeRawBufferPointer(utf8)
      var low = 0
      var high = order.count
      while low < high {
        let middle = (low + high) / 2
        let comparison = compare(nameOf(order[middle]), wanted)
        if comparison == 0 { return order[middle] }
        if comparison < 0 {
          low = middle + 1
        } else {
          high = middle
        }
      }
      return nil
    }
  }
}

/// Negative, 0 or positive, in the order of the bytes.
private func compare(_ one: UnsafeRawBufferPointer, _ other: UnsafeRawBufferPointer) -> Int {
  for index in 0..<min(one.count, other.count) where one[index] != other[index] {
    return Int(one[index]) - Int(other[index])
  }
  return one.count - other.count
}

/// A tensor as the header has it: its place is not known to be in the file.
private struct TensorInfo {
  let name: UnsafeRawBufferPointer
  let shape: [Int]
  let element: GGUFTensor.Element
  let count: Int
  let offset: UInt64

  init(_ cursor: inout ByteCursor, _ index: Int) throws(CoveyError) {
    name = try cursor.name(upTo: GGUFReader.maximumNameLength, "tensor", index)
    let text = String(decoding: name, as: UTF8.self)
    let rank = try cursor.integer(UInt32.self, text)
    guard rank >= 1, rank <= 4 else {
      throw CoveyError(.format, "\(text): expected 1 to 4 dimensions, found \(rank)")
    }
    var shape: [Int] = []
    var count = 1
    for _ in 0..<rank {
      let size = try cursor.integer(UInt64.self, text)
      guard size > 0, let size = Int(exactly: size) else {
        throw CoveyError(.format, "\(text): a dimension of \(size)")
      }
      let (product, overflow) = count.multipliedReportingOverflow(by: size)
      guard !overflow else {
        throw CoveyError(.format, "\(text): more elements than can be addressed")
      }
      count = product
      shape.append(size)
    }
    let type = try cursor.integer(UInt32.self, text)
    guard let element = GGUFTensor.Element(rawValue: type) else {
      throw CoveyError(
        .unsupported, "\(text): expected F32 (0), F16 (1) or I8 (24), found type \(type)")
    }
    self.shape = shape.reversed()
    self.count = count
    self.element = element
    offset = try cursor.integer(UInt64.self, text)
  }

  func tensor(
    in data: UnsafeRawBufferPointer, alignment: Int
  ) throws(CoveyError) -> GGUFTensor {
    let text = String(decoding: name, as: UTF8.self)
    let (size, overflow) = count.multipliedReportingOverflow(by: element.size)
    guard !overflow, let offset = Int(exactly: offset), offset <= data.count,
      size <= data.count - offset
    else {
      throw CoveyError(
        .format,
        "\(text): \(count) elements at byte \(self.offset) reach beyond "
          + "the \(data.count) bytes of data")
    }
    guard offset & (alignment - 1) == 0 else {
      throw CoveyError(
        .format, "\(text): expected an offset that is a multiple of \(alignment), found \(offset)")
    }
    return GGUFTensor(
      nameBytes: name, shape: shape, element: element, count: count, offset: offset,
      data: UnsafeRawBufferPointer(rebasing: data[offset..<(offset + size)]))
  }
}
