import CCoveyKernels

/// Copies the int8 matrices that inference reads into the layout of the int8
/// products, with their scales and biases; the file is not needed for them any
/// more.
struct WeightPacker {
  private let storage: Buffer<UInt8>
  private let locator: WeightLocator
  private let file: FileBytes
  private let config: ModelConfig
  private var used = 0

  /// - Throws: `.memory`.
  init(
    _ locator: WeightLocator, _ file: FileBytes, _ config: ModelConfig
  ) throws(CoveyError) {
    self.locator = locator
    self.file = file
    self.config = config
    storage = try Buffer(WeightPacker.byteCount(config), for: "packed weights")
  }

  private static func byteCount(_ config: ModelConfig) -> Int {
    let (c, f) = (config.embedDim, config.mlpDim)
    let block = 4 * byteCount(c, c) + byteCount(f, c) + byteCount(c, f)
    return (config.depth - 1) * block + 2 * byteCount(c, c)
  }

  /// Of one packed matrix; a multiple of 64.
  private static func byteCount(_ columns: Int, _ inputs: Int) -> Int {
    cv_packed_bytes(columns, inputs) + 3 * 4 * padded(columns)
  }

  private static func padded(_ columns: Int) -> Int {
    let panel = CV_PANEL
    return (columns + panel - 1) / panel * panel
  }

  mutating func network() -> Int8Network {
    var blocks: [Int8BlockWeights] = []
    for index in 0..<config.depth - 1 { blocks.append(block("encoder.blocks.\(index)")) }
    let last = "encoder.blocks.\(config.depth - 1)"
    return Int8Network(
      blocks: blocks,
      last: keys(last),
      storage: storage)
  }

  private mutating func block(_ prefix: String) -> Int8BlockWeights {
    let c = config.embedDim
    let bias = locator.pointer("\(prefix).attn.qkv.bias")
    return Int8BlockWeights(
      norm1: locator.norm("\(prefix).norm1", config.layerNormEps),
      query: pack("\(prefix).attn.qkv.weight", rows: 0..<c, bias: bias),
      // Without its bias, which adds the same to all logits of a query: softmax
      // takes no notice, and the keys lose less when quantised.
      key: pack("\(prefix).attn.qkv.weight", rows: c..<2 * c, bias: nil),
      value: pack("\(prefix).attn.qkv.weight", rows: 2 * c..<3 * c, bias: bias),
      proj: pack("\(prefix).attn.proj"),
      norm2: locator.norm("\(prefix).norm2", config.layerNormEps),
      fc1: pack("\(prefix).mlp.fc1"),
      fc2: pack("\(prefix).mlp.fc2", least: CV_GELU_LEAST))
  }

  private mutating func keys(_ prefix: String) -> Int8KeyWeights {
    let c = config.embedDim
    let bias = locator.pointer("\(prefix).attn.qkv.bias")
    return Int8KeyWeights(
      norm1: locator.norm("\(prefix).norm1", config.layerNormEps),
      query: pack("\(prefix).attn.qkv.weight", rows: 0..<c, bias: bias),
      key: pack("\(prefix).attn.qkv.weight", rows: c..<2 * c, bias: bias))
  }

  private mutating func pack(_ linear: String, least: Float? = nil) -> cv_packed {
    let rows = 0..<locator.int8Matrix("\(linear).weight").rows
    return pack(
      "\(linear).weight", rows: rows, bias: locator.pointer("\(linear).bias"), least: least)
  }

  /// - Parameters:
  ///   - rows: of the matrix, to be columns of the product.
  ///   - bias: of the whole matrix; nil: zeros.
  ///   - least: what a byte of 0 stands for in the product's left side; nil: the
  ///     bytes have 128 added.
  private mutating func pack(
    _ name: String, rows: Range<Int>, bias: UnsafePointer<Float>?, least: Float? = nil
  ) -> cv_packed {
    let matrix = locator.int8Matrix(name)
    let (columns, inputs) = (rows.count, matrix.columns)
    let padded = WeightPacker.padded(columns)
    let base = UnsafeMutableRawPointer(storage.base + used)
    used += WeightPacker.byteCount(columns, inputs)
    let values = base.assumingMemoryBound(to: Int8.self)
    let sums = (base + cv_packed_bytes(columns, inputs)).assumingMemoryBound(to: Int32.self)
    let scale = UnsafeMutableRawPointer(sums + padded).assumingMemoryBound(to: Float.self)
    let biases = scale + padded
    cv_pack(matrix.values + rows.lowerBound * inputs, columns, inputs, values, sums)
    scale.update(repeating: 0, count: 2 * padded)
    scale.copy(from: matrix.scale + rows.lowerBound, count: columns)
    if let bias { biases.copy(from: bias + rows.lowerBound, count: columns) }
    if let least {
      // W (least + bytes) = W bytes + least * the sums of W's rows.
      for column in 0..<columns { biases[column] += least * scale[column] * Float(sums[column]) }
    }
    file.dropPages()
    return cv_packed(
      values: values, sums: sums, scale: scale, bias: biases, columns: columns,
      groups: (inputs + 3) / 4, zero: least == nil ? 128 : 0)
  }
}

extension cv_packed {
  /// Of a row of its product's left side.
  var inputBytes: Int { 4 * groups }
}
