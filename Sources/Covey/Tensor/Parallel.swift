import CCoveyPlatform
import Synchronization

/// The threads of one session, and its switch for cancelling.
final class ThreadPool {
  /// At most so many, whatever is asked for or there is.
  static let maximumThreads = 256

  let threads: Int
  private let pool: OpaquePointer

  /// - Parameter threads: with the caller's; 0 for one per usable core.
  convenience init(threads: Int) throws(CoveyError) {
    let threads = ThreadPool.count(threads)
    guard let pool = cv_pool_create(Int32(threads)) else {
      throw CoveyError(.memory, "threads: the system refused to start \(threads - 1)")
    }
    self.init(threads: threads, pool: pool)
  }

  private init(threads: Int, pool: OpaquePointer) {
    self.threads = threads
    self.pool = pool
  }

  /// - Parameter threads: as for `init`.
  static func count(_ threads: Int) -> Int {
    threads > 0 ? threads : min(Int(cv_core_count()), maximumThreads)
  }

  deinit {
    cv_pool_free(pool)
  }

  /// Calls `body(index, worker)` for every index below `count`, in any order.
  /// `worker` is below `threads`, and 0 on the calling thread.
  func run(_ count: Int, _ body: @escaping (_ index: Int, _ worker: Int) -> Void) {
    guard count > 0 else { return }
    var box = body
    withUnsafeMutablePointer(to: &box) { pointer in
      cv_pool_run(
        pool, Int32(count),
        { context, index, worker in
          let body = context!.assumingMemoryBound(to: ((Int, Int) -> Void).self)
          body.pointee(Int(index), Int(worker))
        }, pointer)
    }
  }
}

/// Set from any thread; read inside every loop that runs for long.
final class CancelFlag: Sendable {
  private let flag = Atomic<Bool>(false)

  var isSet: Bool { flag.load(ordering: .relaxed) }

  func set() {
    flag.store(true, ordering: .relaxed)
  }

  /// Whether it was set; it no longer is.
  func take() -> Bool {
    flag.exchange(false, ordering: .relaxed)
  }
}
