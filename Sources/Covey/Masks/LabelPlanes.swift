/// The labels that compete for the pixels of one frame, and how much of each
/// patch they have.
///
/// These are the labels that own a patch of the frame: no object appears where
/// the clustering did not see it.  A patch's weights are scaled to sum 1 among
/// them.
struct LabelPlanes {
  /// With more labels than this in a frame, masks are drawn from its patches.
  static let most = 255

  /// Ascending.
  let labels: [UInt16]
  /// [labels, patches], in 0...1; nil where there are fewer than 2 labels or
  /// more than `most`, and nothing to compete for.
  let weights: Buffer<Float>?

  /// - Parameters:
  ///   - grid: [patches], the label that each patch has.
  ///   - entries: [patches, SoftLabels.depth].
  init(
    _ grid: UnsafePointer<UInt16>, _ entries: UnsafePointer<SoftLabels.Entry>, patches: Int,
    budget: Budget?
  ) throws(CoveyError) {
    let places = try Buffer<UInt16>(65536, budget: budget, for: "places of labels")
    defer { withExtendedLifetime(places) {} }
    places.fill(0)
    var labels: [UInt16] = []
    for patch in 0..<patches where places.base[Int(grid[patch])] == 0 {
      places.base[Int(grid[patch])] = 1
      labels.append(grid[patch])
    }
    labels.sort()
    self.labels = labels
    guard labels.count >= 2, labels.count <= LabelPlanes.most else {
      weights = nil
      return
    }
    for (place, label) in labels.enumerated() { places.base[Int(label)] = UInt16(place + 1) }

    let planes = try Buffer<Float>(
      labels.count * patches, budget: budget, for: "weights of labels")
    planes.fill(0)
    for patch in 0..<patches {
      let own = entries + patch * SoftLabels.depth
      var sum = 0
      for place in 0..<SoftLabels.depth where places.base[Int(own[place].label)] > 0 {
        sum += Int(own[place].weight)
      }
      guard sum > 0 else {
        planes.base[(Int(places.base[Int(grid[patch])]) - 1) * patches + patch] = 1
        continue
      }
      for place in 0..<SoftLabels.depth {
        let plane = Int(places.base[Int(own[place].label)]) - 1
        guard plane >= 0, own[place].weight > 0 else { continue }
        planes.base[plane * patches + patch] = Float(own[place].weight) / Float(sum)
      }
    }
    weights = planes
  }

  /// How many labels estimates reckon with in a frame: one for every 16 patches,
  /// and the background.
  static func expectedCount(patches: Int) -> Int {
    min(most, patches, patches / 16 + 2)
  }

  /// Bytes `init` takes for so many labels.
  static func byteCount(patches: Int) -> Int {
    2 * 65536 + 4 * expectedCount(patches: patches) * patches
  }
}
