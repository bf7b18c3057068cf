public import CCovey

/// What a covey_result pointer points at.
final class ResultHandle {
  let result: FrameResult

  init(_ result: FrameResult) {
    self.result = result
  }
}

private func result(_ pointer: OpaquePointer?) throws(CoveyError) -> FrameResult {
  let pointer = try required(pointer, "result")
  return Unmanaged<ResultHandle>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue().result
}

@c @implementation
public func covey_result_get_info(
  _ pointer: OpaquePointer!, _ info: UnsafeMutablePointer<covey_result_info>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let result = try result(pointer)
    let info = try required(info, "info")
    var filled = covey_result_info()
    filled.frame_index = Int64(result.frameIndex)
    filled.timestamp = result.timestamp
    filled.width = Int32(result.width)
    filled.height = Int32(result.height)
    filled.object_count = Int32(result.regions.count)
    filled.total_objects = Int32(result.tracks.count)
    filled.total_clusters = Int32(clamping: result.totalClusters)
    let settings = result.settings
    filled.mode = settings.mode == .edge ? COVEY_MODE_EDGE : COVEY_MODE_REFERENCE
    filled.streaming = settings.isStreaming ? 1 : 0
    filled.window = Int32(settings.window)
    filled.key_stride = Int32(settings.keyStride)
    filled.key_pool = Int32(settings.keyPool)
    filled.query_pool = Int32(settings.queryPool)
    filled.key_budget = Int32(clamping: settings.keyBudget)
    filled.tau = result.tau
    filled.shot = Int64(result.shot)
    try writeStruct(filled, to: info, "info", minimum: FirstSize.resultInfo)
    return COVEY_OK
  }
}

@c @implementation
public func covey_result_info_init(
  _ info: UnsafeMutablePointer<covey_result_info>!, _ struct_size: Int
) {
  initialise(info, struct_size)
}

@c @implementation
public func covey_object_init(
  _ object: UnsafeMutablePointer<covey_object>!, _ struct_size: Int
) {
  initialise(object, struct_size)
}

@c @implementation
public func covey_result_get_object(
  _ pointer: OpaquePointer!, _ index: Int32, _ object: UnsafeMutablePointer<covey_object>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let result = try result(pointer)
    let object = try required(object, "object")
    guard result.regions.indices.contains(Int(index)) else {
      throw CoveyError(
        .argument, "index: expected 0 to less than \(result.regions.count), found \(index)")
    }
    try writeStruct(
      covey_object(of: result, Int(index)), to: object, "object", minimum: FirstSize.object)
    return COVEY_OK
  }
}

@c @implementation
public func covey_result_get_objects(
  _ pointer: OpaquePointer!, _ objects: UnsafeMutablePointer<covey_object>!, _ capacity: Int,
  _ out_count: UnsafeMutablePointer<Int>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let result = try result(pointer)
    let out = try required(out_count, "out_count")
    let count = result.regions.count
    let room = bounded(capacity)
    var stride = 0
    if room > 0 {
      stride = try checkStruct(
        try required(objects, "objects"), "objects[0]", minimum: FirstSize.object)
    }
    out.pointee = count
    guard count <= room else {
      throw CoveyError(.capacity, "capacity: expected at least \(count), found \(capacity)")
    }
    let raw = UnsafeMutableRawPointer(objects)
    guard let raw else { return COVEY_OK }
    for index in 0..<count {
      fillStruct(covey_object(of: result, index), at: raw + index * stride, size: stride)
    }
    return COVEY_OK
  }
}

extension covey_object {
  fileprivate init(of result: FrameResult, _ index: Int) {
    let region = result.regions[index]
    self.init()
    id = Int32(region.id)
    area = Int64(region.area)
    x = Int32(region.x)
    y = Int32(region.y)
    width = Int32(region.width)
    height = Int32(region.height)
    centroid_x = Float(region.centroidX)
    centroid_y = Float(region.centroidY)
    confidence = Float(region.confidence)
    let track = result.tracks[region.id - 1]
    objectness = track.objectness
    first_frame = Int64(track.firstFrame)
    (motion_x, motion_y) = (region.motion.x, region.motion.y)
  }
}

@c @implementation
public func covey_result_labels(_ pointer: OpaquePointer!) -> UnsafePointer<UInt16>! {
  guard let pointer else { return nil }
  let handle = Unmanaged<ResultHandle>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue()
  return UnsafePointer(handle.result.labels.base)
}

