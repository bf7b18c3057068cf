/// A matrix's rows in tiles for the threads to share.
struct RowTiles {
  let rows: Int
  let size: Int
  let count: Int

  /// Tiles of about `size` rows, as equal as can be, and a multiple of four of
  /// them where there are several, so that two and four threads finish
  /// together.  Depends on nothing but its arguments.
  init(rows: Int, size: Int) {
    self.rows = rows
    let needed = (rows + size - 1) / size
    let wanted = needed <= 1 ? max(needed, 1) : (needed + 3) / 4 * 4
    self.size = max(1, (rows + wanted - 1) / wanted)
    count = (rows + self.size - 1) / self.size
  }

  /// Tiles of just `size` rows, but the last.
  init(rows: Int, exactly size: Int) {
    self.rows = rows
    self.size = size
    count = (rows + size - 1) / size
  }

  func range(_ index: Int) -> Range<Int> {
    index * size..<min(rows, (index + 1) * size)
  }
}
