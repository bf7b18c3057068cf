/// The guided filter (He, Sun and Tang, 2010) from patches to pixels: near a
/// patch, a label's weight is taken for an affine function of the colour,
///
///     weight(pixel) = a . colour(pixel) + b,
///
/// fitted by least squares, with a penalty on a, to the mean colours and the
/// weights of the patches about.  The functions of all neighbourhoods that a
/// patch is in are averaged.  This is its fast form: fitted on the grid of
/// patches, and evaluated where the pixels are (`MaskRenderer`).
///
/// All sums are of doubles, in an order that depends on nothing.
struct GuidedFilter {
  /// Neighbourhoods are 2 radius + 1 patches wide and high, less at the border.
  static let radius = 3
  /// The penalty: the variance of colours, in 0...1 squared, that counts as
  /// none.
  static let epsilon = 1e-4
  /// a (3 values, per byte of colour) and b.
  static let coefficients = 4

  private let rows: Int
  private let columns: Int
  /// [9, patches]: mean colour of the neighbourhood (3), then the inverse of its
  /// covariance (00, 01, 02, 11, 12, 22).
  private let statistics: Buffer<Double>
  /// [3, patches]: mean colour of a patch, in bytes.
  private let colours: Buffer<Double>
  /// [workers, 5, patches]
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
    statistics = try Buffer(9 * count, budget: budget, for: "colours about the patches")
    colours = try Buffer(3 * count, budget: budget, for: "colours of the patches")
    scratch = try Buffer(
      workers * (GuidedFilter.coefficients + 1) * count, budget: budget,
      for: "guided filter of the threads")

    let (tall, wide) = (height / rows, width / columns)
    for channel in 0..<3 {
      for row in 0..<rows {
        if isCancelled() { throw CoveyError(.cancelled, "cancelled") }
        for column in 0..<columns {
          var sum = 0
          for y in row * tall..<(row + 1) * tall {
            let line = guide + (channel * height + y) * width + column * wide
            for x in 0..<wide { sum += Int(line[x]) }
          }
          colours.base[channel * count + row * columns + column] =
            Double(sum) / Double(tall * wide)
        }
      }
    }
    try fillStatistics(isCancelled)
  }

  private func fillStatistics(_ isCancelled: () -> Bool) throws(CoveyError) {
    let count = rows * columns
    let (colours, means) = (colours.base, statistics.base)
    let (product, spare) = (scratch.base, scratch.base + count)
    for channel in 0..<3 {
      mean(colours + channel * count, spare, into: means + channel * count)
    }
    // The covariances first, in the places of their inverse.
    var place = 3
    for i in 0..<3 {
      for j in i..<3 {
        for n in 0..<count { product[n] = colours[i * count + n] * colours[j * count + n] }
        let target = means + place * count
        mean(product, spare, into: target)
        for n in 0..<count {
          target[n] -= means[i * count + n] * means[j * count + n]
          if i == j { target[n] += GuidedFilter.epsilon * 255 * 255 }
        }
        place += 1
      }
      if isCancelled() { throw CoveyError(.cancelled, "cancelled") }
    }
    for n in 0..<count {
      let (a, b, c) = (means[3 * count + n], means[4 * count + n], means[5 * count + n])
      let (d, e, f) = (means[6 * count + n], means[7 * count + n], means[8 * count + n])
      let (i00, i01, i02) = (d * f - e * e, c * e - b * f, b * e - c * d)
      // At least epsilon cubed: the covariance itself is not negative.
      let scale = 1 / (a * i00 + b * i01 + c * i02)
      means[3 * count + n] = i00 * scale
      means[4 * count + n] = i01 * scale
      means[5 * count + n] = i02 * scale
      means[6 * count + n] = (a * f - c * c) * scale
      means[7 * count + n] = (b * c - a * e) * scale
      means[8 * count + n] = (a * d - b * b) * scale
    }
  }

  /// The affine functions of one label.
  ///
  /// - Parameters:
  ///   - weights: [patches].
  ///   - output: [coefficients, patches].  All zero where no patch within two
  ///     radii has the label.
  func fit(
    _ weights: UnsafePointer<Float>, worker: Int, into output: UnsafeMutablePointer<Float>
  ) {
    let count = rows * columns
    let coefficients = GuidedFilter.coefficients
    let own = scratch.base + worker * (coefficients + 1) * count  // a and b, unaveraged
    let spare = own + coefficients * count
    let (colours, means) = (colours.base, statistics.base)
    let inverse = means + 3 * count
    let weight = own + 3 * count  // until it becomes b

    // Covariances with the three channels, in the places of a.  The products go
    // through the place of b, which is filled last.
    for channel in 0..<3 {
      for n in 0..<count { weight[n] = Double(weights[n]) * colours[channel * count + n] }
      mean(weight, spare, into: own + channel * count)
    }
    for n in 0..<count { weight[n] = Double(weights[n]) }
    mean(weight, spare, into: weight)
    for n in 0..<count {
      let p = weight[n]
      let c0 = own[n] - means[n] * p
      let c1 = own[count + n] - means[count + n] * p
      let c2 = own[2 * count + n] - means[2 * count + n] * p
      let a0 = inverse[n] * c0 + inverse[count + n] * c1 + inverse[2 * count + n] * c2
      let a1 = inverse[count + n] * c0 + inverse[3 * count + n] * c1 + inverse[4 * count + n] * c2
      let a2 = inverse[2 * count + n] * c0 + inverse[4 * count + n] * c1
        + inverse[5 * count + n] * c2
      own[n] = a0
      own[count + n] = a1
      own[2 * count + n] = a2
      weight[n] = p - (a0 * means[n] + a1 * means[count + n] + a2 * means[2 * count + n])
    }
    for place in 0..<coefficients {
      mean(own + place * count, spare, into: own + place * count)
      for n in 0..<count { output[place * count + n] = Float(own[place * count + n]) }
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
    8 * patches * (12 + workers * (coefficients + 1))
  }
}
