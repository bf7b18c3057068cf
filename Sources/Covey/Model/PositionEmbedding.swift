/// The learned position embedding, resized to a frame's grid of patches.
///
/// The checkpoint holds one row for the CLS token and G x G for the patches it
/// was trained on.  DINO resizes the patch part bicubically with the scale
/// factors (rows + 0.1) / G and (columns + 0.1) / G; the 0.1 was meant to save
/// the output size from rounding down, but the resampling uses that very scale,
/// so it is part of the trained behaviour and must be reproduced.
enum PositionEmbedding {
  /// - Parameters:
  ///   - trained: [1 + G*G, C]
  ///   - out: [1 + rows*columns, C]; row 0 is the CLS token's.
  static func resize(
    _ trained: UnsafePointer<Float>, grid: Int, channels: Int,
    to rows: Int, _ columns: Int, into out: UnsafeMutablePointer<Float>
  ) {
    // Kept as it is only where nothing changes.
    if rows == grid && columns == grid {
      out.copy(from: trained, count: (1 + grid * grid) * channels)
      return
    }
    out.copy(from: trained, count: channels)
    let patches = trained + channels
    for row in 0..<rows {
      let vertical = Tap(row, outputs: rows, inputs: grid)
      for column in 0..<columns {
        let horizontal = Tap(column, outputs: columns, inputs: grid)
        let target = out + (1 + row * columns + column) * channels
        target.update(repeating: 0, count: channels)
        for i in 0..<4 {
          for j in 0..<4 {
            let weight = vertical.weights[i] * horizontal.weights[j]
            let source = patches + (vertical.indices[i] * grid + horizontal.indices[j]) * channels
            for c in 0..<channels { target[c] += weight * source[c] }
          }
        }
      }
    }
  }

  /// The four inputs of one output of cubic convolution with a = -0.75 (as in
  /// PyTorch), borders clamped.
  private struct Tap {
    var indices: [4 of Int] = [0, 0, 0, 0]
    var weights: [4 of Float] = [0, 0, 0, 0]

    init(_ output: Int, outputs: Int, inputs: Int) {
      let scale = Double(inputs) / (Double(outputs) + 0.1)
      let source = (Double(output) + 0.5) * scale - 0.5
      let first = source.rounded(.down)
      let t = source - first
      for i in 0..<4 {
        indices[i] = min(max(Int(first) - 1 + i, 0), inputs - 1)
        weights[i] = Float(Tap.cubic(abs(t - Double(i - 1))))
      }
    }

    /// Keys' cubic convolution kernel at distance x (IEEE TASSP 29, 1981).
    private static func cubic(_ x: Double) -> Double {
      let a = -0.75
      if x <= 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
      return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    }
  }
}
