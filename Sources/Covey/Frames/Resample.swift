/// Turns frames of one size into the input of the vision transformer: planes
/// [3, H, W] of R, G, B, each (x / 255 - mean) / std of its channel, resized
/// bilinearly with half-pixel centres, without anti-aliasing and clamped at the
/// border.  The same as `torch.nn.functional.interpolate(mode="bilinear",
/// align_corners=False)`, but for torch's source coordinates, which are
/// rounded to float; here they are exact.
///
/// Chroma samples hold for all pixels they cover; they are not interpolated
/// among themselves.  YUV becomes RGB before resizing, clamped to [0, 255] and
/// not rounded.
///
/// A plan holds the taps and the scratch of its workers: it serves one frame at
/// a time.
struct ResamplePlan {
  let frameWidth: Int
  let frameHeight: Int
  let outWidth: Int
  let outHeight: Int
  let workers: Int

  /// Where one output sample comes from: first * (1 - weight) + second * weight.
  struct Tap {
    var first: Int32
    var second: Int32
    var weight: Float
  }

  /// Source columns that are read at all, ascending: when shrinking, most are
  /// not.  Room for the most there can be.
  private let columns: Buffer<Int32>
  private let columnCount: Int
  /// [outWidth], into `columns`.
  private let horizontal: Buffer<Tap>
  /// [outHeight], source rows.
  private let vertical: Buffer<Tap>
  /// [workers, scratchStride]: samples [3, columns], then two rows [3, outWidth].
  private let scratch: Buffer<Float>
  private let scratchStride: Int
  private let scale: (Float, Float, Float)
  private let offset: (Float, Float, Float)

  /// - Parameters:
  ///   - mean: of R, G, B in 0...1.
  ///   - std: likewise; not 0.
  ///   - workers: how many threads may call `rows` at once.
  /// - Throws: `.argument` for sizes beyond 1 to 32768, `.memory`.
  init(
    frameWidth: Int, frameHeight: Int, outWidth: Int, outHeight: Int,
    mean: SIMD3<Float>, std: SIMD3<Float>, workers: Int, budget: Budget? = nil
  ) throws(CoveyError) {
    let sizes = 1...Frame.maximumSize
    guard sizes.contains(frameWidth), sizes.contains(frameHeight),
      sizes.contains(outWidth), sizes.contains(outHeight), workers >= 1
    else {
      throw CoveyError(
        .argument,
        "resampling: expected sizes of 1 to \(Frame.maximumSize), found "
          + "\(frameWidth)x\(frameHeight) to \(outWidth)x\(outHeight)")
    }
    self.frameWidth = frameWidth
    self.frameHeight = frameHeight
    self.outWidth = outWidth
    self.outHeight = outHeight
    self.workers = workers
    scratchStride = Self.scratchStride(frameWidth: frameWidth, outWidth: outWidth)
    columns = try Buffer(
      Self.mostColumns(frameWidth: frameWidth, outWidth: outWidth), budget: budget,
      for: "resampling columns")
    horizontal = try Buffer(outWidth, budget: budget, for: "resampling taps")
    vertical = try Buffer(outHeight, budget: budget, for: "resampling taps")
    scratch = try Buffer(workers * scratchStride, budget: budget, for: "resampling rows")

    // (x / 255 - mean) / std as x * scale + offset.
    func scale(_ channel: Int) -> Float { Float(1 / (255 * Double(std[channel]))) }
    func offset(_ channel: Int) -> Float { Float(-Double(mean[channel]) / Double(std[channel])) }
    self.scale = (scale(0), scale(1), scale(2))
    self.offset = (offset(0), offset(1), offset(2))

    Self.fill(vertical.base, count: outHeight, from: frameHeight)
    Self.fill(horizontal.base, count: outWidth, from: frameWidth)
    columnCount = Self.compact(horizontal.base, count: outWidth, into: columns.base)
  }

  /// Bytes that a plan takes of its budget.
  static func byteCount(
    frameWidth: Int, outWidth: Int, outHeight: Int, workers: Int
  ) -> Int {
    mostColumns(frameWidth: frameWidth, outWidth: outWidth) * MemoryLayout<Int32>.stride
      + (outWidth + outHeight) * MemoryLayout<Tap>.stride
      + workers * scratchStride(frameWidth: frameWidth, outWidth: outWidth)
      * MemoryLayout<Float>.stride
  }

