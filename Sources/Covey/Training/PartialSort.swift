/// Puts the `count` smallest of `keys` first, in order; the others follow in any order.
/// A heap of the smallest so far: no memory is taken, and little of a long row is moved.
func sortSmallest(_ keys: UnsafeMutableBufferPointer<UInt64>, count: Int) {
  let count = min(count, keys.count)
  guard count > 0 else { return }

  /// Restores the heap of `size` keys, the largest on top, whose key at `start` is new.
  func sink(_ start: Int, _ size: Int) {
    var (place, key) = (start, keys[start])
    while true {
      var child = 2 * place + 1
      guard child < size else { break }
      if child + 1 < size, keys[child + 1] > keys[child] { child += 1 }
      guard keys[child] > key else { break }
      keys[place] = keys[child]
      place = child
    }
    keys[place] = key
  }

  for start in stride(from: count / 2 - 1, through: 0, by: -1) { sink(start, count) }
  for index in count..<keys.count where keys[index] < keys[0] {
    keys.swapAt(0, index)
    sink(0, count)
  }
  for size in stride(from: count - 1, to: 0, by: -1) {
    keys.swapAt(0, size)
    sink(0, size)
  }
}
