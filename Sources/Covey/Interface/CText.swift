/// A text that C can read for as long as this object lives.  Never changes.
final class CText: @unchecked Sendable {
  let pointer: UnsafePointer<CChar>

  init(_ text: String) {
    let copy = UnsafeMutablePointer<CChar>.allocate(capacity: text.utf8.count + 1)
    var end = copy
    for byte in text.utf8 {
      end.initialize(to: CChar(bitPattern: byte))
      end += 1
    }
    end.initialize(to: 0)
    pointer = UnsafePointer(copy)
  }

  deinit {
    pointer.deallocate()
  }
}
