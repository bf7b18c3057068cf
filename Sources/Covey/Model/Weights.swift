import CCoveyKernels

// Where the weights of each part lie.  All pointers are aligned, and live as
// long as the Checkpoint they were asked of.

/// y = (x - mean) / sqrt(variance + eps) * weight + bias, over channels.
struct LayerNormWeights {
  let weight: UnsafePointer<Float>  // [C]
  let bias: UnsafePointer<Float>  // [C]
  let eps: Float
}

/// y = W x + bias.
struct LinearWeights {
  let outputs: Int
  let inputs: Int
  let weight: UnsafePointer<Float>  // [outputs, inputs]
  let bias: UnsafePointer<Float>  // [outputs]
}

/// What comes before the blocks; fp32 always.
struct EmbeddingWeights {
  let patch: LinearWeights  // [C, 3 * p * p]: channel, row, column of the patch
  let clsToken: UnsafePointer<Float>  // [C]
  let positions: UnsafePointer<Float>  // [1 + G * G, C]: CLS first
  let registers: UnsafePointer<Float>?  // [R, C]; nil: R is 0
}

/// The spatio-temporal block, as far as inference runs it; fp32 always.
struct CorrelatorWeights {
  let norm1: LayerNormWeights
  let query: UnsafePointer<Float>  // [C, C]; no bias
  let key: UnsafePointer<Float>  // [C, C]; no bias
}

// ---- fp32 -------------------------------------------------------------------

/// One block of the vision transformer; F is the width of its MLP.
struct BlockWeights {
  let norm1: LayerNormWeights
  let qkv: LinearWeights  // [3C, C]: queries, then keys, then values
  let proj: LinearWeights  // [C, C]
  let norm2: LayerNormWeights
  let fc1: LinearWeights  // [F, C]
  let fc2: LinearWeights  // [C, F]
}

/// Of the last block only the queries and keys are of use.
struct LastBlockWeights {
  let norm1: LayerNormWeights
  let qkv: LinearWeights  // [3C, C]
}

/// The blocks of a model of floats.
struct FloatNetwork {
  let blocks: [BlockWeights]  // depth - 1
  let last: LastBlockWeights
}

// ---- int8 -------------------------------------------------------------------

/// A matrix stored as int8: the weight in row r and column c is
/// scale[r] * values[r, c].
struct Int8Matrix {
  let rows: Int
  let columns: Int
  let values: UnsafePointer<Int8>  // [rows, columns], in the file; -127 to 127
  let scale: UnsafePointer<Float>  // [rows]; over 0
}

/// As `BlockWeights`; matrices are packed for the int8 products, with their
/// scales and biases.
struct Int8BlockWeights {
  let norm1: LayerNormWeights
  let query: cv_packed  // [C, C]
  let key: cv_packed  // [C, C]
  let value: cv_packed  // [C, C]
  let proj: cv_packed  // [C, C]
  let norm2: LayerNormWeights
  let fc1: cv_packed  // [F, C]
  let fc2: cv_packed  // [C, F]
}

/// A layer norm, and the queries and keys of what it gives: all that is run of
/// the last block.
struct Int8KeyWeights {
  let norm1: LayerNormWeights
  let query: cv_packed  // [C, C]
  let key: cv_packed  // [C, C]
}

/// The blocks of an int8 model.
struct Int8Network {
  let blocks: [Int8BlockWeights]  // depth - 1
  let last: Int8KeyWeights
  /// Where the matrices are.
  let storage: Buffer<UInt8>
}
