/// Shape and constants of a model, from the metadata of its file; every value
/// within the range given here.
struct ModelConfig {
  // Vision transformer
  let patchSize: Int  // pixels, 1...64
  let embedDim: Int  // C, 8...8192
  let depth: Int  // blocks, 1...128
  let heads: Int  // divides C
  let mlpDim: Int  // 1...65536
  let positionGrid: Int  // trained on G x G patches, 1...1024
  let positionResize: PositionResize
  let registers: Int  // R, tokens between CLS and the patches, 0...64
  let layerNormEps: Float  // > 0
  let hasClsSaliency: Bool  // the attention of CLS means something

  // Spatio-temporal block
  let correlatorHeads: Int  // divides C
  let correlatorEps: Float  // > 0

  // Input: RGB in 0...1, less the mean, over the standard deviation
  let mean: SIMD3<Float>
  let std: SIMD3<Float>  // > 0
  let workingHeight: Int  // pixels, multiples of patchSize, at most 8192
  let workingWidth: Int

  // Clustering
  let tau: Float  // nats, > 0, at most 1000
  let referenceTau: Float  // of the reference mode; likewise
  let window: Int  // frames, 1...64
  let keyStride: Int  // frames, 1...10000
  let keyPool: Int  // patches, 1...64

  static let largestTau: Float = 1000

  /// Of the files that are read; older ones are, too.
  static let formatVersion = 2

  /// Tokens that are no patches: CLS and the registers.
  var leadingTokens: Int { 1 + registers }

  /// n, of a frame of `patches`.
  func tokens(patches: Int) -> Int { leadingTokens + patches }

  /// - Throws: `.format` for another architecture, or a key that is missing, of
  ///   another type or out of its range; `.version` for a newer file.
  init(_ file: GGUFReader) throws(CoveyError) {
    guard let architecture = file.value("general.architecture")?.string else {
      throw CoveyError(.format, "general.architecture: missing, or no string")
    }
    guard architecture.elementsEqual("covey".utf8) else {
      let found = String(decoding: architecture.prefix(64), as: UTF8.self)
      throw CoveyError(.format, "general.architecture: expected covey, found \(found)")
    }
    try file.checkMetadata()
    let version = try file.integer("covey.format_version", 0...Int(UInt32.max))
    guard (1...ModelConfig.formatVersion).contains(version) else {
      throw CoveyError(
        version == 0 ? .format : .version,
        "covey.format_version: expected 1 to \(ModelConfig.formatVersion), found \(version)")
    }

    patchSize = try file.integer("covey.vit.patch_size", 1...64)
    embedDim = try file.integer("covey.vit.embed_dim", 8...8192)
    depth = try file.integer("covey.vit.depth", 1...128)
    heads = try file.integer("covey.vit.heads", dividing: embedDim)
    mlpDim = try file.integer("covey.vit.mlp_dim", 1...65536)
    positionGrid = try file.integer("covey.vit.position_grid", 1...1024)
    positionResize = try file.positionResize("covey.vit.position_resize", version)
    registers = try file.registers("covey.vit.register_count", version)
    layerNormEps = try file.positive("covey.vit.layer_norm_eps", upTo: 1)
    guard let saliency = try file.required("covey.vit.cls_saliency").bool else {
      throw try file.wrongType("covey.vit.cls_saliency", "bool")
    }
    hasClsSaliency = saliency

    correlatorHeads = try file.integer("covey.correlator.heads", dividing: embedDim)
    correlatorEps = try file.positive("covey.correlator.layer_norm_eps", upTo: 1)

    mean = try file.triple("covey.input.mean")
    std = try file.triple("covey.input.std")
    guard std.min() > 0 else {
      throw CoveyError(
        .format, "covey.input.std: expected positive numbers, found \(file.text("covey.input.std"))"
      )
    }
    workingHeight = try file.integer("covey.input.height", multipleOf: patchSize)
    workingWidth = try file.integer("covey.input.width", multipleOf: patchSize)

    tau = try file.positive("covey.clustering.tau", upTo: ModelConfig.largestTau)
    let referenceKey = "covey.clustering.reference_tau"
    referenceTau =
      file.value(referenceKey) == nil
      ? tau : try file.positive(referenceKey, upTo: ModelConfig.largestTau)
    window = try file.integer("covey.clustering.window", 1...64)
    keyStride = try file.integer("covey.clustering.key_stride", 1...10000)
    keyPool = try file.integer("covey.clustering.key_pool", 1...64)
  }
}

