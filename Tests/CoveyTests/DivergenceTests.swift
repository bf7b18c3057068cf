import CCoveyKernels
import Foundation
import Testing

@testable import Covey

@Suite struct DivergenceTests {
  private struct Maps {
    let scene: TestScene
    /// [P, M], the library's and the oracle's.
    let found: [Float]
    let exact: [NaiveClustering.Map]

    init(_ scene: TestScene) throws {
      self.scene = scene
      let queries = scene.frames.flatMap { $0 }
      let (count, m) = (queries.count / scene.channels, scene.keyCount)
      var maps = [Float](repeating: .nan, count: count * m)
      var scores = [Float](repeating: .nan, count: Affinity.tileRows * m)
      let affinity = { (keys: UnsafePointer<Float>) in
        Affinity(keys: keys, keyCount: m, channels: scene.channels, heads: scene.heads)
      }
      BLAS.claim()
      scene.keys.withUnsafeBufferPointer { keys in
        maps.withUnsafeMutableBufferPointer { maps in
          scores.withUnsafeMutableBufferPointer { scores in
            affinity(keys.baseAddress!).maps(
              queries, count: count, into: maps.baseAddress!, scores: scores.baseAddress!,
              monitor: Monitor(), worker: 0)
          }
        }
      }
      BLAS.release()
      found = maps
      exact = scene.naive.frames.flatMap { scene.naive.maps(of: $0) }
    }
  }

  private static func scenes() -> [TestScene] {
    var scenes: [TestScene] = []
    for (index, kind) in TestScene.Kind.allCases.enumerated() {
      let seed = UInt64(20 + index)
      scenes += [
        TestScene(kind, frames: 2, rows: 7, columns: 9, heads: 1 + index, seed: seed),
        TestScene(
          kind, frames: 1, rows: 10, columns: 13, heads: 2, keyCount: 257, gain: 6, seed: seed),
        TestScene(
          kind, frames: 1, rows: 3, columns: 4, heads: 3, headDim: 8, keyCount: 5003, gain: 16,
          seed: seed),
      ]
    }
    return scenes
  }

  /// Relative to the probability, of those above 1e-20: exp is 0 below exp(-60).
  /// The scores, up to some 40, carry a few u of
  /// themselves.  Observed: 5.6e-6.
  @Test func mapsAgreeWithDouble() throws {
    for scene in Self.scenes() {
      let maps = try Maps(scene)
      let m = scene.keyCount
      var worst = 0.0
      for (i, exact) in maps.exact.enumerated() {
        let row = maps.found[i * m..<(i + 1) * m]
        #expect(abs(row.reduce(0) { $0 + Double($1) } - 1) <= 2e-6)
        for (found, exact) in zip(row, exact) where exact > 1e-20 {
          let error = abs(Double(found) / exact - 1)
          worst = error.isNaN ? .infinity : max(worst, error)
        }
      }
      #expect(worst <= 2e-5, "\(scene.keyCount) keys")
    }
  }

  /// Distances of all pairs, both ways of computing them, against the
  /// oracle's: what there is to go wrong before a distance is compared with
  /// tau.  Relative to 1 + D.  Observed: 3.4e-6 by products, 4.5e-7 by
  /// the kernel.
  @Test func distancesAgreeWithDouble() throws {
    for scene in Self.scenes() {
      let maps = try Maps(scene)
      let (m, count) = (scene.keyCount, maps.exact.count)
      let kernels = cv_rows().pointee
      var logs = [Float](repeating: 0, count: count * m)
      var plain = logs
      var products = [Float](repeating: 0, count: count)
      // The centre as MeanShift has it.
      var centre = [Float](repeating: 0, count: m)
      for i in 0..<count { kernels.accumulate(Array(maps.found[i * m..<(i + 1) * m]), m, &centre) }
      kernels.scale(&centre, m, 1 / Float(count))
      var logCentre = centre
      kernels.log_rows(centre, m, 1, m, Divergence.floor, &logCentre, m)
      var cross = [Float](repeating: .nan, count: count * count)
      logs.withUnsafeMutableBufferPointer { logs in
        Divergence.prepare(
          maps.found, rows: count, n: m, centre: logCentre, logs: logs.baseAddress!,
          selfProducts: &products)
      }
      plain.withUnsafeMutableBufferPointer {
        Divergence.logarithms(maps.found, rows: count, n: m, into: $0.baseAddress!)
      }
      BLAS.claim()
      Divergence.crossProducts(
        maps.found, logs, rows: count, maps.found, logs, rows: count, n: m, into: &cross,
        monitor: Monitor(), worker: 0)
      BLAS.release()

      let exact = NaiveClustering.distances(maps.exact, maps.exact)
      var (worstProducts, worstKernel) = (0.0, 0.0)
      for i in 0..<count {
        for j in 0..<count {
          let size = 1 + exact[i][j]
          let byProducts = Double(products[i] + products[j] - cross[i * count + j])
          worstProducts = max(abs(byProducts - exact[i][j]) / size, worstProducts)
          let p = Array(maps.found[i * m..<(i + 1) * m])
          let q = Array(maps.found[j * m..<(j + 1) * m])
          let kernel = kernels.jeffreys(
            p, Array(plain[i * m..<(i + 1) * m]), q, Array(plain[j * m..<(j + 1) * m]), m)
          worstKernel = max(abs(kernel - exact[i][j]) / size, worstKernel)
          #expect(kernel >= 0 && (i != j || kernel == 0))
        }
      }
      #expect(worstProducts <= DivergenceTests.bound, "\(m) keys, by products")
      #expect(worstKernel <= DivergenceTests.bound, "\(m) keys, by the kernel")
    }
  }

  /// Of D relative to 1 + D, with maps and all.
  static let bound = 1e-5

  /// At and below the floor logarithms are the floor's, in maps as in the oracle.
  @Test func probabilitiesAtTheFloor() {
    let maps: [Float] = [1, 0, 1e-38, 1e-37, 0, 1 - 1e-6, 1e-6, 0]
    var logs = [Float](repeating: 0, count: 8)
    logs.withUnsafeMutableBufferPointer {
      Divergence.logarithms(maps, rows: 2, n: 4, into: $0.baseAddress!)
    }
    let floor = log(1e-37)
    for (log, exact) in zip(logs, [0, floor, floor, floor, floor, log(1 - 1e-6), log(1e-6), floor])
    {
      #expect(abs(Double(log) - exact) <= 1.6e-5)  // 2 ulp of 85
    }
    let exact = NaiveClustering.distances(
      [maps[..<4].map { Double($0) }], [maps[4...].map { Double($0) }])[0][0]
    let found = cv_rows().pointee.jeffreys(
      Array(maps[..<4]), Array(logs[..<4]), Array(maps[4...]), Array(logs[4...]), 4)
    #expect(exact > 50 && abs(found / exact - 1) <= 1e-6)
  }

  /// Each pair of tiles once.
  @Test func pairsOfTheTriangle() {
    var index = 0
    for row in 0..<300 {
      for column in 0...row {
        let pair = Divergence.pair(index)
        #expect(pair.0 == row && pair.1 == column)
        index += 1
      }
    }
  }
}
