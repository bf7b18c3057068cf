"""The Debian packages: what dpkg does with them in a system of its own."""

import re
import shutil
import subprocess

import pytest
from conftest import VERSION, run

pytestmark = pytest.mark.skipif(not shutil.which("dpkg"), reason="needs dpkg")

# What a system says it has: libc6 alone.
STATUS = """\
Package: libc6
Status: install ok installed
Maintainer: nobody <nobody@example.org>
Architecture: {architecture}
Multi-Arch: same
Version: {version}
Description: the C library
"""


class System:
    """An empty one, of its own administration."""

    def __init__(self, root, architecture, libc):
        self.root = root
        self.admin = root / "var/lib/dpkg"
        (self.admin / "info").mkdir(parents=True)
        (self.admin / "updates").mkdir()
        (self.admin / "info" / f"libc6:{architecture}.list").write_text("/.\n")
        (self.admin / "status").write_text(STATUS.format(architecture=architecture, version=libc))
        native = run("dpkg", "--print-architecture").strip()
        if architecture != native:
            (self.admin / "arch").write_text(f"{native}\n{architecture}\n")

    def dpkg(self, *arguments):
        return subprocess.run(
            ["dpkg", f"--root={self.root}", "--force-not-root", "--no-debsig",
             f"--log={self.root}/log", *map(str, arguments)],
            capture_output=True, text=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                                                 "LC_ALL": "C.UTF-8"},
        )

    def files(self):
        return {
            str(path.relative_to(self.root)) for path in self.root.rglob("*")
            if not path.is_dir() and not path.is_relative_to(self.root / "var")
            and path.name != "log"
        }


@pytest.fixture
def both(architecture):
    return [architecture.deb("libcovey0"), architecture.deb("libcovey-dev")]


def floor(architecture):
    """What the library asks of glibc, from the wheel's name."""
    return re.search(r"manylinux_(\d+)_(\d+)", architecture.wheel.name).groups()


def test_installed_verified_removed(architecture, both, tmp_path):
    system = System(tmp_path, architecture.debian, ".".join(floor(architecture)) + "-1")
    done = system.dpkg("--install", *both)
    assert done.returncode == 0, done.stderr
    assert f"usr/lib/{architecture.triplet}/libcovey.so.{VERSION}" in system.files()

    assert (system.dpkg("--verify").returncode, system.dpkg("--verify").stdout) == (0, "")
    header = tmp_path / "usr/include/covey.h"
    header.write_text(header.read_text() + "\n")
    assert "usr/include/covey.h" in system.dpkg("--verify").stdout

    done = system.dpkg("--purge", "libcovey0", "libcovey-dev")
    assert done.returncode == 0, done.stderr
    assert system.files() == set()


def test_an_older_libc_is_refused(architecture, both, tmp_path):
    major, minor = floor(architecture)
    system = System(tmp_path, architecture.debian, f"{major}.{int(minor) - 1}-1")
    done = system.dpkg("--install", *both)
    assert done.returncode != 0
    assert "libcovey0" in done.stderr and f"libc6 (>= {major}.{minor})" in done.stderr


def test_the_library_belongs_to_the_header(architecture, both, tmp_path):
    system = System(tmp_path, architecture.debian, "9.9-1")
    done = system.dpkg("--install", both[1])
    assert done.returncode != 0
    assert f"libcovey-dev depends on libcovey0 (= {VERSION}-1)" in re.sub(
        r"\s+", " ", done.stderr.replace(f":{architecture.debian}", "")
    )


def test_what_programs_will_depend_on(architecture, both, tmp_path):
    """symbols and shlibs name every function of the library, and the package."""
    run("dpkg-deb", "--control", both[0], tmp_path / "control")
    run("dpkg-deb", "--extract", both[0], tmp_path / "files")
    library = tmp_path / f"files/usr/lib/{architecture.triplet}/libcovey.so.{VERSION}"
    exported = {
        line.split()[-1]
        for line in run("nm", "-D", "--defined-only", "--extern-only", library).splitlines()
    }
    head, *rows = (tmp_path / "control/symbols").read_text().splitlines()
    assert head == "libcovey.so.0 libcovey0 #MINVER#"
    assert {row.split("@")[0].strip() for row in rows} == exported
    assert {row.split()[1] for row in rows} == {VERSION}
    assert (tmp_path / "control/shlibs").read_text() == f"libcovey 0 libcovey0 (>= {VERSION})\n"


@pytest.mark.skipif(not shutil.which("lintian"), reason="needs lintian")
def test_lintian_finds_nothing(both):
    """But that no bug is closed, which is for what goes into Debian itself."""
    run("lintian", "--fail-on", "error,warning", "--allow-root", "--suppress-tags",
        "initial-upload-closes-no-bugs", *both)
