#if COVEY_OPENBLAS
  import CCoveyPlatform
  import COpenBLAS

  /// OpenBLAS, called for one tile at a time from several threads of ours.
  ///
  /// A tile's product is computed on one thread by a call whose shape does not
  /// depend on how many threads there are, so neither does a single bit of the
  /// result.  For that OpenBLAS itself must run on one thread while we compute.
  /// Its thread count belongs to the process: `claim()` sets it to one and
  /// `release()` puts back the count found; with several sessions at work the
  /// first does the one and the last the other.
  ///
  /// In the child of a fork it is not touched: its locks and buffers may be those of
  /// threads that are not there, and its own threads, which it would start anew, may be
  /// refused, which it answers with SIGINT (observed with 0.3.21).  Products are ours there.
  enum BLAS {
    nonisolated(unsafe) private static var claims = 0
    nonisolated(unsafe) private static var threadsBefore: Int32 = 1
    /// The most threads it was found with, and how often the process had forked when it
    /// last had all of them: forking ends them in the parent, too, and the next setting of
    /// their number starts them again.
    nonisolated(unsafe) private static var mostThreads = openblas_get_num_procs()
    nonisolated(unsafe) private static var forksBefore: Int32 = 0

    private static var isUsable: Bool { cv_fork_depth() == 0 }

    /// Only the flavour on POSIX threads can be called from several threads, each
    /// product on one.  The serial one returns wrong results when called
    /// concurrently, and the one on OpenMP keeps a count of threads for every
    /// calling thread (both observed with Debian 12's 0.3.21): there, products
    /// are made one at a time.
    private static let isConcurrent = openblas_get_parallel() == OPENBLAS_THREAD

    /// Products at one time.  OpenBLAS has memory for twice the threads that it was built
    /// for (Debian: 64); callers beyond that corrupt its heap (observed with 0.3.21).  The
    /// other half is the program's.
    private static let productsAtOnce = isConcurrent ? max(1, threadsBuiltFor) : 1

    private static var threadsBuiltFor: Int32 {
      guard let configuration = openblas_get_config() else { return 1 }
      return cv_number_after(configuration, "MAX_THREADS=")
    }

    /// Threads that OpenBLAS has its memory for.
    nonisolated(unsafe) private static var readyThreads = 0
    /// What it maps for each of them (BUFFER_SIZE of x86-64 and AArch64, and a page), and
    /// the addresses that glibc's malloc reserves for a thread that calls it first.
    private static let (bufferBytes, arenaBytes) = ((128 << 20) + 4096, 128 << 20)

    /// As `claim()`, for products on the threads of `pool`.
    ///
    /// OpenBLAS maps memory for a thread when it first multiplies, and where the system
    /// refuses it tries again for ever.  So whether there is enough is found out before,
    /// and taken by products that run at the same time.
    /// - Throws: `.memory`.
    static func claim(for pool: ThreadPool) throws(CoveyError) {
      guard isUsable else { return }
      guard begin() else {
        throw CoveyError(
          .memory,
          "OpenBLAS: its threads, up to \(mostThreads), ended when the process forked; the "
            + "system refused new ones")
      }
      do throws(CoveyError) {
        try prepare(pool)
      } catch {
        release()
        throw error
      }
    }

    private static func prepare(_ pool: ThreadPool) throws(CoveyError) {
      let threads = min(pool.threads, Int(productsAtOnce))
      cv_process_lock()
      let missing = threads - readyThreads
      cv_process_unlock()
      guard missing > 0 else { return }
      guard cv_could_map(missing, bufferBytes, arenaBytes) else {
        throw CoveyError(
          .memory,
          "OpenBLAS: needs \(missing) x \(bufferBytes) bytes, one for each thread that "
            + "multiplies; the system refused")
      }
      let size = 192
      let ones = try Buffer<Float>(size * size, for: "OpenBLAS's first products")
      let products = try Buffer<Float>(pool.threads * size * size, for: "OpenBLAS's first products")
      ones.fill(1)
      pool.run(4 * pool.threads) { _, worker in
        multiply(
          size, size, size, ones.base, size, ones.base, size, transposed: false,
          into: products.base + worker * size * size, size)
      }
      withExtendedLifetime((ones, products)) {}
      cv_process_lock()
      readyThreads = max(readyThreads, threads)
      cv_process_unlock()
    }

    /// For products on one thread.
    static func claim() {
      if isUsable { _ = begin() }
    }

    /// - Returns: false where it would end the process.
    private static func begin() -> Bool {
      cv_process_lock()
      defer { cv_process_unlock() }
      if claims == 0 {
        let found = openblas_get_num_threads()
        guard found == 1 || setThreads(1, from: found) else { return false }
        threadsBefore = found
      }
      claims += 1
      return true
    }

    static func release() {
      guard isUsable else { return }
      cv_process_lock()
      claims -= 1
      // Where the process forked during the call, and may start no threads, one it stays.
      if claims == 0, threadsBefore != 1 { _ = setThreads(threadsBefore, from: 1) }
      cv_process_unlock()
    }

    /// Under the lock.
    private static func setThreads(_ count: Int32, from found: Int32) -> Bool {
      mostThreads = max(mostThreads, found, count)
      if forksBefore != cv_forks_made() {
        guard cv_could_start(mostThreads - 1) else { return false }
        forksBefore = cv_forks_made()
      }
      openblas_set_num_threads(count)
      return true
    }

    /// For bug reports: version, kernel set and flavour.
    static var description: String {
      guard let configuration = openblas_get_config() else { return "OpenBLAS" }
      return String(cString: configuration)
    }

    private static func inTurn(_ product: () -> Void) {
      cv_take_turn(productsAtOnce)
      if !isConcurrent { openblas_set_num_threads(1) }
      product()
      cv_end_turn(productsAtOnce)
    }

    /// c [m, n] = a [m, k] b + add * c, where b is [k, n], or [n, k] if
    /// `transposed` (as the weights of a linear layer are).  Strides are in
    /// elements, from row to row.
    static func multiply(
      _ m: Int, _ n: Int, _ k: Int,
      _ a: UnsafePointer<Float>, _ aStride: Int,
      _ b: UnsafePointer<Float>, _ bStride: Int, transposed: Bool,
      into c: UnsafeMutablePointer<Float>, _ cStride: Int,
      add: Float = 0
    ) {
      guard isUsable else {
        return OwnProducts.multiply(
          m, n, k, a, aStride, b, bStride, transposed: transposed, into: c, cStride, add: add)
      }
      inTurn {
        cblas_sgemm(
          CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans,
          blasint(m), blasint(n), blasint(k), 1, a, blasint(aStride), b, blasint(bStride), add,
          c, blasint(cStride))
      }
    }

    /// c [m, n] = a^T b + add * c, where a is [k, m] and b [k, n]: sums over rows, as
    /// the gradients of weights are.  Strides as above.
    static func multiplyTransposed(
      _ m: Int, _ n: Int, _ k: Int,
      _ a: UnsafePointer<Float>, _ aStride: Int,
      _ b: UnsafePointer<Float>, _ bStride: Int,
      into c: UnsafeMutablePointer<Float>, _ cStride: Int,
      add: Float = 0
    ) {
      guard isUsable else {
        return OwnProducts.multiplyTransposed(
          m, n, k, a, aStride, b, bStride, into: c, cStride, add: add)
      }
      inTurn {
        cblas_sgemm(
          CblasRowMajor, CblasTrans, CblasNoTrans, blasint(m), blasint(n), blasint(k), 1, a,
          blasint(aStride), b, blasint(bStride), add, c, blasint(cStride))
      }
    }
  }
#endif
