/// How a position embedding is resized: part of what a network was trained with, or of
/// what the library that runs it elsewhere does.  All are bicubic.
enum PositionResize {
  /// a = -0.75 and the scale (new + 0.1) / G: DINO's code, and DINOv2's without
  /// registers.  The 0.1 was meant to save the output size from rounding down, but the
  /// resampling uses that very scale.
  case bicubicOffset
  /// a = -0.75 and the scale new / G.
  case bicubic
  /// a = -0.5 and the scale new / G; where that is below 1, the kernel is as much wider.
  case bicubicAntialias

  /// - Parameter name: as in a weight file.
  init?(name: UnsafeRawBufferPointer) {
    switch true {
    case name.elementsEqual("bicubic_offset".utf8): self = .bicubicOffset
    case name.elementsEqual("bicubic".utf8): self = .bicubic
    case name.elementsEqual("bicubic_antialias".utf8): self = .bicubicAntialias
    default: return nil
    }
  }
}

/// The learned position embedding, resized to a frame's grid of patches.
///
/// The checkpoint holds one row for the CLS token and G x G for the patches it
/// was trained on, of which the latter are resized.
enum PositionEmbedding {
  /// - Parameters:
  ///   - trained: [1 + G*G, C]
  ///   - out: [1 + rows*columns, C]; row 0 is the CLS token's.
  static func resize(
    _ trained: UnsafePointer<Float>, grid: Int, channels: Int,
    to rows: Int, _ columns: Int, _ resize: PositionResize,
    into out: UnsafeMutablePointer<Float>
  ) {
    // Kept as it is only where nothing changes.
    if rows == grid && columns == grid {
      out.copy(from: trained, count: (1 + grid * grid) * channels)
      return
    }
    out.copy(from: trained, count: channels)
    let patches = trained + channels
    let across = (0..<columns).map { Taps($0, outputs: columns, inputs: grid, resize) }
    for row in 0..<rows {
      let down = Taps(row, outputs: rows, inputs: grid, resize)
      for column in 0..<columns {
        let target = out + (1 + row * columns + column) * channels
        target.update(repeating: 0, count: channels)
        for (y, vertical) in zip(down.indices, down.weights) {
          for (x, horizontal) in zip(across[column].indices, across[column].weights) {
            let weight = vertical * horizontal
            let source = patches + (y * grid + x) * channels
            for c in 0..<channels { target[c] += weight * source[c] }
          }
        }
      }
    }
  }

  /// The inputs that one output is made of, with weights that sum to 1.
  private struct Taps {
    var indices: [Int] = []
    var weights: [Float] = []

    init(_ output: Int, outputs: Int, inputs: Int, _ resize: PositionResize) {
      let offset = resize == .bicubicOffset ? 0.1 : 0
      let scale = Double(inputs) / (Double(outputs) + offset)
      let source = (Double(output) + 0.5) * scale - 0.5
      switch resize {
      case .bicubicOffset, .bicubic: interpolate(at: source, inputs)
      case .bicubicAntialias: average(around: source, inputs, width: max(scale, 1))
      }
    }

    /// The four nearest; beyond the border stand its inputs again.
    private mutating func interpolate(at source: Double, _ inputs: Int) {
      let first = source.rounded(.down)
      let t = source - first
      for i in 0..<4 {
        indices.append(min(max(Int(first) - 1 + i, 0), inputs - 1))
        weights.append(Float(Taps.cubic(abs(t - Double(i - 1)), -0.75)))
      }
    }

    /// All within two widths; beyond the border is nothing.
    private mutating func average(around source: Double, _ inputs: Int, width: Double) {
      let first = max(0, Int((source - 2 * width + 1).rounded(.down)))
      let end = min(inputs, Int((source + 2 * width + 1).rounded(.down)))
      let found = (first..<end).map { Taps.cubic(abs(Double($0) - source) / width, -0.5) }
      let sum = found.reduce(0, +)
      indices = Array(first..<end)
      weights = found.map { Float($0 / sum) }
    }

    /// Keys' cubic convolution kernel at distance x (IEEE TASSP 29, 1981).
    private static func cubic(_ x: Double, _ a: Double) -> Double {
      if x <= 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
      return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0
    }
  }
}