@c @implementation
public func covey_result_get_rle(
  _ pointer: OpaquePointer!, _ object_id: Int32, _ counts: UnsafeMutablePointer<UInt32>!,
  _ capacity: Int, _ out_count: UnsafeMutablePointer<Int>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let result = try result(pointer)
    let out = try required(out_count, "out_count")
    guard let id = UInt16(exactly: object_id) else {
      throw CoveyError(.argument, "object_id: expected 0 to 65535, found \(object_id)")
    }
    if capacity != 0 { _ = try required(counts, "counts") }
    let room = bounded(capacity)
    let needed = RunLength.counts(
      of: id, in: result.labels.base, width: result.width, height: result.height, into: counts,
      capacity: room)
    out.pointee = needed
    guard needed <= room else {
      throw CoveyError(.capacity, "capacity: expected at least \(needed), found \(capacity)")
    }
    return COVEY_OK
  }
}

@c @implementation
public func covey_result_get_polygons(
  _ pointer: OpaquePointer!, _ object_id: Int32, _ tolerance: Float,
  _ xy: UnsafeMutablePointer<Float>!, _ point_capacity: Int,
  _ out_points: UnsafeMutablePointer<Int>!, _ ring_ends: UnsafeMutablePointer<UInt32>!,
  _ ring_capacity: Int, _ out_rings: UnsafeMutablePointer<Int>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let result = try result(pointer)
    let outPoints = try required(out_points, "out_points")
    let outRings = try required(out_rings, "out_rings")
    guard let id = UInt16(exactly: object_id) else {
      throw CoveyError(.argument, "object_id: expected 0 to 65535, found \(object_id)")
    }
    guard tolerance >= 0, tolerance.isFinite else {
      throw CoveyError(
        .argument, "tolerance: expected 0 or more, found \(NumberText.of(tolerance))")
    }
    if point_capacity != 0 { _ = try required(xy, "xy") }
    if ring_capacity != 0 { _ = try required(ring_ends, "ring_ends") }
    let polygons = try Polygons(
      of: id, in: result.labels.base, width: result.width, height: result.height,
      tolerance: Double(tolerance))
    let (points, rings) = (polygons.pointCount, polygons.ends.count)
    guard points <= Int(UInt32.max) else {
      throw CoveyError(.unsupported, "outline: \(points) points, more than 2^32")
    }
    (outPoints.pointee, outRings.pointee) = (points, rings)
    guard points <= bounded(point_capacity) else {
      throw CoveyError(
        .capacity, "point_capacity: expected at least \(points), found \(point_capacity)")
    }
    guard rings <= bounded(ring_capacity) else {
      throw CoveyError(
        .capacity, "ring_capacity: expected at least \(rings), found \(ring_capacity)")
    }
    guard points > 0, let xy, let ring_ends else { return COVEY_OK }
    for index in 0..<points {
      let point = polygons.points.base[index]
      xy[2 * index] = Float(point.x)
      xy[2 * index + 1] = Float(point.y)
    }
    for index in 0..<rings { ring_ends[index] = UInt32(polygons.ends.base[index]) }
    return COVEY_OK
  }
}

/// The result of which something of patches is lent, and how many it has; nil for NULL.
private func ofPatches(
  _ pointer: OpaquePointer?, _ rows: UnsafeMutablePointer<Int32>?,
  _ columns: UnsafeMutablePointer<Int32>?
) -> FrameResult? {
  guard let pointer else { return nil }
  let handle = Unmanaged<ResultHandle>.fromOpaque(UnsafeRawPointer(pointer)).takeUnretainedValue()
  if let rows { rows.pointee = Int32(handle.result.rows) }
  if let columns { columns.pointee = Int32(handle.result.columns) }
  return handle.result
}

@c @implementation
public func covey_result_get_confidence(
  _ pointer: OpaquePointer!, _ rows: UnsafeMutablePointer<Int32>!,
  _ columns: UnsafeMutablePointer<Int32>!
) -> UnsafePointer<Float>! {
  guard let result = ofPatches(pointer, rows, columns) else { return nil }
  return UnsafePointer(result.confidence.base)
}

@c @implementation
public func covey_result_get_motion(
  _ pointer: OpaquePointer!, _ rows: UnsafeMutablePointer<Int32>!,
  _ columns: UnsafeMutablePointer<Int32>!
) -> UnsafePointer<Float>! {
  guard let result = ofPatches(pointer, rows, columns) else { return nil }
  return UnsafeRawPointer(result.motion.base).assumingMemoryBound(to: Float.self)
}

@c @implementation
public func covey_result_free(_ pointer: OpaquePointer!) {
  guard let pointer else { return }
  Unmanaged<ResultHandle>.fromOpaque(UnsafeRawPointer(pointer)).release()
}
