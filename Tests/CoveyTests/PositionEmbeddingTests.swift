import Foundation
import Testing

@testable import Covey

/// Files of Tests/golden that scripts beside them have made.
enum Golden {
  static func lines(_ name: String) throws -> [Substring] {
    let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../golden/\(name)")
    return try String(contentsOf: url, encoding: .utf8).split(separator: "\n")
  }

  static func numbers(_ line: Substring) -> [Double] {
    line.split(separator: " ").compactMap { Double($0) }
  }

  /// (noise - 128) / 64, exact in fp32, as make_positions.py has it.
  static func noise(seed: Int, count: Int) -> [Float] {
    (0..<count).map { index in
      var x = UInt32(truncatingIfNeeded: index + seed * 1_000_003)
      for (shift, factor) in [(UInt32(16), UInt32(0x7FEB_352D)), (15, 0x846C_A68B)] {
        x ^= x >> shift
        x = x &* factor
      }
      return (Float(x >> 24) - 128) / 64
    }
  }
}

@Suite struct PositionEmbeddingTests {
  private func resize(
    _ trained: [Float], grid: Int, channels: Int, _ rows: Int, _ columns: Int,
    _ way: PositionResize = .bicubicOffset
  ) -> [Float] {
    // A value that is never right, to see what is left unwritten.
    var out = [Float](repeating: .nan, count: (1 + rows * columns) * channels)
    out.withUnsafeMutableBufferPointer {
      PositionEmbedding.resize(
        trained, grid: grid, channels: channels, to: rows, columns, way, into: $0.baseAddress!)
    }
    return out
  }

  /// Sixteen products of values up to 2 with weights whose sizes sum to at most
  /// (1 + 2 * 9 / 64)^2 = 1.65: 18 roundings of 3.3 are 3.6e-6.
  /// Observed: 5.2e-7.
  @Test(arguments: [
    ("", PositionResize.bicubicOffset, 14), ("bicubic", .bicubic, 9),
    ("bicubic_antialias", .bicubicAntialias, 9),
  ])
  func agreesWithPyTorch(name: String, way: PositionResize, count: Int) throws {
    let lines = try Golden.lines("positions.txt")
    var (cases, worst) = (0, 0.0)
    for (index, line) in lines.enumerated() where line.hasPrefix("case ") {
      let n = Golden.numbers(line).map { Int($0) }
      let word = String(line.split(separator: " ").last!)
      guard (Int(word) == nil ? word : "") == name else { continue }
      let (grid, channels, rows, columns) = (n[0], n[1], n[2], n[3])
      let trained = Golden.noise(seed: grid, count: (1 + grid * grid) * channels)
      let expected = Golden.numbers(lines[index + 1])
      let found = resize(trained, grid: grid, channels: channels, rows, columns, way)
      try #require(found.count == expected.count)
      let error = zip(found, expected).map { abs(Double($0) - $1) }.max() ?? .nan
      #expect(error <= 3.6e-6, "\(line)")
      worst = max(worst, error)
      cases += 1
    }
    #expect(cases == count)
    #expect(worst > 0)
  }

  @Test(arguments: [1, 2, 7, 28])
  func theTrainedGridIsCopied(grid: Int) {
    let trained = Golden.noise(seed: 3, count: (1 + grid * grid) * 5).map { $0 / 3 }
    #expect(resize(trained, grid: grid, channels: 5, grid, grid) == trained)
  }

  /// The weights sum to 1, so what is equal everywhere stays; the CLS token's
  /// row is never touched.
  @Test(arguments: [PositionResize.bicubicOffset, .bicubic, .bicubicAntialias])
  func constantsStay(way: PositionResize) {
    let trained = [Float](repeating: 7, count: 2) + [Float](repeating: 0.75, count: 2 * 81)
    let found = resize(trained, grid: 9, channels: 2, 13, 4, way)
    #expect(found.prefix(2) == [7, 7])
    #expect(found.dropFirst(2).allSatisfy { abs($0 - 0.75) <= 1e-6 })
  }

  /// Rows and columns are not mixed up: resizing the transposed is transposed.
  @Test func transposing() {
    let (grid, rows, columns, way) = (6, 4, 11, PositionResize.bicubicAntialias)
    let trained = Golden.noise(seed: 8, count: 1 + grid * grid)
    var turned = trained
    for i in 0..<grid {
      for j in 0..<grid { turned[1 + i * grid + j] = trained[1 + j * grid + i] }
    }
    let a = resize(trained, grid: grid, channels: 1, rows, columns, way)
    let b = resize(turned, grid: grid, channels: 1, columns, rows, way)
    for i in 0..<rows {
      for j in 0..<columns {
        #expect(abs(a[1 + i * columns + j] - b[1 + j * rows + i]) <= 2e-6)
      }
    }
  }
}
