import CCoveyKernels

/// Where the patches of a frame were in another one: for each the displacement, in
/// pixels of the working size, at which the two are most alike.
///
/// From coarse to fine.  At the smallest level every displacement of up to 4 pixels is
/// tried; at each other one those that the patch and its neighbours had at the level
/// before, their surroundings, and none.  Between levels a displacement becomes the
/// median of 3 x 3 patches.  The last step is between pixels.
/// A patch depends on the level before alone, so the order in which patches are done,
/// and by how many threads, does not matter.
struct PatchMatching {
  let rows: Int
  let columns: Int
  let pool: ThreadPool
  let monitor: Monitor

  /// Tried at the smallest level, in each direction.
  private static let reach = 4
  /// What a pixel of difference to the neighbours costs, in grey values of each of a
  /// window's pixels: enough to decide where nothing else does.
  private static let stiffness = 1.0 / 16

  struct Match: BitwiseCopyable {
    var right: Int32 = 0
    var down: Int32 = 0
  }

  /// The windows that are compared, and which part of the frame they are of.
  private struct Window {
    let width: Int
    let height: Int

    /// Smaller where the level is: 16 pixels of the frame, then 24, 32, 64.
    init(level: Int, _ size: LumaPyramid.Level) {
      let (wide, tall) = level == 0 ? (16, 16) : level == 1 ? (16, 12) : (8, 8)
      width = min(wide, size.width)
      height = min(tall, size.height)
    }

    func place(_ size: LumaPyramid.Level, centre: (x: Int, y: Int)) -> (x: Int, y: Int) {
      (
        min(max(centre.x - width / 2, 0), size.width - width),
        min(max(centre.y - height / 2, 0), size.height - height)
      )
    }
  }

  /// - Parameters:
  ///   - displacements: [rows, columns], added to a patch's place gives that in `other`.
  ///   - texture: [rows, columns], how much less alike the two are a pixel off, in grey
  ///     values: about 0 where any displacement would do.
  func match(
    _ frame: LumaPyramid, with other: LumaPyramid,
    displacements: UnsafeMutablePointer<SIMD2<Float>>, texture: UnsafeMutablePointer<Float>,
    budget: Budget
  ) throws(CoveyError) {
    let count = rows * columns
    let scratch = try Buffer<Match>(2 * count, budget: budget, for: "displacements")
    defer { withExtendedLifetime((scratch, frame, other)) {} }
    let (before, found) = (scratch.base, scratch.base + count)
    let levels = frame.levels.count
    for level in stride(from: levels - 1, through: 0, by: -1) {
      let (own, theirs) = (frame.levels[level], other.levels[level])
      pool.run(rows) { [self] row, worker in
        if monitor.isCancelled { return }
        for column in 0..<columns {
          let patch = row * columns + column
          let search = Search(
            own, theirs, window: Window(level: level, own), centre: centre(row, column, level, frame))
          let match =
            level == levels - 1
            ? search.everywhere(within: PatchMatching.reach)
            : refined(search, row, column, before)
          found[patch] = match
          if level == 0 {
            (displacements[patch], texture[patch]) = search.betweenPixels(match)
          }
        }
        monitor.pulse(worker: worker)
      }
      try monitor.check()
      if level > 0 { takeMedians(found, into: before) }
    }
  }

  private func centre(
    _ row: Int, _ column: Int, _ level: Int, _ frame: LumaPyramid
  ) -> (x: Int, y: Int) {
    let full = frame.levels[0]
    return (
      ((2 * column + 1) * full.width / (2 * columns)) >> level,
      ((2 * row + 1) * full.height / (2 * rows)) >> level
    )
  }

  /// - Parameter before: of the level before, whose pixels are twice as large.
  private func refined(
    _ search: Search, _ row: Int, _ column: Int, _ before: UnsafePointer<Match>
  ) -> Match {
    func doubled(_ match: Match) -> Match { Match(right: 2 * match.right, down: 2 * match.down) }
    let expected = doubled(before[row * columns + column])
    var search = search
    search.begin(expecting: expected)
    search.offer(expected)
    search.offer(Match())
    // Two patches away: what lies beside the patch is in its own median.
    for (down, right) in [(-2, 0), (2, 0), (0, -2), (0, 2)] {
      let (y, x) = (row + down, column + right)
      guard y >= 0, y < rows, x >= 0, x < columns else { continue }
      search.offer(doubled(before[y * columns + x]))
    }
    search.descend(steps: 2)
    return search.best
  }

