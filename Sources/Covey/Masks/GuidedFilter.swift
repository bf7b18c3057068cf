/// The guided filter (He, Sun and Tang, 2010) from patches to pixels: near a
/// patch, a label's weight is taken for a polynomial of the second degree in the
/// colour (r, g, b), each in -1/2...1/2,
///
///     weight(pixel) = sum of a[k] f[k](pixel) + c,
///     f = r, g, b, 2rr, 2rg, 2rb, 2gg, 2gb, 2bb,
///
/// fitted by least squares, with a penalty on a, to the patches about: their
/// weights, and their means of f.  The polynomials of all neighbourhoods that a
/// patch is in are averaged.  This is the filter's fast form: fitted on the grid
/// of patches, and evaluated where the pixels are (`MaskRenderer`).  The paper's
/// functions are affine; those of the second degree also tell a label whose
/// colours lie between those of its surroundings.
///
/// All sums are of doubles, in an order that depends on nothing.
struct GuidedFilter {
  /// Neighbourhoods are 2 radius + 1 patches wide and high, less at the border.
  static let radius = 4
  /// The penalty: the variance of f that counts as none.
  static let epsilon = 3e-5
  /// f above.
  static let features = 9
  /// a, then c.
  static let coefficients = features + 1

  private let rows: Int
  private let columns: Int
  /// [features, patches]: f in the mean of a patch.
  private let values: Buffer<Double>
  /// [features, patches]: mean of `values` over the neighbourhood.
  private let means: Buffer<Double>
  /// [factors, patches]: the covariance of `values` over the neighbourhood, with
  /// the penalty, as L D L'.  Lower triangles by rows: L, and in the place of its
  /// diagonal of ones 1 / D.
  private let factors: Buffer<Double>
  /// [workers, coefficients + 1, patches]
  private let scratch: Buffer<Double>

  /// - Parameters:
  ///   - guide: [3, height, width] bytes; height and width are multiples of rows
  ///     and columns.
  ///   - isCancelled: where this becomes true, `init` throws.
  /// - Throws: `.memory`, `.cancelled`.
  init(
    _ guide: UnsafePointer<UInt8>, height: Int, width: Int, rows: Int, columns: Int,
    workers: Int, budget: Budget?, isCancelled: () -> Bool
  ) throws(CoveyError) {
    precondition(height % rows == 0 && width % columns == 0)
    self.rows = rows
    self.columns = columns
    let count = rows * columns
    values = try Buffer(GuidedFilter.features * count, budget: budget, for: "colours of patches")
    means = try Buffer(
      GuidedFilter.features * count, budget: budget, for: "colours about the patches")
    factors = try Buffer(
      GuidedFilter.triangle * count, budget: budget, for: "covariances about the patches")
    scratch = try Buffer(
      workers * (GuidedFilter.coefficients + 1) * count, budget: budget,
      for: "guided filter of the threads")
    try fillValues(guide, height / rows, width / columns, isCancelled)
    try fillCovariances(isCancelled)
    factorise()
  }

  /// Elements of a lower triangle.
  private static let triangle = features * (features + 1) / 2

  /// - Parameters:
  ///   - tall, wide: pixels of a patch.
  private func fillValues(
    _ guide: UnsafePointer<UInt8>, _ tall: Int, _ wide: Int, _ isCancelled: () -> Bool
  ) throws(CoveyError) {
    let (count, line) = (rows * columns, columns * wide)
    let plane = rows * tall * line
    // Of sums of 2 byte - 255.
    let once = 1 / Double(tall * wide * 510)
    let target = values.base
    for row in 0..<rows {
      if isCancelled() { throw CoveyError(.cancelled, "cancelled") }
      for column in 0..<columns {
        // Exact: sums of whole numbers.
        var (r, g, b, rr, rg, rb, gg, gb, bb) = (0, 0, 0, 0, 0, 0, 0, 0, 0)
        for y in row * tall..<(row + 1) * tall {
          let red = guide + y * line + column * wide
          let (green, blue) = (red + plane, red + 2 * plane)
          // Of a row of up to 8192 pixels these are below 2^31.
          var (r1, g1, b1): (Int32, Int32, Int32) = (0, 0, 0)
          var (s1, s2, s3): (Int32, Int32, Int32) = (0, 0, 0)
          var (s4, s5, s6): (Int32, Int32, Int32) = (0, 0, 0)
          for x in 0..<wide {
            let i = 2 &* Int32(red[x]) &- 255
            let j = 2 &* Int32(green[x]) &- 255
            let k = 2 &* Int32(blue[x]) &- 255
            r1 &+= i
            g1 &+= j
            b1 &+= k
            s1 &+= i &* i
            s2 &+= i &* j
            s3 &+= i &* k
            s4 &+= j &* j
            s5 &+= j &* k
            s6 &+= k &* k
          }
          r += Int(r1)
          g += Int(g1)
          b += Int(b1)
          rr += Int(s1)
          rg += Int(s2)
          rb += Int(s3)
          gg += Int(s4)
          gb += Int(s5)
          bb += Int(s6)
        }
        let own = target + row * columns + column
        own[0] = Double(r) * once
        own[count] = Double(g) * once
        own[2 * count] = Double(b) * once
        own[3 * count] = Double(rr) * once / 255
        own[4 * count] = Double(rg) * once / 255
        own[5 * count] = Double(rb) * once / 255
        own[6 * count] = Double(gg) * once / 255
        own[7 * count] = Double(gb) * once / 255
        own[8 * count] = Double(bb) * once / 255
      }
    }
  }

