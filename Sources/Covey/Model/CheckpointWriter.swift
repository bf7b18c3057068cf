/// A tensor of a file to be written.
struct OutputTensor {
  enum Content {
    /// Numbers of the checkpoint, as they are or as floats of another size.
    case stored(StoredTensor)
    /// Floats of the checkpoint, made into int8.
    case quantized(StoredTensor)
    /// The scales of the matrix quantised last.
    case scales
  }

  let name: String
  let shape: [Int]  // row-major
  let element: GGUFTensor.Element
  let content: Content

  var count: Int { shape.reduce(1, *) }
  var size: Int { count * element.size }
}

extension Checkpoint {
  /// As written; what is read may have another.
  static let writtenAlignment = 64

  /// What a file to be written has that this one has not, or has otherwise.
  struct Changes {
    /// Of floats; they must live until the file is written.
    var tensors: [(name: String, stored: StoredTensor)] = []
    var tau: Float?
    /// Said after what the file says itself.
    var provenance: String?

    func tensor(_ name: UnsafeRawBufferPointer) -> StoredTensor? {
      tensors.first { $0.name.utf8.elementsEqual(name) }?.stored
    }
  }

  /// Writes all tensors and all metadata, with the matrices as `dtype`.  The
  /// file appears whole or not at all.  The same checkpoint gives the same
  /// bytes, and what was written gives itself when read and written again as the
  /// same type.
  ///
  /// - Throws: `.argument` where a weight is too large for F16 or int8; `.format`
  ///   where one is not finite (it was loaded unverified); `.io`; `.memory`.
  func save(path: UnsafePointer<CChar>, dtype: WeightType) throws(CoveyError) {
    // What is written lies in it, and is reached by pointers only.
    let (header, stream, _) = try composed(dtype, Changes())
    defer { withExtendedLifetime((self, header)) {} }
    let writer = try FileWriter(path)
    try writer.write(UnsafeRawBufferPointer(start: header.base, count: header.count))
    _ = try stream.run { bytes throws(CoveyError) in
      try writer.write(bytes)
    }
    try writer.commit()
  }

  /// Another checkpoint, of the same type, that is this one but for `changes`.
  ///
  /// - Throws: as `save`, but `.io`.
  func changed(_ changes: Changes) throws(CoveyError) -> Checkpoint {
    let (header, stream, dataSize) = try composed(dtype, changes)
    defer { withExtendedLifetime((self, header)) {} }
    let image = try Buffer<UInt8>(header.count + dataSize, for: "a model")
    var end = UnsafeMutableRawPointer(image.base)
    func append(_ bytes: UnsafeRawBufferPointer) {
      guard let base = bytes.baseAddress else { return }
      end.copyMemory(from: base, byteCount: bytes.count)
      end += bytes.count
    }
    append(UnsafeRawBufferPointer(start: header.base, count: header.count))
    _ = try stream.run { bytes throws(CoveyError) in
      append(bytes)
    }
    return try Checkpoint(FileBytes(owning: image), verify: true)
  }

  /// All that comes before the tensors' data, and what gives them out.
  private func composed(
    _ dtype: WeightType, _ changes: Changes
  ) throws(CoveyError) -> (header: Buffer<UInt8>, stream: TensorStream, dataSize: Int) {
    try file.checkWeights()
    let tensors = output(as: dtype, changes)
    let stream = try TensorStream(tensors, alignment: Self.writtenAlignment)

    // The checksum and the errors of quantising stand before the data: two
    // passes, which hold no more memory than a chunk and a matrix's scales.
    var (crc, dataSize) = (CRC32(), 0)
    let errors = try stream.run { bytes throws(CoveyError) in
      crc.append(bytes)
      dataSize += bytes.count
    }
    let header = try header(dtype, tensors, errors: errors, checksum: crc.value, changes)
    return (header, stream, dataSize)
  }

  /// The tensors in their order, new ones behind them; scales that are made come
  /// behind their matrix.
  private func output(as dtype: WeightType, _ changes: Changes) -> [OutputTensor] {
    // int8 that becomes int8 stays as it is.
    let isKept = dtype == .q8 && self.dtype == .q8
    let specs = config.tensors(in: file)
    var isScale = [Bool](repeating: false, count: file.tensors.count)
    for (index, tensor) in file.tensors.enumerated() {
      guard let scale = file.scaleIndex(ofMatrixAt: index) else { continue }
      isScale[scale] = !isKept || changes.tensor(tensor.nameBytes) != nil
    }

    var output: [OutputTensor] = []
    func append(_ name: String, _ stored: StoredTensor, isKept: Bool) {
      let spec = specs.first { $0.name.utf8.elementsEqual(name.utf8) }
      let element = isKept ? stored.tensor.element : spec.map { dtype.element(of: $0) } ?? .f32
      let isMade = element == .i8 && !isKept
      output.append(
        OutputTensor(
          name: name, shape: stored.tensor.shape, element: element,
          content: isMade ? .quantized(stored) : .stored(stored)))
      guard isMade else { return }
      output.append(
        OutputTensor(
          name: TensorSpec.scaleName(name), shape: [stored.tensor.shape[0]], element: .f32,
          content: .scales))
    }
    for (index, tensor) in file.tensors.enumerated() where !isScale[index] {
      let changed = changes.tensor(tensor.nameBytes)
      append(tensor.name, changed ?? file.stored(index), isKept: isKept && changed == nil)
    }
    for (name, stored) in changes.tensors where file.tensorIndex(name) == nil {
      append(name, stored, isKept: false)
    }
    return output
  }

