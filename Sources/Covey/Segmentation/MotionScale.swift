/// What counts as motion in a video: the value that best parts its patches in two by the
/// evidence of their regions (Otsu: A threshold selection method from gray-level
/// histograms, 1979), and how far they spread about their mean.
struct MotionScale {
  private var weights = [Double](repeating: 0, count: bins)
  private var total = 0.0
  private var sum = 0.0
  private var squares = 0.0

  private static let bins = 256
  private static let most = 4.0  // ln: differences fifty times as large
  /// A smaller deviation is that of noise, in a video where nothing moves.
  private static let leastDeviation = 0.05
  private static let range = -3.0...6.0

  /// What a stream saw before counts less by this, frame for frame.
  static let memory = 0.99

  mutating func fade(frames: Int) {
    for _ in 0..<frames {
      for bin in weights.indices { weights[bin] *= MotionScale.memory }
      total *= MotionScale.memory
      sum *= MotionScale.memory
      squares *= MotionScale.memory
    }
  }

  mutating func add(_ evidence: Double, weight: Double) {
    let share = min(max(evidence / MotionScale.most, 0), 1) * Double(MotionScale.bins - 1)
    weights[Int(share.rounded())] += weight
    total += weight
    sum += weight * evidence
    squares += weight * evidence * evidence
  }

  /// The threshold and the deviation.
  private var statistics: (threshold: Double, deviation: Double) {
    guard total > 0 else { return (0, MotionScale.leastDeviation) }
    let mean = sum / total
    let deviation = max(squares / total - mean * mean, 0).squareRoot()
    let width = MotionScale.most / Double(MotionScale.bins - 1)
    var all = 0.0
    for (bin, weight) in weights.enumerated() { all += weight * Double(bin) }
    var (threshold, best, below, belowSum) = (mean, 0.0, 0.0, 0.0)
    for (bin, weight) in weights.enumerated().dropLast() where weight > 0 {
      below += weight
      belowSum += weight * Double(bin)
      let rest = total - below
      guard rest > 0 else { break }
      let difference = belowSum / below - (all - belowSum) / rest
      let between = below * rest * difference * difference
      if between > best {
        // Half-way to the next bin that has anything.
        var next = bin + 1
        while next < MotionScale.bins - 1, weights[next] == 0 { next += 1 }
        (threshold, best) = (Double(bin + next) / 2 * width, between)
      }
    }
    return (threshold, max(deviation, MotionScale.leastDeviation))
  }

  /// By how many deviations evidence is above the threshold.
  func relative() -> (Double) -> Float {
    let (threshold, deviation) = statistics
    return { evidence in
      let away = (evidence - threshold) / deviation
      return Float(min(max(away, MotionScale.range.lowerBound), MotionScale.range.upperBound))
    }
  }
}
