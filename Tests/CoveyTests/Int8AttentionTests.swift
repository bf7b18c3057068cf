import CCoveyKernels
import Foundation
import Testing

@testable import Covey

@Suite struct Int8AttentionTests {
  private func random(_ count: Int, _ size: Double, _ seed: Int) -> [Float] {
    var random = SeededRandom(seed: UInt64(seed))
    return (0..<count).map { _ in Float(size * random.normal()) }
  }

  private func head(_ tokens: Int, _ dim: Int, rows: Int, spread: Double) -> Int8Head {
    // Logits of normal distribution with this spread.
    let size = (spread / Double(dim).squareRoot()).squareRoot()
    return Int8Head(
      random(rows * dim, size, tokens + dim), random(tokens * dim, size, tokens + dim + 1),
      random(tokens * dim, 1, tokens + dim + 2), dim: dim)
  }

  private func bits(_ values: [Float]) -> [UInt32] { values.map(\.bitPattern) }

  private func check(
    _ head: Int8Head, rows counts: [Int], _ text: String,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let model = head.model()
    for (found, exact) in zip(model, head.exact()) {
      let isClose = abs(Double(found) - exact.value) <= exact.bound
      #expect(isClose, "\(text): \(found), not \(exact)", sourceLocation: sourceLocation)
      if !isClose { break }
    }
    for kernels in Int8Sets.all {
      for rows in counts {
        let found = head.attend(kernels, rows: rows)
        let isEqual = bits(found) == bits(Array(model.prefix(rows * head.dim)))
        #expect(
          isEqual, "\(Int8Sets.name(kernels)), \(rows) rows: \(text)",
          sourceLocation: sourceLocation)
      }
    }
  }

  @Test(arguments: [1, 5, 63, 64, 65, 320, 321, 641, 2401], [64, 32, 16, 13, 80, 128])
  func agreesWithItsModelAndWithDouble(tokens: Int, dim: Int) {
    // Maps from flat to those of one key; and beyond what exp can tell.
    for spread in [0.3, 3, 30, 1e4] {
      let head = head(tokens, dim, rows: 13, spread: spread)
      check(
        head, rows: spread == 3 ? Array(1...13) : [13],
        "\(tokens) tokens, dim \(dim), spread \(spread)")
    }
  }

  @Test(arguments: [(197, 64), (785, 64), (2401, 32)])
  func aTileOfRows(tokens: Int, dim: Int) {
    check(head(tokens, dim, rows: 96, spread: 2), rows: [95, 96], "\(tokens) tokens, dim \(dim)")
  }

  /// The root of the mean square of what weights of bytes lose, relative to that of
  /// the means, which are small where values are random.  Observed: 0.014 to 0.017.
  @Test func errorsAreSmallInTheMean() {
    for (tokens, dim) in [(320, 64), (785, 64), (2401, 32)] {
      let head = head(tokens, dim, rows: 96, spread: 2)
      let exact = head.exact()
      let (found, size) = (head.model(), exact.reduce(0) { $0 + $1.value * $1.value })
      let lost = zip(found, exact).reduce(0) { $0 + pow(Double($1.0) - $1.1.value, 2) }
      let error = (lost / size).squareRoot()
      #expect(error <= 0.025, "\(tokens) tokens: \(error)")
    }
  }

  /// Queries of zeros: the mean of the values.
  @Test(arguments: [1, 64, 65, 321, 2401])
  func uniformWeights(tokens: Int) {
    let dim = 24
    let head = Int8Head(
      [Float](repeating: 0, count: 7 * dim), random(tokens * dim, 1, 1),
      random(tokens * dim, 1, 2), dim: dim)
    check(head, rows: [7], "\(tokens) tokens")
    for kernels in Int8Sets.all {
      let found = head.attend(kernels, rows: 7)
      for (found, exact) in zip(found, head.exact()) {
        #expect(abs(Double(found) - exact.value) <= 1e-6)
      }
    }
  }

  /// A key far above all others, wherever it stands: its value alone.
  @Test(arguments: [5, 64, 321, 700])
  func oneKeyAboveAll(tokens: Int) {
    let dim = 16
    let v = random(tokens * dim, 1, 5)
    for place in [0, tokens / 2, tokens - 1] {
      var k = random(tokens * dim, 0.01, 6)
      for i in 0..<dim { k[place * dim + i] = 20 }
      let head = Int8Head([Float](repeating: 10, count: 5 * dim), k, v, dim: dim)
      check(head, rows: [5], "\(tokens) tokens, \(place)")
      let block = place / head.blocks.size
      for kernels in Int8Sets.all {
        let found = head.attend(kernels, rows: 5)
        for (index, found) in found.enumerated() {
          let channel = index % dim
          let value =
            Float(head.values[place * dim + channel]) * head.valueScale[block * dim + channel]
          #expect(abs(found - value) <= 4e-7 * max(1, abs(value)))
        }
      }
    }
  }

  /// Blocks that are nothing beside one that comes later, or came before.
  @Test func blocksFarApart() {
    let (tokens, dim) = (900, 16)
    for falling in [false, true] {
      let k = (0..<tokens * dim).map { place in
        Float(falling ? tokens - place / dim : place / dim) * 0.1
      }
      for size: Float in [0.001, 0.1, 10] {
        let head = Int8Head(
          [Float](repeating: size, count: 3 * dim), k, random(tokens * dim, 1, 8), dim: dim)
        check(head, rows: [3], "falling \(falling), \(size)")
      }
    }
  }

  /// Keys, values and queries that are no numbers, or make logits that are none:
  /// NaNs in all rows, in the channel, in the row.
  @Test(arguments: [1, 65, 700])
  func whatIsNotFiniteShows(tokens: Int) {
    let (dim, rows) = (20, 5)
    let q = random(rows * dim, 1, 1)
    let (k, v) = (random(tokens * dim, 1, 2), random(tokens * dim, 1, 3))
    for value in [Float.nan, .infinity, -.infinity, 3e38] {
      for token in [0, tokens / 2, tokens - 1] {
        for kernels in Int8Sets.all {
          var keys = k
          keys[token * dim + 3] = value
          let found = Int8Head(q, keys, v, dim: dim).attend(kernels, rows: rows)
          #expect(found.allSatisfy { $0.isNaN }, "\(Int8Sets.name(kernels)): key \(token) \(value)")
          guard !value.isFinite else { continue }
          var values = v
          values[token * dim + 3] = value
          let channels = Int8Head(q, k, values, dim: dim).attend(kernels, rows: rows)
          for (index, found) in channels.enumerated() {
            #expect(
              found.isFinite == (index % dim != 3), "\(Int8Sets.name(kernels)): value \(token)")
          }
        }
      }
    }
    for value in [Float.nan, .infinity] {
      var queries = q
      queries[2 * dim] = value
      for kernels in Int8Sets.all {
        let found = Int8Head(queries, k, v, dim: dim).attend(kernels, rows: rows)
        for (index, found) in found.enumerated() {
          #expect(found.isNaN == (index / dim == 2), "\(Int8Sets.name(kernels)): \(value)")
        }
      }
    }
  }

  /// Of two keys, `distance` steps of the table apart: the second one's weight.
  @Test func weightsAreThoseOfTheFormula() {
    #expect(weightTable[0] == 255 && weightTable[26] == 128 && weightTable[255] == 0)
    // Values: 1 for the second token, 0 for the first.
    var values = [Int8](repeating: 0, count: cv_packed_bytes(4, 64))
    values[1] = 1
    let valueSums = [1] + [Int32](repeating: 0, count: 63)
    let valueScale = [Float](repeating: 1, count: 64)
    let query: [UInt8] = [129, 128, 128, 128]
    let scratch = UnsafeMutableRawPointer.allocate(
      byteCount: cv_attend_scratch(1, 64), alignment: 64)
    defer { scratch.deallocate() }
    for distance in 0..<300 {
      var keys = [Int8](repeating: 0, count: cv_packed_bytes(64, 4))
      var keySums = [Int32](repeating: 0, count: 64)
      var keyScale = [Float](repeating: 0, count: 64)
      var limit: Float = 0
      cv_pack_keys(
        query + query, 4, [300, Float(300 - distance)], 1, 2, 4, &keys, &keySums, &keyScale,
        &limit)
      keys.withUnsafeBufferPointer { keys in
        keySums.withUnsafeBufferPointer { keySums in
          keyScale.withUnsafeBufferPointer { keyScale in
            values.withUnsafeBufferPointer { values in
              valueSums.withUnsafeBufferPointer { valueSums in
                valueScale.withUnsafeBufferPointer { valueScale in
                  let block = cv_key_block(
                    keys: keys.baseAddress, key_sums: keySums.baseAddress,
                    key_scale: keyScale.baseAddress, values: values.baseAddress,
                    value_sums: valueSums.baseAddress, value_scale: valueScale.baseAddress,
                    count: 2, factor_limit: limit)
                  for kernels in Int8Sets.all {
                    var out = [Float](repeating: 7, count: 4)
                    kernels.attend(
                      [block], 1, 4, 1, query, 4, [1 / weightSteps], 1, scratch, &out, 4)
                    let weight = Double(weightTable[min(distance, 255)])
                    let expected = weight / (255 + weight)
                    #expect(
                      abs(Double(out[0]) - expected) <= 1e-7,
                      "\(Int8Sets.name(kernels)): \(distance)")
                    #expect(out[1...].allSatisfy { $0 == 0 })
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}
