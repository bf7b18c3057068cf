import CCoveyKernels

/// Sums of the maps of each row's neighbours: bits [P, P] times maps [P, M].
///
/// Neighbourhoods have most of their members in common with those of similar rows.
/// The rows are split in two again and again, by which of two unlike ones they
/// resemble; what all rows of a part have in common is added up once for all of
/// them, and only the rest for each.  Nothing is ever subtracted.  On real video
/// this takes 60 to 120 additions of a map per row, for 1200 to 2300 neighbours.
struct NeighbourSums {
  private let words: Int  // of 64 bits, for P
  /// Row numbers, so that each part is a range.
  private let order: Buffer<Int32>
  private let spare: Buffer<Int32>
  private let common: Buffer<UInt64>
  /// Numbers of rows to add, of one step after the other.
  private let rows: Buffer<UInt32>
  /// What to do with these lists, one after the other.
  private let steps: Buffer<Step>
  /// Sums of the parts that a part lies in: [mostLevels, M].
  private let levels: Buffer<Float>
  private let panels: Buffer<Float>  // [threads, panelSize]
  private let panelSize: Int
  private let pool: ThreadPool
  private let monitor: Monitor

  /// Columns at a time: those of all maps fit into a core's own cache.
  private static let width = 32
  /// Deeper parts are not split.
  private static let mostLevels = 64
  /// Smaller parts are not split.
  private static let fewestRows = 4
  /// Every row has one, and every part: halving makes fewer than two parts a row.
  private static let stepsOfRow = 3
  /// Additions a row that are listed before they are made; more take several rounds.
  private static let listedRows = 128

  /// Rows to add to the sum of the part above: for a part, or for a row itself.
  private struct Step: BitwiseCopyable {
    let level: Int32
    let row: Int32  // of the maps; -1 for a part
    let count: Int32
  }

  init(
    count: Int, keyCount: Int, pool: ThreadPool, monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    self.pool = pool
    self.monitor = monitor
    words = (count + 63) / 64
    panelSize = NeighbourSums.panelSize(count)
    order = try Buffer(count, budget: budget, for: "order of the maps")
    spare = try Buffer(count, budget: budget, for: "order of the maps")
    common = try Buffer(words, budget: budget, for: "common neighbours")
    rows = try Buffer(
      count * NeighbourSums.listedRows, budget: budget, for: "lists of neighbours")
    steps = try Buffer(
      count * NeighbourSums.stepsOfRow, budget: budget, for: "sums to be made")
    levels = try Buffer(
      NeighbourSums.mostLevels * keyCount, budget: budget, for: "sums of neighbours")
    panels = try Buffer(panelSize * pool.threads, budget: budget, for: "panels of the threads")
  }

  /// A panel of all maps, and the sum of one row.
  private static func panelSize(_ count: Int) -> Int { (count + 1) * width }

  static func byteCount(count: Int, keyCount: Int, threads: Int) -> Int {
    8 * count + 8 * ((count + 63) / 64) + 4 * count * listedRows
      + count * stepsOfRow * MemoryLayout<Step>.stride + 4 * mostLevels * keyCount
      + 4 * threads * panelSize(count)
  }

  /// sums [count, n] of maps [count, n], n the keys there are.
  /// - Parameter neighbours: [count, words] with a row's own bit set; used up.
  func run(
    _ neighbours: UnsafeMutablePointer<UInt64>, maps: UnsafePointer<Float>, count: Int, n: Int,
    into sums: UnsafeMutablePointer<Float>
  ) {
    let (order, common, words, list) = (order.base, common.base, words, rows.base)
    let steps = steps.base
    var (made, listed) = (0, 0)
    func add(_ bits: UnsafePointer<UInt64>, _ level: Int, _ row: Int) {
      if listed + count > rows.count {
        carryOut(made, maps, count, n, sums)
        (made, listed) = (0, 0)
      }
      let first = listed
      for word in 0..<words {
        var left = bits[word]
        while left != 0 {
          list[listed] = UInt32(truncatingIfNeeded: 64 * word + left.trailingZeroBitCount)
          listed += 1
          left &= left - 1
        }
      }
      steps[made] = Step(level: Int32(level), row: Int32(row), count: Int32(listed - first))
      made += 1
    }

    for row in 0..<count { order[row] = Int32(row) }
    var waiting = [(0..<count, 0)]
    while let (part, level) = waiting.popLast() {
      if monitor.isCancelled { return }
      monitor.pulse(worker: 0)
      takeCommon(neighbours, part)
      // Cut short, it leaves bits of rows that there are not.
      if monitor.isCancelled { return }
      add(common, level, -1)
      let middle = level + 1 < NeighbourSums.mostLevels ? split(neighbours, part) : nil
      if let middle {
        waiting.append((middle..<part.upperBound, level + 1))
        waiting.append((part.lowerBound..<middle, level + 1))
      } else {
        for place in part {
          if monitor.isCancelled { return }
          let row = Int(order[place])
          add(neighbours + row * words, level, row)
        }
      }
    }
    carryOut(made, maps, count, n, sums)
  }

