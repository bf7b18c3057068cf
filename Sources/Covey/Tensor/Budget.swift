/// Counts the large allocations of one session, and refuses what goes over its
/// limit.  Used on one thread at a time: workers are given their buffers.
final class Budget {
  /// Bytes; `Int.max` for none.
  let limit: Int
  private(set) var current = 0
  private(set) var peak = 0

  init(limit: Int = .max) {
    self.limit = limit
  }

  func take(_ bytes: Int, for purpose: StaticString) throws(CoveyError) {
    guard bytes <= limit - current else {
      throw CoveyError(
        .memory,
        "\(purpose): needs \(bytes) bytes beside \(current) in use, the limit is \(limit)")
    }
    current += bytes
    peak = max(peak, current)
  }

  func giveBack(_ bytes: Int) {
    current -= bytes
  }
}
