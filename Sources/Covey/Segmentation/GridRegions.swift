/// Patches of a frame that hang together.
struct GridRegions {
  enum Touching {
    case sides
    case corners  // too
  }

  /// [N], of each patch its region, in the order of their first patch; -1: none.
  private(set) var numbers: [Int32]
  private(set) var sizes: [Int] = []

  var count: Int { sizes.count }

  /// - Parameters:
  ///   - includes: whether a patch is of any region.
  ///   - isSame: of two that touch, whether they are of one region.
  init(
    rows: Int, columns: Int, touching: Touching, includes: (Int) -> Bool = { _ in true },
    isSame: (_ a: Int, _ b: Int) -> Bool
  ) {
    numbers = [Int32](repeating: -1, count: rows * columns)
    var stack: [Int] = []
    for start in 0..<rows * columns where numbers[start] < 0 && includes(start) {
      let number = Int32(sizes.count)
      numbers[start] = number
      stack.append(start)
      var size = 0
      while let patch = stack.popLast() {
        size += 1
        let (row, column) = (patch / columns, patch % columns)
        for y in max(row - 1, 0)...min(row + 1, rows - 1) {
          for x in max(column - 1, 0)...min(column + 1, columns - 1) {
            guard touching == .corners || y == row || x == column else { continue }
            let other = y * columns + x
            guard numbers[other] < 0, includes(other), isSame(patch, other) else { continue }
            numbers[other] = number
            stack.append(other)
          }
        }
      }
      sizes.append(size)
    }
  }
}
