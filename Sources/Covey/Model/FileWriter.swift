import CCoveyPlatform

/// A file that appears under its name when it is committed, and not before.
final class FileWriter {
  private let path: UnsafePointer<CChar>
  private var writer: OpaquePointer?

  /// Never inlined: Embedded Swift (6.3) would put the object on the caller's stack,
  /// and free it as if it were on the heap.
  ///
  /// - Parameter path: must outlive the writer.
  @inline(never) convenience init(_ path: UnsafePointer<CChar>) throws(CoveyError) {
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
