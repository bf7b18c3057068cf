import Foundation
import Testing

@testable import Covey

private func counts(_ label: UInt16, _ labels: [UInt16], _ width: Int) -> [UInt32] {
  let height = labels.count / width
  let needed = RunLength.counts(
    of: label, in: labels, width: width, height: height, into: nil, capacity: 0)
  var output = [UInt32](repeating: .max, count: needed)
  let written = output.withUnsafeMutableBufferPointer {
    RunLength.counts(
      of: label, in: labels, width: width, height: height, into: $0.baseAddress,
      capacity: needed)
  }
  return written == needed ? output : []
}

/// The mask row by row.
private func decode(_ counts: [UInt32], _ width: Int, _ height: Int) -> [Bool] {
  var mask = [Bool](repeating: false, count: width * height)
  var position = 0
  for (index, count) in counts.enumerated() {
    for _ in 0..<count {
      guard position < mask.count else { return [] }
      mask[position % height * width + position / height] = index % 2 == 1
      position += 1
    }
  }
  return position == mask.count ? mask : []
}

@Suite struct RunLengthTests {
  /// Tests/golden/make_rle.py.
  @Test func agreesWithPycocotools() throws {
    let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../golden/rle.txt")
    let lines = try String(contentsOf: golden, encoding: .utf8).split(separator: "\n")
    var cases = 0
    for (index, line) in lines.enumerated() where line.hasPrefix("case ") {
      let n = line.split(separator: " ").dropFirst().compactMap { Int($0) }
      let rows = lines[index + 1...index + n[1]]
      let labels = rows.flatMap { $0.utf8.map { UInt16($0) - 48 } }
      let expected = lines[index + 1 + n[1]].split(separator: " ").compactMap { UInt32($0) }
      #expect(counts(UInt16(n[2]), labels, n[0]) == expected, "\(line)")
      cases += 1
    }
    #expect(cases == 14)
  }

  @Test func decodesToTheMask() {
    var state: UInt64 = 11
    for (width, height) in [(1, 1), (1, 8), (8, 1), (17, 33), (64, 48), (854, 480)] {
      for spread in [2, 5, 40] {
        // Labels that go on for a while, along rows.
        var label: UInt16 = 0
        let labels = (0..<width * height).map { _ -> UInt16 in
          state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
          if Int(state >> 40) % spread == 0 { label = UInt16(state >> 33 & 3) }
          return label
        }
        for id: UInt16 in 0...4 {
          let runs = counts(id, labels, width)
          #expect(decode(runs, width, height) == labels.map { $0 == id })
          // Only the first may be empty: there is no shorter way.
          #expect(runs.dropFirst().allSatisfy { $0 > 0 })
        }
      }
    }
  }

  @Test func givesOneRunForWhatIsNotThere() {
    #expect(counts(9, [1, 1, 2, 2, 0, 0], 3) == [6])
  }

  @Test func leavesTooSmallABufferAlone() {
    let labels: [UInt16] = [1, 0, 0, 1]  // 0 1 2 1
    for capacity in 0...6 {
      var output = [UInt32](repeating: 7, count: 6)
      let needed = output.withUnsafeMutableBufferPointer {
        RunLength.counts(
          of: 1, in: labels, width: 2, height: 2, into: $0.baseAddress, capacity: capacity)
      }
      #expect(needed == 4)
      #expect(output == (capacity < 4 ? [7, 7, 7, 7, 7, 7] : [0, 1, 2, 1, 7, 7]))
    }
  }
}
