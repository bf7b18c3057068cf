import CCoveyPlatform

/// The bytes of a whole file: mapped, copied, or lent by the caller.
final class FileBytes {
  let bytes: UnsafeRawBufferPointer
  private var file = cv_file()
  private let copy: Buffer<UInt8>?

  /// - Throws: `.io`, with the system's words; `.memory` where there is none
  ///   for a copy.
  init(path: UnsafePointer<CChar>, copy: Bool) throws(CoveyError) {
    let number = cv_file_open(path, copy, &file)
    guard number == 0 else { throw CoveyError(systemError: number, path) }
    bytes = UnsafeRawBufferPointer(start: file.bytes, count: file.size)
    self.copy = nil
  }

  /// - Throws: `.memory`.
  init(lent: UnsafeRawBufferPointer, copy: Bool) throws(CoveyError) {
    guard copy else {
      bytes = lent
      self.copy = nil
      return
    }
    let buffer = try Buffer<UInt8>(lent.count, for: "weights")
    UnsafeMutableRawBufferPointer(start: buffer.base, count: lent.count).copyMemory(from: lent)
    bytes = UnsafeRawBufferPointer(start: buffer.base, count: lent.count)
    self.copy = buffer
  }

  deinit {
    cv_file_close(&file)
  }
}

extension CoveyError {
  /// What the system said of a file.
  init(systemError number: Int32, _ path: UnsafePointer<CChar>) {
    let noMemory: Int32 = 12  // ENOMEM, on every Linux
    let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { text in
      guard let base = text.baseAddress else { return "" }
      cv_errno_text(number, base, text.count)
      return String(cString: base)
    }
    self.init(number == noMemory ? .memory : .io, "\(String(cString: path)): \(text)")
  }
}