  private func fillCovariances(_ isCancelled: () -> Bool) throws(CoveyError) {
    let count = rows * columns
    let (values, means) = (values.base, means.base)
    let (product, spare) = (scratch.base, scratch.base + count)
    for i in 0..<GuidedFilter.features {
      if isCancelled() { throw CoveyError(.cancelled, "cancelled") }
      mean(values + i * count, spare, into: means + i * count)
      for j in 0...i {
        for n in 0..<count { product[n] = values[i * count + n] * values[j * count + n] }
        let target = factors.base + (i * (i + 1) / 2 + j) * count
        mean(product, spare, into: target)
        for n in 0..<count { target[n] -= means[i * count + n] * means[j * count + n] }
        if i == j { for n in 0..<count { target[n] += GuidedFilter.epsilon } }
      }
    }
  }

  /// In place, of all patches at once.  What is factorised is positive definite by
  /// epsilon, ten million times what rounding takes away.
  private func factorise() {
    let (count, spare) = (rows * columns, scratch.base)
    func element(_ i: Int, _ j: Int) -> UnsafeMutablePointer<Double> {
      factors.base + (i * (i + 1) / 2 + j) * count
    }
    for j in 0..<GuidedFilter.features {
      let diagonal = element(j, j)
      for n in 0..<count { diagonal[n] = 1 / diagonal[n] }
      // What column j, not yet divided by D, takes from those to the right.
      for i in j + 1..<GuidedFilter.features {
        let own = element(i, j)
        for n in 0..<count { spare[n] = own[n] * diagonal[n] }
        for k in j + 1...i {
          // Rows below i have been divided already.
          let (other, target) = (element(k, j), element(i, k))
          if k == i {
            for n in 0..<count { target[n] -= spare[n] * own[n] }
          } else {
            for n in 0..<count { target[n] -= own[n] * other[n] }
          }
        }
        own.update(from: spare, count: count)
      }
    }
  }

  /// The polynomials of one label.
  ///
  /// - Parameters:
  ///   - weights: [patches].
  ///   - output: [coefficients, patches].  All zero where no patch within two
  ///     radii has the label.
  func fit(
    _ weights: UnsafePointer<Float>, worker: Int, into output: UnsafeMutablePointer<Float>
  ) {
    let (count, features) = (rows * columns, GuidedFilter.features)
    let own = scratch.base + worker * (GuidedFilter.coefficients + 1) * count
    let spare = own + GuidedFilter.coefficients * count
    let (values, means) = (values.base, means.base)
    let constant = own + features * count

    // Covariances with f, in the places of a.  The products go through the place
    // of the constant, which is filled last.
    for i in 0..<features {
      for n in 0..<count { constant[n] = Double(weights[n]) * values[i * count + n] }
      mean(constant, spare, into: own + i * count)
    }
    for n in 0..<count { constant[n] = Double(weights[n]) }
    mean(constant, spare, into: constant)
    for i in 0..<features {
      let a = own + i * count
      for n in 0..<count { a[n] -= means[i * count + n] * constant[n] }
    }
    solve(own)
    for i in 0..<features {
      let a = own + i * count
      for n in 0..<count { constant[n] -= a[n] * means[i * count + n] }
    }
    for place in 0..<GuidedFilter.coefficients {
      mean(own + place * count, spare, into: own + place * count)
      for n in 0..<count { output[place * count + n] = Float(own[place * count + n]) }
    }
  }

  /// [features, patches], in place: L, then D, then L' are taken off.
  private func solve(_ sides: UnsafeMutablePointer<Double>) {
    let (count, features, factors) = (rows * columns, GuidedFilter.features, factors.base)
    for i in 0..<features {
      let target = sides + i * count
      for k in 0..<i {
        let (factor, other) = (factors + (i * (i + 1) / 2 + k) * count, sides + k * count)
        for n in 0..<count { target[n] -= factor[n] * other[n] }
      }
    }
    for i in 0..<features {
      let (target, inverse) = (sides + i * count, factors + (i * (i + 1) / 2 + i) * count)
      for n in 0..<count { target[n] *= inverse[n] }
    }
    for i in stride(from: features - 1, through: 0, by: -1) {
      let target = sides + i * count
      for k in i + 1..<features {
        let (factor, other) = (factors + (k * (k + 1) / 2 + i) * count, sides + k * count)
        for n in 0..<count { target[n] -= factor[n] * other[n] }
      }
    }
  }

  /// Means over the neighbourhoods.
  ///
  /// - Parameters:
  ///   - spare: [patches], is overwritten.
  ///   - output: [patches], may be `values`.
  private func mean(
    _ values: UnsafePointer<Double>, _ spare: UnsafeMutablePointer<Double>,
    into output: UnsafeMutablePointer<Double>
  ) {
    let radius = GuidedFilter.radius
    for row in 0..<rows {
      let (from, to) = (values + row * columns, spare + row * columns)
      for column in 0..<columns {
        let (low, high) = (max(0, column - radius), min(columns - 1, column + radius))
        var sum = 0.0
        for each in low...high { sum += from[each] }
        to[column] = sum / Double(high - low + 1)
      }
    }
    for row in 0..<rows {
      let (low, high) = (max(0, row - radius), min(rows - 1, row + radius))
      let target = output + row * columns
      for column in 0..<columns { target[column] = 0 }
      for each in low...high {
        for column in 0..<columns { target[column] += spare[each * columns + column] }
      }
      let scale = 1 / Double(high - low + 1)
      for column in 0..<columns { target[column] *= scale }
    }
  }

  static func byteCount(patches: Int, workers: Int) -> Int {
    8 * patches * (2 * features + triangle + workers * (coefficients + 1))
  }
}
