import CCoveyPlatform
import Synchronization

/// The stages a caller sees progress of.
enum Stage {
  case encode
  case cluster
  case merge
  case assign
  case train
}

/// Progress to the caller and cancelling by the caller, for the one call in
/// progress.  Loops call `advance` after each piece of work, `pulse` inside long
/// ones, and return early when `isCancelled`; whoever started them calls
/// `check`.
final class Monitor {
  /// Returns whether to go on.  Called on the calling thread only.
  typealias Callback = (_ stage: Stage, _ fraction: Float) -> Bool

  /// Callbacks cost the caller something (a switch to Python, say).
  private static let nanosecondsBetweenCallbacks: Int64 = 10_000_000

  private let flag: CancelFlag
  private let callback: Callback?
  private let stopped = Atomic<Bool>(false)
  private let done = Atomic<Int>(0)
  /// Work that the stage's total does not reckon with sets it to false meanwhile.
  var isCounting = true
  private var stage = Stage.encode
  private var total = 1
  private var lastCallback: Int64 = 0
  private let forkDepth = cv_fork_depth()

  init(flag: CancelFlag = CancelFlag(), callback: Callback? = nil) {
    self.flag = flag
    self.callback = callback
  }

  var isCancelled: Bool { stopped.load(ordering: .relaxed) || flag.isSet }

  /// A stage of `total` pieces of work begins.
  func begin(_ stage: Stage, total: Int) {
    self.stage = stage
    self.total = max(total, 1)
    done.store(0, ordering: .relaxed)
    report(always: true)
  }

  /// Pieces of work have been done; from any worker, at most every few
  /// milliseconds' worth of work.
  func advance(_ pieces: Int = 1, worker: Int) {
    if isCounting { done.wrappingAdd(pieces, ordering: .relaxed) }
    pulse(worker: worker)
  }

  /// Long pieces call this every few milliseconds, so that a callback can
  /// cancel in between.
  func pulse(worker: Int) {
    if worker == 0 { report(always: false) }
  }

  /// The stage is complete.  Throws as `check`: a caller who answers the last
  /// report with a cancel is heard too.
  func end() throws(CoveyError) {
    done.store(total, ordering: .relaxed)
    report(always: true)
    try check()
  }

  /// Throws where the call has been cancelled; one cancel ends one call.  Also in a child
  /// that the callback has forked: the workers, and what they were computing, are not there.
  func check() throws(CoveyError) {
    guard isCancelled else { return }
    guard forkDepth == cv_fork_depth() else {
      throw CoveyError(
        .state, "the progress callback has forked: the call goes on in the parent, not in the child"
      )
    }
    _ = flag.take()
    throw CoveyError(.cancelled, "cancelled")
  }

  private func report(always: Bool) {
    guard let callback, !stopped.load(ordering: .relaxed) else { return }
    let now = cv_clock_nanoseconds()
    guard always || now - lastCallback >= Monitor.nanosecondsBetweenCallbacks else { return }
    lastCallback = now
    let fraction = Float(min(done.load(ordering: .relaxed), total)) / Float(total)
    let goesOn = callback(stage, fraction)
    if !goesOn || forkDepth != cv_fork_depth() { stopped.store(true, ordering: .relaxed) }
  }
}
