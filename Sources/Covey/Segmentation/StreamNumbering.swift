/// The ids of a stream's clusters or instances: given when one is first shown, and kept.
struct StreamNumbering {
  /// Of each; 0: none yet.
  private var ids: [UInt16] = []
  /// Of id 1, 2, ...
  private var tracks: [Segmentation.Track] = []
  private var lastID: UInt16 = 0

  init() {}

  /// For the next shot: no id serves twice.
  init(after other: StreamNumbering) { (tracks, lastID) = (other.tracks, other.lastID) }

  mutating func remove(at index: Int) {
    if index < ids.count { ids.remove(at: index) }
  }

  /// - Parameters:
  ///   - count: of what there is now; new ones come last.
  ///   - most: ids at most.
  ///   - precedes: the order in which those that are shown for the first time get ids.
  mutating func update(
    count: Int, most: Int, isShown: (Int) -> Bool, precedes: (Int, Int) -> Bool,
    track: (Int) -> Segmentation.Track
  ) -> Numbering {
    ids += [UInt16](repeating: 0, count: count - ids.count)
    var shown = (0..<count).filter(isShown)
    let new = shown.filter { ids[$0] == 0 }.sorted(by: precedes)
    let room = max(0, most - ids.count { $0 > 0 })
    for index in new.prefix(room) { ids[index] = nextID() }
    shown.removeAll { ids[$0] == 0 }
    // New ids follow each other, but for those that serve again.
    for index in new.prefix(room) where Int(ids[index]) > tracks.count {
      tracks.append(track(index))
    }
    for index in 0..<count where ids[index] > 0 { tracks[Int(ids[index]) - 1] = track(index) }
    var visible = [UInt16](repeating: 0, count: count)
    for index in shown { visible[index] = ids[index] }
    return Numbering(ids: visible, tracks: tracks)
  }

  /// The next higher one; after 65535 those of what is forgotten serve again.
  private mutating func nextID() -> UInt16 {
    repeat { lastID = lastID == .max ? 1 : lastID + 1 } while ids.contains(lastID)
    return lastID
  }
}
