public import CCovey
import CCoveyKernels

// The stages one by one: for experiments, oracles and features of one's own.

@c @implementation
public func covey_encode(
  _ model: OpaquePointer!, _ options: UnsafePointer<covey_session_options>!,
  _ given: UnsafePointer<covey_frame>!, _ keys: UnsafeMutablePointer<Float>!, _ capacity: Int,
  _ saliency: UnsafeMutablePointer<Float>!, _ out_grid: UnsafeMutablePointer<covey_grid>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let checkpoint = try ModelHandle.of(model).checkpoint
    let (options, callback) = try sessionOptions(options)
    let frame = try frame(try required(given, "frame"))
    let out = try required(out_grid, "out_grid")
    if capacity != 0 { _ = try required(keys, "keys") }
    let source = try frame.validate()

    let config = checkpoint.config
    let settings = try Settings(options, config.defaults)
    let size = settings.workingSize(
      frameWidth: frame.width, frameHeight: frame.height, config)
    var grid = covey_grid()
    grid.rows = Int32(size.height / config.patchSize)
    grid.columns = Int32(size.width / config.patchSize)
    grid.channels = Int32(config.embedDim)
    try writeStruct(grid, to: out, "out_grid", minimum: FirstSize.grid)
    guard saliency == nil || config.hasClsSaliency else {
      throw CoveyError(.unsupported, "saliency: this model has no meaningful CLS token")
    }
    let needed = Int(grid.rows) * Int(grid.columns) * config.embedDim
    guard let keys, bounded(capacity) >= needed else {
      throw CoveyError(.capacity, "capacity: expected at least \(needed), found \(capacity)")
    }
    let encoder = try FrameEncoder(
      checkpoint, settings, frameWidth: frame.width, frameHeight: frame.height,
      pool: ThreadPool(threads: settings.threads), budget: Budget(limit: settings.memoryLimit))
    defer { withExtendedLifetime(encoder) {} }
    try encoder.keysOfLastBlock(
      source, into: keys, saliency: saliency, monitor: Monitor(callback: callback))
    return COVEY_OK
  }
}

@c @implementation
public func covey_correlate(
  _ model: OpaquePointer!, _ options: UnsafePointer<covey_session_options>!,
  _ features: UnsafePointer<Float>!, _ count: Int, _ queries: UnsafeMutablePointer<Float>!,
  _ keys: UnsafeMutablePointer<Float>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let checkpoint = try ModelHandle.of(model).checkpoint
    let settings = try Settings(
      try sessionOptions(options).options, checkpoint.config.defaults)
    let features = try required(features, "features")
    let values = try elements("count x channels", count, checkpoint.config.embedDim)
    try requireFinite(features, values, "features")
    let pool = try ThreadPool(threads: settings.threads)
    let budget = Budget(limit: settings.memoryLimit)
    let copy = try Buffer<Float>(values, budget: budget, for: "copy of the features")
    defer { withExtendedLifetime(copy) {} }
    copy.base.copy(from: features, count: values)
    try BLAS.claim(for: pool)
    defer { BLAS.release() }
    Correlator(checkpoint).project(
      copy.base, count: count, queries: queries, keys: keys, pool: pool)
    return COVEY_OK
  }
}

@c @implementation
public func covey_cluster(
  _ given: UnsafePointer<covey_maps>!, _ options: UnsafePointer<covey_session_options>!,
  _ labels: UnsafeMutablePointer<Int32>!, _ confidence: UnsafeMutablePointer<Float>!,
  _ out_clusters: UnsafeMutablePointer<Int32>!
) -> covey_status {
  reporting { () throws(CoveyError) in
    let maps = try readStruct(try required(given, "maps"), "maps", minimum: FirstSize.maps)
    let (options, callback) = try sessionOptions(options)
    let labels = try required(labels, "labels")
    let out = try required(out_clusters, "out_clusters")
    let queries = try required(maps.queries, "maps.queries")
    let keys = try required(maps.keys, "maps.keys")
    let (frames, patches) = (Int(maps.frames), Int(maps.patches))
    let (channels, heads) = (Int(maps.channels), Int(maps.heads))
    let rows = try elements("maps.frames x patches", frames, patches)
    let queryCount = try elements("maps.queries", rows, channels)
    let keyCount = try elements("maps.keys", Int(maps.key_count), channels)
    guard rows <= Int(Int32.max), maps.key_count <= Int64(Int32.max) else {
      throw CoveyError(
        .argument,
        "maps: expected fewer than 2^31 queries and keys, found \(rows) and \(maps.key_count)")
    }
    guard heads >= 1, channels % heads == 0 else {
      throw CoveyError(.argument, "maps.heads: expected a divisor of \(channels), found \(heads)")
    }
    let settings = try Settings(options, clusterDefaults)
    try requireFinite(queries, queryCount, "maps.queries")
    try requireFinite(keys, keyCount, "maps.keys")

    let budget = Budget(limit: settings.memoryLimit)
    let found = try PatchClusters(rows, hasNear: false, budget: budget)
    let (pool, monitor) = (
      try ThreadPool(threads: settings.threads), Monitor(callback: callback)
    )
    try BLAS.claim(for: pool)
    defer { BLAS.release() }
    let affinity = Affinity(
      keys: keys, keyCount: Int(maps.key_count), channels: channels, heads: heads)
    let each = (0..<frames).map { queries + $0 * patches * channels }
    let count: Int
    switch settings.mode {
    case .reference:
      count = try ReferenceClustering(
        queries: each, patches: patches, affinity: affinity, window: settings.window,
        tau: settings.tau, pool: pool, budget: budget, monitor: monitor
      ).run(into: found)
    case .edge:
      let (gridRows, gridColumns) = (Int(maps.rows), Int(maps.columns))
      guard gridRows >= 1, gridColumns >= 1, gridRows * gridColumns == patches else {
        throw CoveyError(
          .argument,
          "maps.rows, columns: expected a grid of \(patches) patches for the edge mode, found "
            + "\(gridRows) x \(gridColumns)")
      }
      let clustering = EdgeClustering(
        queries: each, rows: gridRows, columns: gridColumns, affinity: affinity,
        window: settings.window, queryPool: settings.queryPool, scale: settings.scale, pool: pool,
        budget: budget, monitor: monitor)
      count = try clustering.assign(clustering.hierarchy(), settings.cut, into: found)
    }
    defer { withExtendedLifetime(found) {} }
    labels.copy(from: found.labels.base, count: rows)
    confidence?.copy(from: found.confidence.base, count: rows)
    out.pointee = Int32(count)
    return COVEY_OK
  }
}

/// Where there is no model to take defaults from.
private let clusterDefaults = Settings.Defaults(
  patchSize: 1, tau: 1, referenceTau: 1, window: 3, keyStride: 1, keyPool: 1)

private func elements(_ name: StaticString, _ a: Int, _ b: Int) throws(CoveyError) -> Int {
  let (product, overflow) = a.multipliedReportingOverflow(by: b)
  guard a >= 1, b >= 1, !overflow, product <= Int.max / 16 else {
    throw CoveyError(.argument, "\(name): expected positive sizes, found \(a) x \(b)")
  }
  return product
}

func requireFinite(
  _ values: UnsafePointer<Float>, _ count: Int, _ name: StaticString
) throws(CoveyError) {
  let bad = cv_first_not_finite(values, count)
  guard bad == count else {
    throw CoveyError(.argument, "\(name)[\(bad)]: is not a finite number")
  }
}
