import CCoveyKernels

/// Adam with decoupled weight decay (Loshchilov and Hutter, arXiv 1711.05101), in
/// the form PyTorch gives it:
///
///     w -= rate * decay * w                          matrices only
///     m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
///     w -= rate / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + epsilon)
struct AdamW {
  var beta1 = 0.9
  var beta2 = 0.999
  var epsilon = 1e-8
  var decay = 0.1

  let layout: BlockLayout
  let first: Buffer<Float>  // m [layout.count]
  let second: Buffer<Float>  // v [layout.count]
  /// Updates made.
  var step = 0

  /// Before the first update.
  init(_ layout: BlockLayout, budget: Budget? = nil) throws(CoveyError) {
    self.layout = layout
    first = try Buffer(layout.count, budget: budget, for: "moments of the optimiser")
    second = try Buffer(layout.count, budget: budget, for: "moments of the optimiser")
    first.fill(0)
    second.fill(0)
  }

  /// One update.
  mutating func update(
    _ parameters: UnsafeMutablePointer<Float>, gradients: UnsafePointer<Float>, rate: Double
  ) {
    step += 1
    let size = Float(rate / (1 - AdamW.power(beta1, step)))
    let correction = Float(1 / (1 - AdamW.power(beta2, step)).squareRoot())
    let (b1, b2) = (Float(beta1), Float(beta2))
    let (rest1, rest2) = (Float(1 - beta1), Float(1 - beta2))
    let epsilon = Float(epsilon)
    let (first, second) = (first.base, second.base)
    for tensor in layout.tensors {
      let kept = tensor.isMatrix ? Float(1 - rate * decay) : 1
      for index in tensor.offset..<tensor.offset + tensor.count {
        let gradient = gradients[index]
        let m = b1 * first[index] + rest1 * gradient
        let v = b2 * second[index] + rest2 * gradient * gradient
        first[index] = m
        second[index] = v
        parameters[index] =
          parameters[index] * kept - size * m / (v.squareRoot() * correction + epsilon)
      }
    }
    withExtendedLifetime(self) {}
  }

  static func power(_ base: Double, _ exponent: Int) -> Double {
    var (result, square, rest) = (1.0, base, exponent)
    while rest > 0 {
      if rest & 1 == 1 { result *= square }
      square *= square
      rest >>= 1
    }
    return result
  }
}

/// Of all gradients together.
enum GradientNorm {
  static func of(_ gradients: UnsafePointer<Float>, count: Int) -> Double {
    cv_rows().pointee.dot(gradients, gradients, count).squareRoot()
  }

  /// Scales gradients whose norm is above `limit` down to it.
  /// - Returns: the norm before.
  static func clip(
    _ gradients: UnsafeMutablePointer<Float>, count: Int, limit: Double
  ) -> Double {
    let norm = of(gradients, count: count)
    if norm > limit { cv_rows().pointee.scale(gradients, count, Float(limit / norm)) }
    return norm
  }
}

/// From `base` to 1e-6, or less where it begins lower, along half a cosine, without
/// warm-up.
struct CosineSchedule {
  let base: Double
  let steps: Int

  var final: Double { min(1e-6, base) }

  /// Of a step from 0 on; the last is one before reaching `final`, later ones have it.
  func rate(_ step: Int) -> Double {
    guard step < steps else { return final }
    let angle = Double.pi * Double(max(step, 0)) / Double(steps)
    return final + 0.5 * (base - final) * (1 + CosineSchedule.cosine(angle))
  }

  /// Of 0 to pi, by the power series up to pi / 2: the same bits everywhere, which
  /// mathematical libraries do not promise.
  static func cosine(_ angle: Double) -> Double {
    guard angle <= .pi / 2 else { return -cosine(.pi - angle) }
    let square = angle * angle
    // (pi / 2)^24 / 24! is under 1e-19.
    var sum = 1.0
    for term in stride(from: 22, through: 2, by: -2) {
      sum = 1 - square / Double(term * (term - 1)) * sum
    }
    return sum
  }
}
