/// A tensor of a file with all that its numbers are made of.
///
/// Only for files that `GGUFReader.check` has passed: an int8 matrix without its
/// scales is a bug.
struct StoredTensor {
  let tensor: GGUFTensor
  /// F32 [rows]; of int8 matrices.
  let scale: GGUFTensor?

  /// Elements as floats: int8 ones are scale * value, rounded once.
  ///
  /// - Parameters:
  ///   - start: first element; with `count`, within the tensor.
  ///   - target: `count` floats.
  func read(_ start: Int, _ count: Int, to target: UnsafeMutablePointer<Float>) {
    guard let base = tensor.data.baseAddress else { return }
    let source = base + start * tensor.element.size
    switch tensor.element {
    case .f32: UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: 4 * count)
    case .f16: Half.widen(source, to: target, count: count)
    case .i8: dequantize(start, source, count, to: target)
    }
  }

  private func dequantize(
    _ start: Int, _ source: UnsafeRawPointer, _ count: Int, to target: UnsafeMutablePointer<Float>
  ) {
    guard let scales = scale?.data.baseAddress else {
      preconditionFailure("an int8 matrix without scales was not checked")
    }
    let values = source.assumingMemoryBound(to: Int8.self)
    let columns = tensor.shape[1]
    var done = 0
    while done < count {
      let (row, column) = (start + done).quotientAndRemainder(dividingBy: columns)
      let end = min(count, done + columns - column)
      let scale = scales.loadUnaligned(fromByteOffset: 4 * row, as: Float.self)
      for index in done..<end {
        target[index] = scale * Float(values[index])
      }
      done = end
    }
  }
}

extension GGUFReader {
  /// Index of the scales of the int8 matrix at an index; nil where it is none.
  func scaleIndex(ofMatrixAt index: Int) -> Int? {
    guard tensors[index].element == .i8 else { return nil }
    return tensorIndex(TensorSpec.scaleName(tensors[index].name))
  }

  func scale(ofMatrixAt index: Int) -> GGUFTensor? {
    scaleIndex(ofMatrixAt: index).map { tensors[$0] }
  }

  func stored(_ index: Int) -> StoredTensor {
    StoredTensor(tensor: tensors[index], scale: scale(ofMatrixAt: index))
  }
}
