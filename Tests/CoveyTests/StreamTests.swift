import Testing

@testable import Covey

@Suite struct StreamTests {
  private let world = TestThings(rows: 8, columns: 16)
  private let pool: ThreadPool

  init() throws { pool = try ThreadPool(threads: 2) }

  /// Takes in a window of three frames, the first with keys; the ids of its
  /// frames [T, N].
  private func take(
    _ stream: inout Stream, _ things: [(kind: Int, place: Int)], budget: Budget = Budget(),
    monitor: Monitor = Monitor(), pool: ThreadPool? = nil
  ) throws -> [UInt16] {
    let kinds = world.kinds(things)
    let frames = try (0..<3).map {
      try world.frame(kinds, isKey: $0 == 0, seed: 1000 * things.count + stream.time + $0)
    }
    let found = try stream.take(
      frames, pool: pool ?? self.pool, budget: budget, monitor: monitor)
    return (0..<found.ids.count).map { found.ids[$0] }
  }

  /// The id at each place in all three frames, which must agree.
  private func id(_ ids: [UInt16], _ place: Int) -> UInt16 {
    let patches = world.rows * world.columns
    let found = Set((0..<3).map { ids[$0 * patches + world.middle(place)] })
    #expect(found.count == 1)
    return found.min()!
  }

  // ---- Who is who --------------------------------------------------------------------

  @Test func whatReturnsHasItsOldId() throws {
    var stream = try world.stream()
    var ids = try take(&stream, [(1, 0), (2, 2)])
    let (one, two, behind) = (id(ids, 0), id(ids, 2), id(ids, 7))
    #expect(Set([one, two, behind]) == [1, 2, 3])
    // The same, elsewhere.
    for place in 3..<7 {
      ids = try take(&stream, [(1, place), (2, place - 2)])
      #expect([id(ids, place), id(ids, place - 2), id(ids, 7)] == [one, two, behind])
    }
    // The first is gone for 40 windows.
    for round in 0..<40 {
      ids = try take(&stream, [(2, 2 + round % 4)])
      #expect(id(ids, 2 + round % 4) == two && id(ids, 7) == behind)
      #expect(Set(ids) == [two, behind], "round \(round)")
    }
    ids = try take(&stream, [(1, 5), (2, 2), (3, 0)])
    #expect([id(ids, 5), id(ids, 2), id(ids, 7)] == [one, two, behind])
    #expect(id(ids, 0) == 4)
    // And what has just come is known from now on.
    ids = try take(&stream, [(3, 6)])
    #expect([id(ids, 6), id(ids, 7)] == [4, behind] && Set(ids) == [4, behind])
  }

  /// The bank forgets what it has not seen for longest.
  @Test func whatIsForgottenIsNew() throws {
    for (capacity, isKept) in [(4, false), (64, true)] {
      var stream = try world.stream { $0.bankClusters = capacity }
      var ids = try take(&stream, [(1, 0)])
      let (one, behind) = (id(ids, 0), id(ids, 7))
      var last: [UInt16] = []
      for kind in 2..<7 {
        ids = try take(&stream, [(kind, 1)])
        #expect(id(ids, 7) == behind)
        #expect(!last.contains(id(ids, 1)) && id(ids, 1) != one)
        last.append(id(ids, 1))
      }
      // Of the last three, all are known: with what is behind, they are four.
      for kind in [4, 5, 6] {
        ids = try take(&stream, [(kind, 3)])
        #expect(id(ids, 3) == last[kind - 2], "capacity \(capacity), kind \(kind)")
      }
      ids = try take(&stream, [(1, 2)])
      #expect((id(ids, 2) == one) == isKept)
      #expect(id(ids, 2) == (isKept ? one : last.max()! + 1))
    }
  }

  @Test func neverMoreThanMaxClusters() throws {
    for most in 1...4 {
      var stream = try world.stream { $0.maxClusters = most }
      var ids = Set(try take(&stream, [(1, 0), (2, 1), (3, 2), (4, 3)]))
      for kind in 5..<9 { ids.formUnion(try take(&stream, [(kind, 0), (kind + 10, 1)])) }
      #expect(ids.count == most && ids.max()! == most, "most \(most)")
    }
  }

