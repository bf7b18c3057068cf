import CCoveyKernels
import Foundation
import Testing

@testable import Covey

/// Weights of attention by their index: round(255 * 2^(-i/26)), but 1 down to .335
/// before rounding, and 0 behind.
let weightTable = (0..<256).map { index in
  let weight = 255 * exp2(-Double(index) / 26)
  return weight < 0.335 ? 0 : Int32(max(1, weight.rounded()))
}

/// Steps of that for a distance of one between logits: 26 / ln 2.
let weightSteps: Float = 37.5100708

/// exp as the kernels have it (vector.inc), step by step.
private func kernelExp(_ x: Float) -> Float {
  guard !(x < -60) else { return 0 }
  let n = (x * 1.44269504 + 12_582_912) - 12_582_912
  var r = x - n * 0.693359375
  r = r + n * 2.12194440e-4
  var p = r * 1.9875691500e-4 + 1.3981999507e-3
  p = p * r + 8.3334519073e-3
  p = p * r + 4.1665795894e-2
  p = p * r + 1.6666665459e-1
  p = p * r + 5.0000001201e-1
  p = p * (r * r) + r + 1
  guard n.isFinite else { return .nan }
  return p * Float(sign: .plus, exponent: Int(n), significand: 1)
}

/// Queries, keys and values of one head, packed as inference has them.
final class Int8Head {
  let (tokens, dim, rows): (Int, Int, Int)
  let blocks: RowTiles
  /// As integers, and their scales.
  private(set) var queries: [Int32] = []  // [rows, dim]
  private(set) var queryScale: [Float] = []
  private(set) var keys: [Int32] = []  // [tokens, dim]
  private(set) var keyScale: [Float] = []
  private(set) var values: [Int32] = []  // [tokens, dim]
  private(set) var valueScale: [Float] = []  // [blocks, dim]
  private(set) var limits: [Float] = []
  private var queryBytes: [UInt8] = []
  private var queryStride: Int { whole(dim, 4) + 3 }
  private var packed: [cv_key_block] = []
  private var owned: [UnsafeMutableRawPointer] = []

  /// q [rows, dim] with what the softmax divides by, k and v [tokens, dim].
  init(_ q: [Float], _ k: [Float], _ v: [Float], dim: Int) {
    (rows, tokens, self.dim) = (q.count / dim, k.count / dim, dim)
    blocks = Int8Attention.blocks(tokens: tokens)
    let bytes = whole(dim, 4)
    func quantised(_ x: [Float], _ count: Int) -> ([UInt8], [Float]) {
      var out = [UInt8](repeating: 0, count: count * bytes)
      var scale = [Float](repeating: 0, count: count)
      Int8Head.rowKernels.quantise(x, dim, count, dim, &out, bytes, &scale)
      return (out, scale)
    }
    func integers(_ x: [UInt8]) -> [Int32] {
      x.indices.filter { $0 % bytes < dim }.map { Int32(x[$0]) - 128 }
    }
    let (queryRows, queryScale) = quantised(q, rows)
    queries = integers(queryRows)
    self.queryScale = queryScale
    queryBytes = [UInt8](repeating: 7, count: rows * queryStride)
    for row in 0..<rows {
      for i in 0..<bytes { queryBytes[row * queryStride + i] = queryRows[row * bytes + i] }
    }
    for index in 0..<blocks.count {
      let range = blocks.range(index)
      let (count, padded) = (range.count, whole(range.count, panel))
      let (keyRows, scale) = quantised(
        Array(k[range.lowerBound * dim..<range.upperBound * dim]), count)
      keys += integers(keyRows)
      keyScale += scale
      let keyBytes = room(cv_packed_bytes(padded, dim), Int8.self)
      let keySums = room(padded, Int32.self)
      let keyScales = room(padded, Float.self)
      var limit: Float = 0
      cv_pack_keys(
        keyRows, bytes, scale, 1, count, dim, keyBytes, keySums, keyScales, &limit)
      limits.append(limit)
      let valueBytes = room(cv_packed_bytes(dim, padded), Int8.self)
      let valueSums = room(whole(dim, panel), Int32.self)
      let valueScales = room(whole(dim, panel), Float.self)
      Int8Head.rowKernels.pack_values(
        Array(v[range.lowerBound * dim..<range.upperBound * dim]), dim, count, dim, padded,
        valueBytes, valueSums, valueScales)
      for token in 0..<count {
        for channel in 0..<dim {
          let group = channel / panel * (padded / 4) + token / 4
          values.append(Int32(valueBytes[(group * panel + channel % panel) * 4 + token % 4]))
        }
      }
      valueScale += (0..<dim).map { valueScales[$0] }
      packed.append(
        cv_key_block(
          keys: keyBytes, key_sums: keySums, key_scale: keyScales, values: valueBytes,
          value_sums: valueSums, value_scale: valueScales, count: count, factor_limit: limit))
    }
  }