  private func takeMedians(
    _ matches: UnsafePointer<Match>, into output: UnsafeMutablePointer<Match>
  ) {
    var (rights, downs) = (SIMD16<Int32>(), SIMD16<Int32>())
    for row in 0..<rows {
      for column in 0..<columns {
        var count = 0
        for y in max(row - 1, 0)...min(row + 1, rows - 1) {
          for x in max(column - 1, 0)...min(column + 1, columns - 1) {
            rights[count] = matches[y * columns + x].right
            downs[count] = matches[y * columns + x].down
            count += 1
          }
        }
        output[row * columns + column] = Match(
          right: PatchMatching.median(&rights, count), down: PatchMatching.median(&downs, count))
      }
    }
  }

  /// The upper one of an even number.
  private static func median(_ values: inout SIMD16<Int32>, _ count: Int) -> Int32 {
    for i in 1..<max(count, 1) {
      let value = values[i]
      var place = i
      while place > 0, values[place - 1] > value {
        values[place] = values[place - 1]
        place -= 1
      }
      values[place] = value
    }
    return values[count / 2]
  }

  /// For one patch at one level.
  private struct Search {
    private let own: UnsafePointer<UInt8>
    private let theirs: LumaPyramid.Level
    private let stride: Int  // of the own level
    private let window: Window
    private let place: (x: Int, y: Int)
    private var expected = Match()
    private(set) var best = Match()
    private var least = Int.max

    init(
      _ own: LumaPyramid.Level, _ theirs: LumaPyramid.Level, window: Window,
      centre: (x: Int, y: Int)
    ) {
      place = window.place(own, centre: centre)
      self.own = own.pixels + place.y * own.width + place.x
      stride = own.width
      self.theirs = theirs
      self.window = window
    }

    mutating func begin(expecting match: Match) { expected = match }

    func everywhere(within reach: Int) -> Match {
      var search = self
      for down in -reach...reach {
        for right in -reach...reach {
          search.offer(Match(right: Int32(right), down: Int32(down)))
        }
      }
      return search.best
    }

    /// A window that would leave the picture stays at its border.
    private func inside(_ match: Match) -> Match {
      let x = min(max(place.x + Int(match.right), 0), theirs.width - window.width)
      let y = min(max(place.y + Int(match.down), 0), theirs.height - window.height)
      return Match(right: Int32(x - place.x), down: Int32(y - place.y))
    }

    private func difference(_ match: Match) -> Int {
      let target =
        theirs.pixels + (place.y + Int(match.down)) * theirs.width + place.x + Int(match.right)
      return Int(cv_match(own, stride, target, theirs.width, window.width, window.height))
    }

    mutating func offer(_ match: Match) {
      let match = inside(match)
      let away = abs(match.right - expected.right) + abs(match.down - expected.down)
      let area = Double(window.width * window.height)
      let cost = difference(match) + Int(away) * Int(area * PatchMatching.stiffness)
      if cost < least { (best, least) = (match, cost) }
    }

    /// To the best of the eight around, so often.
    mutating func descend(steps: Int) {
      for _ in 0..<steps {
        let from = best
        for down in Int32(-1)...1 {
          for right in Int32(-1)...1 where down != 0 || right != 0 {
            offer(Match(right: from.right + right, down: from.down + down))
          }
        }
        if best.right == from.right, best.down == from.down { return }
      }
    }

    /// The displacement at the meeting point of two lines of opposite slope through the
    /// differences here and a pixel further, as absolute differences rise, and by how much
    /// they bend for each pixel of the window, the lesser of both directions.
    func betweenPixels(_ match: Match) -> (SIMD2<Float>, Float) {
      func around(_ right: Int32, _ down: Int32) -> Float {
        Float(difference(inside(Match(right: match.right + right, down: match.down + down))))
      }
      func vertex(_ before: Float, _ here: Float, _ after: Float) -> (Float, Float) {
        let rise = max(before, after) - here
        guard rise > 0 else { return (0, 0) }
        return (
          min(max((before - after) / (2 * rise), -0.5), 0.5), max(before + after - 2 * here, 0)
        )
      }
      let here = around(0, 0)
      let (x, across) = vertex(around(-1, 0), here, around(1, 0))
      let (y, along) = vertex(around(0, -1), here, around(0, 1))
      return (
        SIMD2(Float(match.right) + x, Float(match.down) + y),
        min(across, along) / Float(window.width * window.height)
      )
    }
  }
}