  /// Of all int8 matrices in their order; nil where one's is not known.
  ///
  /// - Parameter made: of those that were quantised now.
  private func errors(_ tensors: [OutputTensor], made: [Float]) -> [Float]? {
    var (errors, next): ([Float], Int) = ([], 0)
    for tensor in tensors where tensor.element == .i8 {
      if case .quantized = tensor.content {
        errors.append(made[next])
        next += 1
      } else if let index = file.tensorIndex(tensor.name), let error = quantizationErrors[index] {
        errors.append(error)
      } else {
        return nil
      }
    }
    return errors
  }

  /// Entries stay where they are; what the file did not have comes last.
  ///
  /// - Parameter errors: of the matrices that were quantised, in their order.
  private func header(
    _ dtype: WeightType, _ tensors: [OutputTensor], errors made: [Float], checksum: UInt32,
    _ changes: Changes
  ) throws(CoveyError) -> Buffer<UInt8> {
    var writer = try GGUFWriter(alignment: Self.writtenAlignment)
    let errorKey = "covey.quantization.error"
    var ours: [(key: String, value: Value)] = [
      ("general.file_type", .number(dtype.fileType)),
      ("general.alignment", .number(UInt32(Self.writtenAlignment))),
      ("covey.checksum.crc32", .number(checksum)),
    ]
    if let tau = changes.tau {
      ours.append(("covey.clustering.tau", .float(tau)))
      // The distances of both modes are the same, and have changed by as much.
      let referenceKey = "covey.clustering.reference_tau"
      if let before = file.value("covey.clustering.tau")?.float32,
        let reference = file.value(referenceKey)?.float32
      {
        let scaled = min(reference * (tau / before), ModelConfig.largestTau)
        ours.append((referenceKey, .float(max(scaled, .leastNormalMagnitude))))
      }
    }
    if let provenance = changes.provenance {
      let before = file.value("covey.provenance")?.string.map { String(decoding: $0, as: UTF8.self) }
      ours.append(("covey.provenance", .text(before.map { "\($0); \(provenance)" } ?? provenance)))
    }
    if dtype == .q8, let errors = errors(tensors, made: made),
      !errors.isEmpty || self.dtype != .q8 || file.value(errorKey) != nil
    {
      ours.append((errorKey, .numbers(errors)))
    }

    for entry in file.entries {
      if let index = ours.firstIndex(where: { $0.key.utf8.elementsEqual(entry.keyBytes) }) {
        writer.add(entry.keyBytes, ours[index].value)
        ours.remove(at: index)
      } else if !isOutdated(entry, by: changes), !errorKey.utf8.elementsEqual(entry.keyBytes) {
        writer.add(entry.keyBytes, entry.value)
      }
    }
    for (key, value) in ours {
      var key = key
      key.withUTF8 { writer.add(UnsafeRawBufferPointer($0), value) }
    }
    for tensor in tensors {
      var name = tensor.name
      name.withUTF8 {
        writer.addTensor(
          UnsafeRawBufferPointer($0), tensor.shape, tensor.element, size: tensor.size)
      }
    }
    return try writer.header()
  }
}

/// A file that says of its block that it is none does not any more with another one.
private func isOutdated(_ entry: GGUFEntry, by changes: Checkpoint.Changes) -> Bool {
  !changes.tensors.isEmpty && "covey.correlator.trained".utf8.elementsEqual(entry.keyBytes)
}

/// A value that the writer sets.
private enum Value {
  case number(UInt32)
  case float(Float)
  case numbers([Float])
  case text(String)
}

extension GGUFWriter {
  fileprivate mutating func add(_ key: UnsafeRawBufferPointer, _ value: Value) {
    switch value {
    case .number(let number): add(key, number)
    case .float(let number): add(key, number)
    case .numbers(let numbers): add(key, numbers)
    case .text(var text): text.withUTF8 { add(key, string: UnsafeRawBufferPointer($0)) }
    }
  }
}
