/// What the camera did between two frames: the displacement that most of the picture has,
/// as a function of the place in it.
///
/// The simplest of four models that explains the displacements of the patches: none, a
/// translation, an affine function, or that of a plane seen by a moving camera, to second
/// order (eight parameters, as a homography has).  Fitted by least squares that are
/// weighted again and again, so that what moves by itself loses its say (Geman and
/// McClure's weights), from the displacement that most patches have.
struct CameraMotion {
  enum Model: Int, CaseIterable {
    case none, translation, affine, plane
  }

  let model: Model
  /// Of x and of y: constant, x, y, and the two of second order; x and y in [-1, 1] and,
  /// for frames twice as wide as high, [-1/2, 1/2].
  private let coefficients: [Double]

  static var still: CameraMotion { CameraMotion(model: .none, coefficients: []) }

  private init(model: Model, coefficients: [Double]) {
    self.model = model
    self.coefficients = coefficients
  }

  /// Pixels beyond which a displacement counts as another thing's, at the end.
  private static let spread = 0.7
  private static let firstSpread = 4.0
  private static let narrowing = 0.7
  /// A model is taken where no other has less than this part of its cost, or not much
  /// less: a tenth of a pixel everywhere.
  private static let simplicity = 0.9
  private static let allowance = 0.02
  private static let rounds = 6
  /// Patches with less texture say little, but not nothing: where most of the picture is
  /// plain, two things that move otherwise must not become a camera that zooms.
  private static let leastTexture: Float = 1
  private static let sayWithout = 0.05

  /// - Parameters:
  ///   - displacements: [rows, columns], pixels.
  ///   - texture: likewise (`PatchMatching`).
  init(
    _ displacements: UnsafePointer<SIMD2<Float>>, texture: UnsafePointer<Float>, rows: Int,
    columns: Int, budget: Budget?
  ) throws(CoveyError) {
    let fit = try Fit(displacements, texture, rows: rows, columns: columns, budget: budget)
    let motions = Model.allCases.map { fit.motion($0) }
    let costs = motions.map { fit.cost($0) }
    var least = Double.infinity
    for cost in costs { least = min(least, cost) }
    let allowed = least / CameraMotion.simplicity + CameraMotion.allowance * fit.totalSay
    let simplest = costs.firstIndex { $0 <= allowed } ?? 0
    self = motions[simplest]
  }

  /// At a place in [-1, 1] (see `place`).
  func displacement(_ x: Double, _ y: Double) -> SIMD2<Double> {
    let c = coefficients
    switch model {
    case .none: return SIMD2(0, 0)
    case .translation: return SIMD2(c[0], c[1])
    case .affine:
      return SIMD2(c[0] + c[1] * x + c[2] * y, c[3] + c[4] * x + c[5] * y)
    case .plane:
      return SIMD2(
        c[0] + c[1] * x + c[2] * y + c[6] * x * x + c[7] * x * y,
        c[3] + c[4] * x + c[5] * y + c[6] * x * y + c[7] * y * y)
    }
  }

  static func place(_ row: Int, _ column: Int, rows: Int, columns: Int) -> (x: Double, y: Double) {
    let scale = 2 / Double(columns)
    return (
      (Double(column) + 0.5) * scale - 1,
      (Double(row) + 0.5 - Double(rows) / 2) * scale
    )
  }

  static func scratchByteCount(patches: Int) -> Int {
    patches * MemoryLayout<Fit.Point>.stride + Fit.votes * MemoryLayout<Double>.stride
  }

  private struct Fit {
    struct Point: BitwiseCopyable {
      var x: Double
      var y: Double
      var displacement: SIMD2<Double>
      var say: Double
    }

    private let points: Buffer<Point>
    private(set) var totalSay = 0.0
    private var start = SIMD2<Double>(0, 0)

    /// Pixels beyond which displacements are taken together.
    private static let reach = 64
    static let votes = (2 * reach + 1) * (2 * reach + 1)

    init(
      _ displacements: UnsafePointer<SIMD2<Float>>, _ texture: UnsafePointer<Float>, rows: Int,
      columns: Int, budget: Budget?
    ) throws(CoveyError) {
      points = try Buffer(rows * columns, budget: budget, for: "motion of the camera")
      for row in 0..<rows {
        for column in 0..<columns {
          let patch = row * columns + column
          let (x, y) = CameraMotion.place(row, column, rows: rows, columns: columns)
          let say = texture[patch] > CameraMotion.leastTexture ? 1 : CameraMotion.sayWithout
          points.base[patch] = Point(
            x: x, y: y, displacement: SIMD2<Double>(displacements[patch]), say: say)
          totalSay += say
        }
      }
      start = try commonest(budget)
    }

