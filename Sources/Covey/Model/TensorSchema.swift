/// A tensor that a model of some configuration has, or may have.
struct TensorSpec {
  let name: String
  let shape: [Int]  // row-major
  /// One of the large matrices [rows, columns], which may be stored as F16 or
  /// int8; all else is F32 always.
  let isMatrix: Bool
  /// A matrix that is multiplied in fp32 even where the others are int8: F16 as
  /// written then, and read as whatever it is.
  let staysFloat: Bool
  /// Whether inference reads it.  The rest may be missing, and is kept for
  /// training and conversion.
  let isRequired: Bool
  /// Of a tensor that inference reads: its first so many rows are all it reads.
  let rowsRead: Int

  /// Of the tensor with the scales of an int8 matrix of this name.
  static func scaleName(_ matrix: String) -> String { "\(matrix).scale" }
}

extension ModelConfig {
  /// Everything that `file` may hold, but the scales of its int8 matrices.
  func tensors(in file: GGUFReader) -> [TensorSpec] {
    let (c, p) = (embedDim, patchSize)
    // Metadata does not name the width of the spatio-temporal block's MLP,
    // which inference has no use for: it is what the file has.
    let correlatorMlp =
      file.tensorIndex("correlator.mlp.fc1.weight").map { file.tensors[$0].shape[0] } ?? 4 * c
    var specs = [
      TensorSpec("encoder.cls_token", [c]),
      TensorSpec("encoder.pos_embed", [1 + positionGrid * positionGrid, c]),
    ]
    if registers > 0 { specs.append(TensorSpec("encoder.register_tokens", [registers, c])) }
    specs += [
      TensorSpec("encoder.patch_embed.proj.weight", [c, 3, p, p]),
      TensorSpec("encoder.patch_embed.proj.bias", [c]),
      TensorSpec("encoder.norm.weight", [c], required: false),
      TensorSpec("encoder.norm.bias", [c], required: false),
    ]
    for index in 0..<depth {
      specs += block(
        "encoder.blocks.\(index)", mlp: mlpDim, isEncoder: true, whole: index < depth - 1)
    }
    specs += block("correlator", mlp: correlatorMlp, isEncoder: false, whole: false)
    return specs
  }

  /// - Parameters:
  ///   - mlp: width of its MLP.
  ///   - isEncoder: its qkv have a bias, and may be int8; else the rows of the
  ///     values are never read.
  ///   - whole: inference runs more of it than norm1 and qkv.
  private func block(
    _ prefix: String, mlp f: Int, isEncoder: Bool, whole: Bool
  ) -> [TensorSpec] {
    let c = embedDim
    return [
      TensorSpec("\(prefix).norm1.weight", [c]),
      TensorSpec("\(prefix).norm1.bias", [c]),
      TensorSpec(
        name: "\(prefix).attn.qkv.weight", shape: [3 * c, c], isMatrix: true,
        staysFloat: !isEncoder, isRequired: true, rowsRead: isEncoder ? 3 * c : 2 * c),
    ] + (isEncoder ? [TensorSpec("\(prefix).attn.qkv.bias", [3 * c])] : []) + [
      TensorSpec("\(prefix).attn.proj.weight", [c, c], matrix: true, required: whole),
      TensorSpec("\(prefix).attn.proj.bias", [c], required: whole),
      TensorSpec("\(prefix).norm2.weight", [c], required: whole),
      TensorSpec("\(prefix).norm2.bias", [c], required: whole),
      TensorSpec("\(prefix).mlp.fc1.weight", [f, c], matrix: true, required: whole),
      TensorSpec("\(prefix).mlp.fc1.bias", [f], required: whole),
      TensorSpec("\(prefix).mlp.fc2.weight", [c, f], matrix: true, required: whole),
      TensorSpec("\(prefix).mlp.fc2.bias", [c], required: whole),
    ]
  }
}

extension TensorSpec {
  init(_ name: String, _ shape: [Int], matrix: Bool = false, required: Bool = true) {
    self.init(
      name: name, shape: shape, isMatrix: matrix, staysFloat: false, isRequired: required,
      rowsRead: shape[0])
  }
}
