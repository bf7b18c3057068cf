import CCovey
import CCoveyKernels
import CCoveyPlatform

/// Made once, under the process's lock, and kept for its life.
private let buildInfo: CText = {
  #if hasFeature(Embedded)
    let runtime = "Embedded Swift"
  #else
    let runtime = "Swift"
  #endif
  #if arch(x86_64)
    let machine = "x86-64"
  #elseif arch(arm64)
    let machine = "AArch64"
  #else
    let machine = "other"
  #endif
  // The language has no name for the compiler's version, only comparisons.
  #if compiler(>=6.5)
    let compiler = "6.5 or later"
  #elseif compiler(>=6.4)
    let compiler = "6.4"
  #elseif compiler(>=6.3.2)
    let compiler = "6.3.2 or later"
  #elseif compiler(>=6.3.1)
    let compiler = "6.3.1"
  #else
    let compiler = "6.3.0 or earlier"
  #endif
  let rows = String(cString: cv_rows().pointee.name)
  let int8 = String(cString: cv_int8().pointee.name)
  let version = "\(COVEY_VERSION_MAJOR).\(COVEY_VERSION_MINOR).\(COVEY_VERSION_PATCH)"
  return CText(
    "covey \(version), \(runtime) \(compiler), \(String(cString: cv_c_compiler())), \(machine), "
      + "\(String(cString: cv_libc())), row kernels \(rows), int8 \(int8), " + BLAS.description)
}()

@c @implementation
public func covey_version() -> Int32 {
  COVEY_VERSION_MAJOR * 10000 + COVEY_VERSION_MINOR * 100 + COVEY_VERSION_PATCH
}

@c @implementation
public func covey_build_info() -> UnsafePointer<CChar>! {
  cv_process_lock()
  defer { cv_process_unlock() }
  return buildInfo.pointer
}
