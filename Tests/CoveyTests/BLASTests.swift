import CCoveyPlatform
import COpenBLAS
import Dispatch
import Foundation
import Testing

@testable import Covey

@Suite struct BLASTests {
  private static let sizes = [
    (1, 1, 1), (1, 7, 3), (5, 1, 9), (3, 5, 1), (17, 13, 19), (64, 64, 64), (33, 257, 65),
    (96, 2401, 64), (320, 100, 33), (2, 3, 1000),
  ]

  /// As below, with a [k, m].
  @Test(arguments: sizes)
  func transposedLeftSideAgreesWithDouble(size: (Int, Int, Int)) {
    BLAS.claim()
    defer { BLAS.release() }
    let (m, n, k) = size
    var random = SeededRandom(seed: UInt64(m * 1_000_000 + n * 1000 + k))
    let a = (0..<k * (m + 2)).map { _ in Float(random.normal()) }
    let b = (0..<k * (n + 1)).map { _ in Float(random.normal()) }
    for add in [Float(0), 1] {
      let before = (0..<m * n).map { _ in add == 0 ? Float.nan : Float(random.normal()) }
      var c = before
      BLAS.multiplyTransposed(m, n, k, a, m + 2, b, n + 1, into: &c, n, add: add)
      var worst = 0.0
      for i in 0..<m {
        for j in 0..<n {
          var sum = add == 0 ? 0 : Double(before[i * n + j])
          var size = abs(sum)
          for l in 0..<k {
            let product = Double(a[l * (m + 2) + i]) * Double(b[l * (n + 1) + j])
            sum += product
            size += abs(product)
          }
          worst = max(abs(Double(c[i * n + j]) - sum) / ((Double(k) + 2) * 0x1p-24 * size), worst)
        }
      }
      #expect(worst <= 1, "\(size), add \(add)")
    }
  }

  /// |error| <= (k + 2) u sum |a b|: whatever the order of the sum.
  /// Observed: at most 0.5 of that.
  @Test(arguments: sizes, [false, true])
  func multiplyAgreesWithDouble(size: (Int, Int, Int), transposed: Bool) {
    BLAS.claim()
    defer { BLAS.release() }
    let (m, n, k) = size
    var random = SeededRandom(seed: UInt64(m * 1_000_000 + n * 1000 + k))
    for padding in [0, 3] {
      for add in [Float(0), 1, -0.5] {
        let (aStride, cStride) = (k + padding, n + 2 * padding)
        let bStride = (transposed ? k : n) + padding
        let a = (0..<m * aStride).map { _ in Float(random.normal()) }
        let b = (0..<(transposed ? n : k) * bStride).map { _ in Float(random.normal()) }
        // With add = 0 what was there must not count, not even a NaN.
        let before = (0..<m * cStride).map { _ in add == 0 ? Float.nan : Float(random.normal()) }
        var c = before
        c.withUnsafeMutableBufferPointer {
          BLAS.multiply(
            m, n, k, a, aStride, b, bStride, transposed: transposed, into: $0.baseAddress!,
            cStride, add: add)
        }
        var worst = 0.0
        for i in 0..<m {
          for j in 0..<n {
            var (sum, size) = (0.0, 0.0)
            for l in 0..<k {
              let product =
                Double(a[i * aStride + l])
                * Double(transposed ? b[j * bStride + l] : b[l * bStride + j])
              sum += product
              size += abs(product)
            }
            if add != 0 {
              let old = Double(add) * Double(before[i * cStride + j])
              sum += old
              size += abs(old)
            }
            let bound = (Double(k) + 2) * 0x1p-24 * size
            // In this order, so that a NaN fails too.
            worst = max(abs(Double(c[i * cStride + j]) - sum) / bound, worst)
          }
        }
        #expect(worst <= 1, "\(size), add \(add), padding \(padding)")
        for i in 0..<m {
          for j in n..<max(n, cStride) {
            #expect(c[i * cStride + j].bitPattern == before[i * cStride + j].bitPattern)
          }
        }
      }
    }
  }

  // ---- Turns ----------------------------------------------------------------------

