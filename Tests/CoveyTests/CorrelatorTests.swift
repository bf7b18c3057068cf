import Foundation
import Testing

@testable import Covey

@Suite struct CorrelatorTests {
  /// In int8 files too, where the matrix is in halves.  Relative to the largest.
  /// Observed: 2.4e-7; the tolerance is four times that.
  @Test(arguments: [(24, 1), (24, 320), (96, 7), (32, 661)], [false, true])
  func agreesWithDouble(size: (channels: Int, count: Int), quantised: Bool) throws {
    let (channels, count) = size
    let model = TestCheckpoint(channels: channels, heads: 2, seed: UInt64(channels + count))
    let checkpoint = try quantised ? model.loadQuantised() : model.load()
    let tensors = model.weights(quantised: quantised)
    let weight = tensors["correlator.norm1.weight"]!
    let bias = tensors["correlator.norm1.bias"]!
    let matrix = tensors["correlator.attn.qkv.weight"]!
    var random = SeededRandom(seed: 9)
    let features = (0..<count * channels).map { _ in Float(0.7 + 2 * random.normal()) }

    func project(_ threads: Int, _ wantsQueries: Bool, _ wantsKeys: Bool) throws -> [[Float]] {
      let pool = try ThreadPool(threads: threads)
      let correlator = Correlator(checkpoint)
      var z = features
      var queries = [Float](repeating: .nan, count: features.count)
      var keys = queries
      queries.withUnsafeMutableBufferPointer { queries in
        keys.withUnsafeMutableBufferPointer { keys in
          z.withUnsafeMutableBufferPointer { z in
            correlator.project(
              z.baseAddress!, count: count, queries: wantsQueries ? queries.baseAddress : nil,
              keys: wantsKeys ? keys.baseAddress : nil, pool: pool)
          }
        }
      }
      return [z, queries, keys]
    }
    BLAS.claim()
    defer { BLAS.release() }
    let found = try project(2, true, true)
    var expected: [[Double]] = [[], [], []]
    for row in 0..<count {
      let x = features[row * channels..<(row + 1) * channels].map { Double($0) }
      let mean = x.reduce(0, +) / Double(channels)
      let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(channels)
      let factor = 1 / (variance + Double(model.correlatorEpsilon)).squareRoot()
      let z = (0..<channels).map { (x[$0] - mean) * factor * weight[$0] + bias[$0] }
      expected[0] += z
      for part in 0..<2 {
        expected[1 + part] += (0..<channels).map { output in
          let base = (part * channels + output) * channels
          return (0..<channels).reduce(0) { $0 + matrix[base + $1] * z[$1] }
        }
      }
    }
    for (found, expected) in zip(found, expected) {
      let size = expected.map { abs($0) }.max()!
      let error = zip(found, expected).map { abs(Double($0) - $1) / size }
        .reduce(0) { $1.isNaN ? .infinity : max($0, $1) }
      #expect(error <= 1e-6)
    }
    let bits = found.map { $0.map(\.bitPattern) }
    for threads in [1, 3, 4] {
      #expect(try project(threads, true, true).map { $0.map(\.bitPattern) } == bits)
    }
    #expect(try project(2, true, false)[1] == found[1])
    #expect(try project(2, false, true)[2] == found[2])
    #expect(try project(2, true, false)[2].allSatisfy { $0.isNaN })
  }

  /// Blocks cut off by the border have the mean of what they have.  Up to n
  /// terms: n + 1 roundings.
  @Test(arguments: [(1, 1), (1, 9), (6, 8), (7, 5), (20, 33)], [1, 2, 3, 4, 7, 64])
  func averagesOfBlocks(size: (Int, Int), pool: Int) {
    let (rows, columns) = size
    let channels = 19
    var random = SeededRandom(seed: UInt64(rows * 100 + pool))
    let keys = (0..<rows * columns * channels).map { _ in Float(random.normal()) }
    let (down, across) = ((rows + pool - 1) / pool, (columns + pool - 1) / pool)
    var found = [Float](repeating: .nan, count: down * across * channels + 1)
    found.withUnsafeMutableBufferPointer {
      Correlator.averageBlocks(
        keys, rows: rows, columns: columns, channels: channels, pool: pool,
        into: $0.baseAddress!)
    }
    #expect(found.removeLast().isNaN)
    for block in 0..<down * across {
      for channel in 0..<channels {
        var values: [Double] = []
        for row in 0..<rows where row / pool == block / across {
          for column in 0..<columns where column / pool == block % across {
            values.append(Double(keys[(row * columns + column) * channels + channel]))
          }
        }
        let mean = values.reduce(0, +) / Double(values.count)
        let size = values.reduce(0) { $0 + abs($1) } / Double(values.count)
        let error = abs(Double(found[block * channels + channel]) - mean)
        #expect(error <= Double(values.count + 1) * 0x1p-24 * size)
        if pool == 1 { #expect(error == 0) }
      }
    }
  }
}
