/// Shape of the spatio-temporal block, and where its tensors lie in one flat
/// buffer of floats.  Parameters, gradients and the optimiser's moments all have
/// this layout: what is done to all of them is a loop over a buffer.
struct BlockLayout: Equatable {
  let channels: Int  // C
  let heads: Int  // H, divides C
  let hidden: Int  // F, width of the MLP
  let epsilon: Float  // of the layer norms

  struct Tensor {
    let name: StaticString  // as in the weight file, without "correlator."
    let rows: Int
    let columns: Int  // 1 for vectors
    let offset: Int
    /// Whether weight decay applies: to matrices, not to biases and norms.
    var isMatrix: Bool { columns > 1 }
    var count: Int { rows * columns }
  }

  /// - Throws: `.argument`.
  init(channels: Int, heads: Int, hidden: Int, epsilon: Float) throws(CoveyError) {
    guard (2...8192).contains(channels) else {
      throw CoveyError(.argument, "channels: expected 2 to 8192, found \(channels)")
    }
    guard heads >= 1, channels % heads == 0 else {
      throw CoveyError(.argument, "heads: expected a divisor of \(channels), found \(heads)")
    }
    guard (2...65536).contains(hidden) else {
      throw CoveyError(.argument, "hidden: expected 2 to 65536, found \(hidden)")
    }
    guard epsilon > 0, epsilon < 1 else {
      throw CoveyError(
        .argument, "epsilon: expected over 0 and under 1, found \(NumberText.of(epsilon))")
    }
    (self.channels, self.heads, self.hidden, self.epsilon) = (channels, heads, hidden, epsilon)
  }

  var headDim: Int { channels / heads }  // D

  // In this order:
  var norm1Weight: Int { 0 }  // [C]
  var norm1Bias: Int { channels }  // [C]
  var qkvWeight: Int { 2 * channels }  // [3C, C]
  var projWeight: Int { qkvWeight + 3 * channels * channels }  // [C, C]
  var projBias: Int { projWeight + channels * channels }  // [C]
  var norm2Weight: Int { projBias + channels }  // [C]
  var norm2Bias: Int { norm2Weight + channels }  // [C]
  var fc1Weight: Int { norm2Bias + channels }  // [F, C]
  var fc1Bias: Int { fc1Weight + hidden * channels }  // [F]
  var fc2Weight: Int { fc1Bias + hidden }  // [C, F]
  var fc2Bias: Int { fc2Weight + channels * hidden }  // [C]
  var count: Int { fc2Bias + channels }

  var tensors: [Tensor] {
    let (c, f) = (channels, hidden)
    func tensor(_ name: StaticString, _ rows: Int, _ columns: Int, _ offset: Int) -> Tensor {
      Tensor(name: name, rows: rows, columns: columns, offset: offset)
    }
    return [
      tensor("norm1.weight", c, 1, norm1Weight),
      tensor("norm1.bias", c, 1, norm1Bias),
      tensor("attn.qkv.weight", 3 * c, c, qkvWeight),
      tensor("attn.proj.weight", c, c, projWeight),
      tensor("attn.proj.bias", c, 1, projBias),
      tensor("norm2.weight", c, 1, norm2Weight),
      tensor("norm2.bias", c, 1, norm2Bias),
      tensor("mlp.fc1.weight", f, c, fc1Weight),
      tensor("mlp.fc1.bias", f, 1, fc1Bias),
      tensor("mlp.fc2.weight", c, f, fc2Weight),
      tensor("mlp.fc2.bias", c, 1, fc2Bias),
    ]
  }
}
