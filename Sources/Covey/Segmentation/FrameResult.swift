/// What a caller gets of one frame; depends on nothing else.
struct FrameResult {
  let frameIndex: Int
  let timestamp: Int64
  let width: Int
  let height: Int
  let labels: Buffer<UInt16>  // [height, width]
  let regions: [ObjectRegion]  // by decreasing area
  let tracks: [Segmentation.Track]  // of id 1, 2, ...
  let totalClusters: Int

  init(
    _ segmentation: Segmentation, frame: Int, timestamp: Int64, width: Int, height: Int
  ) throws(CoveyError) {
    frameIndex = frame
    self.timestamp = timestamp
    self.width = width
    self.height = height
    let map = LabelMap(
      rows: segmentation.rows, columns: segmentation.columns, width: width, height: height)
    let offset = frame * segmentation.rows * segmentation.columns
    labels = try Buffer(width * height, for: "label map")
    map.write(segmentation.ids.base + offset, into: labels.base)
    regions = try map.regions(
      segmentation.ids.base + offset, confidence: segmentation.confidence.base + offset,
      maximumID: segmentation.objects.count)
    tracks = segmentation.objects
    totalClusters = segmentation.totalClusters
  }
}
