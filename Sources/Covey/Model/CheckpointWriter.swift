import CCoveyPlatform

extension Checkpoint {
  /// As written; what is read may have another.
  static let writtenAlignment = 64

  /// Writes all tensors and all metadata, with the matrices as `dtype`.  The
  /// file appears whole or not at all.  The same checkpoint gives the same
  /// bytes, and what was written gives itself when read and written again.
  ///
  /// - Throws: `.unsupported` for int8; `.argument` where a weight is too large
  ///   for F16; `.format` where one is not finite (it was loaded unverified);
  ///   `.io`; `.memory`.
  func save(path: UnsafePointer<CChar>, dtype: WeightType) throws(CoveyError) {
    guard dtype != .q8 else {
      throw CoveyError(.unsupported, "int8 weights are not written by this version")
    }
    let elements = elements(in: dtype)
    let chunk = try TensorChunk()
    // What is written lies in these two, and is reached by pointers only.
    defer { withExtendedLifetime((self, chunk)) {} }

    // The checksum stands before the data: two passes, which hold no more
    // memory than one chunk.
    var crc = CRC32()
    try chunk.run(file.tensors, elements, Self.writtenAlignment) { bytes throws(CoveyError) in
      crc.append(bytes)
    }
    let header = header(dtype, elements, checksum: crc.value)

    let writer = try FileWriter(path)
    try header.withUnsafeBufferPointer { bytes throws(CoveyError) in
      try writer.write(UnsafeRawBufferPointer(bytes))
    }
    try chunk.run(file.tensors, elements, Self.writtenAlignment) { bytes throws(CoveyError) in
      try writer.write(bytes)
    }
    try writer.commit()
  }

  /// For each tensor of the file, how it is written.
  private func elements(in dtype: WeightType) -> [GGUFTensor.Element] {
    var elements = [GGUFTensor.Element](repeating: .f32, count: file.tensors.count)
    for spec in config.tensors(in: file) {
      if let index = file.tensorIndex(spec.name) {
        elements[index] = dtype.element(of: spec)
      }
    }
    return elements
  }

  /// Entries stay where they are; what the file did not have comes last.
  private func header(
    _ dtype: WeightType, _ elements: [GGUFTensor.Element], checksum: UInt32
  ) -> [UInt8] {
    var writer = GGUFWriter(alignment: Self.writtenAlignment)
    var ours = [
      ("general.file_type", dtype == .f16 ? 1 : 0),
      ("general.alignment", UInt32(Self.writtenAlignment)),
      ("covey.checksum.crc32", checksum),
    ]
    for entry in file.entries {
      if let index = ours.firstIndex(where: { $0.0.utf8.elementsEqual(entry.keyBytes) }) {
        writer.add(entry.keyBytes, ours[index].1)
        ours.remove(at: index)
      } else {
        writer.add(entry.keyBytes, entry.value)
      }
    }
    for (key, value) in ours {
      var key = key
      key.withUTF8 { writer.add(UnsafeRawBufferPointer($0), value) }
    }
    for (tensor, element) in zip(file.tensors, elements) {
      writer.addTensor(tensor.nameBytes, tensor.shape, element, size: tensor.count * element.size)
    }
    return writer.header
  }
}

/// Gives out the data section of a file to be written, piece by piece.
private struct TensorChunk {
  private static let count = 1 << 16
  private let floats: Buffer<Float>
  private let halves: Buffer<UInt16>

  init() throws(CoveyError) {
    floats = try Buffer(Self.count, for: "writing weights")
    halves = try Buffer(Self.count, for: "writing weights")
  }

  /// - Parameter sink: is given all bytes, padding included, in order.
  func run(
    _ tensors: [GGUFTensor], _ elements: [GGUFTensor.Element], _ alignment: Int,
    _ sink: (UnsafeRawBufferPointer) throws(CoveyError) -> Void
  ) throws(CoveyError) {
    for (tensor, element) in zip(tensors, elements) {
      try tensor.checkFinite()
      guard let base = tensor.data.baseAddress else { continue }
      if element == tensor.element {
        try sink(tensor.data)
      } else {
        var start = 0
        while start < tensor.count {
          let count = min(Self.count, tensor.count - start)
          tensor.read(base + start * tensor.element.size, count, to: floats.base)
          try sink(element == .f16 ? narrow(count, tensor, start) : widened(count))
          start += count
        }
      }
      floats.base.update(repeating: 0, count: alignment / 4)
      let padding = -(tensor.count * element.size) & (alignment - 1)
      try sink(UnsafeRawBufferPointer(start: floats.base, count: padding))
    }
  }

  private func widened(_ count: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: floats.base, count: 4 * count)
  }

  private func narrow(
    _ count: Int, _ tensor: GGUFTensor, _ start: Int
  ) throws(CoveyError) -> UnsafeRawBufferPointer {
    let halves = halves.base
    Half.narrow(floats.base, to: halves, count: count)
    for index in 0..<count where halves[index] & 0x7FFF == 0x7C00 {
      throw CoveyError(
        .argument, "\(tensor.name): element \(start + index) is too large for F16")
    }
    return UnsafeRawBufferPointer(start: halves, count: 2 * count)
  }
}

/// A file that appears under its name when it is committed, and not before.
private final class FileWriter {
  private let path: UnsafePointer<CChar>
  private var writer: OpaquePointer?

  /// - Parameter path: must outlive the writer.
  convenience init(_ path: UnsafePointer<CChar>) throws(CoveyError) {
    var writer: OpaquePointer?
    let number = cv_writer_open(path, &writer)
    guard number == 0 else { throw CoveyError(systemError: number, path) }
    self.init(path, writer)
  }

  private init(_ path: UnsafePointer<CChar>, _ writer: OpaquePointer?) {
    self.path = path
    self.writer = writer
  }

  deinit {
    if let writer { cv_writer_abandon(writer) }
  }

  func write(_ bytes: UnsafeRawBufferPointer) throws(CoveyError) {
    guard let writer, let base = bytes.baseAddress, bytes.count > 0 else { return }
    let number = cv_writer_write(writer, base, bytes.count)
    guard number == 0 else { throw CoveyError(systemError: number, path) }
  }

  func commit() throws(CoveyError) {
    guard let writer else { return }
    self.writer = nil
    let number = cv_writer_commit(writer)
    guard number == 0 else { throw CoveyError(systemError: number, path) }
  }
}
