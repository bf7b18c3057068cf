import CCovey
import CCoveyKernels
import CCoveyPlatform

private let versionText: StaticString = "0.1.0"

/// Made once and kept for the life of the process.
nonisolated(unsafe) private let buildInfo: UnsafePointer<CChar> = {
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
  #if compiler(>=6.3)
    let compiler = "6.3 or later"
  #else
    let compiler = "6.2 or earlier"
  #endif
  let kernels = String(cString: cv_rows().pointee.name)
  let text =
    "covey \(versionText), \(runtime) \(compiler), \(machine), row kernels \(kernels), "
    + "\(BLAS.description)"
  let copy = UnsafeMutablePointer<CChar>.allocate(capacity: text.utf8.count + 1)
  var end = copy
  for byte in text.utf8 {
    end.initialize(to: CChar(bitPattern: byte))
    end += 1
  }
  end.initialize(to: 0)
  return UnsafePointer(copy)
}()

@c @implementation
public func covey_version() -> Int32 {
  COVEY_VERSION_MAJOR * 10000 + COVEY_VERSION_MINOR * 100 + COVEY_VERSION_PATCH
}

@c @implementation
public func covey_build_info() -> UnsafePointer<CChar>! {
  buildInfo
}
