import Foundation

@testable import Covey

/// The vision transformer written plainly, in Double: every token's every
/// number by its formula.
struct NaiveVisionTransformer {
  let model: TestCheckpoint
  private let weights: [String: [Double]]

  /// - Parameter quantised: with the numbers that stand in an int8 file.
  init(_ model: TestCheckpoint, quantised: Bool = false) {
    self.model = model
    weights = model.weights(quantised: quantised)
  }

  /// [outputs], y = W x + b.
  private func linear(_ x: [Double], _ name: String) -> [Double] {
    let (weight, bias) = (weights["\(name).weight"]!, weights["\(name).bias"]!)
    return bias.indices.map { row in
      x.indices.reduce(bias[row]) { $0 + weight[row * x.count + $1] * x[$1] }
    }
  }

  private func norm(_ x: [Double], _ name: String) -> [Double] {
    let (weight, bias) = (weights["\(name).weight"]!, weights["\(name).bias"]!)
    let mean = x.reduce(0, +) / Double(x.count)
    let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count)
    return x.indices.map {
      (x[$0] - mean) / (variance + Double(model.epsilon)).squareRoot() * weight[$0] + bias[$0]
    }
  }

  static func softmax(_ scores: [Double]) -> [Double] {
    let top = scores.max()!
    let exponentials = scores.map { exp($0 - top) }
    let sum = exponentials.reduce(0, +)
    return exponentials.map { $0 / sum }
  }

  /// One row per token, the CLS token first, then the registers.
  private func embed(_ planes: [Float], _ rows: Int, _ columns: Int) -> [[Double]] {
    let (c, p) = (model.channels, model.patch)
    let trained = model.tensors.first { $0.name == "encoder.pos_embed" }!.values
    var positions = [Float](repeating: 0, count: (1 + rows * columns) * c)
    positions.withUnsafeMutableBufferPointer {
      PositionEmbedding.resize(
        trained, grid: model.grid, channels: c, to: rows, columns,
        model.resize == "bicubic" ? .bicubic : .bicubicOffset, into: $0.baseAddress!)
    }
    let weight = weights["encoder.patch_embed.proj.weight"]!
    let bias = weights["encoder.patch_embed.proj.bias"]!
    var tokens = [weights["encoder.cls_token"]!]
    for row in 0..<rows {
      for column in 0..<columns {
        tokens.append(
          (0..<c).map { output in
            var sum = bias[output]
            for channel in 0..<3 {
              for y in 0..<p {
                for x in 0..<p {
                  let pixel = (channel * rows * p + row * p + y) * columns * p + column * p + x
                  sum += weight[((output * 3 + channel) * p + y) * p + x] * Double(planes[pixel])
                }
              }
            }
            return sum
          })
      }
    }
    let placed = tokens.indices.map { token in
      (0..<c).map { tokens[token][$0] + Double(positions[token * c + $0]) }
    }
    let registers = (0..<model.registers).map { index in
      Array(weights["encoder.register_tokens"]![index * c..<(index + 1) * c])
    }
    return [placed[0]] + registers + placed.dropFirst()
  }

  /// Of head `head` of row `qkv` [3C]: 0 the query, 1 the key, 2 the value.
  private func part(_ qkv: [Double], _ which: Int, _ head: Int) -> ArraySlice<Double> {
    let d = model.channels / model.heads
    let start = which * model.channels + head * d
    return qkv[start..<start + d]
  }

  private func attention(_ query: [Double], _ all: [[Double]], _ head: Int) -> [Double] {
    let d = Double(model.channels / model.heads)
    let q = part(query, 0, head)
    return Self.softmax(
      all.map { zip(q, part($0, 1, head)).reduce(0) { $0 + $1.0 * $1.1 } / d.squareRoot() })
  }

  private func block(_ x: [[Double]], _ prefix: String) -> [[Double]] {
    let qkv = x.map { linear(norm($0, "\(prefix).norm1"), "\(prefix).attn.qkv") }
    let d = model.channels / model.heads
    return x.indices.map { token in
      var attended: [Double] = []
      for head in 0..<model.heads {
        var sum = [Double](repeating: 0, count: d)
        for (share, row) in zip(attention(qkv[token], qkv, head), qkv) {
          let value = part(row, 2, head)
          for i in 0..<d { sum[i] += share * value[value.startIndex + i] }
        }
        attended += sum
      }
      let y = zip(x[token], linear(attended, "\(prefix).attn.proj")).map { $0 + $1 }
      let hidden = linear(norm(y, "\(prefix).norm2"), "\(prefix).mlp.fc1").map {
        $0 * erfc(-$0 / 2.0.squareRoot()) / 2
      }
      return zip(y, linear(hidden, "\(prefix).mlp.fc2")).map { $0 + $1 }
    }
  }

  /// keys [N, C] and queries [N, C] of the last block; saliency [N]: the CLS
  /// token's attention there, mean over heads.
  func run(
    _ planes: [Float], rows: Int, columns: Int
  ) -> (keys: [Double], queries: [Double], saliency: [Double]) {
    var x = embed(planes, rows, columns)
    for index in 0..<model.depth - 1 { x = block(x, "encoder.blocks.\(index)") }
    let prefix = "encoder.blocks.\(model.depth - 1)"
    let qkv = x.map { linear(norm($0, "\(prefix).norm1"), "\(prefix).attn.qkv") }
    let leading = 1 + model.registers
    var saliency = [Double](repeating: 0, count: x.count - leading)
    for head in 0..<model.heads {
      let shares = attention(qkv[0], qkv, head)
      for i in saliency.indices { saliency[i] += shares[i + leading] / Double(model.heads) }
    }
    let patches = qkv.dropFirst(leading)
    return (
      patches.flatMap { $0[model.channels..<2 * model.channels] },
      patches.flatMap { $0[..<model.channels] }, saliency
    )
  }

  /// [C]: the CLS token behind the last block, without the final norm.
  func classOutput(_ planes: [Float], rows: Int, columns: Int) -> [Double] {
    var x = embed(planes, rows, columns)
    for index in 0..<model.depth { x = block(x, "encoder.blocks.\(index)") }
    return x[0]
  }
}
