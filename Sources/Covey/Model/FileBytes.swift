import CCoveyPlatform

/// The bytes of a whole file: mapped, copied, made, or lent by the caller.
final class FileBytes {
  let bytes: UnsafeRawBufferPointer
  private var file: cv_file
  private let copy: Buffer<UInt8>?

  private init(_ bytes: UnsafeRawBufferPointer, file: cv_file, copy: Buffer<UInt8>?) {
    self.bytes = bytes
    self.file = file
    self.copy = copy
  }

  /// - Throws: `.io`, with the system's words; `.memory` where there is none
  ///   for a copy.
  convenience init(path: UnsafePointer<CChar>, copy: Bool) throws(CoveyError) {
    var file = cv_file()
    let number = cv_file_open(path, copy, &file)
    guard number == 0 else { throw CoveyError(systemError: number, path) }
    self.init(UnsafeRawBufferPointer(start: file.bytes, count: file.size), file: file, copy: nil)
  }

  /// - Throws: `.memory`.
  convenience init(lent: UnsafeRawBufferPointer, copy: Bool) throws(CoveyError) {
    guard copy else {
      self.init(lent, file: cv_file(), copy: nil)
      return
    }
    let buffer = try Buffer<UInt8>(lent.count, for: "weights")
    UnsafeMutableRawBufferPointer(start: buffer.base, count: lent.count).copyMemory(from: lent)
    self.init(
      UnsafeRawBufferPointer(start: buffer.base, count: lent.count), file: cv_file(), copy: buffer)
  }

  convenience init(owning buffer: Buffer<UInt8>) {
    self.init(
      UnsafeRawBufferPointer(start: buffer.base, count: buffer.count), file: cv_file(),
      copy: buffer)
  }

  deinit {
    cv_file_close(&file)
  }

  /// Whether the bytes lie in a file, and take no memory but while they are used.
  var isMapped: Bool { file.mapped }

  /// The memory that a mapped file takes is given back; what is read again
  /// comes from the file again.
  func dropPages() {
    cv_file_drop_pages(&file)
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
