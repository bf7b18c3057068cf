import CCoveyKernels
import CCoveyPlatform

// The state of a trainer in a file, from which training goes on bit for bit: weights,
// moments, step, and what must be the same where it is restored.  A GGUF file
// (docs/FORMAT.md).

extension Trainer {
  private static var architecture: String { "covey-training" }
  private static let version: UInt32 = 1
  private static let alignment = 64

  /// What is in a file's metadata.
  private enum Value {
    case integer(UInt64)
    case float(Float)

    var text: String {
      switch self {
      case .integer(let number): "\(number)"
      case .float(let number): NumberText.of(number)
      }
    }
  }

  /// What a file must have as this trainer has it.
  private var identity: [(key: String, value: Value)] {
    let layout = parameters.layout
    func integer(_ number: Int) -> Value { .integer(UInt64(number)) }
    return [
      ("backbone", .integer(UInt64(checkpoint.backboneChecksum))),
      ("channels", integer(layout.channels)),
      ("heads", integer(layout.heads)),
      ("hidden", integer(layout.hidden)),
      ("layer_norm_eps", .float(layout.epsilon)),
      ("has_cls", integer(shape.hasClass ? 1 : 0)),
      ("working_height", integer(settings.workingHeight)),
      ("working_width", integer(settings.workingWidth)),
      ("clip_length", integer(settings.clipLength)),
      ("clips_per_step", integer(settings.clipsPerStep)),
      ("positions", integer(settings.positions)),
      ("weigh_both", integer(Int(settings.weighting.rawValue))),
      ("augmentation", integer(settings.isAugmented ? 1 : 0)),
      ("learning_rate", .float(settings.learningRate)),
      ("weight_decay", .float(settings.weightDecay)),
      ("clip_norm", .float(settings.clipNorm)),
      ("attention_dropout", .float(settings.rates.attention)),
      ("dropout", .float(settings.rates.mlp)),
      ("seed", .integer(settings.seed)),
    ]
  }

  /// Weights and moments, as the file names them.
  private var state: [(prefix: String, values: Buffer<Float>)] {
    [
      ("correlator.", parameters.values), ("adamw.first.", optimiser.first),
      ("adamw.second.", optimiser.second),
    ]
  }

  // ---- Saving ---------------------------------------------------------------------

  /// The file appears whole or not at all.
  /// - Throws: `.io`, `.memory`; `.state` within a callback, or where weights are not
  ///   finite.
  func save(path: UnsafePointer<CChar>) throws(CoveyError) {
    try requireIdle()
    defer { withExtendedLifetime(self) {} }
    try requireFinite()
    var crc = CRC32()
    try forData { bytes throws(CoveyError) in crc.append(bytes) }
    let header = try header(checksum: crc.value)
    defer { withExtendedLifetime(header) {} }
    let writer = try FileWriter(path)
    try writer.write(UnsafeRawBufferPointer(start: header.base, count: header.count))
    try forData { bytes throws(CoveyError) in try writer.write(bytes) }
    try writer.commit()
  }

  /// What the identity must match needs none: another value is refused.
  private static func checksum(ofStep step: Int) -> UInt32 {
    var crc = CRC32()
    withUnsafeBytes(of: UInt64(step).littleEndian) { crc.append($0) }
    return crc.value
  }

  /// Throws rather than hand out a model or a file that could not be read again.
  func requireFinite() throws(CoveyError) {
    for (prefix, values) in state {
      let bad = cv_first_not_finite(values.base, values.count)
      guard bad < values.count else { continue }
      throw CoveyError(
        .state, "trainer: \(prefix)*: a value is not finite after step \(optimiser.step); "
          + "nothing is handed out")
    }
  }

  private func forData(
    _ sink: (UnsafeRawBufferPointer) throws(CoveyError) -> Void
  ) throws(CoveyError) {
    let zeros = try Buffer<UInt8>(Trainer.alignment, for: "padding")
    zeros.fill(0)
    defer { withExtendedLifetime(zeros) {} }
    for (_, values) in state {
      for tensor in parameters.layout.tensors {
        try sink(
          UnsafeRawBufferPointer(start: values.base + tensor.offset, count: 4 * tensor.count))
        let padding = (-4 * tensor.count) & (Trainer.alignment - 1)
        try sink(UnsafeRawBufferPointer(start: zeros.base, count: padding))
      }
    }
  }

  private func header(checksum: UInt32) throws(CoveyError) -> Buffer<UInt8> {
    var writer = try GGUFWriter(alignment: Trainer.alignment)
    func bytes(_ text: String, _ body: (UnsafeRawBufferPointer) -> Void) {
      var text = text
      text.withUTF8 { body(UnsafeRawBufferPointer($0)) }
    }
    bytes("general.architecture") { key in
      bytes(Trainer.architecture) { writer.add(key, string: $0) }
    }
    bytes("general.alignment") { writer.add($0, UInt32(Trainer.alignment)) }
    bytes("covey.checksum.crc32") { writer.add($0, checksum) }
    bytes("covey.training.format_version") { writer.add($0, Trainer.version) }
    bytes("covey.training.step") { writer.add($0, UInt64(optimiser.step)) }
    bytes("covey.training.step_crc32") { writer.add($0, Trainer.checksum(ofStep: optimiser.step)) }
    for (key, value) in identity {
      bytes("covey.training.\(key)") { key in
        switch value {
        case .integer(let number): writer.add(key, number)
        case .float(let number): writer.add(key, number)
        }
      }
    }
    for (prefix, _) in state {
      for tensor in parameters.layout.tensors {
        bytes("\(prefix)\(tensor.name)") {
          writer.addTensor($0, tensor.shape, .f32, size: 4 * tensor.count)
        }
      }
    }
    return try writer.header()
  }