  /// After 65535 the numbers start again, but for those in use.  Two sets of 63
  /// kinds take turns, each forgotten when it comes again; one kind is always
  /// there.
  @Test func idsStartAgain() throws {
    var line = TestThings(rows: 1, columns: 64)
    line.noise = 0
    var stream = try line.stream {
      ($0.window, $0.queryPool, $0.keyBudget, $0.bankClusters) = (1, 1, 1, 64)
      $0.tau = 0.05
    }
    let sets = [1, 64].map { first in
      line.queries([0] + Array(first..<first + 63), seed: 1)
    }
    var (live, last): (UInt16?, UInt16) = (nil, 0)
    var (windows, after) = (0, 0)
    var shapes: [[Int]] = [[], []]
    while windows < 3000, after < 5 {
      let found = try stream.take(
        [try line.frame(sets[windows % 2], isKey: true)], pool: pool, budget: Budget(),
        monitor: Monitor())
      let ids = (0..<64).map { found.ids[$0] }
      live = live ?? ids[0]
      try #require(ids[0] == live && !ids.contains(0), "window \(windows): \(ids)")
      let new = Set(ids).subtracting([ids[0]])
      try #require(new.count >= 20, "window \(windows): \(ids)")
      // Were a number given twice, two clusters would look like one: but what is
      // told apart is what was two windows ago.
      let shape = ids.map { ids.firstIndex(of: $0)! }
      if after > 0 { #expect(shape == shapes[windows % 2], "window \(windows)") }
      shapes[windows % 2] = shape
      if after > 0 || new.max()! > 65_000 && new.min()! < 500 {
        after += 1
      } else if windows > 0 {
        try #require(new.max()! > last)
      }
      last = new.max()!
      windows += 1
    }
    #expect(after == 5 && stream.time == windows)
  }

  // ---- A window that fails ---------------------------------------------------------------

  /// A copy that failed is thrown away; what it was copied from is as before.
  @Test func whatFailsLeavesNoTrace() throws {
    let course: [[(kind: Int, place: Int)]] = [
      [(1, 0)], [(1, 1), (2, 5)], [(2, 4)], [(1, 0), (3, 3)], [(4, 4), (2, 0)],
    ]
    var undisturbed = try world.stream { $0.bankClusters = 3 }
    let expected = try course.map { try take(&undisturbed, $0) }
    var stream = try world.stream { $0.bankClusters = 3 }
    var (cancelled, refused) = (0, 0)
    for (things, ids) in zip(course, expected) {
      for report in 1...6 {
        var (copy, seen) = (stream, 0)
        let monitor = Monitor { _, _ in
          seen += 1
          return seen < report
        }
        do {
          #expect(try take(&copy, things, monitor: monitor) == ids)
        } catch let error as CoveyError {
          #expect(error.kind == .cancelled)
          cancelled += 1
        }
      }
      for limit in stride(from: 1000, through: 200_000, by: 10_000) {
        var copy = stream
        do {
          #expect(try take(&copy, things, budget: Budget(limit: limit)) == ids)
        } catch let error as CoveyError {
          #expect(error.kind == .memory)
          refused += 1
        }
      }
      #expect(try take(&stream, things) == ids)
    }
    #expect(cancelled >= 15 && refused >= 15, "\(cancelled), \(refused)")
  }

  @Test func threadsDoNotMatter() throws {
    func run(_ threads: Int) throws -> [[UInt16]] {
      let pool = try ThreadPool(threads: threads)
      var stream = try world.stream()
      return try (1..<12).map {
        try take(&stream, [($0 % 4 + 1, $0 % 5), ($0 % 3 + 5, 5 + $0 % 2)], pool: pool)
      }
    }
    let one = try run(1)
    #expect(Set(one.flatMap { $0 }).count >= 7)
    for threads in 2...3 { #expect(try run(threads) == one) }
  }

  /// Once the bank and the keys are as many as they may be, nothing grows.
  @Test func memoryIsFlat() throws {
    var stream = try world.stream { $0.bankClusters = 6 }
    let budget = Budget()
    var peak = 0
    for window in 0..<400 {
      let kind = 1 + window % 9
      _ = try take(&stream, [(kind, window % 5), (kind % 4 + 20, 5)], budget: budget)
      if window == 99 { peak = budget.peak }
    }
    #expect(budget.peak <= peak + peak / 20, "\(peak) after 100, \(budget.peak) after 400")
    #expect(stream.time == 1200)
  }
}
