import CCoveyKernels
import Foundation
import Testing

@testable import Covey

/// The int8 kernels of every instruction set that this machine runs; the
/// portable ones first.
enum Int8Sets {
  nonisolated(unsafe) static let all: [cv_int8_kernels] = {
    var found = [UnsafePointer<cv_int8_kernels>?](repeating: nil, count: CV_ISAS)
    let count = found.withUnsafeMutableBufferPointer { cv_int8_all($0.baseAddress) }
    return found.prefix(count).compactMap { $0?.pointee }
  }()

  static func name(_ kernels: cv_int8_kernels) -> String { String(cString: kernels.name) }
}

/// Columns beside each other in a packed matrix.
let panel = Int(CV_PANEL)

/// As many wholes as hold `count`.
func whole(_ count: Int, _ of: Int) -> Int { (count + of - 1) / of * of }

/// A product's right side, and what it was packed from.
private final class Right {
  let (columns, inputs): (Int, Int)
  let zero: Int32  // of the left side's bytes
  let weights: [Int8]  // [columns, inputs]
  let scale: [Float]
  let bias: [Float]
  private let values: UnsafeMutablePointer<Int8>
  private let sums: UnsafeMutablePointer<Int32>
  private let floats: UnsafeMutablePointer<Float>

  /// Of the numbers of a whole panel those of no column are NaN.
  init(
    _ columns: Int, _ inputs: Int, zero: Int32 = 128, _ random: inout SeededRandom,
    _ weight: ((_ column: Int, _ input: Int) -> Int8)? = nil
  ) {
    (self.columns, self.inputs, self.zero) = (columns, inputs, zero)
    let padded = whole(columns, panel)
    weights = (0..<columns * inputs).map {
      weight?($0 / inputs, $0 % inputs) ?? Int8.random(in: -127...127, using: &random)
    }
    scale = (0..<columns).map { _ in Float(0.001 + 0.02 * random.uniform()) }
    bias = (0..<columns).map { _ in Float(random.normal()) }
    values = .allocate(capacity: cv_packed_bytes(columns, inputs))
    sums = .allocate(capacity: padded)
    floats = .allocate(capacity: 2 * padded)
    floats.update(repeating: .nan, count: 2 * padded)
    floats.update(from: scale, count: columns)
    (floats + padded).update(from: bias, count: columns)
    cv_pack(weights, columns, inputs, values, sums)
  }

  deinit {
    values.deallocate()
    sums.deallocate()
    floats.deallocate()
  }

  var packed: cv_packed {
    cv_packed(
      values: values, sums: sums, scale: floats, bias: floats + whole(columns, panel),
      columns: columns, groups: (inputs + 3) / 4, zero: zero)
  }
}

/// Rows of bytes, with others between them.
private struct Left {
  let rows: Int
  let stride: Int
  let bytes: [UInt8]
  var scale: [Float]

  init(
    _ rows: Int, _ inputs: Int, _ random: inout SeededRandom,
    _ byte: ((_ row: Int, _ input: Int) -> UInt8)? = nil
  ) {
    self.rows = rows
    stride = whole(inputs, 4) + 5
    var bytes = (0..<rows * stride).map { _ in UInt8.random(in: 0...255, using: &random) }
    if let byte {
      for row in 0..<rows {
        for input in 0..<inputs { bytes[row * stride + input] = byte(row, input) }
      }
    }
    self.bytes = bytes
    scale = (0..<rows).map { _ in Float(0.001 + 0.03 * random.uniform()) }
  }
}

/// [rows, columns], by its formula.
private func product(_ left: Left, _ right: Right) -> [Float] {
  var out: [Float] = []
  out.reserveCapacity(left.rows * right.columns)
  left.bytes.withUnsafeBufferPointer { bytes in
    right.weights.withUnsafeBufferPointer { weights in
      for row in 0..<left.rows {
        for column in 0..<right.columns {
          var sum: Int32 = 0
          for input in 0..<right.inputs {
            sum +=
              (Int32(bytes[row * left.stride + input]) - right.zero)
              * Int32(weights[column * right.inputs + input])
          }
          out.append(Float(sum) * right.scale[column] * left.scale[row] + right.bias[column])
        }
      }
    }
  }
  return out
}

@Suite struct Int8LinearTests {
  @Test func thePortableSetIsFirstAndTheChosenOneLast() {
    #expect(Int8Sets.all.first.map(Int8Sets.name) == "portable")
    #expect(Set(Int8Sets.all.map(Int8Sets.name)).count == Int8Sets.all.count)
    #expect(Int8Sets.all.allSatisfy { $0.rows > 0 && $0.rows <= CV_MOST_ROWS })
    if ProcessInfo.processInfo.environment["COVEY_ISA"] == nil {
      #expect(Int8Sets.all.last.map(Int8Sets.name) == String(cString: cv_int8().pointee.name))
    }
  }

