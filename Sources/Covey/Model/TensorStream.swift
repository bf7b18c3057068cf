/// Gives out the data section of a file to be written, piece by piece.
struct TensorStream {
  /// Elements of a piece.
  private static let count = 1 << 16
  private let tensors: [OutputTensor]
  private let alignment: Int
  private let floats: Buffer<Float>
  private let halves: Buffer<UInt16>
  private let bytes: Buffer<Int8>
  /// Of the matrix quantised last.
  private let scales: Buffer<Float>

  /// - Parameter alignment: a power of two, at most 4 * `count`.
  /// - Throws: `.memory`.
  init(_ tensors: [OutputTensor], alignment: Int) throws(CoveyError) {
    var rows = 0
    for case .quantized(let stored) in tensors.map({ $0.content }) {
      rows = max(rows, stored.tensor.shape[0])
    }
    self.tensors = tensors
    self.alignment = alignment
    floats = try Buffer(Self.count, for: "writing weights")
    halves = try Buffer(Self.count, for: "writing weights")
    bytes = try Buffer(Self.count, for: "writing weights")
    scales = try Buffer(rows, for: "writing weights")
  }

  /// - Parameter sink: is given all bytes, padding included, in order.
  /// - Returns: the relative errors of the matrices that were quantised.
  /// - Throws: `.argument` where a weight is too large; what `sink` throws.
  func run(
    _ sink: (UnsafeRawBufferPointer) throws(CoveyError) -> Void
  ) throws(CoveyError) -> [Float] {
    // Reached by pointers only.
    defer { withExtendedLifetime(self) {} }
    var errors: [Float] = []
    for tensor in tensors {
      switch tensor.content {
      case .stored(let stored) where stored.tensor.element == tensor.element:
        try sink(stored.tensor.data)
      case .stored(let stored):
        try convert(stored, to: tensor.element, sink)
      case .quantized(let stored):
        errors.append(try quantize(stored, sink))
      case .scales:
        try sink(UnsafeRawBufferPointer(start: scales.base, count: tensor.size))
      }
      floats.base.update(repeating: 0, count: alignment / 4)
      let padding = -tensor.size & (alignment - 1)
      try sink(UnsafeRawBufferPointer(start: floats.base, count: padding))
    }
    return errors
  }

  // ---- To floats of another size ------------------------------------------------

  private func convert(
    _ stored: StoredTensor, to element: GGUFTensor.Element,
    _ sink: (UnsafeRawBufferPointer) throws(CoveyError) -> Void
  ) throws(CoveyError) {
    var start = 0
    while start < stored.tensor.count {
      let count = min(Self.count, stored.tensor.count - start)
      stored.read(start, count, to: floats.base)
      if element == .f16 {
        try narrow(count, stored.tensor, start)
        try sink(UnsafeRawBufferPointer(start: halves.base, count: 2 * count))
      } else {
        try sink(UnsafeRawBufferPointer(start: floats.base, count: 4 * count))
      }
      start += count
    }
  }

  private func narrow(_ count: Int, _ tensor: GGUFTensor, _ start: Int) throws(CoveyError) {
    let halves = halves.base
    Half.narrow(floats.base, to: halves, count: count)
    for index in 0..<count where halves[index] & 0x7FFF == 0x7C00 {
      throw CoveyError(
        .argument, "\(tensor.name): element \(start + index) is too large for F16")
    }
  }

  // ---- To int8 --------------------------------------------------------------------

  /// - Returns: the relative error.
  private func quantize(
    _ stored: StoredTensor, _ sink: (UnsafeRawBufferPointer) throws(CoveyError) -> Void
  ) throws(CoveyError) -> Float {
    let (rows, columns) = (stored.tensor.shape[0], stored.tensor.shape[1])
    var quantizer = RowQuantizer()
    var filled = 0  // of `bytes`, which may hold many rows, or a part of one
    for row in 0..<rows {
      // A row is read twice: its largest number comes before its first value.
      var largest: Float = 0
      forPieces(of: columns) { start, count in
        stored.read(row * columns + start, count, to: floats.base)
        largest = RowQuantizer.magnitude(floats.base, count: count, atLeast: largest)
      }
      let scale = RowQuantizer.scale(largest)
      guard scale.isFinite else {
        throw CoveyError(.argument, "\(stored.tensor.name): row \(row) is too large for int8")
      }
      scales[row] = scale
      var start = 0
      while start < columns {
        if filled == Self.count {
          try sink(UnsafeRawBufferPointer(start: bytes.base, count: filled))
          filled = 0
        }
        let count = min(columns - start, Self.count - filled)
        stored.read(row * columns + start, count, to: floats.base)
        quantizer.quantize(floats.base, count: count, scale: scale, to: bytes.base + filled)
        start += count
        filled += count
      }
    }
    try sink(UnsafeRawBufferPointer(start: bytes.base, count: filled))
    return quantizer.relativeError
  }

  private func forPieces(of whole: Int, _ body: (_ start: Int, _ count: Int) -> Void) {
    var start = 0
    while start < whole {
      let count = min(Self.count, whole - start)
      body(start, count)
      start += count
    }
  }
}
