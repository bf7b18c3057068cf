public import CCovey

/// What a covey_session pointer points at.
private func session(_ pointer: OpaquePointer?) throws(CoveyError) -> Session {
  let pointer = try required(pointer, "session")
  return Unmanaged<Session>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue()
}

@c @implementation
public func covey_session_options_init(
  _ options: UnsafeMutablePointer<covey_session_options>!, _ struct_size: Int
) {
  initialise(options, struct_size)
}

@c @implementation
public func covey_frame_init(_ frame: UnsafeMutablePointer<covey_frame>!, _ struct_size: Int) {
  initialise(frame, struct_size)
}

@c @implementation
public func covey_session_create(
  _ model: OpaquePointer!, _ options: UnsafePointer<covey_session_options>!,
  _ out_session: UnsafeMutablePointer<OpaquePointer?>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let out = try required(out_session, "out_session")
    out.pointee = nil
    let model = try ModelHandle.of(model)
    let (options, callback) = try sessionOptions(options)
    let session = try Session(model.checkpoint, options, callback: callback)
    out.pointee = OpaquePointer(Unmanaged.passRetained(session).toOpaque())
    return COVEY_OK
  }
}

@c @implementation
public func covey_session_free(_ pointer: OpaquePointer!) {
  guard let pointer else { return }
  Unmanaged<Session>.fromOpaque(UnsafeRawPointer(pointer)).release()
}

@c @implementation
public func covey_session_push(
  _ pointer: OpaquePointer!, _ pushed: UnsafePointer<covey_frame>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let session = try session(pointer)
    try session.push(try frame(try required(pushed, "frame")))
    return COVEY_OK
  }
}

@c @implementation
public func covey_session_finish(_ pointer: OpaquePointer!) -> covey_status {
  reporting { () throws(CoveyError) in
    try session(pointer).finish()
    return COVEY_OK
  }
}

@c @implementation
public func covey_session_next(
  _ pointer: OpaquePointer!, _ out_result: UnsafeMutablePointer<OpaquePointer?>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let out = try required(out_result, "out_result")
    out.pointee = nil
    switch try session(pointer).nextResult() {
    case .result(let result):
      out.pointee = OpaquePointer(Unmanaged.passRetained(ResultHandle(result)).toOpaque())
      return COVEY_OK
    case .again: return COVEY_AGAIN
    case .end: return COVEY_END
    }
  }
}

@c @implementation
public func covey_session_reset(_ pointer: OpaquePointer!) -> covey_status {
  reporting { () throws(CoveyError) in
    try session(pointer).reset()
    return COVEY_OK
  }
}

@c @implementation
public func covey_session_cancel(_ pointer: OpaquePointer!) {
  // Not through `session`: nothing but the flag may be touched here, from
  // another thread.
  guard let pointer else { return }
  Unmanaged<Session>.fromOpaque(UnsafeRawPointer(pointer))._withUnsafeGuaranteedRef {
    $0.cancelFlag.set()
  }
}

@c @implementation
public func covey_session_get_tree(
  _ pointer: OpaquePointer!, _ out_leaves: UnsafeMutablePointer<Int32>!,
  _ out_merges: UnsafeMutablePointer<Int32>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let tree = try session(pointer).hierarchy().tree
    if let out_leaves { out_leaves.pointee = Int32(tree.leafCount) }
    if let out_merges { out_merges.pointee = Int32(tree.merges.count) }
    return COVEY_OK
  }
}

@c @implementation
public func covey_session_get_merge(
  _ pointer: OpaquePointer!, _ index: Int32, _ merge: UnsafeMutablePointer<covey_merge>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let hierarchy = try session(pointer).hierarchy()
    let tree = hierarchy.tree
    let out = try required(merge, "merge")
    guard index >= 0, Int(index) < tree.merges.count else {
      throw CoveyError(
        .argument, "index: expected 0 to less than \(tree.merges.count), found \(index)")
    }
    let joined = tree.merges[Int(index)]
    var filled = covey_merge()
    (filled.a, filled.b) = (joined.a, joined.b)
    filled.tau = hierarchy.tau(merging: Int(index) + 1)
    filled.share = tree.share(ofMerge: Int(index))
    try writeStruct(filled, to: out, "merge", minimum: FirstSize.merge)
    return COVEY_OK
  }
}

