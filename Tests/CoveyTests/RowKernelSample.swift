import CCoveyKernels
import Testing

/// Below, at and above the widths of vectors and of blocks of sums, and what
/// models have.
let rowLengths = [1, 2, 15, 16, 17, 31, 48, 144, 511, 512, 513, 2401, 16800]

/// Rows with something between them that must stay as it is.
struct RowMatrix: Equatable {
  let rows: Int
  let n: Int
  let stride: Int
  var values: [Float]
  private static let padding: Float = -77.25

  init(_ rows: Int, _ n: Int, padding: Int = 0, _ value: (_ row: Int, _ column: Int) -> Float) {
    (self.rows, self.n, stride) = (rows, n, n + padding)
    values = Array(repeating: RowMatrix.padding, count: rows * stride)
    for row in 0..<rows {
      for column in 0..<n { values[row * stride + column] = value(row, column) }
    }
  }

  subscript(row: Int, column: Int) -> Float { values[row * stride + column] }

  func row(_ row: Int) -> [Double] { (0..<n).map { Double(self[row, $0]) } }

  var paddingIsUntouched: Bool {
    (0..<rows).allSatisfy { row in
      (n..<max(n, stride)).allSatisfy { self[row, $0] == RowMatrix.padding }
    }
  }

  var bits: [UInt32] { values.map(\.bitPattern) }
}

/// Runs the body for every instruction set, checks each result, and that all
/// are the same bits.
func onEachRowSet(
  _ run: (cv_row_kernels) -> RowMatrix, check: (RowMatrix, String) -> Void,
  sourceLocation: SourceLocation = #_sourceLocation
) {
  var first: [UInt32]?
  for kernels in RowSets.all {
    let result = run(kernels)
    #expect(result.paddingIsUntouched, "\(RowSets.name(kernels))", sourceLocation: sourceLocation)
    check(result, RowSets.name(kernels))
    if let first {
      #expect(
        first == result.bits, "\(RowSets.name(kernels)): other bits", sourceLocation: sourceLocation
      )
    } else {
      first = result.bits
    }
  }
}
