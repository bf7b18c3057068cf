/// How the pixels of a frame lie in memory.  The raw values are those of
/// `covey_pixel_format`.
enum PixelFormat: Int32 {
  case rgb8 = 1
  case bgr8 = 2
  case rgba8 = 3
  case bgra8 = 4
  case gray8 = 5
  /// Planes Y, U, V; chroma of half size, rounded up.
  case i420 = 6
  /// Planes Y and UV interleaved; else as I420.
  case nv12 = 7
  /// Y0 U Y1 V: half as many chroma samples as columns, one for every row.
  case yuyv = 8
  /// As NV12, of little-endian words whose high bits are the sample.
  case p010 = 9

  /// - Throws: `.argument` for a number that is no format.
  init(code: Int32) throws(CoveyError) {
    guard let format = PixelFormat(rawValue: code) else {
      throw CoveyError(.argument, "frame.format: expected 1 to 9, found \(code)")
    }
    self = format
  }

  var name: StaticString {
    switch self {
    case .rgb8: "RGB8"
    case .bgr8: "BGR8"
    case .rgba8: "RGBA8"
    case .bgra8: "BGRA8"
    case .gray8: "GRAY8"
    case .i420: "I420"
    case .nv12: "NV12"
    case .yuyv: "YUYV"
    case .p010: "P010"
    }
  }

  var planeCount: Int {
    switch self {
    case .rgb8, .bgr8, .rgba8, .bgra8, .gray8, .yuyv: 1
    case .nv12, .p010: 2
    case .i420: 3
    }
  }

  /// Bytes that one row of a plane occupies without padding.
  func rowBytes(plane: Int, width: Int) -> Int {
    let chroma = (width + 1) / 2
    return switch self {
    case .rgb8, .bgr8: 3 * width
    case .rgba8, .bgra8: 4 * width
    case .gray8: width
    case .i420: plane == 0 ? width : chroma
    case .nv12: plane == 0 ? width : 2 * chroma
    case .yuyv: 4 * chroma
    case .p010: plane == 0 ? 2 * width : 4 * chroma
    }
  }

  /// Rows of a plane.
  func rowCount(plane: Int, height: Int) -> Int {
    switch self {
    case .i420, .nv12, .p010: plane == 0 ? height : (height + 1) / 2
    default: height
    }
  }
}

/// One picture in the caller's memory, as it was handed in: nothing is checked
/// yet.
struct Frame {
  var format: PixelFormat
  /// Pixels.
  var width: Int
  var height: Int
  /// The first byte of the TOP row of each plane.
  var planes: (UnsafePointer<UInt8>?, UnsafePointer<UInt8>?, UnsafePointer<UInt8>?)
  /// Bytes from a row to the one below it, negative for bottom-up images; 0 for
  /// rows without padding.
  var strides: (Int, Int, Int)
  /// The caller's; carried to the result.
  var timestamp: Int64

  static let maximumSize = 32768

  /// Checks everything that can be checked without touching the pixels.
  ///
  /// - Returns: where the samples are, for reading them.
  /// - Throws: `.argument`, naming the field, what was expected and found.
  @discardableResult
  func validate() throws(CoveyError) -> PixelSource {
    try Self.checkSize(width, "frame.width")
    try Self.checkSize(height, "frame.height")
    if format == .yuyv, width % 2 != 0 {
      throw CoveyError(.argument, "frame.width: expected an even number for YUYV, found \(width)")
    }
    let first = try plane(0, planes.0, strides.0)
    switch format {
    case .rgb8:
      return interleaved(first, pixelBytes: 3, red: 0, green: 1, blue: 2)
    case .bgr8:
      return interleaved(first, pixelBytes: 3, red: 2, green: 1, blue: 0)
    case .rgba8:
      return interleaved(first, pixelBytes: 4, red: 0, green: 1, blue: 2)
    case .bgra8:
      return interleaved(first, pixelBytes: 4, red: 2, green: 1, blue: 0)
    case .gray8:
      return interleaved(first, pixelBytes: 1, red: 0, green: 0, blue: 0)
    case .i420:
      return PixelSource(
        width: width, height: height, isYUV: true, first: first,
        second: try plane(1, planes.1, strides.1).halved(columns: true, rows: true),
        third: try plane(2, planes.2, strides.2).halved(columns: true, rows: true))
    case .nv12:
      let chroma = try plane(1, planes.1, strides.1).halved(columns: true, rows: true)
      return PixelSource(
        width: width, height: height, isYUV: true, first: first,
        second: chroma.sample(offset: 0, step: 2),
        third: chroma.sample(offset: 1, step: 2))
    case .yuyv:
      let chroma = first.halved(columns: true, rows: false)
      return PixelSource(
        width: width, height: height, isYUV: true,
        first: first.sample(offset: 0, step: 2),
        second: chroma.sample(offset: 1, step: 4),
        third: chroma.sample(offset: 3, step: 4))
    case .p010:
      let chroma = try plane(1, planes.1, strides.1).halved(columns: true, rows: true)
      return PixelSource(
        width: width, height: height, isYUV: true,
        first: first.words(offset: 0, step: 2),
        second: chroma.words(offset: 0, step: 4),
        third: chroma.words(offset: 2, step: 4))
    }
  }

