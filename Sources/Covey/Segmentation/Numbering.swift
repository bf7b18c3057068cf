/// Which cluster of a whole video gets which id, by the rules of the options.
struct Numbering {
  /// Of each cluster; 0 for background.
  let ids: [UInt16]
  /// Of the ids, in order.
  let tracks: [Segmentation.Track]

  /// - Parameter last: id that is given already.
  init(
    _ clusters: ClusterStatistics, _ settings: Settings, tau: Float, after last: Int = 0
  ) throws(CoveyError) {
    let foreground = Foreground(clusters)
    var chosen: [Int]
    switch settings.output {
    case .clusters:
      chosen = Array(0..<clusters.count)
    case .objects:
      chosen = (0..<clusters.count).filter {
        foreground.isObject(clusters[$0], minArea: settings.minArea)
      }
      if chosen.count > settings.maxObjects {
        chosen.sort { foreground.ranks($0, before: $1) }
        chosen.removeLast(chosen.count - settings.maxObjects)
      }
    }
    guard last + chosen.count <= Int(UInt16.max) else {
      throw CoveyError(
        .capacity,
        "\(last + chosen.count) clusters at tau \(NumberText.of(tau)): a label map holds "
          + "\(UInt16.max); a larger tau gives fewer")
    }
    chosen.sort { clusters.comesIntoSight($0, before: $1) }
    var ids = [UInt16](repeating: 0, count: clusters.count)
    for (position, cluster) in chosen.enumerated() { ids[cluster] = UInt16(last + position + 1) }
    self.ids = ids
    tracks = chosen.map { foreground.track(clusters[$0]) }
  }
}
