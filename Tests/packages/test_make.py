"""make install and make dist."""

import os
import subprocess

from conftest import DIST, TOP, VERSION, clean_environment, run


def test_install(architecture, tmp_path):
    """The same folder as in the tar.gz, wherever it is told to go."""
    if not architecture.native:
        return
    root = tmp_path / "root"
    run("make", "--no-print-directory", "COVEY_BLAS=none", "install", f"DESTDIR={root}",
        "PREFIX=/opt/covey", cwd=TOP, env=clean_environment())
    run("tar", "-xzf", architecture.tarball, "-C", tmp_path)
    unpacked = tmp_path / f"covey-{VERSION}-linux-{architecture.name}"
    run("diff", "-r", "--no-dereference", unpacked, root / "opt/covey")

    # Over a library that is in use: a new file, the old one stays as it is.
    library = root / f"opt/covey/lib/libcovey.so.{VERSION}"
    with library.open("rb") as used:
        run("make", "--no-print-directory", "COVEY_BLAS=none", "install", f"DESTDIR={root}",
            "PREFIX=/opt/covey", cwd=TOP, env=clean_environment())
        assert os.fstat(used.fileno()).st_ino != library.stat().st_ino


def test_install_into_folders_of_ones_own(architecture, tmp_path):
    if not architecture.native:
        return
    run("make", "--no-print-directory", "COVEY_BLAS=none", "install", f"DESTDIR={tmp_path}",
        "PREFIX=/usr", "LIBDIR=/usr/lib64", "INCLUDEDIR=/usr/include/covey-0",
        "DATADIR=/usr/share/models", cwd=TOP, env=clean_environment())
    environment = clean_environment(PKG_CONFIG_LIBDIR=f"{tmp_path}/usr/lib64/pkgconfig")

    def path(variable):
        text = run("pkg-config", f"--variable={variable}", "covey", env=environment)
        return os.path.normpath(text.strip())

    assert path("libdir") == f"{tmp_path}/usr/lib64"
    assert path("includedir") == f"{tmp_path}/usr/include/covey-0"
    assert path("model") == f"{tmp_path}/usr/share/models/covey/covey-nano.gguf"
    assert os.path.isfile(path("model"))


def test_the_same_bytes_again(architecture, tmp_path):
    """From another folder, by another user's habits, at another time of day."""
    copy = tmp_path / "copy"
    copy.mkdir()
    run("sh", "-c", "tar -cf - Include models packaging docs Examples README.md LICENSE "
        f"CHANGELOG.md bindings/python | tar -C {copy} -xmf -", cwd=TOP)
    (copy / "bindings/python/build/lib/covey").mkdir(parents=True, exist_ok=True)
    (copy / "bindings/python/build/lib/covey/left_over.py").write_text("# of an earlier build\n")
    built = TOP / "build"
    library = built / ("no-blas" if architecture.native else architecture.name) / "libcovey.so"
    out = tmp_path / "out"
    out.mkdir()
    # SOURCE_DATE_EPOCH and MAINTAINER as the makefile has them.
    environment = clean_environment(TZ="Asia/Tokyo", LC_ALL="C")
    python, manual = built / "packaging/venv/bin/python", tmp_path / "covey.1"
    for script in (
        f"packaging/man.sh {python} {manual}",
        f"packaging/tarball.sh {architecture.name} {library} {manual} {out}",
        f"packaging/deb.sh {architecture.name} {library} {manual} {out}",
        f"packaging/wheel.sh {python} {architecture.name} {library} {manual} {out}",
    ):
        run("sh", "-c", f"umask 077 && {script}", cwd=copy, env=environment)

    names = sorted(path.name for path in out.iterdir())
    assert len(names) == 4
    for name in names:
        assert (out / name).read_bytes() == (DIST / name).read_bytes(), name


def test_one_that_cannot_be_built(tmp_path):
    done = subprocess.run(
        ["make", "dist", "ARCH=riscv64", f"DIST={tmp_path}"], cwd=TOP, env=clean_environment(),
        capture_output=True, text=True,
    )
    assert done.returncode != 0
    assert "riscv64: can be built for" in done.stderr
    assert not list(tmp_path.iterdir())
