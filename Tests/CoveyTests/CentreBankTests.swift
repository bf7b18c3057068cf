import Testing

@testable import Covey

@Suite struct CentreBankTests {
  private let world = TestThings(rows: 4, columns: 8)

  /// What the bank says of windows of prototypes of these kinds and sizes.
  private struct Course {
    let world: TestThings
    let keys: [Float]  // of all kinds
    var bank: CentreBank
    let pool: ThreadPool

    init(_ world: TestThings, capacity: Int) throws {
      self.world = world
      keys = world.queries(Array(0..<40), seed: 1)
      bank = CentreBank(capacity: capacity)
      pool = try ThreadPool(threads: 1)
    }

    mutating func take(
      _ kinds: [(kind: Int, size: Float)], most: Int = .max
    ) throws -> CentreBank.Sighting {
      let budget = Budget()
      var (bank, world, pool) = (bank, world, pool)
      let queries = world.queries(kinds.map(\.kind), seed: kinds.count)
      let weights = kinds.map(\.size)
      let prototypes = try Prototypes(
        meansOf: queries, weights,
        MergeTree.Partition(groups: kinds.indices.map { Int32($0) }, weights: weights),
        channels: world.channels, budget: budget)
      BLAS.claim()
      defer { BLAS.release() }
      let sighting = try keys.withUnsafeBufferPointer { keys in
        try bank.take(
          prototypes,
          affinity: Affinity(
            keys: keys.baseAddress!, keyCount: 40, channels: world.channels, heads: world.heads),
          scale: 1, cut: 0.67, most: most, pool: pool, budget: budget, monitor: Monitor())
      }
      self.bank = bank
      return sighting
    }
  }

  @Test func sightings() throws {
    var course = try Course(world, capacity: 4)
    var found = try course.take([(0, 50), (1, 30), (0, 10), (2, 9.6), (3, 0.4)])
    // The last is less than 1/200.
    #expect(found.seen == [0, 1, 2] && found.forgotten.isEmpty && course.bank.count == 3)
    #expect(found.centres.count == 3)
    // Of a cluster of the bank as little as there may be.
    found = try course.take([(2, 0.1), (0, 99.9)])
    #expect(found.seen == [0, 2] && course.bank.count == 3)
    found = try course.take([(5, 50), (6, 40), (0, 10)])
    // Room for two: the one that was not seen in the last window goes.
    #expect(found.forgotten == [1])
    #expect(found.seen == [0, 2, 3] && course.bank.count == 4)
    // The third, which is now the second, is still known.
    found = try course.take([(2, 50), (6, 50)])
    #expect(found.seen == [1, 3] && found.forgotten.isEmpty)
    // More new ones than there is room for beside what is in sight: the largest.
    found = try course.take([(0, 40), (6, 10), (7, 10), (8, 15), (9, 12), (10, 13)])
    #expect(found.forgotten == [2, 1] && found.seen == [0, 1, 2, 3] && course.bank.count == 4)
    found = try course.take([(8, 1), (10, 1), (6, 1), (0, 1)])
    #expect(found.seen == [0, 1, 2, 3] && found.forgotten.isEmpty)
  }

  /// Centres are distributions over the keys, highest at the key of their kind.
  @Test func centresAreMaps() throws {
    var course = try Course(world, capacity: 8)
    for _ in 0..<20 {
      let found = try course.take([(4, 50), (7, 30), (4, 20), (9, 10)])
      #expect(found.seen == [0, 1, 2])
      for (place, kind) in [4, 7, 9].enumerated() {
        let map = (0..<40).map { found.centres.maps[place * 40 + $0] }
        #expect(abs(map.reduce(0, +) - 1) < 1e-5)
        #expect(map.indices.max { map[$0] < map[$1] } == kind)
      }
    }
  }

  @Test(arguments: [1, 2, 5])
  func capacityHolds(capacity: Int) throws {
    var (free, limited) = (
      try Course(world, capacity: capacity), try Course(world, capacity: 64)
    )
    for start in 0..<30 {
      let kinds = (0..<4).map { (kind: (start * 4 + $0) % 40, size: Float(10 + $0)) }
      for (course, most) in [(0, Int.max), (1, capacity)] {
        let found =
          course == 0 ? try free.take(kinds) : try limited.take(kinds, most: most)
        let count = course == 0 ? free.bank.count : limited.bank.count
        #expect(count <= capacity && !found.seen.isEmpty)
        #expect(found.seen.count == found.centres.count)
        #expect(found.seen.allSatisfy { $0 >= 0 && $0 < count })
        #expect(Set(found.seen).count == found.seen.count)
        #expect(found.forgotten == found.forgotten.sorted(by: >))
      }
    }
  }

  /// However small, something is seen in every window.
  @Test func oneWindowOfManySmallOnes() throws {
    var course = try Course(world, capacity: 300)
    // Kinds of 1/40 are clusters (a few of them are alike); as 1/439 beside one
    // large one, they are not.
    let all = try course.take((0..<40).map { ($0, 1) })
    #expect(all.seen.count >= 30 && course.bank.count == all.seen.count)
    var other = try Course(world, capacity: 300)
    let found = try other.take([(0, 400)] + (1..<40).map { ($0, 1) })
    #expect(found.seen == [0] && other.bank.count == 1)
  }
}
