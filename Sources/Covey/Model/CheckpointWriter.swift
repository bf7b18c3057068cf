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

  /// Writes all tensors and all metadata, with the matrices as `dtype`.  The
  /// file appears whole or not at all.  The same checkpoint gives the same
  /// bytes, and what was written gives itself when read and written again as the
  /// same type.
  ///
  /// - Throws: `.argument` where a weight is too large for F16 or int8; `.format`
  ///   where one is not finite (it was loaded unverified); `.io`; `.memory`.
  func save(path: UnsafePointer<CChar>, dtype: WeightType) throws(CoveyError) {
    // What is written lies in it, and is reached by pointers only.
    defer { withExtendedLifetime(self) {} }
    try file.checkWeights()
    let tensors = output(as: dtype)
    let stream = try TensorStream(tensors, alignment: Self.writtenAlignment)

    // The checksum and the errors of quantising stand before the data: two
    // passes, which hold no more memory than a chunk and a matrix's scales.
    var crc = CRC32()
    let errors = try stream.run { bytes throws(CoveyError) in
      crc.append(bytes)
    }
    let header = header(dtype, tensors, errors: errors, checksum: crc.value)

    let writer = try FileWriter(path)
    try header.withUnsafeBufferPointer { bytes throws(CoveyError) in
      try writer.write(UnsafeRawBufferPointer(bytes))
    }
    _ = try stream.run { bytes throws(CoveyError) in
      try writer.write(bytes)
    }
    try writer.commit()
  }

  /// The tensors in their order; scales that are made come behind their matrix.
  private func output(as dtype: WeightType) -> [OutputTensor] {
    // int8 that becomes int8 stays as it is.
    let isKept = dtype == .q8 && self.dtype == .q8
    var elements = file.tensors.map { isKept ? $0.element : .f32 }
    var isScale = [Bool](repeating: false, count: file.tensors.count)
    for spec in config.tensors(in: file) where spec.isMatrix && !isKept {
      guard let index = file.tensorIndex(spec.name) else { continue }
      elements[index] = dtype.element(of: spec)
      if let scale = file.scaleIndex(ofMatrixAt: index) {
        isScale[scale] = true
      }
    }

    var output: [OutputTensor] = []
    for (index, tensor) in file.tensors.enumerated() where !isScale[index] {
      let isMade = elements[index] == .i8 && !isKept
      let stored = file.stored(index)
      output.append(
        OutputTensor(
          name: tensor.name, shape: tensor.shape, element: elements[index],
          content: isMade ? .quantized(stored) : .stored(stored)))
      if isMade {
        output.append(
          OutputTensor(
            name: TensorSpec.scaleName(tensor.name), shape: [tensor.shape[0]], element: .f32,
            content: .scales))
      }
    }
    return output
  }

  /// Entries stay where they are; what the file did not have comes last.
  ///
  /// - Parameter errors: of the matrices that were quantised, in their order.
  private func header(
    _ dtype: WeightType, _ tensors: [OutputTensor], errors: [Float], checksum: UInt32
  ) -> [UInt8] {
    var writer = GGUFWriter(alignment: Self.writtenAlignment)
    let errorKey = "covey.quantization.error"
    // Those of a file that was int8 before stay, and mean nothing in others.
    let keepsErrors = dtype == .q8 && self.dtype == .q8
    var ours: [(key: String, value: Value)] = [
      ("general.file_type", .number(dtype.fileType)),
      ("general.alignment", .number(UInt32(Self.writtenAlignment))),
      ("covey.checksum.crc32", .number(checksum)),
    ]
    if dtype == .q8 && !keepsErrors {
      ours.append((errorKey, .numbers(errors)))
    }

    for entry in file.entries {
      if let index = ours.firstIndex(where: { $0.key.utf8.elementsEqual(entry.keyBytes) }) {
        writer.add(entry.keyBytes, ours[index].value)
        ours.remove(at: index)
      } else if keepsErrors || !errorKey.utf8.elementsEqual(entry.keyBytes) {
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
    return writer.header
  }
}

/// A value that the writer sets.
private enum Value {
  case number(UInt32)
  case numbers([Float])
}

extension GGUFWriter {
  fileprivate mutating func add(_ key: UnsafeRawBufferPointer, _ value: Value) {
    switch value {
    case .number(let number): add(key, number)
    case .numbers(let numbers): add(key, numbers)
    }
  }
}