  private static func checkSize(_ size: Int, _ field: StaticString) throws(CoveyError) {
    guard size >= 1, size <= maximumSize else {
      throw CoveyError(.argument, "\(field): expected 1 to \(maximumSize), found \(size)")
    }
  }

  private func plane(
    _ index: Int, _ base: UnsafePointer<UInt8>?, _ stride: Int
  ) throws(CoveyError) -> PixelSource.Channel {
    guard let base else {
      throw CoveyError(
        .argument,
        "frame.planes[\(index)]: expected a pointer, as \(format.name) has "
          + "\(format.planeCount) planes, found NULL")
    }
    let rowBytes = format.rowBytes(plane: index, width: width)
    let resolved = stride == 0 ? rowBytes : stride
    // No plane of the address space has a row further away than Int.max: such a
    // stride would overflow where rows are addressed.
    let (_, overflow) = resolved.multipliedReportingOverflow(
      by: format.rowCount(plane: index, height: height))
    guard resolved.magnitude >= UInt(rowBytes), !overflow else {
      throw CoveyError(
        .argument,
        "frame.strides[\(index)]: expected 0 or \(rowBytes) bytes or more from row to row "
          + "for \(format.name) \(width)x\(height), found \(stride)")
    }
    return PixelSource.Channel(
      base: base, stride: resolved, step: 1, columnShift: 0, rowShift: 0, isWide: false)
  }

  private func interleaved(
    _ plane: PixelSource.Channel, pixelBytes: Int, red: Int, green: Int, blue: Int
  ) -> PixelSource {
    PixelSource(
      width: width, height: height, isYUV: false,
      first: plane.sample(offset: red, step: pixelBytes),
      second: plane.sample(offset: green, step: pixelBytes),
      third: plane.sample(offset: blue, step: pixelBytes))
  }
}

/// The samples of a frame that has been validated: three channels, each of
/// which has a sample for every pixel, whatever the format.  Borrows the pixels
/// of the frame, and is good for as long as they are.
struct PixelSource {
  /// The sample of pixel (column, row) is the byte
  /// `base[(row >> rowShift) * stride + (column >> columnShift) * step]`, or the
  /// little-endian word that begins there, by 256.
  struct Channel {
    let base: UnsafePointer<UInt8>
    let stride: Int
    let step: Int
    /// 1 where two neighbouring pixels share a sample, else 0.
    let columnShift: Int
    let rowShift: Int
    /// Whether a sample is a word.
    let isWide: Bool

    func sample(offset: Int, step: Int) -> Channel {
      Channel(
        base: base + offset, stride: stride, step: step,
        columnShift: columnShift, rowShift: rowShift, isWide: isWide)
    }

    func words(offset: Int, step: Int) -> Channel {
      Channel(
        base: base + offset, stride: stride, step: step,
        columnShift: columnShift, rowShift: rowShift, isWide: true)
    }

    func halved(columns: Bool, rows: Bool) -> Channel {
      Channel(
        base: base, stride: stride, step: step,
        columnShift: columns ? 1 : 0, rowShift: rows ? 1 : 0, isWide: isWide)
    }
  }

  let width: Int
  let height: Int
  /// Whether the channels are Y, U, V (BT.601, limited range); else R, G, B.
  let isYUV: Bool
  let first: Channel
  let second: Channel
  let third: Channel
}
