import CCoveyKernels

/// The row kernels of every instruction set that this machine runs.
enum RowSets {
  /// The portable ones first.
  nonisolated(unsafe) static let all: [cv_row_kernels] = {
    var found = [UnsafePointer<cv_row_kernels>?](repeating: nil, count: CV_ISAS)
    let count = found.withUnsafeMutableBufferPointer { cv_rows_all($0.baseAddress) }
    return found.prefix(count).compactMap { $0?.pointee }
  }()

  static func name(_ kernels: cv_row_kernels) -> String { String(cString: kernels.name) }
}
