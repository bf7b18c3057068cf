"""The packages in dist/, for every architecture of $ARCHS, and what runs their programs.

Run by `make test-packages`, which makes them first.
"""

import os
import pathlib
import platform
import re
import subprocess
from dataclasses import dataclass

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
DIST = TOP / "dist"
SOURCES = pathlib.Path(__file__).resolve().parent
HEADER = (TOP / "Include" / "covey.h").read_text()
VERSION = ".".join(re.findall(r"#define COVEY_VERSION_(?:MAJOR|MINOR|PATCH)\s+(\d+)", HEADER))
ARCHITECTURES = os.environ.get("ARCHS", platform.machine()).split()
DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}


def run(*command, **options):
    """What a command printed; fails with all it said."""
    done = subprocess.run(
        [str(part) for part in command], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, timeout=300, **options,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}"
    return done.stdout


def clean_environment(**more):
    """Without what would have programs find another covey."""
    left = {
        name: value for name, value in os.environ.items()
        if not name.startswith(("COVEY_", "PYTHON", "LD_", "PKG_CONFIG", "CMAKE", "MAKE"))
    }
    return {**left, "LC_ALL": "C.UTF-8", **more}


@dataclass(frozen=True)
class Architecture:
    name: str

    @property
    def native(self):
        return self.name == platform.machine()

    @property
    def triplet(self):
        return f"{self.name}-linux-gnu"

    @property
    def debian(self):
        return DEBIAN[self.name]

    @property
    def compiler(self):
        return "cc" if self.native else f"{self.triplet}-gcc"

    @property
    def foreign_root(self):
        """Where libpng for the other architecture is (tools/aarch64.mk)."""
        return TOP / "build" / self.name / "root"

    @property
    def png_flags(self):
        if self.native:
            return ["-lpng"]
        libraries = self.foreign_root / "usr/lib" / self.triplet
        return [f"-I{self.foreign_root}/usr/include", f"-L{libraries}", "-lpng",
                f"-Wl,-rpath-link,{libraries}:{self.foreign_root}/lib/{self.triplet}"]

    def program(self, path, libraries):
        """A command line that runs a program with the shared libraries of a folder."""
        if self.native:
            return ["env", f"LD_LIBRARY_PATH={libraries}", path]
        folders = [libraries, *(self.foreign_root / at / self.triplet for at in ("usr/lib", "lib"))]
        return [f"qemu-{self.name}-static", "-L", f"/usr/{self.triplet}",
                "-E", "LD_LIBRARY_PATH=" + ":".join(map(str, folders)), path]

    def package(self, pattern):
        """The one file of that name in dist/."""
        found = sorted(DIST.glob(pattern))
        assert len(found) == 1, f"{pattern}: {[path.name for path in found]}"
        return found[0]

    @property
    def tarball(self):
        return self.package(f"covey-{VERSION}-linux-{self.name}.tar.gz")

    @property
    def wheel(self):
        return self.package(f"covey-{VERSION}-py3-none-manylinux_*_{self.name}.whl")

    def deb(self, package):
        return self.package(f"{package}_{VERSION}-*_{self.debian}.deb")


@pytest.fixture(scope="session", params=ARCHITECTURES)
def architecture(request):
    return Architecture(request.param)
