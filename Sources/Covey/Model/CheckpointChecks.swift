import CCoveyKernels

extension GGUFReader {
  /// Every tensor is one that the model has, as it must be, and all that
  /// inference reads are there.
  func check(_ specs: [TensorSpec], _ dtype: WeightType) throws(CoveyError) {
    var isKnown = [Bool](repeating: false, count: tensors.count)
    for spec in specs {
      guard let index = tensorIndex(spec.name) else {
        guard !spec.isRequired else { throw CoveyError(.format, "\(spec.name): missing") }
        continue
      }
      isKnown[index] = true
      let found = tensors[index].element
      try check(
        tensors[index], spec.name, spec.shape,
        dtype.readsAny(spec) ? found : dtype.element(of: spec))
      guard found == .i8 else { continue }
      let scale = TensorSpec.scaleName(spec.name)
      guard let index = tensorIndex(scale) else { throw CoveyError(.format, "\(scale): missing") }
      isKnown[index] = true
      try check(tensors[index], scale, [spec.shape[0]], .f32)
    }
    for (index, tensor) in tensors.enumerated() where !isKnown[index] {
      throw CoveyError(.format, "\(tensor.name): \(whyUnknown(tensor, specs))")
    }
  }

  private func check(
    _ tensor: GGUFTensor, _ name: String, _ shape: [Int], _ element: GGUFTensor.Element
  ) throws(CoveyError) {
    guard tensor.shape == shape else {
      let (expected, found) = (GGUFTensor.text(shape), GGUFTensor.text(tensor.shape))
      throw CoveyError(.format, "\(name): expected \(expected), found \(found)")
    }
    guard tensor.element == element else {
      throw CoveyError(.format, "\(name): expected \(element.name), found \(tensor.element.name)")
    }
  }

  private func whyUnknown(_ tensor: GGUFTensor, _ specs: [TensorSpec]) -> String {
    for spec in specs where spec.isMatrix {
      guard TensorSpec.scaleName(spec.name).utf8.elementsEqual(tensor.nameBytes) else { continue }
      guard let matrix = tensorIndex(spec.name) else {
        return "the matrix that it scales is missing"
      }
      return "only I8 matrices have scales, this one is \(tensors[matrix].element.name)"
    }
    return "no tensor of this model has this name"
  }

  /// `covey.quantization.error` at the index of each int8 matrix; nil for what is
  /// none, and where the file does not say.
  func quantizationErrors() throws(CoveyError) -> [Float?] {
    let key = "covey.quantization.error"
    var errors = [Float?](repeating: nil, count: tensors.count)
    guard let value = value(key) else { return errors }
    let matrices = tensors.indices.filter { tensors[$0].element == .i8 }
    guard value.isArray, value.count == matrices.count, let numbers = value.float32Array else {
      throw CoveyError(
        .format, "\(key): expected f32[\(matrices.count)], found \(value.typeName)")
    }
    for (index, number) in zip(matrices, numbers) {
      guard number >= 0, number.isFinite else {
        throw CoveyError(
          .format, "\(key): expected finite numbers from 0 on, found \(NumberText.of(number))")
      }
      errors[index] = number
    }
    return errors
  }

  /// Values are so small that texts made of them, and files written with them, are small
  /// things.  Not asked for before it is known that the file is meant to be ours: those of
  /// others have large ones, and there is more to say of them.
  func checkMetadata() throws(CoveyError) {
    var total = 0
    for entry in entries {
      guard entry.value.bytes.count <= Self.maximumValue else {
        throw CoveyError(
          .format,
          "\(entry.key): expected a value of at most \(Self.maximumValue) bytes, found "
            + "\(entry.value.bytes.count)")
      }
      total += entry.keyBytes.count + entry.value.bytes.count
    }
    guard total <= Self.maximumMetadata else {
      throw CoveyError(
        .format,
        "metadata: expected keys and values of at most \(Self.maximumMetadata) bytes together, "
          + "found \(total)")
    }
  }

  /// Nothing but padding lies between the tensors and behind the last: a file that is
  /// larger than its tensors is none of ours, and might take for ever to read.
  func checkPlaces() throws(CoveyError) {
    func padded(_ end: Int) -> Int { (end + alignment - 1) & ~(alignment - 1) }
    var end = 0
    for tensor in tensors.sorted(by: { $0.offset < $1.offset }) {
      guard tensor.offset == padded(end) else {
        throw CoveyError(
          .format,
          "\(tensor.name): expected to begin where padding ends, at byte \(padded(end)) of the "
            + "data, found \(tensor.offset)")
      }
      end = tensor.offset + tensor.data.count
    }
    guard data.count <= padded(end) else {
      throw CoveyError(
        .format,
        "data: expected to end with the tensors and their padding, after \(padded(end)) bytes, "
          + "found \(data.count)")
    }
  }

  /// Where the file has a checksum, it is that of its data section.
  func checkSum() throws(CoveyError) {
    let key = "covey.checksum.crc32"
    guard value(key) != nil else { return }
    let stored = try integer(key, 0...Int(UInt32.max))
    var crc = CRC32()
    crc.append(data)
    guard Int(crc.value) == stored else {
      throw CoveyError(
        .format, "\(key): the file is damaged: expected \(stored), found \(crc.value)")
    }
  }

  /// All numbers are finite, those of int8 matrices too when made into floats.
  func checkWeights() throws(CoveyError) {
    for (index, tensor) in tensors.enumerated() {
      try tensor.checkValues()
      try scale(ofMatrixAt: index)?.checkScales()
    }
  }
}

extension GGUFTensor {
  /// Numbers are finite, those of I8 -127 to 127.
  fileprivate func checkValues() throws(CoveyError) {
    guard let base = data.baseAddress else { return }
    let index = cv_first_bad_weight(base, count, element.size)
    guard index < count else { return }
    throw CoveyError(
      .format,
      element == .i8
        ? "\(name): element \(index): expected -127 to 127, found -128"
        : "\(name): element \(index) is not a finite number")
  }

  /// Of an int8 matrix: 127 times each is finite.
  fileprivate func checkScales() throws(CoveyError) {
    guard let base = data.baseAddress else { return }
    for index in 0..<count {
      let scale = base.loadUnaligned(fromByteOffset: 4 * index, as: Float.self)
      guard scale > 0, (127 * scale).isFinite else {
        throw CoveyError(
          .format,
          "\(name): element \(index): expected more than 0, 127 times it finite, "
            + "found \(NumberText.of(scale))")
      }
    }
  }
}
