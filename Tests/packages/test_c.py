"""Programs built against what is installed, in each way there is, and run."""

import re
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass

import clip
import pytest
from conftest import (
    HEADER,
    SOURCES,
    TOP,
    VERSION,
    Architecture,
    clean_environment,
    run,
)
from PIL import Image

EXAMPLE = TOP / "Examples" / "segment.c"
MAJOR, MINOR, PATCH = map(int, VERSION.split("."))
NUMBER = MAJOR * 10000 + MINOR * 100 + PATCH


@dataclass(frozen=True)
class Installed:
    """covey in a folder: `root` is what the machine would have as /."""

    architecture: Architecture
    kind: str
    root: object
    prefix: object
    libraries: object

    @property
    def model(self):
        return self.prefix / "share" / "covey" / "covey-nano.gguf"


@pytest.fixture(scope="module", params=["deb", "tarball"])
def installed(request, architecture, tmp_path_factory):
    root = tmp_path_factory.mktemp(f"{request.param}-{architecture.name}")
    if request.param == "deb":
        for package in ("libcovey0", "libcovey-dev"):
            run("dpkg-deb", "--extract", architecture.deb(package), root)
        prefix = root / "usr"
        return Installed(architecture, "deb", root, prefix, prefix / "lib" / architecture.triplet)
    with tarfile.open(architecture.tarball) as archive:
        archive.extractall(root, filter="data")
    # It may be moved.
    prefix = root / "somewhere else"
    (root / f"covey-{VERSION}-linux-{architecture.name}").rename(prefix)
    return Installed(architecture, "tarball", root, prefix, prefix / "lib")


def with_pkg_config(installed, folder):
    """Flags from covey.pc; the model's path from it, too."""
    path = installed.libraries / "pkgconfig"
    environment = clean_environment(PKG_CONFIG_LIBDIR=str(path))
    if installed.kind == "deb":
        environment["PKG_CONFIG_SYSROOT_DIR"] = str(installed.root)

    def ask(*what):
        return run("pkg-config", *what, "covey", env=environment).strip()

    assert ask("--modversion") == VERSION
    model = ask("--variable=model").removeprefix(str(installed.root))
    if installed.kind == "deb":
        assert (installed.root / model.lstrip("/")).is_file()
    flags = ask("--cflags", "--libs")
    for source, target, more in sources(installed, folder):
        command = f'{installed.architecture.compiler} -std=gnu99 {source} {flags} '
        run("sh", "-c", command + " ".join([*more, "-o", str(target)]))


def with_compiler_alone(installed, folder):
    for source, target, more in sources(installed, folder):
        run(installed.architecture.compiler, "-std=gnu99", source,
            f"-I{installed.prefix}/include", f"-L{installed.libraries}", "-lcovey",
            *more, "-o", target)


def sources(installed, folder):
    yield SOURCES / "version.c", folder / "version", ["-ldl"]
    yield EXAMPLE, folder / "segment", installed.architecture.png_flags


def cmake(installed, folder, wanted):
    """The output of configuring, and whether it was done."""
    architecture = installed.architecture
    for name in ("CMakeLists.txt", "version.c"):
        shutil.copy(SOURCES / name, folder)
    command = [
        f"{sys.prefix}/bin/cmake", "-S", folder, "-B", folder / "build", f"-DWANTED={wanted}",
        f"-DCMAKE_PREFIX_PATH={installed.prefix}", f"-DCMAKE_C_COMPILER={architecture.compiler}",
        f"-DEXAMPLE={EXAMPLE}", f"-DPNG={';'.join(architecture.png_flags)}",
    ]
    if not architecture.native:
        command += ["-DCMAKE_SYSTEM_NAME=Linux",
                    f"-DCMAKE_SYSTEM_PROCESSOR={architecture.name}"]
        command += [f"-DCMAKE_C_FLAGS={architecture.png_flags[0]}"]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
    return done.stdout + done.stderr, done.returncode == 0


def with_cmake(installed, folder):
    said, configured = cmake(installed, folder, VERSION)
    assert configured, said
    assert f"version={VERSION}" in said
    assert f"-- model={installed.model}\n" in said
    run(f"{sys.prefix}/bin/cmake", "--build", folder / "build", env=clean_environment())
    for name in ("version", "segment"):
        (folder / name).symlink_to(folder / "build" / name)