@c @implementation
public func covey_session_recut(
  _ pointer: OpaquePointer!, _ tau: Float, _ target_clusters: Int32
) -> covey_status {
  reporting { () throws(CoveyError) in
    let session = try session(pointer)
    guard tau >= 0, tau <= 1000 else {
      throw CoveyError(.argument, "tau: expected 0 to 1000, found \(NumberText.of(tau))")
    }
    guard target_clusters >= 0, target_clusters <= 1024 else {
      throw CoveyError(
        .argument, "target_clusters: expected 0 to 1024, found \(target_clusters)")
    }
    try session.recut(tau: tau, targetClusters: Int(target_clusters))
    return COVEY_OK
  }
}

@c @implementation
public func covey_segment(
  _ model: OpaquePointer!, _ options: UnsafePointer<covey_session_options>!,
  _ frames: UnsafePointer<covey_frame>!, _ frame_count: Int,
  _ labels: UnsafeMutablePointer<UInt16>!, _ labels_count: Int,
  _ out_object_count: UnsafeMutablePointer<Int32>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let model = try ModelHandle.of(model)
    let frames = try required(frames, "frames")
    let labels = try required(labels, "labels")
    guard frame_count > 0, frame_count <= Int(Int32.max) else {
      throw CoveyError(
        .argument,
        "frame_count: expected 1 to \(Int32.max), found \(UInt(bitPattern: frame_count))")
    }
    let first = try frame(frames)
    try first.validate()
    // At most 2^31 frames of 2^30 pixels: no overflow.
    let pixels = first.width * first.height
    guard labels_count < 0 || labels_count >= frame_count * pixels else {
      throw CoveyError(
        .capacity,
        "labels_count: expected at least \(frame_count) x \(first.height) x \(first.width) = "
          + "\(frame_count * pixels), found \(labels_count)")
    }

    let (options, callback) = try sessionOptions(options)
    let session = try Session(model.checkpoint, options, callback: callback)
    var objects = 0
    func drain() throws(CoveyError) {
      while case .result(let result) = try session.nextResult() {
        (labels + result.frameIndex * pixels).copy(from: result.labels.base, count: pixels)
        objects = result.tracks.count
        withExtendedLifetime(result.labels) {}
      }
    }
    let stride = Int(frames.pointee.struct_size)
    for index in 0..<frame_count {
      let place = UnsafeRawPointer(frames).advanced(by: index * stride)
        .assumingMemoryBound(to: covey_frame.self)
      do throws(CoveyError) {
        try session.push(try frame(place))
      } catch {
        throw CoveyError(error.kind, "frames[\(index)]: \(error.message)")
      }
      try drain()
    }
    try session.finish()
    try drain()
    if let out_object_count { out_object_count.pointee = Int32(objects) }
    return COVEY_OK
  }
}

@c @implementation
public func covey_estimate_memory(
  _ model: OpaquePointer!, _ options: UnsafePointer<covey_session_options>!, _ width: Int32,
  _ height: Int32, _ frame_count: Int64, _ memory: UnsafeMutablePointer<covey_memory>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let model = try ModelHandle.of(model)
    let memory = try required(memory, "memory")
    let (options, _) = try sessionOptions(options)
    let estimate = try MemoryEstimate(
      model.checkpoint, options, frameWidth: Int(width), frameHeight: Int(height),
      frames: Int(clamping: frame_count))
    var filled = covey_memory()
    filled.weights = Int64(estimate.weights)
    filled.features = Int64(estimate.features)
    filled.workspace = Int64(estimate.workspace)
    filled.peak = Int64(estimate.features + estimate.workspace)
    try writeStruct(filled, to: memory, "memory", minimum: FirstSize.memory)
    return COVEY_OK
  }
}

@c @implementation
public func covey_session_get_memory(
  _ pointer: OpaquePointer!, _ memory: UnsafeMutablePointer<covey_memory>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let session = try session(pointer)
    let memory = try required(memory, "memory")
    var filled = covey_memory()
    filled.weights = Int64(session.weightBytes)
    filled.features = Int64(session.featureBytes)
    filled.current = Int64(session.budget.current)
    filled.peak = Int64(session.budget.peak)
    filled.workspace = max(0, filled.peak - filled.features)
    try writeStruct(filled, to: memory, "memory", minimum: FirstSize.memory)
    return COVEY_OK
  }
}