  /// Bit for bit what the formula gives, for the first `rows` rows, and nothing
  /// beside them.
  private func check(
    _ left: Left, _ right: Right, rows counts: [Int],
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let products = product(left, right)
    let columns = right.columns
    let stride = columns + 3
    let before = (0..<left.rows * stride).map { Float($0 % 97) - 48.5 }
    for rows in counts {
      for add in [false, true] {
        var expected = before
        for row in 0..<rows {
          for column in 0..<columns {
            let value = products[row * columns + column]
            let place = row * stride + column
            expected[place] = add ? before[place] + value : value
          }
        }
        let bits = expected.map(\.bitPattern)
        for kernels in Int8Sets.all {
          var (out, packed) = (before, right.packed)
          kernels.linear(
            rows, left.bytes, left.stride, left.scale, &packed, add ? 1 : 0, &out, stride)
          let isEqual = out.map(\.bitPattern) == bits
          #expect(
            isEqual, "\(Int8Sets.name(kernels)): \(rows)x\(right.inputs)x\(columns), add \(add)",
            sourceLocation: sourceLocation)
        }
      }
    }
  }

  @Test(arguments: [1, 3, 4, 5, 13, 63, 64, 65, 127])
  func agreesWithAPlainLoop(inputs: Int) {
    var random = SeededRandom(seed: UInt64(inputs))
    for columns in [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 48, 63, 64, 65, 80, 127, 128, 129, 200] {
      for zero: Int32 in [128, 0] {
        let right = Right(columns, inputs, zero: zero, &random)
        check(Left(15, inputs, &random), right, rows: Array(1...15))
      }
    }
  }

  /// Of small models.
  @Test func realSizes() {
    for (rows, columns, inputs) in [(97, 1152, 384), (50, 384, 1536)] {
      var random = SeededRandom(seed: UInt64(rows))
      let right = Right(columns, inputs, &random)
      check(Left(rows, inputs, &random), right, rows: [rows])
    }
  }

  /// Sums in 16 bits on the way would overflow or saturate: at 255 * 127 * 2
  /// where bytes are unsigned, and at 128 * 127 * 2 nearly where they are signed.
  @Test(arguments: [5, 64, 1536])
  func extremes(inputs: Int) {
    var random = SeededRandom(seed: 3)
    let bytes: [(Int, Int) -> UInt8] = [
      { _, _ in 255 }, { _, _ in 0 }, { row, _ in row % 2 == 0 ? 0 : 255 },
      { _, input in input % 2 == 0 ? 0 : 255 }, { _, _ in 128 },
    ]
    let weights: [(Int, Int) -> Int8] = [
      { _, _ in 127 }, { _, _ in -127 }, { column, _ in column % 2 == 0 ? 127 : -127 },
      { _, input in input % 2 == 0 ? 127 : -127 },
    ]
    for weight in weights {
      for zero: Int32 in [128, 0] {
        let right = Right(70, inputs, zero: zero, &random, weight)
        for byte in bytes { check(Left(9, inputs, &random, byte), right, rows: [9]) }
      }
    }
  }

  @Test func aScaleThatIsNoNumberShowsInItsRowOnly() {
    var random = SeededRandom(seed: 4)
    for columns in [5, 64, 100] {
      let right = Right(columns, 20, &random)
      // The sums are not zero: infinity times zero would be another thing.
      let left = Left(11, 20, &random) { row, input in row == 6 || input > 0 ? 128 : 200 }
      for value in [Float.nan, .infinity] {
        for bad in [0, 5, 10] {
          var other = left
          other.scale[bad] = value
          let expected = product(left, right)
          for kernels in Int8Sets.all {
            var (out, packed) = ([Float](repeating: 0, count: 11 * columns), right.packed)
            kernels.linear(11, other.bytes, other.stride, other.scale, &packed, 0, &out, columns)
            for row in 0..<11 {
              let found = out[row * columns..<(row + 1) * columns]
              if row == bad {
                #expect(found.allSatisfy { !$0.isFinite }, "\(Int8Sets.name(kernels))")
              } else {
                let isEqual = found == expected[row * columns..<(row + 1) * columns]
                #expect(isEqual, "\(Int8Sets.name(kernels)), row \(row)")
              }
            }
          }
        }
      }
    }
  }
}
