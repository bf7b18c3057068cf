/// CRC-32 as zlib, PNG and Ethernet have it: polynomial 0x04C11DB7 reflected,
/// start and end inverted.  Eight bytes a step (Kounavis and Berry, "Novel
/// table lookup-based algorithms for high-performance CRC generation", 2008).
struct CRC32 {
  /// Eight tables of 256.  Made anew for each checksum, in microseconds.
  private let tables: [UInt32]
  private var state: UInt32 = .max

  init() {
    var tables = [UInt32](repeating: 0, count: 8 * 256)
    for index in 0..<256 {
      var remainder = UInt32(index)
      for _ in 0..<8 {
        remainder = (remainder >> 1) ^ (remainder & 1 == 1 ? 0xEDB8_8320 : 0)
      }
      tables[index] = remainder
    }
    // Table t is table t - 1 after one more zero byte.
    for index in 256..<(8 * 256) {
      let before = tables[index - 256]
      tables[index] = (before >> 8) ^ tables[Int(before & 0xFF)]
    }
    self.tables = tables
  }

  /// Of everything appended so far; 0 for nothing.
  var value: UInt32 { ~state }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    var state = state
    tables.withUnsafeBufferPointer { tables in
      var index = 0
      while bytes.count - index >= 8 {
        let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
        let low = UInt32(truncatingIfNeeded: word) ^ state
        let high = UInt32(truncatingIfNeeded: word >> 32)
        state =
          tables[1792 + Int(low & 0xFF)] ^ tables[1536 + Int(low >> 8 & 0xFF)]
          ^ tables[1280 + Int(low >> 16 & 0xFF)] ^ tables[1024 + Int(low >> 24)]
        state ^=
          tables[768 + Int(high & 0xFF)] ^ tables[512 + Int(high >> 8 & 0xFF)]
          ^ tables[256 + Int(high >> 16 & 0xFF)] ^ tables[Int(high >> 24)]
        index += 8
      }
      while index < bytes.count {
        state = (state >> 8) ^ tables[Int((state ^ UInt32(bytes[index])) & 0xFF)]
        index += 1
      }
    }
    self.state = state
  }
}
