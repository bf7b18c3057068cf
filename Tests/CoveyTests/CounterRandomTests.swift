import CCoveyKernels
import Foundation
import Testing

@testable import Covey

@Suite struct CounterRandomTests {
  /// The vectors that the generator's authors publish (Random123, kat_vectors).
  @Test func philoxGivesTheKnownAnswers() {
    func expect(
      _ counter: (UInt32, UInt32, UInt32, UInt32), _ key: (UInt32, UInt32),
      _ answer: (UInt32, UInt32, UInt32, UInt32)
    ) {
      let found = CounterRandom.philox(counter, key: key)
      #expect(found.0 == answer.0 && found.1 == answer.1)
      #expect(found.2 == answer.2 && found.3 == answer.3)
    }
    expect((0, 0, 0, 0), (0, 0), (0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8))
    let ones = UInt32.max
    expect(
      (ones, ones, ones, ones), (ones, ones), (0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd))
    expect(
      (0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344), (0xa409_3822, 0x299f_31d0),
      (0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1))
  }

  /// Every instruction set's masks are those of the plain generator; columns before, at
  /// and after the end of 128.
  @Test(arguments: [1, 15, 16, 127, 128, 129, 300])
  func masksAreThoseOfTheWords(n: Int) {
    let random = CounterRandom(seed: 0x0123_4567_89ab_cdef, step: 77)
    let dropout = random.dropout(0.4, .attention, 5)
    #expect(dropout.threshold == 26214)
    let (rows, first) = (3, 9)
    for kernels in RowSets.all {
      var out = [Float](repeating: 1, count: rows * n)
      withUnsafePointer(to: dropout) {
        kernels.dropout(out, n, rows, n, $0, UInt32(first), 0, &out, n)
      }
      var agree = true
      for row in 0..<rows {
        for column in 0..<n {
          let (chunk, q, lane) = (column / 128, column % 128 / 16, column % 16)
          let words = random.block(
            .attention, 5, row: UInt32(first + row), block: UInt32(chunk * 16 + lane))
          let word = [words.0, words.1, words.2, words.3][q / 2]
          let half = q % 2 == 0 ? word & 0xffff : word >> 16
          let expected = half < 26214 ? 0 : Float(65536) / (65536 - 26214)
          if out[row * n + column] != expected { agree = false }
        }
      }
      #expect(agree, "\(RowSets.name(kernels))")
    }
  }

  /// Shares of what is dropped: of N decisions the share has deviation
  /// sqrt(r (1 - r) / N); five of these.  And neither rows, heads, steps nor seeds
  /// say anything about each other.
  @Test func dropsTheRightShareAndIndependently() {
    let (rows, n) = (400, 1000)
    func mask(_ random: CounterRandom, _ head: Int, _ rate: Float) -> [Float] {
      var out = [Float](repeating: 1, count: rows * n)
      withUnsafePointer(to: random.dropout(rate, .attention, head)) {
        cv_rows().pointee.dropout(out, n, rows, n, $0, 0, 0, &out, n)
      }
      return out
    }
    let count = Double(rows * n)
    for rate in [Float(0.1), 0.4, 0.9] {
      let values = mask(CounterRandom(seed: 3), 0, rate)
      let r = Double(rate)
      let dropped = Double(values.filter { $0 == 0 }.count) / count
      #expect(abs(dropped - r) < 5 * (r * (1 - r) / count).squareRoot() + 1e-5)
      // What is kept makes up for what is not.
      let mean = values.reduce(0.0) { $0 + Double($1) } / count
      #expect(abs(mean - 1) < 5 * (r / (1 - r) / count).squareRoot())
    }
    let base = mask(CounterRandom(seed: 3), 0, 0.4)
    func correlation(_ other: [Float]) -> Double {
      let both = zip(base, other).filter { $0 == 0 && $1 == 0 }.count
      return (Double(both) / count - 0.16) / 0.24
    }
    let limit = 5 / count.squareRoot()
    #expect(abs(correlation(mask(CounterRandom(seed: 3), 1, 0.4))) < limit)
    #expect(abs(correlation(mask(CounterRandom(seed: 3, step: 1), 0, 0.4))) < limit)
    #expect(abs(correlation(mask(CounterRandom(seed: 4), 0, 0.4))) < limit)
    #expect(abs(correlation(Array(base[n...] + base[..<n]))) < limit)
    #expect(abs(correlation(Array(base[1...] + base[..<1]))) < limit)
    #expect(mask(CounterRandom(seed: 3), 0, 0).allSatisfy { $0 == 1 })
  }

  @Test func drawsDifferentPositionsAllAlike() {
    var counts = [Int](repeating: 0, count: 12)
    var out = [Int32](repeating: 0, count: 5)
    for step in 0..<12_000 {
      CounterRandom(seed: 1, step: UInt32(step)).draw(5, below: 12, into: &out)
      #expect(Set(out).count == 5)
      for position in out { counts[Int(position)] += 1 }
    }
    // Mean 5000, deviation sqrt(12000 * 5/12 * 7/12) = 54.
    for count in counts { #expect(abs(count - 5000) < 270) }
    var all = [Int32](repeating: 0, count: 7)
    CounterRandom(seed: 9).draw(7, below: 7, into: &all)
    #expect(Set(all) == Set(0..<7))
  }

  @Test func normalNumbersHaveTheirMoments() {
    let random = CounterRandom(seed: 21)
    let count = 40_000
    let values = (0..<count).map { Double(random.normal(.initialisation, $0)) }
    func moment(_ power: Double) -> Double {
      values.reduce(0) { $0 + pow($1, power) } / Double(count)
    }
    // Deviations: 1, sqrt 2, sqrt 15, sqrt 96, over the root of the count; five each.
    let root = Double(count).squareRoot()
    #expect(abs(moment(1)) < 5 / root)
    #expect(abs(moment(2) - 1) < 5 * 2.0.squareRoot() / root)
    #expect(abs(moment(3)) < 5 * 15.0.squareRoot() / root)
    #expect(abs(moment(4) - 3) < 5 * 96.0.squareRoot() / root)
  }
}
