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
    try makeRoom(for: 1)
    storage.base[count] = element
    count += 1
  }

  mutating func append(_ elements: UnsafePointer<Element>, count more: Int) throws(CoveyError) {
    try makeRoom(for: more)
    (storage.base + count).copy(from: elements, count: more)
    count += more
  }

  private mutating func makeRoom(for more: Int) throws(CoveyError) {
    guard more > storage.count - count else { return }
    let larger = try Buffer<Element>(max(2 * count, count + more), for: purpose)
    larger.base.copy(from: storage.base, count: count)
    storage = larger
  }
}