    /// The whole displacement about which most patches are, within a pixel.
    private func commonest(_ budget: Budget?) throws(CoveyError) -> SIMD2<Double> {
      let reach = Fit.reach
      let side = 2 * reach + 1
      let counts = try Buffer<Double>(Fit.votes, budget: budget, for: "motion of the camera")
      defer { withExtendedLifetime(counts) {} }
      counts.fill(0)
      let votes = counts.base
      for patch in 0..<points.count {
        let point = points.base[patch]
        let x = min(max(Int(point.displacement.x.rounded()), -reach), reach) + reach
        let y = min(max(Int(point.displacement.y.rounded()), -reach), reach) + reach
        votes[y * side + x] += point.say
      }
      var (best, most) = (SIMD2<Double>(0, 0), -1.0)
      for y in 0..<side {
        for x in 0..<side where votes[y * side + x] > 0 {
          var sum = 0.0
          for other in max(y - 1, 0)...min(y + 1, side - 1) {
            for beside in max(x - 1, 0)...min(x + 1, side - 1) {
              sum += votes[other * side + beside]
            }
          }
          if sum > most { (best, most) = (SIMD2(Double(x - reach), Double(y - reach)), sum) }
        }
      }
      return best
    }

    /// Of Geman and McClure: near 0 for what fits, near 1 for what does not.
    func cost(_ motion: CameraMotion) -> Double {
      let square = CameraMotion.spread * CameraMotion.spread
      var sum = 0.0
      for patch in 0..<points.count {
        let point = points.base[patch]
        let off = point.displacement - motion.displacement(point.x, point.y)
        let distance = off.x * off.x + off.y * off.y
        sum += point.say * distance / (distance + square)
      }
      return sum
    }

    func motion(_ model: Model) -> CameraMotion {
      guard model != .none else { return .still }
      var motion = CameraMotion(model: .translation, coefficients: [start.x, start.y])
      var spread = CameraMotion.firstSpread
      // What is simpler first: a foreground that fills much of the frame must not bend
      // a model that could follow it.
      for step in Model.translation.rawValue...model.rawValue {
        guard let step = Model(rawValue: step) else { break }
        for _ in 0..<CameraMotion.rounds {
          guard let next = solved(step, from: motion, spread: spread) else { return motion }
          motion = next
          spread = max(spread * CameraMotion.narrowing, CameraMotion.spread)
        }
      }
      return motion
    }

    private func solved(
      _ model: Model, from motion: CameraMotion, spread: Double
    ) -> CameraMotion? {
      let size = model == .translation ? 2 : model == .affine ? 6 : 8
      var system = NormalEquations(size: size)
      let square = spread * spread
      var (first, second) = (
        [Double](repeating: 0, count: size), [Double](repeating: 0, count: size)
      )
      for patch in 0..<points.count {
        let point = points.base[patch]
        let (x, y) = (point.x, point.y)
        let off = point.displacement - motion.displacement(x, y)
        let ratio = square / (square + off.x * off.x + off.y * off.y)
        switch model {
        case .none: return nil
        case .translation: (first[0], second[1]) = (1, 1)
        case .affine, .plane:
          (first[0], first[1], first[2]) = (1, x, y)
          (second[3], second[4], second[5]) = (1, x, y)
          if model == .plane {
            (first[6], first[7]) = (x * x, x * y)
            (second[6], second[7]) = (x * y, y * y)
          }
        }
        let weight = point.say * ratio * ratio
        system.add(first, equals: point.displacement.x, weight: weight)
        system.add(second, equals: point.displacement.y, weight: weight)
      }
      guard let solution = system.solution() else { return nil }
      return CameraMotion(model: model, coefficients: solution)
    }
  }
}

/// Weighted least squares in a few unknowns.
struct NormalEquations {
  private let size: Int
  private var matrix: [Double]  // [size, size], the lower half
  private var right: [Double]

  /// Keeps the solution finite where the rows say nothing of an unknown.
  private static let ridge = 1e-6

  init(size: Int) {
    self.size = size
    matrix = [Double](repeating: 0, count: size * size)
    right = [Double](repeating: 0, count: size)
    for i in 0..<size { matrix[i * size + i] = NormalEquations.ridge }
  }

  mutating func add(_ row: [Double], equals value: Double, weight: Double) {
    for i in 0..<size where row[i] != 0 {
      let share = weight * row[i]
      for j in 0...i { matrix[i * size + j] += share * row[j] }
      right[i] += share * value
    }
  }

  /// By Cholesky's decomposition; nil where rounding leaves no positive pivot.
  func solution() -> [Double]? {
    var (lower, x) = (matrix, right)
    for j in 0..<size {
      for i in j..<size {
        var sum = lower[i * size + j]
        for k in 0..<j { sum -= lower[i * size + k] * lower[j * size + k] }
        if i == j {
          guard sum > 0, sum.isFinite else { return nil }
          lower[i * size + j] = sum.squareRoot()
        } else {
          lower[i * size + j] = sum / lower[j * size + j]
        }
      }
    }
    for i in 0..<size {
      for k in 0..<i { x[i] -= lower[i * size + k] * x[k] }
      x[i] /= lower[i * size + i]
    }
    for i in stride(from: size - 1, through: 0, by: -1) {
      for k in i + 1..<max(size, i + 1) { x[i] -= lower[k * size + i] * x[k] }
      x[i] /= lower[i * size + i]
    }
    return x
  }
}
