public import CCovey

/// What a covey_model pointer points at: the checkpoint, and the C strings that
/// are lent to the caller.
final class ModelHandle {
  let checkpoint: Checkpoint
  private let texts: GrowingList<UInt8>
  private let places: [Int]  // in `texts`: the name, keys and values by turns, names of tensors

  var name: UnsafePointer<CChar> { text(0) }
  var metadataCount: Int { checkpoint.metadata.count }
  var tensorCount: Int { checkpoint.file.tensors.count }

  func key(_ index: Int) -> UnsafePointer<CChar> { text(1 + 2 * index) }
  func value(_ index: Int) -> UnsafePointer<CChar> { text(2 + 2 * index) }
  func tensorName(_ index: Int) -> UnsafePointer<CChar> { text(1 + 2 * metadataCount + index) }

  private func text(_ index: Int) -> UnsafePointer<CChar> {
    UnsafeRawPointer(texts.base + places[index]).assumingMemoryBound(to: CChar.self)
  }

  /// - Throws: `.memory`.
  convenience init(_ checkpoint: Checkpoint) throws(CoveyError) {
    var texts = try GrowingList<UInt8>(for: "texts of a model")
    var places: [Int] = []
    func append(_ text: String) throws(CoveyError) {
      places.append(texts.count)
      for byte in text.utf8 { try texts.append(byte) }
      try texts.append(0)
    }
    try append(checkpoint.name)
    for entry in checkpoint.metadata {
      try append(entry.key)
      try append(entry.value.text)
    }
    for tensor in checkpoint.file.tensors { try append(tensor.name) }
    self.init(checkpoint, texts, places)
  }

  private init(_ checkpoint: Checkpoint, _ texts: GrowingList<UInt8>, _ places: [Int]) {
    self.checkpoint = checkpoint
    self.texts = texts
    self.places = places
  }

  static func of(_ pointer: OpaquePointer?) throws(CoveyError) -> ModelHandle {
    let pointer = try required(pointer, "model")
    return Unmanaged<ModelHandle>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue()
  }
}

private func deliver(
  _ checkpoint: Checkpoint, to out: UnsafeMutablePointer<OpaquePointer?>
) throws(CoveyError) {
  let model = try ModelHandle(checkpoint)
  let config = checkpoint.config
  Log.send(
    .info,
    "model \(checkpoint.name): patch \(config.patchSize), dim \(config.embedDim), depth "
      + "\(config.depth), heads \(config.heads), \(checkpoint.weightBytes) bytes")
  out.pointee = OpaquePointer(Unmanaged.passRetained(model).toOpaque())
}

private func modelOptions(
  _ options: UnsafePointer<covey_model_options>?
) throws(CoveyError) -> (copy: Bool, verify: Bool) {
  guard let options else { return (false, true) }
  let read = try readStruct(options, "options", minimum: FirstSize.modelOptions)
  return (read.read_into_memory != 0, read.skip_checksum == 0)
}

@c @implementation
public func covey_model_load(
  _ path: UnsafePointer<CChar>!, _ options: UnsafePointer<covey_model_options>!,
  _ out_model: UnsafeMutablePointer<OpaquePointer?>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let out = try required(out_model, "out_model")
    out.pointee = nil
    let path = try required(path, "path")
    let (copy, verify) = try modelOptions(options)
    try deliver(try Checkpoint(path: path, copy: copy, verify: verify), to: out)
    return COVEY_OK
  }
}

@c @implementation
public func covey_model_load_memory(
  _ data: UnsafeRawPointer!, _ size: Int, _ options: UnsafePointer<covey_model_options>!,
  _ out_model: UnsafeMutablePointer<OpaquePointer?>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let out = try required(out_model, "out_model")
    out.pointee = nil
    let data = try required(data, "data")
    guard size >= 0 else {
      throw CoveyError(.argument, "size: expected less than 2^63, found \(UInt(bitPattern: size))")
    }
    let (copy, verify) = try modelOptions(options)
    let bytes = UnsafeRawBufferPointer(start: data, count: size)
    try deliver(try Checkpoint(bytes: bytes, copy: copy, verify: verify), to: out)
    return COVEY_OK
  }
}

