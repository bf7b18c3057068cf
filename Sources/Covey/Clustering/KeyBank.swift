/// The key frames of a stream: at most `budget` of them, however long it gets.
///
/// When there is one too many, the one goes that is missed least: whose
/// neighbours in time are close together compared with how long ago it was.  So
/// what is kept is dense for the last moments and ever sparser for the past.
/// The first one, which has a neighbour on one side only, stays: by that rule it
/// would be the one to go every time, and nothing old would ever be kept.
struct KeyBank {
  let budget: Int
  private(set) var frames: [(time: Int, keys: Buffer<Float>)] = []

  init(budget: Int) {
    self.budget = budget
  }

  mutating func append(_ keys: Buffer<Float>, time: Int) {
    frames.append((time, keys))
    guard frames.count > budget else { return }
    guard budget > 1 else {
      frames.removeFirst(frames.count - 1)
      return
    }
    var (dispensable, least) = (1, Double.infinity)
    for i in 1..<frames.count - 1 {
      let gap = Double(frames[i + 1].time - frames[i - 1].time)
      let age = Double(time - frames[i].time)
      if gap / age < least { (dispensable, least) = (i, gap / age) }
    }
    frames.remove(at: dispensable)
  }
}
