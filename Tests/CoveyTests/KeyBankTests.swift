import Testing

@testable import Covey

@Suite struct KeyBankTests {
  private func times(budget: Int, count: Int, stride: Int) throws -> [[Int]] {
    var bank = KeyBank(budget: budget)
    return try (0..<count).map { index in
      bank.append(try Buffer<Float>(1, for: "test"), time: index * stride)
      return bank.frames.map(\.time)
    }
  }

  @Test(arguments: [1, 2, 3, 4, 8, 16, 40], [1, 10])
  func holdsItsBudget(budget: Int, stride: Int) throws {
    let all = try times(budget: budget, count: 1000, stride: stride)
    for (index, kept) in all.enumerated() {
      #expect(kept.count == min(index + 1, budget))
      #expect(kept.last == index * stride)
      #expect(zip(kept, kept.dropFirst()).allSatisfy { $0 < $1 })
      // Only what was there, or is new.
      if index > 0 { #expect(Set(kept.dropLast()).isSubset(of: all[index - 1])) }
      if budget > 1 { #expect(kept.first == 0) }
    }
  }

  /// Gaps grow with age: the older half of what is kept spans most of the time,
  /// and no gap is much larger than the age of its newer end would have it in a
  /// geometric series from 1 to the whole (observed: at most 6 times).
  @Test(arguments: [8, 16], [100, 1000, 10_000])
  func sparserTowardsThePast(budget: Int, count: Int) throws {
    let kept = try times(budget: budget, count: count, stride: 1).last!
    let ages = kept.map { count - 1 - $0 }
    let gaps = zip(ages, ages.dropFirst()).map { $0 - $1 }
    let older = gaps.prefix(gaps.count / 2).reduce(0, +)
    #expect(older * 2 > ages[0], "\(ages)")
    #expect(gaps.last! <= 2 && gaps[gaps.count - 2] <= 4, "\(ages)")
    // Something of every order of magnitude but for the very last moments.
    var scale = 10
    while scale * 20 < count {
      #expect(ages.contains { $0 >= scale && $0 < 20 * scale }, "\(ages) at \(scale)")
      scale *= 10
    }
  }
}