  /// In a process of its own, as all products of a process have the same number of turns.
  @Test func noMoreThanTheNumberHaveATurnAndNobodyWaitsForever() async {
    await #expect(processExitsWith: .success) {
      let (atOnce, rounds): (Int32, Int) = (2, 400)
      let lock = NSLock()
      nonisolated(unsafe) var (inside, most, done) = (Int32(0), Int32(0), 0)
      DispatchQueue.concurrentPerform(iterations: 8 * rounds) { _ in
        cv_take_turn(atOnce)
        lock.withLock {
          inside += 1
          most = max(most, inside)
        }
        sched_yield()
        lock.withLock {
          inside -= 1
          done += 1
        }
        cv_end_turn(atOnce)
      }
      precondition(most <= atOnce && done == 8 * rounds, "\(most) at once, \(done) done")
    }
  }

  /// Whoever multiplies first, and before anyone has claimed OpenBLAS.
  @Test func theFirstProductWaitsForNobody() async {
    await #expect(processExitsWith: .success) {
      let ones = [Float](repeating: 1, count: 16)
      DispatchQueue.concurrentPerform(iterations: 16) { _ in
        var product = [Float](repeating: 0, count: 16)
        BLAS.multiply(4, 4, 4, ones, 4, ones, 4, transposed: false, into: &product, 4)
        precondition(product == [Float](repeating: 4, count: 16))
      }
    }
  }

  // ---- Thread count ---------------------------------------------------------------

  /// The count belongs to the process, which other tests use as well: so in one
  /// of its own.
  @Test func claimsSetOneThreadAndReleasesPutBackWhatWas() async {
    await #expect(processExitsWith: .success) {
      let count = { openblas_get_num_threads() }
      func check(_ expected: Int32, _ line: Int = #line) {
        precondition(count() == expected, "line \(line): \(count()) threads, not \(expected)")
      }
      for before: Int32 in [3, 1, 2] {
        openblas_set_num_threads(before)
        // Where OpenBLAS has fewer threads built in, it says so.
        let found = count()
        BLAS.claim()
        check(1)
        BLAS.claim()
        BLAS.claim()
        check(1)
        BLAS.release()
        BLAS.release()
        check(1)
        BLAS.release()
        check(found)
      }

      openblas_set_num_threads(2)
      let found = count()
      BLAS.claim()
      let threads = (0..<4).map { _ in
        let done = DispatchSemaphore(value: 0)
        let thread = Thread {
          for _ in 0..<500 {
            BLAS.claim()
            precondition(openblas_get_num_threads() == 1)
            BLAS.release()
          }
          done.signal()
        }
        thread.start()
        return done
      }
      for thread in threads { thread.wait() }
      check(1)
      BLAS.release()
      check(found)
    }
  }

  @Test func descriptionNamesTheLibrary() {
    #expect(BLAS.description.contains("OpenBLAS"))
  }
}

@Suite struct RowTilesTests {
  @Test func coverAllRowsInOrder() {
    for size in [1, 2, 3, 64, 320, 1000] {
      for rows in Array(1...200) + [319, 320, 321, 639, 640, 641, 1281, 2401, 16801] {
        let tiles = RowTiles(rows: rows, size: size)
        var next = 0
        for index in 0..<tiles.count {
          let range = tiles.range(index)
          #expect(range.lowerBound == next && !range.isEmpty, "\(rows), \(size)")
          #expect(range.count <= tiles.size)
          next = range.upperBound
        }
        #expect(next == rows, "\(rows), \(size)")
        #expect(tiles.size <= size)
      }
    }
  }

  /// All but the last are of the same size, and the last is not much smaller
  /// where there are few: with ceil(rows / count) rows each, at most count - 1
  /// rows are missing from it.
  @Test func areBalanced() {
    for rows in 1...5000 {
      let tiles = RowTiles(rows: rows, size: 320)
      let last = tiles.range(tiles.count - 1).count
      #expect(tiles.size - last < tiles.count, "\(rows)")
      for index in 0..<tiles.count - 1 { #expect(tiles.range(index).count == tiles.size) }
      if rows <= 320 {
        #expect(tiles.count == 1)
      } else {
        // A multiple of four.
        #expect(tiles.count % 4 == 0, "\(rows): \(tiles.count)")
      }
    }
  }

  @Test func oneTileForNoRowsAtAll() {
    let tiles = RowTiles(rows: 0, size: 320)
    #expect(tiles.count == 0)
  }
}
