"""Runs that are broken off, and ``covey segment --resume``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from conftest import moving_square
from processes import wait_for

from covey.commands.main import main
from covey.segmenting import run_result
from covey.writing import images


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    images.write_video(path, moving_square(6), fps=10)
    return path


@pytest.fixture
def run(clip, model_path, tmp_path, capsys):
    """run(*options) is what ``covey segment --json`` tells, or prints where it fails."""

    def run(*options, status=0, source=clip):
        command = ["segment", str(source), "-o", str(tmp_path / "out"), "--model",
                   str(model_path), "--json", *map(str, options)]
        assert main(command) == status
        said = capsys.readouterr()
        return said.err if status else json.loads(said.out)

    return run


def contents(folder):
    """Of all files but result.json."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*")
            if each.is_file() and each.name != run_result.RESULT}


def times(folder):
    return {each: each.stat().st_mtime_ns for each in folder.rglob("*.*")}


def test_what_is_whole_is_kept(run, tmp_path, capsys, clip, model_path):
    out = tmp_path / "out"
    told = run("--coco", "--tau", "0.5")
    made = json.loads((out / "result.json").read_text())
    assert made["figures"] == {**told, "output": {"masks": "masks", "coco": "coco.json"}}
    before = times(out)
    # Spelt otherwise, and with what changes no label.
    assert run("--coco", "--tau", "0.50", "--threads", "1", "--resume") == told
    assert times(out) == before
    assert main(["segment", str(clip), "-o", str(out), "--model", str(model_path), "--coco",
                 "--tau", ".5", "--resume"]) == 0
    assert f"{out}: is whole, and of these settings; kept\n6 frames, " in capsys.readouterr().out
    # Without --resume everything is made.
    run("--coco", "--tau", "0.5")
    assert all(times(out)[each] > when for each, when in before.items() if each.is_file())


@pytest.mark.parametrize("what", ["options", "source", "files", "masks"])
def test_what_is_not_is_made_anew(what, run, clip, tmp_path, capsys, model_path):
    run("--sheet")
    out = tmp_path / "out"
    options, says = ["--sheet"], "files are missing"
    if what == "options":
        options, says = ["--sheet", "--tau", "0.5"], "tau was not given, is 0.5"
    elif what == "source":
        os.utime(clip)
        says = "the source has changed"
    else:
        (out / {"files": "sheet.png", "masks": "masks/00004.png"}[what]).unlink()
    before = (out / "result.json").stat().st_mtime_ns
    assert main(["segment", str(clip), "-o", str(out), "--model", str(model_path), *options,
                 "--resume"]) == 0
    assert f"{out}: {says}; begun anew\n" in capsys.readouterr().err
    assert (out / "result.json").stat().st_mtime_ns > before
    assert len(list(out.glob("masks/*.png"))) == 6 and (out / "sheet.png").exists()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_is_broken_off_is_its_own(stream, run, tmp_path, monkeypatch):
    """And does not pass for whole; what was there before the first mask stays."""
    options = ["--stream"] * stream
    out = tmp_path / "out"
    whole = (run(*options), contents(out))[1]
    run("--first", "1", *options)
    assert len(list(out.glob("masks/*.png"))) == 5
    real, made = images.write_labels, []

    def interrupted(path, labels):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(path.name)
        return real(path, labels)

    with monkeypatch.context() as patch:
        patch.setattr(images, "write_labels", interrupted)
        assert run(*options, status=130) == "covey: interrupted\n"
    assert sorted(each.name for each in out.glob("masks/*.png")) == made
    assert not (out / "result.json").exists()
    run("--resume", *options)
    assert contents(out) == whole
    before = times(out)
    # A run that fails before its first mask leaves the whole one.
    run("--memory-limit", "1K", status=1)
    assert times(out) == before


@pytest.mark.parametrize("moment", ["encode", "masks", "film"])
def test_killed(moment, run, clip, model_path, tmp_path, environment):
    out = tmp_path / "out"
    options = ["--overlay", "--coco", "--max-frames", "300"]
    images.write_video(clip, [frame for _ in range(50) for frame in moving_square(6)], fps=10)
    process = subprocess.Popen(
        [sys.executable, "-m", "covey", "segment", clip, "-o", out, "--model", model_path, "--json",
         *options, *["--stream"] * (moment == "film")],
        env=environment, stdout=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_for((out / "masks").is_dir)
        if moment != "encode":
            wait_for(lambda: len(list(out.glob("masks/*.png"))) > 5)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert not (out / "result.json").exists() and not (out / "overlay.mp4").exists()
    (out / ".result.json.123").touch()  # had it been killed later
    assert run(*options, "--resume")["frames"] == 300
    assert sorted(os.listdir(out)) == ["coco.json", "masks", "overlay.mp4", "result.json"]


def test_files_of_an_earlier_run_are_told_of(run, clip, model_path, tmp_path, capsys):
    run("--sheet")
    command = ["segment", str(clip), "-o", str(tmp_path / "out"), "--model", str(model_path)]
    assert main(command) == 0
    assert "of an earlier run, not this one: sheet.png\n" in capsys.readouterr().out
    assert main([*command, "--sheet"]) == 0
    assert "earlier run" not in capsys.readouterr().out


def test_refused(run, tmp_path, clip):
    assert "argument --resume: not with a source that can be read" in run(
        "--resume", status=2, source="-")
    out = tmp_path / "out"
    out.mkdir()
    (out / "result.json").write_text('{"mine": 1}')
    assert "result.json: is there, and was not written by covey" in run(status=1)
    assert sorted(os.listdir(out)) == ["result.json"]
    assert main(["batch", str(clip), "-o", str(tmp_path / "b"), "--", "--resume"]) == 2
