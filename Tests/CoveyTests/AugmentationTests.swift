import Foundation
import Testing

@testable import Covey

/// torchvision's formulas in Double, pixel by pixel.
private struct NaiveAugmenter {
  let height: Int
  let width: Int
  var planes: [[Double]]  // [3][H W]

  private func gray(_ pixel: Int) -> Double {
    0.2989 * planes[0][pixel] + 0.587 * planes[1][pixel] + 0.114 * planes[2][pixel]
  }

  private mutating func blend(_ factor: Double, _ other: [Double]) {
    for channel in 0..<3 {
      for pixel in 0..<height * width {
        let value = factor * planes[channel][pixel] + (1 - factor) * other[pixel]
        planes[channel][pixel] = min(max(value, 0), 1)
      }
    }
  }

  mutating func run(_ augmentation: Augmentation) {
    let count = height * width
    if augmentation.isGray {
      let gray = (0..<count).map { self.gray($0) }
      planes = [gray, gray, gray]
    }
    if let jitter = augmentation.jitter {
      for change in jitter.order {
        switch change {
        case .brightness:
          blend(Double(jitter.brightness), [Double](repeating: 0, count: count))
        case .contrast:
          let mean = (0..<count).reduce(0) { $0 + gray($1) } / Double(count)
          blend(Double(jitter.contrast), [Double](repeating: mean, count: count))
        case .saturation: blend(Double(jitter.saturation), (0..<count).map { gray($0) })
        case .hue:
          for pixel in 0..<count { turn(pixel, Double(jitter.hue)) }
        }
      }
    }
    if let sigma = augmentation.sigma { blur(Double(sigma)) }
  }

  /// By way of HSV, with the four values v, p, q, t of its six sectors.
  private mutating func turn(_ pixel: Int, _ amount: Double) {
    let (r, g, b) = (planes[0][pixel], planes[1][pixel], planes[2][pixel])
    let v = max(r, g, b)
    let chroma = v - min(r, g, b)
    guard chroma > 0 else { return }
    let s = chroma / v
    let (rc, gc, bc) = ((v - r) / chroma, (v - g) / chroma, (v - b) / chroma)
    var h = (r == v ? bc - gc : g == v ? 2 + rc - bc : 4 + gc - rc) / 6 + amount
    h -= h.rounded(.down)
    let sector = Int(6 * h)
    let f = 6 * h - Double(sector)
    let (p, q, t) = (v * (1 - s), v * (1 - s * f), v * (1 - s * (1 - f)))
    let sectors = [(v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q)]
    (planes[0][pixel], planes[1][pixel], planes[2][pixel]) = sectors[sector % 6]
  }

  private mutating func blur(_ sigma: Double) {
    let reach = Int((3 * sigma).rounded(.up))
    func weight(_ distance: Int) -> Double {
      exp(-Double(distance * distance) / (2 * sigma * sigma))
    }
    func place(_ index: Int, _ count: Int) -> Int {
      guard count > 1 else { return 0 }
      let period = 2 * (count - 1)
      let within = ((index % period) + period) % period
      return within < count ? within : period - within
    }
    planes = planes.map { plane in
      (0..<height * width).map { pixel in
        let (y, x) = pixel.quotientAndRemainder(dividingBy: width)
        var (sum, weights) = (0.0, 0.0)
        for dy in -reach...reach {
          for dx in -reach...reach {
            let share = weight(dy) * weight(dx)
            weights += share
            sum += share * plane[place(y + dy, height) * width + place(x + dx, width)]
          }
        }
        return sum / weights
      }
    }
  }
}