def segmented(command, model, folder, size):
    """The masks of the clip, frame by frame."""
    folder.mkdir()
    done = subprocess.run(
        [*command, model, "-", folder, "--clusters", *size], input=clip.yuv4mpeg2(),
        capture_output=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    found = [Image.open(path) for path in sorted(folder.iterdir())]
    assert [each.size for each in found] == [(clip.WIDTH, clip.HEIGHT)] * clip.FRAMES
    return [each.tobytes() for each in found]


@pytest.mark.parametrize("build", [with_pkg_config, with_cmake, with_compiler_alone])
def test_a_program_is_built_and_runs(installed, build, tmp_path):
    build(installed, tmp_path)
    architecture = installed.architecture

    said = run(*architecture.program(tmp_path / "version", installed.libraries))
    header, library, path = said.strip().split(" ", 2)
    assert (int(header), int(library)) == (NUMBER, NUMBER)
    assert path == str(installed.libraries / "libcovey.so.0")

    # Fewer pixels where an emulator computes; there the disc is not told from its edge.
    size, least = ([], 0.9) if architecture.native else (["--working-size", "128x192"], 0.45)
    command = architecture.program(tmp_path / "segment", installed.libraries)
    for frame, indices in enumerate(segmented(command, installed.model, tmp_path / "masks", size)):
        rows = [indices[at : at + clip.WIDTH] for at in range(0, len(indices), clip.WIDTH)]
        assert clip.intersection_over_union(rows, frame) > least


@pytest.mark.parametrize("cpu", ["qemu64", "Opteron_G5"])
def test_it_runs_where_openblas_does_not(installed, cpu, tmp_path):
    """On CPUs whose instructions are not what their names say, OpenBLAS's end the process."""
    architecture = installed.architecture
    if installed.kind == "deb" or architecture.name != "x86_64":
        return      # the same library; its instructions
    if not shutil.which("qemu-x86_64-static"):
        pytest.skip("qemu-x86_64-static is not installed")
    with_compiler_alone(installed, tmp_path)
    program, few = tmp_path / "segment", ["--working-size", "48x96", "--tau", "0.1"]
    native = architecture.program(program, installed.libraries)
    emulated = ["qemu-x86_64-static", "-cpu", cpu, "-E", f"LD_LIBRARY_PATH={installed.libraries}"]
    here = segmented(native, installed.model, tmp_path / "here", few)
    there = segmented([*emulated, program], installed.model, tmp_path / "there", few)
    pixels = list(zip(b"".join(here), b"".join(there), strict=True))
    assert sum(a == b for a, b in pixels) >= 0.999 * len(pixels)
    assert len(set(b"".join(here))) > 1


def test_cmake_takes_the_versions_that_fit(installed, tmp_path):
    if installed.kind == "deb" or not installed.architecture.native:
        return      # the same file everywhere
    right = ["", "0.1", f"{VERSION};EXACT", f"0.1...{MAJOR + 1}", f"0.1...{VERSION}"]
    wrong = [f"{MAJOR}.{MINOR + 1}", f"{MAJOR + 1}.0", "0.0.1...<0.0.9", f"0.0.1...<{VERSION}"]
    for wanted in right + wrong:
        folder = tmp_path / wanted.replace(";", " ") / "x"
        folder.mkdir(parents=True)
        said, configured = cmake(installed, folder, wanted)
        assert configured == (wanted in right), (wanted, said)
        assert configured or VERSION in said, said      # what was found instead


def test_what_a_folder_holds(installed):
    """The model and the header as they are here, links of the library to each other."""
    version = f"libcovey.so.{VERSION}"
    assert (installed.prefix / "include" / "covey.h").read_text() == HEADER
    assert (installed.libraries / version).is_file()
    assert (installed.libraries / "libcovey.so.0").readlink().name == version
    assert (installed.libraries / "libcovey.so").readlink().name == "libcovey.so.0"
    assert list(installed.model.parent.iterdir()) == [installed.model]
    original = (TOP / "models" / "covey-nano.gguf").read_bytes()
    assert installed.model.read_bytes() == original
    for path in installed.prefix.rglob("*"):
        if path.suffix in (".pc", ".cmake"):
            assert "@" not in path.read_text() and str(TOP) not in path.read_text()
    needed = re.findall(
        r"\(NEEDED\).*\[(.*)\]", run("readelf", "-dW", installed.libraries / version)
    )
    assert {re.sub(r"[-.].*", "", name) for name in needed} <= {"libc", "libm", "ld"}