  /// The portable ones.
  private static var rowKernels: cv_row_kernels {
    var found = [UnsafePointer<cv_row_kernels>?](repeating: nil, count: CV_ISAS)
    _ = found.withUnsafeMutableBufferPointer { cv_rows_all($0.baseAddress) }
    return found[0]!.pointee
  }

  deinit { for pointer in owned { pointer.deallocate() } }

  private func room<T>(_ count: Int, _ type: T.Type) -> UnsafeMutablePointer<T> {
    let bytes = count * MemoryLayout<T>.stride
    let memory = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0xA5, count: bytes)
    owned.append(memory)
    return memory.bindMemory(to: T.self, capacity: count)
  }

  /// What the kernel makes of the first rows: [rows, dim], with nothing beside
  /// them changed.
  func attend(_ kernels: cv_int8_kernels, rows: Int) -> [Float] {
    let stride = dim + 3
    var out = [Float](repeating: -77.25, count: self.rows * stride)
    let scratch = UnsafeMutableRawPointer.allocate(
      byteCount: cv_attend_scratch(rows, blocks.size), alignment: 64)
    defer { scratch.deallocate() }
    // Scales of the rows lie apart, as heads have them.
    let scales = queryScale.flatMap { [$0, -1, -1] as [Float] }
    kernels.attend(
      packed, packed.count, dim, rows, queryBytes, queryStride, scales, 3, scratch, &out, stride)
    let isUntouched = out.indices.allSatisfy {
      ($0 / stride < rows && $0 % stride < dim) || out[$0] == -77.25
    }
    #expect(isUntouched, "\(Int8Sets.name(kernels))")
    return out.indices.filter { $0 / stride < rows && $0 % stride < dim }.map { out[$0] }
  }

  private func dot(_ row: Int, _ token: Int) -> Int32 {
    var sum: Int32 = 0
    for i in 0..<dim { sum += queries[row * dim + i] * keys[token * dim + i] }
    return sum
  }

  /// [rows, dim], by the algorithm in the order of its operations.
  func model() -> [Float] {
    var out: [Float] = []
    for row in 0..<rows {
      var o = [Float](repeating: 0, count: dim)
      var (top, total) = (-Float.infinity, Float(0))
      for index in 0..<blocks.count {
        let range = blocks.range(index)
        let logits = range.map { Float(dot(row, $0)) * keyScale[$0] }
        let most = logits.max() ?? 0
        var factor = queryScale[row] * weightSteps
        if factor >= limits[index] { factor = limits[index] }
        let weights = logits.map {
          weightTable[Int(min(((most - $0) * factor).rounded(.toNearestOrEven), 255))]
        }
        let sum = Float(weights.reduce(0, +))
        let here = most * queryScale[row]
        let now = max(top, here)
        let (keep, add) = (kernelExp(top - now), kernelExp(here - now))
        total = total * keep + sum * add
        top = now
        for channel in 0..<dim {
          var product: Int32 = 0
          for (token, weight) in zip(range, weights) {
            product += weight * values[token * dim + channel]
          }
          let y = Float(product) * valueScale[index * dim + channel] * add
          o[channel] = o[channel] * keep + y
        }
      }
      let inverse = 1 / total
      out += o.map { $0 * inverse }
    }
    return out
  }

  /// [rows, dim]: softmax(q k) v of what the integers stand for, in double; and
  /// how far from it attention may be by its weights.
  ///
  /// A weight is off by half a step of the table, a 52nd of a power of two, and
  /// by .665 of a unit of 255 of its block's largest; the mean they give of v by no
  /// more than the sum of that times the distance of v from the mean.
  func exact() -> [(value: Double, bound: Double)] {
    var out: [(Double, Double)] = []
    for row in 0..<rows {
      let logits = (0..<tokens).map {
        Double(dot(row, $0)) * Double(keyScale[$0]) * Double(queryScale[row])
      }
      let top = logits.max() ?? 0
      let weights = logits.map { exp($0 - top) }
      let sum = weights.reduce(0, +)
      var errors: [Double] = []
      for index in 0..<blocks.count {
        let range = blocks.range(index)
        let unit = 0.665 / 255 * (range.map { weights[$0] }.max() ?? 0)
        // The float logits' own roundings: three of them.
        errors += range.map {
          weights[$0] * (exp2(1.0 / 52) - 1 + 3 * abs(logits[$0]) * 0x1p-24) + unit
        }
      }
      // Of the quantised weights.
      let least = sum - min(errors.reduce(0, +), sum / 2)
      for channel in 0..<dim {
        let v = (0..<tokens).map {
          Double(values[$0 * dim + channel]) * Double(valueScale[$0 / blocks.size * dim + channel])
        }
        let mean = zip(weights, v).reduce(0) { $0 + $1.0 * $1.1 } / sum
        let size = v.reduce(0) { max($0, abs($1)) }
        let off = zip(errors, v).reduce(0) { $0 + $1.0 * abs($1.1 - mean) } / least
        out.append((mean, off + 1e-6 * size))
      }
    }
    return out
  }
}
