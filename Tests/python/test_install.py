"""What is said where a part is missing: the library, or a package."""

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import HEADER, ROOT

from covey.checkpoints.checkpoint import read_state
from covey.mirror import library
from covey.reading.pictures import read_image
from covey.reading.video import Video
from covey.writing import images


def test_no_library_anywhere(monkeypatch, tmp_path):
    absent = str(tmp_path / "libcovey.so")
    monkeypatch.delenv("COVEY_LIBRARY", raising=False)
    monkeypatch.setattr(library, "_candidates", lambda: iter([(absent, f"{absent} (a place)")]))
    with pytest.raises(OSError) as caught:
        library._open()
    said = str(caught.value)
    for part in ("make lib", "reinstall", "COVEY_LIBRARY", f"{absent} (a place): not there"):
        assert part in said


def test_the_tests_pack_with_what_pip_would_take():
    said = re.findall(r'"(setuptools>[^"]*)"', (ROOT / "bindings/python/pyproject.toml").read_text())
    assert len(said) == 2 and len(set(said)) == 1, said  # [build-system], and the extra


@pytest.mark.parametrize("built", [False, True])
def test_packing_without_a_library_is_said(tmp_path, built):
    package = tmp_path / "bindings" / "python"
    shutil.copytree(
        ROOT / "bindings" / "python", package, ignore=shutil.ignore_patterns("*.egg-info", "build")
    )
    (tmp_path / "Include").mkdir()
    shutil.copy(HEADER, tmp_path / "Include")
    if built:
        (tmp_path / "build").mkdir()
        (tmp_path / "build" / "libcovey.so").write_bytes(b"not looked into here")
    kept = {name: value for name, value in os.environ.items() if name != "COVEY_LIBRARY"}
    done = subprocess.run(
        [sys.executable, "setup.py", "build_py", "--build-lib", str(tmp_path / "lib")],
        cwd=package,
        env=kept,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout + done.stderr
    assert ("make lib" in said) == (not built), said
    assert (tmp_path / "lib" / "covey" / "libcovey.so").is_file() == built
    assert (tmp_path / "lib" / "covey" / "commands" / "main.py").is_file()
    assert (tmp_path / "lib" / "covey" / "covey.h").read_bytes() == HEADER.read_bytes()


@pytest.mark.parametrize(
    ("module", "call", "package"),
    [
        ("PIL", lambda folder: read_image(folder / "a.png"), "pillow"),
        ("PIL", lambda folder: images.write_labels(folder / "a.png", np.eye(2)), "pillow"),
        ("av", lambda folder: list(Video(folder / "a.mp4")), "av"),
        ("av", lambda folder: images.VideoWriter(folder / "b.mp4"), "av"),
        ("safetensors", lambda folder: read_state(folder / "a.safetensors"), "safetensors gguf"),
        ("torch", lambda folder: read_state(folder / "a.pt"), "torch gguf"),
    ],
    ids=["read picture", "write picture", "read film", "write film", "safetensors", "torch"],
)
def test_missing_packages_are_named(monkeypatch, tmp_path, module, call, package):
    for name in ("a.png", "a.mp4", "a.safetensors", "a.pt"):
        (tmp_path / name).touch()
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"pip install {package}(;|$)"):
        call(tmp_path)