  /// Moves the bits that all rows of `part` have from them to `common`.
  private func takeCommon(_ neighbours: UnsafeMutablePointer<UInt64>, _ part: Range<Int>) {
    let (order, common, words) = (order.base, common.base, words)
    for word in 0..<words { common[word] = .max }
    for place in part {
      if isCancelled(place) { return }
      let row = neighbours + Int(order[place]) * words
      for word in 0..<words { common[word] &= row[word] }
    }
    for place in part {
      if isCancelled(place) { return }
      let row = neighbours + Int(order[place]) * words
      for word in 0..<words { row[word] &= ~common[word] }
    }
  }

  /// Asked for every row; looks now and then.
  private func isCancelled(_ row: Int) -> Bool {
    guard row % 512 == 0 else { return false }
    monitor.pulse(worker: 0)
    return monitor.isCancelled
  }

  /// Puts rows that resemble the first before those that resemble the one least
  /// like it; returns where these begin, nil if the part is better left whole.
  private func split(_ neighbours: UnsafeMutablePointer<UInt64>, _ part: Range<Int>) -> Int? {
    if part.count <= NeighbourSums.fewestRows { return nil }
    let (order, spare, words) = (order.base, spare.base, words)
    let kernels = cv_rows().pointee
    let one = neighbours + Int(order[part.lowerBound]) * words
    var (most, other) = (0, one)
    for place in part {
      if isCancelled(place) { return nil }
      let row = neighbours + Int(order[place]) * words
      let difference = kernels.differing(one, row, words)
      if difference > most { (most, other) = (difference, row) }
    }
    if most == 0 { return nil }
    var (left, right) = (part.lowerBound, 0)
    for place in part {
      let row = neighbours + Int(order[place]) * words
      if kernels.differing(one, row, words) < kernels.differing(other, row, words) {
        order[left] = order[place]
        left += 1
      } else {
        spare[right] = order[place]
        right += 1
      }
    }
    for place in 0..<right { order[left + place] = spare[place] }
    return left
  }

  private func carryOut(
    _ made: Int, _ maps: UnsafePointer<Float>, _ count: Int, _ n: Int,
    _ sums: UnsafeMutablePointer<Float>
  ) {
    let (width, list, steps, levels, monitor) = (
      NeighbourSums.width, rows.base, steps.base, levels.base, monitor
    )
    let (panels, panelSize) = (panels.base, panelSize)
    let kernels = cv_rows().pointee
    pool.run((n + width - 1) / width) { index, worker in
      if monitor.isCancelled { return }
      let columns = min(width, n - index * width)
      let panel = panels + worker * panelSize
      let own = panel + count * width
      let maps = maps + index * width
      for row in 0..<count { (panel + row * width).copy(from: maps + row * n, count: columns) }
      var rows = UnsafePointer(list)
      for number in 0..<made {
        let step = steps[number]
        if number % 256 == 0 {
          if monitor.isCancelled { return }
          monitor.pulse(worker: worker)
        }
        let level = levels + Int(step.level) * n + index * width
        // The sum of the part above, or of the row's part.
        let sum = step.row < 0 ? level : own
        if step.row >= 0 {
          own.copy(from: level, count: columns)
        } else if step.level > 0 {
          level.copy(from: level - n, count: columns)
        } else {
          level.update(repeating: 0, count: columns)
        }
        kernels.add_rows(panel, width, rows, Int(step.count), columns, sum)
        if step.row >= 0 {
          (sums + Int(step.row) * n + index * width).copy(from: own, count: columns)
        }
        rows += Int(step.count)
      }
    }
  }
}
