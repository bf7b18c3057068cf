import CCoveyKernels

/// To which labels a patch belongs, and how much: all that drawing masks at the
/// frame's size needs of the clustering.
///
/// The weights of the nearest clusters are exp(-distance / temperature), scaled
/// to sum 1; clusters of the same label (those of the background, as a rule)
/// count together.
struct SoftLabels {
  /// Labels kept for each patch: one of every centre at most.
  static let depth = NearCentre.depth

  struct Entry: BitwiseCopyable, Equatable {
    var label: UInt16
    /// In 1 / 65535; 0: no entry.
    var weight: UInt16
  }

  /// [patches, depth], each patch's by decreasing weight, then label.
  let entries: Buffer<Entry>

  /// The temperature at which masks are best, as a part of tau (docs/ALGORITHM.md).
  static let temperature: Float = 0.5

  /// - Parameters:
  ///   - near: [count, depth], clusters, or -1.
  ///   - count: patches, of one frame or of many.
  ///   - tau: nats, above 0.
  ///   - label: of a cluster where it is near a patch.
  init(
    _ near: UnsafePointer<NearCentre>, count: Int, tau: Float, monitor: Monitor = Monitor(),
    budget: Budget?, label: (_ cluster: Int, _ patch: Int) -> UInt16
  ) throws(CoveyError) {
    let depth = SoftLabels.depth
    entries = try Buffer(count * depth, budget: budget, for: "soft labels")
    let kernels = cv_rows().pointee
    // Below, the scale would be infinite.
    let scale = 1 / max(tau * SoftLabels.temperature, 1e-6)
    let target = entries.base
    for first in stride(from: 0, to: count, by: SoftLabels.patchesAtOnce) {
      try monitor.check()
      withUnsafeTemporaryAllocation(of: Float.self, capacity: depth) { weights in
        for patch in first..<min(count, first + SoftLabels.patchesAtOnce) {
          let nearest = near + patch * depth
          for place in 0..<depth {
            // What is missing: far away, and finite for the kernel.
            weights[place] = nearest[place].cluster < 0 ? -1e9 : -max(nearest[place].distance, 0)
          }
          kernels.softmax(weights.baseAddress!, depth, 1, depth, scale)
          SoftLabels.merge(nearest, weights, into: target + patch * depth) { label($0, patch) }
        }
      }
    }
  }

  /// Between two looks at whether the call has been cancelled.
  private static let patchesAtOnce = 1 << 14

  private static func merge(
    _ near: UnsafePointer<NearCentre>, _ weights: UnsafeMutableBufferPointer<Float>,
    into output: UnsafeMutablePointer<Entry>, label: (Int) -> UInt16
  ) {
    var found = 0
    for place in 0..<depth { output[place] = Entry(label: 0, weight: 0) }
    // Sums of floats of the same label, in the place of its first.
    for place in 0..<depth where near[place].cluster >= 0 {
      let label = label(Int(near[place].cluster))
      var slot = 0
      while slot < found, output[slot].label != label { slot += 1 }
      if slot == found {
        output[slot].label = label
        if slot != place { weights[slot] = weights[place] }
        found += 1
      } else {
        weights[slot] += weights[place]
      }
    }
    for slot in 0..<found {
      output[slot].weight = UInt16(min(max((weights[slot] * 65535).rounded(), 0), 65535))
    }
    // At most four: insertion.
    for slot in 1..<depth {
      var place = slot
      while place > 0, precedes(output[place], output[place - 1]) {
        let entry = output[place]
        output[place] = output[place - 1]
        output[place - 1] = entry
        place -= 1
      }
    }
  }

  private static func precedes(_ a: Entry, _ b: Entry) -> Bool {
    a.weight != b.weight ? a.weight > b.weight : a.weight > 0 && a.label < b.label
  }

  static func byteCount(_ patches: Int) -> Int {
    patches * depth * MemoryLayout<Entry>.stride
  }
}
