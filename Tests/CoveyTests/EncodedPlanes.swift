import Testing

@testable import Covey

/// The keys, queries and saliency that the vision transformer gives for one frame;
/// on the way, that it takes the memory it says.
func encode(
  _ checkpoint: Checkpoint, _ planes: [Float], rows: Int, columns: Int, threads: Int = 2,
  all wanted: Bool = true
) throws -> (keys: [Float], queries: [Float], saliency: [Float]) {
  let patch = checkpoint.config.patchSize
  let pool = try ThreadPool(threads: threads)
  let budget = Budget()
  let transformer = try VisionTransformer(
    checkpoint, height: rows * patch, width: columns * patch, pool: pool, budget: budget)
  #expect(
    budget.current
      == VisionTransformer.byteCount(
        checkpoint, height: rows * patch, width: columns * patch,
        threads: threads))
  // A value that is never right, to see what is left unwritten.
  var keys = [Float](repeating: .nan, count: rows * columns * checkpoint.config.embedDim)
  var queries = keys
  var saliency = [Float](repeating: .nan, count: rows * columns)
  BLAS.claim()
  defer { BLAS.release() }
  // Twice: what the first frame leaves behind does not count.
  for frame in [planes.reversed(), planes] {
    try keys.withUnsafeMutableBufferPointer { keys in
      try queries.withUnsafeMutableBufferPointer { queries in
        try saliency.withUnsafeMutableBufferPointer { saliency in
          try transformer.encode(
            frame, keys: keys.baseAddress!, queries: wanted ? queries.baseAddress : nil,
            saliency: wanted ? saliency.baseAddress : nil, monitor: Monitor())
        }
      }
    }
  }
  return (keys, queries, saliency)
}

/// A frame of a model's own, [3, H, W].
func planes(_ model: TestCheckpoint, _ rows: Int, _ columns: Int) -> [Float] {
  var random = SeededRandom(seed: model.seed + 100)
  return (0..<3 * rows * columns * model.patch * model.patch).map { _ in
    Float(random.normal())
  }
}