@Suite struct AugmentationTests {
  private static var cases: [Augmentation] {
    typealias Jitter = Augmentation.Jitter
    func of(_ change: (inout Augmentation) -> Void) -> Augmentation {
      var made = Augmentation()
      change(&made)
      return made
    }
    return [
      of { $0.isGray = true },
      of { $0.jitter = Jitter(brightness: 0.6) },
      of { $0.jitter = Jitter(brightness: 1.4) },
      of { $0.jitter = Jitter(contrast: 0.6) },
      of { $0.jitter = Jitter(contrast: 1.4) },
      of { $0.jitter = Jitter(saturation: 0.61) },
      of { $0.jitter = Jitter(saturation: 1.39) },
      of { $0.jitter = Jitter(hue: 0.1) },
      of { $0.jitter = Jitter(hue: -0.1) },
      of { $0.sigma = 0.1 },
      of { $0.sigma = 0.7 },
      of { $0.sigma = 2 },
      of {
        $0.jitter = Jitter(
          brightness: 1.2, contrast: 0.7, saturation: 1.3, hue: 0.07,
          order: [.hue, .contrast, .saturation, .brightness])
        $0.sigma = 1.1
      },
      of {
        $0.isGray = true
        $0.jitter = Jitter(
          brightness: 0.8, contrast: 1.3, saturation: 0.9, hue: -0.03,
          order: [.saturation, .brightness, .hue, .contrast])
      },
    ]
  }

  /// Values are in 0...1.  Observed: at most 4e-7.
  @Test(arguments: cases.indices, [(21, 34), (40, 3), (1, 9)])
  func agreesWithDouble(index: Int, size: (height: Int, width: Int)) throws {
    let augmentation = Self.cases[index]
    let (height, width) = size
    var random = SeededRandom(seed: UInt64(index))
    // With pixels that are gray, saturated and of two equal channels.
    let values = (0..<3 * height * width).map { _ in
      [0, 1, 0.5, Float(random.uniform()), Float(random.uniform())][Int(random.next() % 5)]
    }
    var naive = NaiveAugmenter(
      height: height, width: width,
      planes: (0..<3).map { channel in
        values[channel * height * width..<(channel + 1) * height * width].map { Double($0) }
      })
    naive.run(augmentation)
    var bits: [[UInt32]] = []
    for threads in [1, 3] {
      let augmenter = try Augmenter(
        height: height, width: width, pool: try ThreadPool(threads: threads), budget: Budget())
      var planes = values
      augmenter.run(augmentation, &planes)
      let expected = naive.planes.flatMap { $0 }
      #expect(zip(planes, expected).allSatisfy { abs(Double($0) - $1) <= 1.5e-6 })
      bits.append(planes.map(\.bitPattern))
    }
    #expect(bits[0] == bits[1])
  }

  /// Shares within five standard deviations of what they should be, every order of
  /// colours, and numbers that fill their ranges.
  @Test func drawsAreDistributedAsTheyShouldBe() {
    let count = 20_000
    let draws = (0..<count).map { Augmentation(seed: 7, draw: UInt64($0)) }
    func check(_ share: Double, _ isIt: (Augmentation) -> Bool) {
      let found = Double(draws.count(where: isIt)) / Double(count)
      #expect(abs(found - share) < 5 * (share * (1 - share) / Double(count)).squareRoot())
    }
    check(0.2) { $0.isGray }
    check(0.8) { $0.jitter != nil }
    check(0.5) { $0.sigma != nil }
    check(0.16) { $0.isGray && $0.jitter != nil }
    func range(_ values: [Float], _ low: Float, _ high: Float) {
      #expect((values.min() ?? -9) >= low && (values.max() ?? 9) <= high)
      let margin = 0.01 * (high - low)
      #expect((values.min() ?? 9) < low + margin && (values.max() ?? -9) > high - margin)
    }
    let jitters = draws.compactMap(\.jitter)
    range(jitters.map(\.brightness), 0.6, 1.4)
    range(jitters.map(\.contrast), 0.6, 1.4)
    range(jitters.map(\.saturation), 0.6, 1.4)
    range(jitters.map(\.hue), -0.1, 0.1)
    range(draws.compactMap(\.sigma), 0.1, 2)
    let orders = Dictionary(grouping: jitters) { $0.order }.mapValues(\.count)
    #expect(orders.count == 24)
    for found in orders.values {
      let expected = Double(jitters.count) / 24
      #expect(abs(Double(found) - expected) < 5 * expected.squareRoot())
    }
  }

  @Test func drawsAreFunctionsOfSeedAndNumber() {
    #expect(Augmentation(seed: 1, draw: 5) == Augmentation(seed: 1, draw: 5))
    let others = [(1, 6), (2, 5), (1, 5 + 1 << 32)].map {
      Augmentation(seed: UInt64($0.0), draw: UInt64($0.1))
    }
    #expect(others.allSatisfy { $0 != Augmentation(seed: 1, draw: 5) })
  }
}
