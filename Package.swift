// swift-tools-version: 6.1
import PackageDescription

// Two builds of the same sources (docs/ARCHITECTURE.md):
//   swift build / swift test          ordinary Swift, with the tests
//   COVEY_BUILD=embedded swift build  Embedded Swift, the library that ships
// Either without OpenBLAS, with products of our own, where COVEY_BLAS=none.
let embedded = Context.environment["COVEY_BUILD"] == "embedded"
let openBLAS = Context.environment["COVEY_BLAS"] != "none"

let kernelFlags: [CSetting] = [
  // Results must be the same bits on every CPU: no fused multiply-add that one
  // instruction set has and another has not.
  .unsafeFlags([
    "-O3", "-ffp-contract=off", "-fvisibility=hidden", "-ffunction-sections", "-Wno-psabi",
  ])
]

let interface: [Target] = [.systemLibrary(name: "CCovey", path: "Include")]

let blas: [Target] = [
  .systemLibrary(
    name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev"])])
]

let core: [Target] = [
  .target(name: "CCoveyKernels", cSettings: kernelFlags),
  .target(
    name: "CCoveyPlatform",
    cSettings: [.unsafeFlags(["-fvisibility=hidden", "-ffunction-sections"])]),
  .target(
    name: "Covey",
    dependencies: ["CCovey", "CCoveyKernels", "CCoveyPlatform"] + (openBLAS ? ["COpenBLAS"] : []),
    exclude: ["covey.map"],
    swiftSettings: (openBLAS ? [.define("COVEY_OPENBLAS")] : [])
      + (embedded ? [.enableExperimentalFeature("Embedded"), .unsafeFlags(["-wmo", "-Osize"])] : []),
    linkerSettings: embedded
      ? [
        .linkedLibrary("m"),
        .unsafeFlags([
          "-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/Covey/covey.map",
          "-Xlinker", "-soname=libcovey.so.0",
          "-Xlinker", "--no-undefined", "-Xlinker", "--gc-sections",
          "-Xlinker", "-z", "-Xlinker", "nodelete",
          // It would differ from build to build, with Swift's hash of the module.
          "-Xlinker", "--build-id=none",
        ]),
      ] : [.linkedLibrary("m")]
  ),
]

// Linker flags of a target leak into test bundles, so the shipping build has
// neither tests nor examples.  libpng is theirs alone.
let development: [Target] = [
  .systemLibrary(name: "CPNG", pkgConfig: "libpng", providers: [.apt(["libpng-dev"])]),
  .executableTarget(
    name: "segment", dependencies: ["Covey", "CPNG"], path: "Examples", sources: ["segment.c"],
    cSettings: [.headerSearchPath("../Include")]),
  .testTarget(name: "CoveyTests", dependencies: ["Covey", "CCovey"]),
]

let package = Package(
  name: "covey",
  products: [.library(name: "covey", type: .dynamic, targets: ["Covey"])],
  targets: interface + (openBLAS ? blas : []) + core + (embedded ? [] : development),
  swiftLanguageModes: [.v6]
)