extension GGUFReader {
  fileprivate func required(_ key: String) throws(CoveyError) -> GGUFValue {
    guard let value = value(key) else { throw CoveyError(.format, "\(key): missing") }
    return value
  }

  fileprivate func wrongType(_ key: String, _ type: String) throws(CoveyError) -> CoveyError {
    CoveyError(.format, "\(key): expected \(type), found \(try required(key).typeName)")
  }

  fileprivate func text(_ key: String) -> String { value(key)?.text ?? "" }

  /// Whether a key is there that only files from version 2 on may have: readers of
  /// version 1 would overlook it.
  private func has(_ key: String, _ version: Int) throws(CoveyError) -> Bool {
    guard value(key) != nil else { return false }
    guard version >= 2 else {
      throw CoveyError(.format, "\(key): needs covey.format_version 2, found \(version)")
    }
    return true
  }

  fileprivate func registers(_ key: String, _ version: Int) throws(CoveyError) -> Int {
    try has(key, version) ? try integer(key, 0...64) : 0
  }

  fileprivate func positionResize(
    _ key: String, _ version: Int
  ) throws(CoveyError) -> PositionResize {
    guard try has(key, version) else { return .bicubicOffset }
    guard let name = try required(key).string else { throw try wrongType(key, "string") }
    guard let resize = PositionResize(name: name) else {
      let found = String(decoding: name.prefix(64), as: UTF8.self)
      throw CoveyError(
        .format,
        "\(key): expected bicubic_offset, bicubic or bicubic_antialias, found \(found)")
    }
    return resize
  }

  func integer(_ key: String, _ range: ClosedRange<Int>) throws(CoveyError) -> Int {
    guard let number = try required(key).uint32 else { throw try wrongType(key, "u32") }
    guard let number = Int(exactly: number), range.contains(number) else {
      throw CoveyError(
        .format, "\(key): expected \(range.lowerBound) to \(range.upperBound), found \(number)")
    }
    return number
  }

  fileprivate func integer(_ key: String, dividing whole: Int) throws(CoveyError) -> Int {
    let number = try integer(key, 1...whole)
    guard whole % number == 0 else {
      throw CoveyError(.format, "\(key): expected a divisor of \(whole), found \(number)")
    }
    return number
  }

  fileprivate func integer(_ key: String, multipleOf part: Int) throws(CoveyError) -> Int {
    let number = try integer(key, part...8192)
    guard number % part == 0 else {
      throw CoveyError(.format, "\(key): expected a multiple of \(part), found \(number)")
    }
    return number
  }

  fileprivate func positive(_ key: String, upTo maximum: Float) throws(CoveyError) -> Float {
    guard let number = try required(key).float32 else { throw try wrongType(key, "f32") }
    // Also refuses NaN.
    guard number > 0, number <= maximum else {
      throw CoveyError(
        .format, "\(key): expected more than 0, at most \(Int(maximum)), found \(text(key))")
    }
    return number
  }

  fileprivate func triple(_ key: String) throws(CoveyError) -> SIMD3<Float> {
    guard let numbers = try required(key).float32Triple else {
      throw try wrongType(key, "f32[3]")
    }
    guard numbers.x.isFinite, numbers.y.isFinite, numbers.z.isFinite else {
      throw CoveyError(.format, "\(key): expected finite numbers, found \(text(key))")
    }
    return numbers
  }
}
