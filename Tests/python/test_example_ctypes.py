"""Examples/segment.py: ctypes and the standard library alone, against the package."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import covey
from covey.mirror.library import lib

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models/covey-nano.gguf"
WIDTH, HEIGHT, COUNT = 193, 129, 6  # odd: chroma is rounded up


def run(folder, film, model=MODEL):
    # -S: no package is in reach; lib()._name: the library that the other tests use.
    return subprocess.run(
        [sys.executable, "-I", "-S", str(ROOT / "Examples/segment.py"), str(model), str(folder)],
        input=film, capture_output=True, check=False,
        env={**os.environ, "COVEY_LIBRARY": lib()._name},
    )  # fmt: skip


@pytest.fixture(scope="module")
def planes():
    """Y, U and V of every frame: a bright square on its way over a dark texture."""
    draw = np.random.default_rng(3)
    frames = []
    for time in range(COUNT):
        luma = draw.integers(40, 70, (HEIGHT, WIDTH), np.uint8)
        luma[40:88, 10 + 16 * time : 58 + 16 * time] = 200
        half = ((HEIGHT + 1) // 2, (WIDTH + 1) // 2)
        frames.append((luma, np.full(half, 110, np.uint8), np.full(half, 150, np.uint8)))
    return frames


def film_of(frames, header=b"YUV4MPEG2 W193 H129 F25:1 C420jpeg\n"):
    return header + b"".join(
        b"FRAME\n" + b"".join(plane.tobytes() for plane in frame) for frame in frames)


def test_masks_are_those_of_the_package(planes, tmp_path):
    done = run(tmp_path / "masks", film_of(planes))
    assert done.returncode == 0, done.stderr
    with covey.Model(MODEL) as model, covey.Session(model) as session:
        for frame in planes:
            session.push(frame, format="i420")
        session.finish()
        expected = [np.array(result.labels) for result in session]
    files = sorted((tmp_path / "masks").iterdir())
    assert [file.name for file in files] == [f"{i:05}.png" for i in range(COUNT)]
    found = [Image.open(file) for file in files]
    assert all(each.mode == "P" for each in found)
    assert found[0].getpalette()[:12] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    assert np.array_equal([np.array(each) for each in found], expected)
    assert np.any(expected)


@pytest.mark.parametrize(
    ("film", "said"),
    [
        (b"RIFF", b"not YUV4MPEG2"),
        (b"YUV4MPEG2 W49 H33 C444\n", b"not YUV4MPEG2"),
        (b"YUV4MPEG2 W49 H33\nFRAME\nshort", b"in the middle of frame 0"),
        (b"YUV4MPEG2 W0 H33\nFRAME\n" + bytes(34), b"width"),
    ],
)
def test_bad_input_is_told(film, said, tmp_path):
    done = run(tmp_path / "masks", film)
    assert done.returncode == 1
    assert said in done.stderr
    assert b"Traceback" not in done.stderr


def test_no_model(tmp_path):
    done = run(tmp_path / "masks", b"YUV4MPEG2 W49 H33\n", model=tmp_path / "none.gguf")
    assert done.returncode == 1
    assert b"none.gguf" in done.stderr
