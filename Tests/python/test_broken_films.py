"""Films that are damaged or end too early, and output that cannot be written."""

from __future__ import annotations

import csv
import errno
import json
import os
import stat
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from conftest import moving_square

import covey
from covey.commands.main import main
from covey.writing import images

FRAMES = 60


def write_film(path, places=None, **options):
    """FRAMES frames with noise, at 25 a second, or at ``places`` of such a clock."""
    random = np.random.default_rng(3)
    with av.open(path, "w", **options) as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 60, 40, "yuv420p"
        stream.options = {"bf": "0", "g": "5"}
        stream.codec_context.bit_rate = 2_000_000
        for index, square in enumerate(np.resize(moving_square(6), (FRAMES, 40, 60, 3))):
            noisy = square // 2 + random.integers(0, 100, square.shape, dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(noisy, format="rgb24")
            frame.pts, frame.time_base = (places or range(FRAMES))[index], Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.fixture
def short(tmp_path):
    """Its index, in front, tells of frames that are not there."""
    path = tmp_path / "short.mp4"
    write_film(path, container_options={"movflags": "faststart"})
    assert len(list(covey.Video(path))) == FRAMES
    cut(path)
    return path


def test_what_is_missing_is_told(short, model_path, tmp_path, capsys):
    video = covey.Video(short)
    there = len(list(video))
    assert 5 < there < FRAMES - 5
    assert video.cut_short == f"{there} of {FRAMES} frames could be read"

    command = ["segment", str(short), "-o", str(tmp_path / "out"), "--model", str(model_path)]
    assert main(command) == 0
    says = f"{short}: {there} of {FRAMES} frames could be read; cut off, or damaged?"
    assert f"covey: warning: {says}\n" in capsys.readouterr().err
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == [says]
    # Up to a frame that is there nothing is missing.
    assert main([*command, "--json", "--last", str(there - 1)]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == []


def test_batches_tell_what_is_missing(short, model_path, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["batch", str(short), "-o", str(out), "--", "--model", str(model_path)]) == 0
    assert f"of {FRAMES} frames could be read" in capsys.readouterr().err
    with open(out / "summary.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert f"of {FRAMES} frames could be read" in row["warnings"]


def test_films_that_tell_only_their_duration(tmp_path):
    """A rate that varies is not taken for missing frames."""
    places = [2 * index if index < 10 else 20 + 4 * (index - 10) for index in range(FRAMES)]
    path = write_film(tmp_path / "film.mkv", places)
    video = covey.Video(path)
    assert len(list(video)) == FRAMES != video.frame_count
    assert video.cut_short is None
    cut(path)
    there = len(list(video))
    assert 5 < there < FRAMES - 5
    assert video.cut_short == (
        f"{(places[there - 1] + 1) / 25:.1f} of {(places[-1] + 1) / 25:.1f} seconds could be read")


def test_slow_films_are_whole(tmp_path):
    """The last of three frames at one a second is shown for a third of it."""
    path = tmp_path / "film.mkv"
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 60, 40, "yuv420p"
        for square in moving_square(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(square, format="rgb24")))
        container.mux(stream.encode(None))
    with av.open(path) as container:
        assert container.duration == 3e6 and not container.streams.video[0].frames
    video = covey.Video(path)
    assert len(list(video)) == 3 and video.cut_short is None


def test_damage_in_the_middle_is_placed(tmp_path, model_path, capsys):
    path = write_film(tmp_path / "film.mp4")
    with av.open(path) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    position, size = packets[30]
    data = bytearray(path.read_bytes())
    data[position : position + size] = bytes(size)
    path.write_bytes(data)
    given = 0
    with pytest.raises(ValueError, match=r"film.mp4: cannot be read beyond frame (\d+): ") as told:
        for _ in covey.Video(path):
            given += 1
    assert f"beyond frame {given - 1}:" in str(told.value)
    assert 10 < given <= 30
    command = ["segment", str(path), "-o", str(tmp_path / "out"), "--model", str(model_path)]
    assert main(command) == 1
    assert f"covey: error: {told.value}\n" in capsys.readouterr().err
    assert main([*command, "--last", str(given - 1)]) == 0
    # A source that is read only once goes on behind it.
    assert given < FRAMES - 10 < len(list(covey.Video(path.as_uri()))) < FRAMES


def test_another_format_on_standard_input(tmp_path, model_path, monkeypatch, capsys):
    with open(write_film(tmp_path / "film.mp4"), "rb") as file:
        monkeypatch.setattr(sys, "stdin", type("Input", (), {"buffer": file}))
        assert main(["segment", "-", "-o", str(tmp_path / "out"), "--model", str(model_path)]) == 1
    assert "standard input: expected YUV4MPEG2" in capsys.readouterr().err


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_outputs(short, model_path, tmp_path, environment, closed):
    """As daemons have them."""
    words = [sys.executable, "-m", "covey", "segment", str(short), "-o", str(tmp_path / "out"),
             "--model", str(model_path), "--max-frames", "2"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *words], env=environment, capture_output=True)
    assert done.returncode == 0
    assert len(list((tmp_path / "out/masks").iterdir())) == 2


@pytest.mark.parametrize(
    ("option", "full"),
    [("--coco", "coco.json"), ("--report", "report.html"), ("--sheet", "sheet.png"),
     ("--npz", "labels.npz"), ("--overlay", "overlay.mp4"), ("--json", "masks/00000.png")],
)
def test_full_disks_are_named(short, model_path, tmp_path, monkeypatch, capsys, option, full):
    """And a file of an earlier run stays, but for masks."""
    out = tmp_path / "out"
    command = ["segment", str(short), "-o", str(out), "--model", str(model_path), option,
               "--max-frames", "3"]
    assert main(command) == 0
    before = (out / full).read_bytes()
    capsys.readouterr()
    real = os.fsync

    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def refuse_files(opened):
        return refuse() if stat.S_ISREG(os.fstat(opened).st_mode) else real(opened)

    if full.startswith("masks"):
        monkeypatch.setattr(images, "write_labels", refuse)
    elif option == "--overlay":
        close = images.VideoWriter.close
        monkeypatch.setattr(images.VideoWriter, "close", lambda film: (close(film), refuse()))
    else:
        monkeypatch.setattr(os, "fsync", refuse_files)
    assert main(command) == 1
    says = f"covey: error: {out / full}: No space left on device\n"
    assert capsys.readouterr().err.endswith(says)
    if full.startswith("masks"):
        assert not list((out / "masks").iterdir())
    else:
        assert (out / full).read_bytes() == before
    # But not what said that it is whole.
    assert {each.name for each in out.iterdir()} == {"masks", full.split("/")[0]}


def test_a_range_that_ends_before_it_begins(short, model_path, tmp_path, capsys):
    words = ["-o", str(tmp_path / "out")]
    options = ["--first", "5", "--last", "4"]
    assert main(["segment", str(short), *words, *options]) == 2
    assert "argument --last: expected at least --first, 5, found 4" in capsys.readouterr().err
    assert main(["batch", str(short), *words, "--", *options]) == 2
    assert "argument --last: expected at least --first, 5, found 4" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
