import CCoveyKernels

/// Products without a library for them: kernels of ours (products.inc), which need no
/// memory, no threads and no settings of the process.
enum OwnProducts {
  static var description: String {
    "no BLAS, products " + String(cString: cv_products().pointee.name)
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
    cv_products().pointee.multiply(
      m, n, k, a, aStride, 0, b, bStride, transposed ? 1 : 0, add, c, cStride)
  }

  /// c [m, n] = a^T b + add * c, where a is [k, m] and b [k, n].
  static func multiplyTransposed(
    _ m: Int, _ n: Int, _ k: Int,
    _ a: UnsafePointer<Float>, _ aStride: Int,
    _ b: UnsafePointer<Float>, _ bStride: Int,
    into c: UnsafeMutablePointer<Float>, _ cStride: Int,
    add: Float = 0
  ) {
    cv_products().pointee.multiply(m, n, k, a, aStride, 1, b, bStride, 0, add, c, cStride)
  }
}

#if !COVEY_OPENBLAS
  /// The same interface as over OpenBLAS; there is nothing to claim.
  typealias BLAS = OwnProducts

  extension OwnProducts {
    static func claim(for pool: ThreadPool) throws(CoveyError) {}
    static func claim() {}
    static func release() {}
  }
#endif
