/// A model's weights and all that belongs to them, from one weight file
/// (docs/FORMAT.md).  Immutable: any number of threads may read it.
///
/// Swift frees an object after its last use, and does not see the use of a
/// pointer into it: whoever takes weights or metadata out of a checkpoint keeps
/// it in a property, or holds on to it with `withExtendedLifetime`.
final class Checkpoint: @unchecked Sendable {
  let config: ModelConfig
  /// "" where the file does not say.
  let name: String
  /// Of the matrices, in the file.
  let dtype: WeightType
  /// In the order of the file; values lie in it.
  let metadata: [GGUFEntry]
  let embedding: EmbeddingWeights
  let correlator: CorrelatorWeights
  /// One of the two, as `dtype` is.
  let float: FloatNetwork?
  let int8: Int8Network?

  /// For every tensor of the file: the relative error it was quantised with,
  /// ||W - W'|| / ||W|| (Frobenius); nil where it was not or the file does not say.
  let quantizationErrors: [Float?]

  /// Numbers in all tensors, those that inference never reads included; without
  /// the scales of int8 matrices, which are part of how a number is stored.
  let parameterCount: Int
  /// Bytes of all tensors, in the file.
  let weightBytes: Int
  /// Bytes of memory made for tensors that cannot be used where they lie:
  /// converted to fp32, or packed for int8 products.
  let convertedBytes: Int
  /// What the weights take in memory: what was made of them, and the file, where
  /// an int8 one is mapped without its matrices, which are left on disk.
  let residentBytes: Int

  let file: GGUFReader
  private let storage: FileBytes
  private let converted: Buffer<Float>

  /// - Parameters:
  ///   - copy: read the file instead of mapping it.
  ///   - verify: check the checksum, and that all weights are finite numbers.
  /// - Throws: `.io`, `.memory`, `.format`, `.version`, `.unsupported`; the
  ///   message begins with the path.
  convenience init(
    path: UnsafePointer<CChar>, copy: Bool, verify: Bool
  ) throws(CoveyError) {
    let storage = try FileBytes(path: path, copy: copy)
    do throws(CoveyError) {
      try self.init(storage, verify: verify)
    } catch {
      throw CoveyError(error.kind, "\(String(cString: path)): \(error.message)")
    }
  }

  /// - Parameter bytes: a whole file, at any address; without `copy`, must
  ///   outlive the checkpoint.
  /// - Throws: as above, but `.io`.
  convenience init(
    bytes: UnsafeRawBufferPointer, copy: Bool, verify: Bool
  ) throws(CoveyError) {
    try self.init(FileBytes(lent: bytes, copy: copy), verify: verify)
  }

  convenience init(_ storage: FileBytes, verify: Bool) throws(CoveyError) {
    let file = try GGUFReader(storage.bytes)
    let config = try ModelConfig(file)
    let dtype = try WeightType(file)
    let specs = config.tensors(in: file)
    try file.check(specs, dtype)
    try file.checkPlaces()
    let errors = try file.quantizationErrors()
    if verify {
      try file.checkSum()
      try file.checkWeights()
    }

    let locator = try WeightLocator(file, specs)
    var int8: Int8Network?
    if dtype == .q8 {
      storage.dropPages()  // checking has read all of the file
      var packer = try WeightPacker(locator, storage, config)
      int8 = packer.network()
    }
    self.init(storage, file, config, dtype, errors, locator, int8)
  }

  private init(
    _ storage: FileBytes, _ file: GGUFReader, _ config: ModelConfig, _ dtype: WeightType,
    _ errors: [Float?], _ locator: WeightLocator, _ int8: Int8Network?
  ) {
    embedding = locator.embedding(config)
    correlator = locator.correlator(config)
    float = int8 == nil ? locator.floatNetwork(config) : nil
    self.int8 = int8
    self.config = config
    self.dtype = dtype
    quantizationErrors = errors
    self.file = file
    self.storage = storage
    metadata = file.entries
    converted = locator.converted
    name = file.value("general.name")?.string.map { String(decoding: $0, as: UTF8.self) } ?? ""
    // They do not overlap in the file, so the sums stay below its size.
    parameterCount = file.tensors.indices.reduce(0) {
      $0 + file.tensors[$1].count - (file.scale(ofMatrixAt: $1)?.count ?? 0)
    }
    weightBytes = file.tensors.reduce(0) { $0 + $1.data.count }
    convertedBytes = locator.converted.byteCount + (int8?.storage.byteCount ?? 0)
    residentBytes =
      convertedBytes
      + file.tensors.reduce(0) {
        $0 + (storage.isMapped && dtype == .q8 && $1.element != .f32 ? 0 : $1.data.count)
      }
  }
}

/// How the matrices are stored.
enum WeightType {
  case f32
  case f16
  /// int8 with a scale for each row, which is an output channel.
  case q8

  /// - Throws: `.format`, `.unsupported`.
  init(_ file: GGUFReader) throws(CoveyError) {
    switch try file.integer("general.file_type", 0...Int(UInt32.max)) {
    case 0: self = .f32
    case 1: self = .f16
    case 7: self = .q8
    case let number:
      throw CoveyError(
        .unsupported,
        "general.file_type: expected 0 (F32), 1 (F16) or 7 (int8), found \(number)")
    }
  }

  /// What `general.file_type` says.
  var fileType: UInt32 {
    switch self {
    case .f32: 0
    case .f16: 1
    case .q8: 7
    }
  }

  /// Of the matrices.
  var element: GGUFTensor.Element {
    switch self {
    case .f32: .f32
    case .f16: .f16
    case .q8: .i8
    }
  }

  /// Of a tensor in a file whose matrices are of this type, as written.
  func element(of spec: TensorSpec) -> GGUFTensor.Element {
    guard spec.isMatrix else { return .f32 }
    return self == .q8 && spec.staysFloat ? .f16 : element
  }

  /// Whether such a file may have the tensor in another type too.
  func readsAny(_ spec: TensorSpec) -> Bool { self == .q8 && spec.staysFloat }
}

extension ModelConfig {
  /// Numbers in a patch.
  var patchInputs: Int { 3 * patchSize * patchSize }
}