@c @implementation
public func covey_model_get_info(
  _ model: OpaquePointer!, _ info: UnsafeMutablePointer<covey_model_info>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let model = try ModelHandle.of(model)
    let info = try required(info, "info")
    let config = model.checkpoint.config
    var filled = covey_model_info()
    filled.dtype = model.checkpoint.dtype.code
    filled.patch_size = Int32(config.patchSize)
    filled.embed_dim = Int32(config.embedDim)
    filled.depth = Int32(config.depth)
    filled.heads = Int32(config.heads)
    filled.position_grid = Int32(config.positionGrid)
    filled.correlator_heads = Int32(config.correlatorHeads)
    filled.has_cls_saliency = config.hasClsSaliency ? 1 : 0
    filled.working_height = Int32(config.workingHeight)
    filled.working_width = Int32(config.workingWidth)
    filled.window = Int32(config.window)
    filled.key_stride = Int32(config.keyStride)
    filled.key_pool = Int32(config.keyPool)
    filled.tau = config.tau
    filled.parameter_count = Int64(model.checkpoint.parameterCount)
    filled.weight_bytes = Int64(model.checkpoint.weightBytes)
    filled.name = model.name
    filled.reference_tau = config.referenceTau
    try writeStruct(filled, to: info, "info", minimum: FirstSize.modelInfo)
    return COVEY_OK
  }
}

@c @implementation
public func covey_model_metadata_count(_ model: OpaquePointer!) -> Int {
  guard let model = try? ModelHandle.of(model) else { return 0 }
  return model.metadataCount
}

@c @implementation
public func covey_model_metadata_at(
  _ model: OpaquePointer!, _ index: Int,
  _ out_key: UnsafeMutablePointer<UnsafePointer<CChar>?>!,
  _ out_value: UnsafeMutablePointer<UnsafePointer<CChar>?>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let model = try ModelHandle.of(model)
    let key = try required(out_key, "out_key")
    let value = try required(out_value, "out_value")
    guard index >= 0, index < model.metadataCount else {
      throw CoveyError(
        .argument,
        "index: expected less than \(model.metadataCount), found \(UInt(bitPattern: index))")
    }
    key.pointee = model.key(index)
    value.pointee = model.value(index)
    return COVEY_OK
  }
}

@c @implementation
public func covey_model_tensor_count(_ model: OpaquePointer!) -> Int {
  guard let model = try? ModelHandle.of(model) else { return 0 }
  return model.tensorCount
}

@c @implementation
public func covey_model_tensor_at(
  _ model: OpaquePointer!, _ index: Int, _ info: UnsafeMutablePointer<covey_tensor_info>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let model = try ModelHandle.of(model)
    let info = try required(info, "info")
    guard index >= 0, index < model.tensorCount else {
      throw CoveyError(
        .argument,
        "index: expected less than \(model.tensorCount), found \(UInt(bitPattern: index))")
    }
    let tensor = model.checkpoint.file.tensors[index]
    var sizes: [Int64] = tensor.shape.map { Int64($0) }
    sizes += [Int64](repeating: 0, count: 4 - sizes.count)
    var filled = covey_tensor_info()
    filled.dtype = tensor.element.code
    filled.dimension_count = Int32(tensor.shape.count)
    filled.quantization_error = model.checkpoint.quantizationErrors[index] ?? -1
    filled.sizes = (sizes[0], sizes[1], sizes[2], sizes[3])
    filled.bytes = Int64(tensor.data.count)
    filled.name = model.tensorName(index)
    try writeStruct(filled, to: info, "info", minimum: FirstSize.tensorInfo)
    return COVEY_OK
  }
}

@c @implementation
public func covey_model_save(
  _ model: OpaquePointer!, _ path: UnsafePointer<CChar>!, _ dtype: covey_dtype
) -> covey_status {
  reporting { () throws(CoveyError) in
    let model = try ModelHandle.of(model)
    let path = try required(path, "path")
    try model.checkpoint.save(path: path, dtype: try WeightType(code: dtype))
    return COVEY_OK
  }
}

@c @implementation
public func covey_model_free(_ model: OpaquePointer!) {
  guard let model else { return }
  Unmanaged<ModelHandle>.fromOpaque(UnsafeRawPointer(model)).release()
}

extension GGUFTensor.Element {
  fileprivate var code: covey_dtype {
    switch self {
    case .f32: COVEY_DTYPE_F32
    case .f16: COVEY_DTYPE_F16
    case .i8: COVEY_DTYPE_Q8
    }
  }
}

extension WeightType {
  fileprivate var code: covey_dtype {
    switch self {
    case .f32: COVEY_DTYPE_F32
    case .f16: COVEY_DTYPE_F16
    case .q8: COVEY_DTYPE_Q8
    }
  }

  fileprivate init(code: covey_dtype) throws(CoveyError) {
    switch code {
    case COVEY_DTYPE_F32: self = .f32
    case COVEY_DTYPE_F16: self = .f16
    case COVEY_DTYPE_Q8: self = .q8
    default:
      throw CoveyError(.argument, "dtype: expected 1 to 3, found \(code.rawValue)")
    }
  }
}
