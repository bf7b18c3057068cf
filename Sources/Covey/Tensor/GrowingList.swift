/// A list of elements that, unlike an array, may fail to grow.
struct GrowingList<Element: BitwiseCopyable> {
  private(set) var count = 0
  private var storage: Buffer<Element>
  private let purpose: StaticString

  var base: UnsafeMutablePointer<Element> { storage.base }

  /// - Parameter purpose: as of `Buffer`.
  init(for purpose: StaticString) throws(CoveyError) {
    self.purpose = purpose
    storage = try Buffer(256, for: purpose)
  }

  mutating func append(_ element: Element) throws(CoveyError) {
    if count == storage.count {
      let larger = try Buffer<Element>(2 * count, for: purpose)
      larger.base.copy(from: storage.base, count: count)
      storage = larger
    }
    storage.base[count] = element
    count += 1
  }
}
