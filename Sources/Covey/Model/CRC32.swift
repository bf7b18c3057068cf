import CCoveyKernels

/// CRC-32 as zlib, PNG and Ethernet have it (`checksum.c`).
struct CRC32 {
  /// Of everything appended so far; 0 for nothing.
  private(set) var value: UInt32 = 0

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress else { return }
    value = cv_crc32(value, base, bytes.count)
  }
}
