import CCoveyKernels
import Testing

@Suite struct Int8PackingTests {
  private let sizes = [1, 3, 4, 5, 13, 63, 64, 65, 127, 128, 130]

  @Test func matrices() {
    var random = SeededRandom(seed: 11)
    for columns in sizes {
      for inputs in sizes {
        let groups = (inputs + 3) / 4
        let bytes = whole(columns, panel) * 4 * groups
        #expect(cv_packed_bytes(columns, inputs) == bytes)
        let w = (0..<columns * inputs).map { _ in Int8.random(in: -127...127, using: &random) }
        var packed = [Int8](repeating: 77, count: bytes + 8)
        var sums = [Int32](repeating: 77, count: whole(columns, panel) + 2)
        cv_pack(w, columns, inputs, &packed, &sums)
        var expected = [Int8](repeating: 0, count: bytes) + [Int8](repeating: 77, count: 8)
        var totals = [Int32](repeating: 0, count: whole(columns, panel)) + [77, 77]
        for column in 0..<columns {
          for input in 0..<inputs {
            let group = column / panel * groups + input / 4
            expected[(group * panel + column % panel) * 4 + input % 4] = w[column * inputs + input]
            totals[column] += Int32(w[column * inputs + input])
          }
        }
        #expect(packed == expected && sums == totals, "\(columns) columns, \(inputs) inputs")
      }
    }
  }

  @Test func keys() {
    var random = SeededRandom(seed: 12)
    for count in sizes {
      for dim in sizes {
        let (groups, columns) = ((dim + 3) / 4, whole(count, panel))
        let stride = 4 * groups + 12
        let bytes = (0..<count * stride).map { place in
          place % stride < dim ? UInt8.random(in: 1...255, using: &random) : 128
        }
        let scale = (0..<2 * count).map { _ in Float(random.uniform()) }
        var packed = [Int8](repeating: 77, count: 4 * groups * columns + 8)
        var sums = [Int32](repeating: 77, count: columns + 2)
        var scales = [Float](repeating: 77, count: columns + 2)
        var limit: Float = 0
        cv_pack_keys(
          bytes, stride, scale, 2, count, dim, &packed, &sums, &scales, &limit)
        var expected = [Int8](repeating: 0, count: 4 * groups * columns)
        expected += [Int8](repeating: 77, count: 8)
        var totals = [Int32](repeating: 0, count: columns) + [77, 77]
        var expectedScales = [Float](repeating: 77, count: columns + 2)
        for column in 0..<columns {
          let token = min(column, count - 1)  // the last one fills up
          expectedScales[column] = scale[2 * token]
          for i in 0..<dim {
            let value = Int(bytes[token * stride + i]) - 128
            let group = column / panel * groups + i / 4
            expected[(group * panel + column % panel) * 4 + i % 4] = Int8(value)
            totals[column] += Int32(value)
          }
        }
        #expect(packed == expected && sums == totals, "\(count) keys, dim \(dim)")
        #expect(scales == expectedScales)
        // With it the largest difference of logits gives 2^30.
        let most = (0..<count).map { scale[2 * $0] }.max() ?? 0
        let product = Double(limit) * Double(most) * 2 * 128 * 127 * Double(4 * groups)
        #expect(abs(product / 0x1p30 - 1) <= 1e-6)
      }
    }
  }

  @Test func limitsOfKeys() {
    func limit(_ scales: [Float]) -> Float {
      let bytes = [UInt8](repeating: 200, count: 4 * scales.count)
      var packed = [Int8](repeating: 0, count: 4 * panel)
      var sums = [Int32](repeating: 0, count: panel)
      var (padded, limit) = ([Float](repeating: 0, count: panel), Float(0))
      cv_pack_keys(bytes, 4, scales, 1, scales.count, 4, &packed, &sums, &padded, &limit)
      return limit
    }
    #expect(limit([0, 0]) == 1)
    #expect(limit([.leastNonzeroMagnitude, 0]) > 1e30)
    for bad in [Float.nan, .infinity, 1e36] {
      for place in 0..<3 {
        var scales: [Float] = [1, 2, 3]
        scales[place] = bad
        #expect(limit(scales).isNaN, "\(bad) at \(place)")
      }
    }
  }
}