  private static func mostColumns(frameWidth: Int, outWidth: Int) -> Int {
    min(frameWidth, 2 * outWidth)
  }

  /// Floats; whole cache lines, so that workers do not share any.
  private static func scratchStride(frameWidth: Int, outWidth: Int) -> Int {
    let floats = 3 * mostColumns(frameWidth: frameWidth, outWidth: outWidth) + 6 * outWidth
    return (floats + 15) / 16 * 16
  }

  /// Taps at (index + 1/2) * size / count - 1/2, kept as the fraction
  /// ((2 index + 1) size - count) / (2 count): exact in integers.
  private static func fill(
    _ taps: UnsafeMutablePointer<Tap>, count: Int, from size: Int
  ) {
    let denominator = 2 * Int64(count)
    for index in 0..<count {
      let numerator = max(0, (2 * Int64(index) + 1) * Int64(size) - Int64(count))
      let first = Int32(numerator / denominator)
      let remainder = numerator % denominator
      let hasSecond = remainder > 0 && Int(first) + 1 < size
      taps[index] = Tap(
        first: first, second: hasSecond ? first + 1 : first,
        weight: hasSecond ? Float(Double(remainder) / Double(denominator)) : 0)
    }
  }

  /// Lists the different positions that taps name, which ascend, and makes the
  /// taps point into the list.  Returns its length.
  private static func compact(
    _ taps: UnsafeMutablePointer<Tap>, count: Int, into list: UnsafeMutablePointer<Int32>
  ) -> Int {
    var length = 0
    func place(_ position: Int32) -> Int32 {
      // A tap's first may be the second of the one before, or even its first.
      if length > 0, list[length - 1] == position { return Int32(length - 1) }
      if length > 1, list[length - 2] == position { return Int32(length - 2) }
      list[length] = position
      length += 1
      return Int32(length - 1)
    }
    for index in 0..<count {
      let tap = taps[index]
      taps[index].first = place(tap.first)
      taps[index].second = place(tap.second)
    }
    return length
  }

  /// The whole frame, on all threads of a pool.
  ///
  /// - Parameters:
  ///   - pool: of at most `workers` threads.
  ///   - output: [3, outHeight, outWidth].
  func run(
    _ source: PixelSource, on pool: ThreadPool, into output: UnsafeMutablePointer<Float>
  ) {
    precondition(pool.threads <= workers)
    let height = outHeight
    // Twice as many bands as threads, in case one is held up.
    let bands = min(height, 2 * pool.threads)
    pool.run(bands) { band, worker in
      self.rows(
        height * band / bands..<height * (band + 1) / bands, of: source, worker: worker,
        into: output)
    }
  }

  /// Some rows of the output, which do not depend on how rows are grouped.
  ///
  /// - Parameters:
  ///   - source: a frame of the plan's size.
  ///   - worker: below `workers`, of one thread at a time.
  ///   - output: [3, outHeight, outWidth], of which these rows are written.
  func rows(
    _ range: Range<Int>, of source: PixelSource, worker: Int,
    into output: UnsafeMutablePointer<Float>
  ) {
    precondition(source.width == frameWidth && source.height == frameHeight)
    precondition(range.lowerBound >= 0 && range.upperBound <= outHeight)
    precondition(worker >= 0 && worker < workers)
    let width = outWidth
    let plane = outHeight * width
    let vertical = vertical.base
    let (scale, offset) = (scale, offset)
    let samples = scratch.base + worker * scratchStride  // [3, columns]
    // Two source rows, resized horizontally and not yet normalised.  Rows are
    // asked for in ascending order, so each is made once.
    var near = samples + 3 * columnCount  // [3, outWidth]
    var far = near + 3 * width
    var nearRow: Int32 = -1
    var farRow: Int32 = -1

    for row in range {
      let tap = vertical[row]
      if nearRow != tap.first {
        if farRow == tap.first {
          swap(&near, &far)
          swap(&nearRow, &farRow)
        } else {
          resize(row: Int(tap.first), of: source, samples: samples, into: near)
          nearRow = tap.first
        }
      }
      if tap.second != tap.first, farRow != tap.second {
        resize(row: Int(tap.second), of: source, samples: samples, into: far)
        farRow = tap.second
      }
      let second = tap.second == tap.first ? near : far
      let target = output + row * width
      Self.blend(near, second, tap.weight, scale.0, offset.0, into: target, count: width)
      Self.blend(
        near + width, second + width, tap.weight, scale.1, offset.1,
        into: target + plane, count: width)
      Self.blend(
        near + 2 * width, second + 2 * width, tap.weight, scale.2, offset.2,
        into: target + 2 * plane, count: width)
    }
  }