  // ---- Restoring ------------------------------------------------------------------

  /// From a file of a trainer of the same model and options.  Where it throws, the
  /// trainer is as before.
  /// - Throws: `.argument` where the file is of another model or other options;
  ///   `.format`, `.version`, `.unsupported`, `.io`, `.memory`; the message begins with
  ///   the path.
  func restore(path: UnsafePointer<CChar>) throws(CoveyError) {
    try begin()
    defer { end() }
    // Copied: what has been checked must stay what it is.
    let storage = try FileBytes(path: path, copy: true)
    defer { withExtendedLifetime(storage) {} }
    do throws(CoveyError) {
      let file = try GGUFReader(storage.bytes)
      let step = try checked(file)
      // From here on nothing fails.
      for (prefix, values) in state {
        for tensor in parameters.layout.tensors {
          guard let index = file.tensorIndex("\(prefix)\(tensor.name)") else { continue }
          file.stored(index).read(0, tensor.count, to: values.base + tensor.offset)
        }
      }
      optimiser.step = step
    } catch {
      throw CoveyError(error.kind, "\(String(cString: path)): \(error.message)")
    }
  }

  /// - Returns: the step.
  private func checked(_ file: GGUFReader) throws(CoveyError) -> Int {
    guard let architecture = file.value("general.architecture")?.string else {
      throw CoveyError(.format, "general.architecture: missing, or no string")
    }
    guard architecture.elementsEqual(Trainer.architecture.utf8) else {
      let found = String(decoding: architecture.prefix(64), as: UTF8.self)
      throw CoveyError(
        .format, "general.architecture: expected \(Trainer.architecture), found \(found)")
    }
    try file.checkMetadata()
    let version = try file.integer("covey.training.format_version", 0...Int(UInt32.max))
    guard version == Trainer.version else {
      throw CoveyError(
        version > Trainer.version ? .version : .format,
        "covey.training.format_version: expected \(Trainer.version), found \(version)")
    }
    guard file.value("covey.checksum.crc32") != nil else {
      throw CoveyError(.format, "covey.checksum.crc32: missing")
    }
    try file.checkPlaces()
    try file.checkSum()
    for (key, value) in identity { try check(file, "covey.training.\(key)", value) }
    guard let number = file.value("covey.training.step")?.uint64, number < 1 << 40 else {
      throw CoveyError(.format, "covey.training.step: expected a u64 below 2^40")
    }
    let checksum = try file.integer("covey.training.step_crc32", 0...Int(UInt32.max))
    guard checksum == Trainer.checksum(ofStep: Int(number)) else {
      throw CoveyError(.format, "covey.training.step: does not have its checksum")
    }

    for (prefix, _) in state {
      for tensor in parameters.layout.tensors {
        let name = "\(prefix)\(tensor.name)"
        guard let index = file.tensorIndex(name) else {
          throw CoveyError(.format, "\(name): missing")
        }
        let found = file.tensors[index]
        guard found.shape == tensor.shape, found.element == .f32 else {
          throw CoveyError(
            .format,
            "\(name): expected F32 \(GGUFTensor.text(tensor.shape)), found "
              + "\(found.element.name) \(GGUFTensor.text(found.shape))")
        }
      }
    }
    try file.checkWeights()
    for tensor in parameters.layout.tensors {
      let name = "adamw.second.\(tensor.name)"
      guard let index = file.tensorIndex(name), let base = file.tensors[index].data.baseAddress
      else { continue }
      for element in 0..<tensor.count
      where !(base.loadUnaligned(fromByteOffset: 4 * element, as: Float.self) >= 0) {
        throw CoveyError(.format, "\(name): element \(element): expected 0 or more")
      }
    }
    return Int(number)
  }

  private func check(
    _ file: GGUFReader, _ key: String, _ expected: Value
  ) throws(CoveyError) {
    guard let found = file.value(key) else { throw CoveyError(.format, "\(key): missing") }
    let isSame: Bool
    switch expected {
    case .integer(let number):
      guard let value = found.uint64 else {
        throw CoveyError(.format, "\(key): expected u64, found \(found.typeName)")
      }
      isSame = value == number
    case .float(let number):
      guard let value = found.float32 else {
        throw CoveyError(.format, "\(key): expected f32, found \(found.typeName)")
      }
      isSame = value == number
    }
    guard isSame else {
      throw CoveyError(
        .argument,
        "\(key): of another model or other options: expected \(expected.text), "
          + "found \(found.text)")
    }
  }
}

extension Checkpoint {
  /// Of all that features depend on: the backbone's tensors, heads and epsilon, the
  /// input's mean and deviation, and how positions are resized, where the file says that.
  fileprivate var backboneChecksum: UInt32 {
    defer { withExtendedLifetime(self) {} }
    var crc = CRC32()
    let prefix = "encoder."
    for tensor in file.tensors where tensor.nameBytes.starts(with: prefix.utf8) {
      crc.append(tensor.nameBytes)
      crc.append(tensor.data)
    }
    for value in [Float(config.heads), config.layerNormEps] {
      withUnsafeBytes(of: value.bitPattern) { crc.append($0) }
    }
    for vector in [config.mean, config.std] {
      for channel in 0..<3 {
        withUnsafeBytes(of: vector[channel].bitPattern) { crc.append($0) }
      }
    }
    if let resize = file.value("covey.vit.position_resize")?.string { crc.append(resize) }
    return crc.value
  }
}
