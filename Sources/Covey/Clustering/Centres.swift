/// A growing list of maps [count, M]: the centres of clusters.
final class Centres {
  let keyCount: Int  // M
  private(set) var count = 0
  private var storage: Buffer<Float>
  private let budget: Budget

  var maps: UnsafeMutablePointer<Float> { storage.base }

  /// - Parameter count: of centres, not initialised.
  convenience init(keyCount: Int, count: Int = 0, budget: Budget) throws(CoveyError) {
    let capacity = max(count, 16)
    self.init(
      keyCount: keyCount,
      storage: try Buffer(capacity * keyCount, budget: budget, for: "cluster centres"),
      budget: budget)
    self.count = count
  }

  private init(keyCount: Int, storage: Buffer<Float>, budget: Budget) {
    self.keyCount = keyCount
    self.storage = storage
    self.budget = budget
  }

  /// The place of a new centre, not initialised.  Invalidates `maps`.
  func append() throws(CoveyError) -> UnsafeMutablePointer<Float> {
    if (count + 1) * keyCount > storage.count {
      let larger = try Buffer<Float>(
        2 * (count + 1) * keyCount, budget: budget, for: "cluster centres")
      larger.base.copy(from: storage.base, count: count * keyCount)
      storage = larger
    }
    count += 1
    return storage.base + (count - 1) * keyCount
  }

  /// Bytes of a list that has grown to `centres`: while it grows, the old and
  /// the new storage exist side by side.
  static func byteCount(keyCount: Int, centres: Int) -> Int {
    4 * keyCount * 3 * max(centres, 16)
  }
}