  /// One source row as R, G, B in 0...255, resized to the output's width.
  private func resize(
    row: Int, of source: PixelSource, samples: UnsafeMutablePointer<Float>,
    into output: UnsafeMutablePointer<Float>
  ) {
    let count = columnCount
    let columns = columns.base
    let taps = horizontal.base
    let width = outWidth
    Self.gather(source.first, row: row, columns, count, into: samples)
    Self.gather(source.second, row: row, columns, count, into: samples + count)
    Self.gather(source.third, row: row, columns, count, into: samples + 2 * count)
    if source.isYUV {
      Self.convert(samples, samples + count, samples + 2 * count, count: count)
    }
    for channel in 0..<3 {
      let from = samples + channel * count
      let to = output + channel * width
      for x in 0..<width {
        let tap = taps[x]
        to[x] = from[Int(tap.first)] * (1 - tap.weight) + from[Int(tap.second)] * tap.weight
      }
    }
  }

  private static func gather(
    _ channel: PixelSource.Channel, row: Int, _ columns: UnsafePointer<Int32>, _ count: Int,
    into samples: UnsafeMutablePointer<Float>
  ) {
    let base = channel.base + (row >> channel.rowShift) * channel.stride
    let step = channel.step
    let shift = Int32(channel.columnShift)
    if channel.isWide {
      for index in 0..<count {
        // Rows may begin at any byte.
        let low = base[Int(columns[index] &>> shift) &* step]
        let high = base[Int(columns[index] &>> shift) &* step &+ 1]
        samples[index] = Float(Int32(high) << 8 | Int32(low)) / 256
      }
      return
    }
    for index in 0..<count {
      samples[index] = Float(base[Int(columns[index] &>> shift) &* step])
    }
  }

  /// Y, U, V to R, G, B, in place.  BT.601, limited range: Y from 16 to 235, U
  /// and V from 16 to 240 about 128; Kr = 0.299, Kb = 0.114.
  private static func convert(
    _ first: UnsafeMutablePointer<Float>, _ second: UnsafeMutablePointer<Float>,
    _ third: UnsafeMutablePointer<Float>, count: Int
  ) {
    let luma: Float = 255 / 219
    let redV: Float = 2 * (1 - 0.299) * 255 / 224
    let greenU: Float = 2 * (1 - 0.114) * 0.114 / 0.587 * 255 / 224
    let greenV: Float = 2 * (1 - 0.299) * 0.299 / 0.587 * 255 / 224
    let blueU: Float = 2 * (1 - 0.114) * 255 / 224
    for index in 0..<count {
      let y = (first[index] - 16) * luma
      let u = second[index] - 128
      let v = third[index] - 128
      first[index] = clamp(y + redV * v)
      second[index] = clamp(y - greenU * u - greenV * v)
      third[index] = clamp(y + blueU * u)
    }
  }

  @inline(__always)
  private static func clamp(_ value: Float) -> Float {
    let positive = value > 0 ? value : 0
    return positive < 255 ? positive : 255
  }

  private static func blend(
    _ first: UnsafePointer<Float>, _ second: UnsafePointer<Float>, _ weight: Float,
    _ scale: Float, _ offset: Float, into output: UnsafeMutablePointer<Float>, count: Int
  ) {
    let rest = 1 - weight
    for x in 0..<count {
      output[x] = (first[x] * rest + second[x] * weight) * scale + offset
    }
  }
}
