import Foundation

@testable import Covey

/// Frames RGB8 of squares that move over a textured background.
struct TestVideo {
  let width: Int
  let height: Int
  let frames: [[UInt8]]

  init(frames count: Int, width: Int, height: Int, seed: UInt64 = 1) {
    self.width = width
    self.height = height
    var random = SeededRandom(seed: seed)
    let texture = (0..<width * height).map { _ in UInt8(90 + random.next() % 20) }
    let squares = (0..<2).map { _ in
      (
        x: random.uniform(), y: random.uniform(), dx: 0.08 * random.normal(),
        dy: 0.08 * random.normal(), colour: (0..<3).map { _ in UInt8(random.next() & 255) }
      )
    }
    frames = (0..<count).map { time in
      var pixels: [UInt8] = []
      for y in 0..<height {
        for x in 0..<width {
          var colour = [UInt8](repeating: texture[y * width + x], count: 3)
          for square in squares {
            let dx = Double(x) / Double(width) - square.x - Double(time) * square.dx
            let dy = Double(y) / Double(height) - square.y - Double(time) * square.dy
            if max(abs(dx), abs(dy)) < 0.17 { colour = square.colour }
          }
          pixels += colour
        }
      }
      return pixels
    }
  }

  func push(_ index: Int, to session: Session) throws {
    try frames[index].withUnsafeBufferPointer {
      try session.push(
        Frame(
          format: .rgb8, width: width, height: height, planes: ($0.baseAddress, nil, nil),
          strides: (0, 0, 0), timestamp: Int64(1000 + 40 * index)))
    }
  }

  func pushAll(to session: Session) throws {
    for index in frames.indices { try push(index, to: session) }
  }
}

/// All that a session says of a video.
struct TestResults: Equatable {
  var labels: [[UInt16]] = []
  var confidences: [[Float]] = []  // of the objects of each frame
  var timestamps: [Int64] = []
  var clusters = 0
  var tracks = 0

  /// Takes the results that are left.
  init(of session: Session) throws {
    while case .result(let result) = try session.nextResult() {
      labels.append((0..<result.labels.count).map { result.labels[$0] })
      confidences.append(result.regions.map(\.confidence))
      timestamps.append(result.timestamp)
      (clusters, tracks) = (result.totalClusters, result.tracks.count)
    }
  }
}

extension TestVideo {
  /// The same with other frames, of the same size.
  init(_ other: TestVideo, showing frames: [[UInt8]]) {
    (width, height, self.frames) = (other.width, other.height, frames)
  }
}

/// Of what a body throws; nil where it does not.
func kind(_ body: () throws -> Void) -> CoveyError.Kind? {
  do {
    try body()
    return nil
  } catch {
    return (error as? CoveyError)?.kind ?? .internalError
  }
}
