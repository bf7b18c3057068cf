import CCoveyPlatform

/// Storage for `count` elements: 64-byte aligned, not initialised, freed with
/// its last reference.  Unlike an array it may fail to be had, and can be
/// written by several threads at once (in different places).
final class Buffer<Element: BitwiseCopyable> {
  let count: Int
  let base: UnsafeMutablePointer<Element>
  private let budget: Budget?

  var byteCount: Int { count * MemoryLayout<Element>.stride }

  /// - Parameter purpose: what it is for, for the message where it is refused.
  convenience init(
    _ count: Int, budget: Budget? = nil, for purpose: StaticString
  ) throws(CoveyError) {
    let (bytes, overflow) = count.multipliedReportingOverflow(by: MemoryLayout<Element>.stride)
    guard count >= 0, !overflow else {
      throw CoveyError(.memory, "\(purpose): \(count) elements are more than can be addressed")
    }
    try budget?.take(bytes, for: purpose)
    guard let memory = cv_allocate(bytes) else {
      budget?.giveBack(bytes)
      throw CoveyError(.memory, "\(purpose): the system refused \(bytes) bytes")
    }
    self.init(
      count: count, base: memory.bindMemory(to: Element.self, capacity: count), budget: budget)
  }

  private init(count: Int, base: UnsafeMutablePointer<Element>, budget: Budget?) {
    self.count = count
    self.base = base
    self.budget = budget
  }

  deinit {
    cv_deallocate(base, byteCount)
    budget?.giveBack(byteCount)
  }

  func fill(_ value: Element) {
    base.update(repeating: value, count: count)
  }

  /// For whole-buffer reads and small loops; hot loops take `base` to a local.
  subscript(index: Int) -> Element {
    get {
      precondition(index >= 0 && index < count)
      return base[index]
    }
    set {
      precondition(index >= 0 && index < count)
      base[index] = newValue
    }
  }
}

extension UnsafeMutablePointer where Pointee: BitwiseCopyable {
  /// As `update(from:count:)`, which Embedded Swift does element by element.
  func copy(from source: UnsafePointer<Pointee>, count: Int) {
    UnsafeMutableRawPointer(self).copyMemory(
      from: source, byteCount: count * MemoryLayout<Pointee>.stride)
  }
}
