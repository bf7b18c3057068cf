/// One of the centres nearest to a map, before clusters have ids.
struct NearCentre: BitwiseCopyable {
  /// -1: none, or one that has vanished.
  var cluster: Int32
  /// Nats.
  var distance: Float

  /// How many are kept for each patch.
  static let depth = 4

  static let none = NearCentre(cluster: -1, distance: .infinity)

  /// The nearest ones of `count` centres, ascending, the first on ties.
  ///
  /// - Parameters:
  ///   - distance: of a centre.
  ///   - output: [depth]; where there are fewer centres, `none`.
  @inline(__always)
  static func select(
    _ count: Int, into output: UnsafeMutablePointer<NearCentre>, distance: (Int) -> Float
  ) {
    let depth = NearCentre.depth
    for place in 0..<depth { output[place] = .none }
    for centre in 0..<count {
      let value = distance(centre)
      guard value < output[depth - 1].distance else { continue }
      var place = depth - 1
      while place > 0, value < output[place - 1].distance {
        output[place] = output[place - 1]
        place -= 1
      }
      output[place] = NearCentre(cluster: Int32(centre), distance: value)
    }
  }
}
