/// What is kept of a frame that has been clustered, until its result is handed out.
struct ClusteredFrame {
  let timestamp: Int64
  let guide: MaskRenderer.Guide?  // where masks are refined
  let motion: Motion?

  var byteCount: Int { (guide?.planes.byteCount ?? 0) + (motion?.byteCount ?? 0) }
}

/// What a caller gets of one frame; depends on nothing else.
struct FrameResult {
  let frameIndex: Int
  let timestamp: Int64
  let width: Int
  let height: Int
  let labels: Buffer<UInt16>  // [height, width]
  let rows: Int
  let columns: Int
  let confidence: Buffer<Float>  // [rows, columns]
  /// [rows, columns], pixels of the frame since the frame before, less the camera's.
  let motion: Buffer<SIMD2<Float>>
  private(set) var regions: [ObjectRegion]  // by decreasing area
  let tracks: [Segmentation.Track]  // of id 1, 2, ...
  let totalClusters: Int
  let settings: Settings
  let tau: Float
  let shot: Int

  /// - Parameters:
  ///   - place: of the frame among those of `segmentation`.
  ///   - isCancelled: where this becomes true, `init` throws.
  init(
    _ segmentation: Segmentation, place: Int, frame: Int, _ clustered: ClusteredFrame,
    width: Int, height: Int, settings: Settings, pool: ThreadPool, budget: Budget,
    isCancelled: @escaping () -> Bool
  ) throws(CoveyError) {
    frameIndex = frame
    timestamp = clustered.timestamp
    self.width = width
    self.height = height
    (rows, columns) = (segmentation.rows, segmentation.columns)
    let patches = rows * columns
    let grid = segmentation.ids.base + place * patches
    confidence = try Buffer(patches, for: "confidences of a frame")
    confidence.base.copy(from: segmentation.confidence.base + place * patches, count: patches)
    motion = try Buffer(patches, for: "motion of a frame")
    let scale = SIMD2<Float>(
      Float(width) / Float(columns * settings.patchSize),
      Float(height) / Float(rows * settings.patchSize))
    for patch in 0..<patches {
      // From where a patch was to where it is.
      motion.base[patch] = clustered.motion.map { -$0.residuals.base[patch] * scale } ?? SIMD2(0, 0)
    }
    labels = try Buffer(width * height, for: "label map")
    tracks = segmentation.objects
    totalClusters = segmentation.totalClusters
    self.settings = settings
    tau = segmentation.tau
    shot = segmentation.shot
    defer { withExtendedLifetime(segmentation) {} }

    let map = LabelMap(rows: rows, columns: columns, width: width, height: height)
    let isDrawn = try FrameResult.draw(
      segmentation, place, clustered.guide, map, pool, budget, isCancelled, into: labels.base)
    guard !isCancelled() else { throw CoveyError(.cancelled, "cancelled") }
    if !isDrawn { map.write(grid, into: labels.base) }
    let least = Double(settings.minRegion) * Double(width) * Double(height)
    guard isDrawn || least > 1 else {
      // The patches are enough.
      regions = try map.regions(
        grid, confidence: confidence.base, maximumID: segmentation.objects.count,
        budget: budget)
      addMotion(grid)
      return
    }
    if settings.minRegion >= 0 {
      try SmallRegions.dissolve(
        labels.base, width: width, height: height,
        settings.minRegion > 0 ? .below(least) : .specks(map, grid: grid), budget: budget,
        isCancelled: isCancelled)
    }
    regions = try PixelRegions.measure(
      labels.base, width: width, height: height, confidence: confidence.base, rows: rows,
      columns: columns, maximumID: segmentation.objects.count,
      budget: budget, isCancelled: isCancelled)
    addMotion(grid)
  }

  /// To the objects that of their patches.
  private mutating func addMotion(_ grid: UnsafePointer<UInt16>) {
    for index in regions.indices {
      var (sum, patches) = (SIMD2<Float>(0, 0), 0)
      for patch in 0..<rows * columns where Int(grid[patch]) == regions[index].id {
        sum += motion.base[patch]
        patches += 1
      }
      if patches > 0 { regions[index].motion = sum / Float(patches) }
    }
  }

  /// What `init` takes beside the result, with the objects that estimates expect.
  static func byteCount(
    rows: Int, columns: Int, width: Int, height: Int, guideHeight: Int, guideWidth: Int,
    settings: Settings, threads: Int
  ) -> Int {
    var bytes = PixelRegions.byteCount(width: width)
    if settings.minRegion > 0 || settings.minRegion == 0 && settings.mask != .nearest {
      bytes = max(bytes, SmallRegions.byteCount(width: width, height: height))
    }
    guard settings.mask != .nearest else { return bytes }
    return max(
      bytes,
      MaskRenderer.byteCount(
        rows: rows, columns: columns, width: width, height: height, guideHeight: guideHeight,
        guideWidth: guideWidth, isRefined: settings.mask == .refined, threads: threads))
  }

  /// Whether there was something to draw beyond the patches.
  private static func draw(
    _ segmentation: Segmentation, _ place: Int, _ guide: MaskRenderer.Guide?, _ map: LabelMap,
    _ pool: ThreadPool, _ budget: Budget, _ isCancelled: @escaping () -> Bool,
    into labels: UnsafeMutablePointer<UInt16>
  ) throws(CoveyError) -> Bool {
    guard let soft = segmentation.soft else { return false }
    let patches = map.rows * map.columns
    let planes = try LabelPlanes(
      segmentation.ids.base + place * patches,
      soft.entries.base + place * patches * SoftLabels.depth, patches: patches, budget: budget)
    guard let weights = planes.weights else { return false }
    let renderer = MaskRenderer(
      rows: map.rows, columns: map.columns, width: map.width, height: map.height)
    try renderer.draw(
      planes.labels, weights, guide: guide, pool: pool, budget: budget,
      isCancelled: isCancelled, into: labels)
    LostLabels.restore(
      planes.labels, segmentation.ids.base + place * patches, map, in: labels)
    return true
  }
}
