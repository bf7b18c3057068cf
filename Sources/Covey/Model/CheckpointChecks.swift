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
      let tensor = tensors[index]
      guard tensor.shape == spec.shape else {
        let (expected, found) = (GGUFTensor.text(spec.shape), GGUFTensor.text(tensor.shape))
        throw CoveyError(.format, "\(spec.name): expected \(expected), found \(found)")
      }
      let element = dtype.element(of: spec)
      guard tensor.element == element else {
        throw CoveyError(
          .format, "\(spec.name): expected \(element.name), found \(tensor.element.name)")
      }
    }
    for (index, tensor) in tensors.enumerated() where !isKnown[index] {
      throw CoveyError(.format, "\(tensor.name): no tensor of this model has this name")
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
}

extension GGUFTensor {
  /// Elements looked at together; the loop inside has no exit, and vectorises.
  private static let chunk = 4096

  func checkFinite() throws(CoveyError) {
    guard let base = data.baseAddress else { return }
    var start = 0
    while start < count {
      let end = min(start + Self.chunk, count)
      guard largestMagnitude(base, start, end) >= infinity else {
        start = end
        continue
      }
      while largestMagnitude(base, start, start + 1) < infinity {
        start += 1
      }
      throw CoveyError(.format, "\(name): element \(start) is not a finite number")
    }
  }

  /// The bits of infinity; those of NaNs are above, of finite numbers below.
  private var infinity: UInt32 { element == .f32 ? 0x7F80_0000 : 0x7C00 }

  private func largestMagnitude(_ base: UnsafeRawPointer, _ start: Int, _ end: Int) -> UInt32 {
    var largest: UInt32 = 0
    switch element {
    case .f32:
      for index in start..<end {
        let bits = base.loadUnaligned(fromByteOffset: 4 &* index, as: UInt32.self)
        largest = max(largest, bits & 0x7FFF_FFFF)
      }
    case .f16:
      for index in start..<end {
        let bits = base.loadUnaligned(fromByteOffset: 2 &* index, as: UInt16.self)
        largest = max(largest, UInt32(bits & 0x7FFF))
      }
    }
    return largest
  }
}
