"""The wheels: what auditwheel says, and installed where nothing else is."""

import platform
import re
import shutil
import sys

import pytest
from conftest import SOURCES, TOP, VERSION, clean_environment, run

PYTHON_ROOT = TOP / "build/packaging/python-arm64"


def test_the_name_is_what_auditwheel_finds(architecture):
    said = run(f"{sys.prefix}/bin/auditwheel", "show", architecture.wheel)
    tag = re.search(r"manylinux_\w+(?=\.whl)", architecture.wheel.name).group()
    assert f'following platform tag: "{tag}"' in " ".join(said.split())


def test_a_clean_environment(architecture, tmp_path):
    if not architecture.native:
        pytest.skip("see test_in_an_emulator")
    environment = clean_environment(PYTHONPATH=str(SOURCES))
    run("python3", "-m", "venv", tmp_path / "venv", env=environment)
    python = tmp_path / "venv/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        architecture.wheel, env=environment)
    folder = run(python, "-c", "import sysconfig; print(sysconfig.get_path('platlib'))").strip()

    said = run(python, SOURCES / "use_wheel.py", folder, cwd=tmp_path, env=environment)
    assert said.splitlines()[-1] == f"{VERSION} segmented"

    covey = tmp_path / "venv/bin/covey"
    said = run(covey, "info", cwd=tmp_path, env=environment)
    assert said.startswith("covey-nano: 2,533,440 parameters")
    assert run(covey, "--version", cwd=tmp_path, env=environment).strip() == f"covey {VERSION}"
    assert sorted(set(re.findall(r"(?m)^[\w-]+(?===)", run(python, "-m", "pip", "freeze")))) == [
        "numpy"
    ]


@pytest.fixture(scope="module")
def python_of_arm64():
    """A Debian of another architecture with Python and nothing else; not installed."""
    if platform.machine() != "x86_64" or not shutil.which("apt-get"):
        pytest.skip("needs apt-get, and an emulator to be needed")
    found = re.search(r"python(3\.\d+)-minimal", run("apt-cache", "depends", "python3-minimal"))
    version = found.group(1)
    stamp = PYTHON_ROOT / f"ready-{version}"
    if not stamp.exists():
        shutil.rmtree(PYTHON_ROOT, ignore_errors=True)
        run(TOP / "tools/debian-root.sh", "arm64", PYTHON_ROOT, "libc6", "libgcc-s1", "libstdc++6",
            "zlib1g", "libexpat1", "libffi8", f"python{version}-minimal",
            f"libpython{version}-minimal", f"libpython{version}-stdlib")
        stamp.touch()
    return version


def test_in_an_emulator(architecture, python_of_arm64, tmp_path):
    """pip takes the wheel for AArch64, and Python of that architecture runs it."""
    if architecture.native or architecture.name != "aarch64":
        pytest.skip("see test_a_clean_environment")
    major, newest = re.search(r"manylinux_(\d+)_(\d+)", architecture.wheel.name).groups()
    platforms = [f"--platform=manylinux_{major}_{minor}_aarch64"
                 for minor in range(int(newest), 16, -1)]
    run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
        "--target", tmp_path / "site", "--only-binary=:all:", "--implementation=cp",
        f"--python-version={python_of_arm64}", *platforms, "--platform=manylinux2014_aarch64",
        architecture.wheel)
    command = [
        "qemu-aarch64-static", "-L", PYTHON_ROOT, "-E", f"PYTHONPATH={tmp_path}/site:{SOURCES}",
        "-E", "PYTHONHOME=/usr", "-E", "PYTHONDONTWRITEBYTECODE=1",
        PYTHON_ROOT / f"usr/bin/python{python_of_arm64}",
    ]
    said = run(*command, SOURCES / "use_wheel.py", f"{tmp_path}/site", "128", "192", cwd=tmp_path,
               env=clean_environment())
    assert said.splitlines()[-1] == f"{VERSION} segmented"
    said = run(*command, "-m", "covey", "info", cwd=tmp_path, env=clean_environment())
    assert said.startswith("covey-nano: 2,533,440 parameters")
