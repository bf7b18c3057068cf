import CCoveyKernels

/// Sums of the maps of each row's neighbours: bits [P, P] times maps [P, M].
///
/// Neighbourhoods have most of their members in common with those of similar rows.
/// The rows are split in two again and again, by which of two unlike ones they
/// resemble; what all rows of a part have in common is added up once for all of
/// them, and only the rest for each.  Nothing is ever subtracted.  On real video
/// this takes 60 to 110 additions of a map per row, for 1200 to 2300 neighbours.
struct NeighbourSums {
  private let words: Int  // of 64 bits, for P
  /// Row numbers, so that each part is a range.
  private let order: Buffer<Int32>
  private let spare: Buffer<Int32>
  /// What the rows of a part, but not all of the part it is split from, have in
  /// common: [parts, words].
  private let marks: Buffer<UInt64>
  private let mostParts: Int
  private let levels: Buffer<Float>  // [threads, mostLevels + 1, width]: sums
  private let pool: ThreadPool
  private let monitor: Monitor

  /// Columns at a time: those of all maps stay in the last cache.
  private static let width = 256
  /// Sums of the parts that one part lies in; deeper ones are not split.
  private static let mostLevels = 64
  /// Smaller parts are not split.
  private static let fewestRows = 4

  private struct Part {
    let rows: Range<Int>  // of `order`
    let level: Int
    let isSplit: Bool
  }

  init(
    count: Int, pool: ThreadPool, monitor: Monitor, budget: Budget
  ) throws(CoveyError) {
    self.pool = pool
    self.monitor = monitor
    words = (count + 63) / 64
    mostParts = NeighbourSums.mostParts(count)
    order = try Buffer(count, budget: budget, for: "order of the maps")
    spare = try Buffer(count, budget: budget, for: "order of the maps")
    marks = try Buffer(mostParts * words, budget: budget, for: "common neighbours")
    levels = try Buffer(
      NeighbourSums.levelsSize * pool.threads, budget: budget, for: "sums of the threads")
  }

  private static func mostParts(_ count: Int) -> Int { count / 2 + 1 }

  private static var levelsSize: Int { (mostLevels + 1) * width }

  static func byteCount(count: Int, threads: Int) -> Int {
    8 * count + 8 * mostParts(count) * ((count + 63) / 64) + 4 * threads * levelsSize
  }

  /// sums [count, n] of maps [count, n].
  /// - Parameter neighbours: [count, words] with a row's own bit set; used up.
  func run(
    _ neighbours: UnsafeMutablePointer<UInt64>, maps: UnsafePointer<Float>, count: Int, n: Int,
    into sums: UnsafeMutablePointer<Float>
  ) {
    let parts = split(neighbours, count)
    let (words, width) = (words, NeighbourSums.width)
    let (order, marks, monitor) = (order.base, marks.base, monitor)
    let levels = levels.base
    let used = (count + 63) / 64
    let kernels = cv_rows().pointee
    pool.run((n + width - 1) / width) { index, worker in
      if monitor.isCancelled { return }
      let levels = levels + worker * NeighbourSums.levelsSize
      let maps = maps + index * width
      let sums = sums + index * width
      let columns = min(width, n - index * width)
      for (number, part) in parts.enumerated() {
        if number % 256 == 0 {
          if monitor.isCancelled { return }
          monitor.pulse(worker: worker)
        }
        let sum = levels + part.level * width
        if part.level == 0 {
          sum.update(repeating: 0, count: columns)
        } else {
          sum.update(from: sum - width, count: columns)
        }
        kernels.add_marked(maps, n, marks + number * words, used, columns, sum)
        if part.isSplit { continue }
        let own = sum + width
        for place in part.rows {
          let row = Int(order[place])
          own.update(from: sum, count: columns)
          kernels.add_marked(maps, n, neighbours + row * words, used, columns, own)
          (sums + row * n).update(from: own, count: columns)
        }
      }
    }
  }

  /// Parts, each before those it is split into, and the `marks` of each; what is
  /// marked there is taken out of the bits of the part's rows.
  private func split(_ neighbours: UnsafeMutablePointer<UInt64>, _ count: Int) -> [Part] {
    let (order, spare, words) = (order.base, spare.base, words)
    let kernels = cv_rows().pointee
    for row in 0..<count { order[row] = Int32(row) }
    var parts: [Part] = []
    var waiting = [(0..<count, 0)]
    while let (rows, level) = waiting.popLast() {
      if monitor.isCancelled { return [] }
      monitor.pulse(worker: 0)
      let common = marks.base + parts.count * words
      func bits(_ place: Int) -> UnsafeMutablePointer<UInt64> {
        neighbours + Int(order[place]) * words
      }
      common.update(from: bits(rows.lowerBound), count: words)
      for place in rows {
        let row = bits(place)
        for word in 0..<words { common[word] &= row[word] }
      }
      for place in rows {
        let row = bits(place)
        for word in 0..<words { row[word] &= ~common[word] }
      }
      var middle = rows.lowerBound
      // Each split adds two parts, and those that wait become one each.
      let room = parts.count + waiting.count + 3 <= mostParts
      if rows.count > NeighbourSums.fewestRows, level + 2 < NeighbourSums.mostLevels, room {
        let one = bits(rows.lowerBound)
        var (most, other) = (0, one)
        for place in rows {
          let difference = kernels.differing(one, bits(place), words)
          if difference > most { (most, other) = (difference, bits(place)) }
        }
        if most > 0 {
          var (left, right) = (rows.lowerBound, 0)
          for place in rows {
            let row = bits(place)
            if kernels.differing(one, row, words) < kernels.differing(other, row, words) {
              order[left] = order[place]
              left += 1
            } else {
              spare[right] = order[place]
              right += 1
            }
          }
          (order + left).update(from: spare, count: right)
          middle = left
        }
      }
      // Rows that are all the same are a part too.
      let isSplit = middle > rows.lowerBound
      parts.append(Part(rows: rows, level: level, isSplit: isSplit))
      if isSplit {
        waiting.append((middle..<rows.upperBound, level + 1))
        waiting.append((rows.lowerBound..<middle, level + 1))
      }
    }
    return parts
  }
}
