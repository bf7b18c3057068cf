/// Which cluster of a whole video, or which instance, gets which id, by the rules of the
/// options.
struct Numbering {
  /// Of each; 0 for background.
  let ids: [UInt16]
  /// Of the ids, in order.
  let tracks: [Segmentation.Track]

  init(ids: [UInt16], tracks: [Segmentation.Track]) {
    (self.ids, self.tracks) = (ids, tracks)
  }

  /// - Parameter last: id that is given already.
  init(
    _ clusters: ClusterStatistics, tau: Float, after last: Int = 0
  ) throws(CoveyError) {
    let order = (0..<clusters.count).sorted { clusters.comesIntoSight($0, before: $1) }
    try self.init(order, count: clusters.count, tau: tau, after: last) { clusters[$0].track }
  }

  /// One id for all instances of a cluster.
  init(kinds instances: [Instances.Instance], of own: Numbering, after last: Int = 0) {
    var ids = [UInt16](repeating: 0, count: instances.count)
    var tracks: [Segmentation.Track] = []
    var kinds: [(kind: Int32, patches: Int, probability: Double)] = []
    // In the order of the instances' ids, which is that in which they come into sight.
    for index in instances.indices.filter({ own.ids[$0] > 0 }).sorted(by: {
      own.ids[$0] != own.ids[$1] ? own.ids[$0] < own.ids[$1] : $0 < $1
    }) {
      let instance = instances[index]
      let kind = (instance.isReally < 0 ? instance : instances[Int(instance.isReally)]).kind
      let place = kinds.firstIndex { $0.kind == kind } ?? kinds.count
      if place == kinds.count {
        kinds.append((kind, 0, 0))
        tracks.append(own.tracks[Int(own.ids[index]) - last - 1])
      }
      if instance.isReally < 0 {
        kinds[place].patches += instance.patches
        kinds[place].probability += instance.probability
      }
      ids[index] = UInt16(last + place + 1)
    }
    for place in tracks.indices {
      tracks[place] = Segmentation.Track(
        objectness: Float(kinds[place].probability / Double(max(kinds[place].patches, 1))),
        firstFrame: tracks[place].firstFrame)
    }
    self.init(ids: ids, tracks: tracks)
  }

  /// - Parameters:
  ///   - patches: of a frame.
  ///   - frames: of the video.
  ///   - last: id that is given already.
  init(
    _ instances: [Instances.Instance], _ settings: Settings, patches: Int, frames: Int, tau: Float,
    after last: Int = 0
  ) throws(CoveyError) {
    var chosen = instances.indices.filter {
      instances[$0].isThing(settings, patches: patches, frames: frames)
    }
    if chosen.count > settings.maxObjects {
      chosen.sort {
        let (a, b) = (instances[$0].objectness, instances[$1].objectness)
        return a != b ? a > b : $0 < $1
      }
      chosen.removeLast(chosen.count - settings.maxObjects)
    }
    chosen.sort { instances[$0].comesIntoSight(before: instances[$1], else: $0 < $1) }
    let own = try Numbering(chosen, count: instances.count, tau: tau, after: last) {
      instances[$0].track
    }
    var ids = own.ids
    for index in ids.indices where instances[index].isReally >= 0 {
      ids[index] = ids[Int(instances[index].isReally)]
    }
    self.init(ids: ids, tracks: own.tracks)
  }

  private init(
    _ chosen: [Int], count: Int, tau: Float, after last: Int, track: (Int) -> Segmentation.Track
  ) throws(CoveyError) {
    guard last + chosen.count <= Int(UInt16.max) else {
      throw CoveyError(
        .capacity,
        "\(last + chosen.count) clusters at tau \(NumberText.of(tau)): a label map holds "
          + "\(UInt16.max); a larger tau gives fewer")
    }
    var ids = [UInt16](repeating: 0, count: count)
    for (position, index) in chosen.enumerated() { ids[index] = UInt16(last + position + 1) }
    self.ids = ids
    tracks = chosen.map(track)
  }
}

extension Instances.Instance {
  var track: Segmentation.Track {
    Segmentation.Track(objectness: objectness, firstFrame: entry.frame)
  }

  /// Seen in fewer frames, it is a flaw of the clustering rather than a thing; a stream
  /// does not wait so long.
  private static let leastFrames = (whole: 5, stream: 3)

  /// - Parameters:
  ///   - patches: of a frame.
  ///   - frames: that there have been.
  func isThing(_ settings: Settings, patches: Int, frames: Int) -> Bool {
    guard isReally < 0, objectness >= settings.leastObjectness else { return false }
    guard settings.minArea > 0 else { return true }  // none is left out
    let least = Instances.Instance.leastFrames
    return self.frames >= min(settings.isStreaming ? least.stream : least.whole, frames)
      && Float(largestArea) / Float(patches) > settings.minArea
  }

  /// As they come into sight, large ones first.
  func comesIntoSight(before other: Instances.Instance, else isFirst: Bool) -> Bool {
    let (own, others) = (entry, other.entry)
    if own.frame != others.frame { return own.frame < others.frame }
    return own.area != others.area ? own.area > others.area : isFirst
  }
}
