import CCoveyPlatform

/// Numbers in messages and metadata: the shortest text that reads back as the
/// same number, in every locale.
enum NumberText {
  static func of(_ value: Float) -> String {
    text { cv_format_float(value, $0, $1) }
  }

  static func of(_ value: Double) -> String {
    text { cv_format_double(value, $0, $1) }
  }

  private static func text(
    _ format: (UnsafeMutablePointer<CChar>, Int) -> Int
  ) -> String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
      guard let base = buffer.baseAddress, format(base, buffer.count) > 0 else { return "?" }
      return String(cString: base)
    }
  }
}
