"""``covey train``: what is refused, what is kept out of another run, what fails."""

import errno
import os
import re
import shutil
import subprocess
import sys
import types

import av
import pytest
from conftest import ROOT
from PIL import Image
from scenes import film
from training_runs import QUICK, command, lines, train, videos  # noqa: F401

import covey
from covey.commands.main import _one_line, main
from covey.training.run_folder import RunFolder, RunLog


@pytest.mark.parametrize(
    ("arguments", "status", "match"),
    [
        (["-o", "a.gguf"], 2, "required: VIDEO"),
        (["VIDEO"], 2, "required: -o"),
        (["VIDEO", "-o", "MODEL"], 1, "is the model that training begins with"),
        (["VIDEO", "-o", "nowhere/a.gguf"], 1, "its folder is not there"),
        (["VIDEO", "-o", "."], 1, "is a folder"),
        (["VIDEO", "-o", "a.gguf", "--working-size", "33x48"], 2, "multiples"),
        (["absent.mp4", "-o", "a.gguf"], 1, "none of the videos"),
        (["VIDEO", "-o", "a.gguf", "--memory-limit", "1K"], 1, "the limit is 1024"),
        (["VIDEO", "-o", "a.gguf", "--run", "FILE"], 1, "not a folder"),
        (["--resume", "nowhere"], 1, "holds no run"),
    ],
)
def test_wrong_arguments(train, videos, tmp_path, model_path, capsys, arguments, status, match):
    named = {"VIDEO": videos[0], "MODEL": model_path, "FILE": videos[0]}
    before = model_path.read_bytes()
    errors = train(*(named.get(each, each) for each in arguments), status=status)
    assert re.search(match, errors) and "Traceback" not in errors
    assert not (tmp_path / "a.gguf").exists()
    assert model_path.read_bytes() == before


@pytest.mark.parametrize(
    "wrong",
    [
        ["--steps", "0"], ["--seed", "-1"], ["--seed", "1.5"], ["--seed", str(2**64)],
        ["--learning-rate", "0"], ["--learning-rate", "2"], ["--dropout", "1"],
        ["--weight-decay", "nan"], ["--tau", "0"], ["--tau", "some"], ["--gap", "0"],
        ["--cache-features", "0"], ["--start", "here"], ["--dtype", "f64"],
    ],
    ids=" ".join,
)
def test_wrong_values(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["train", "a.mp4", "-o", "a.gguf", *wrong])
    assert caught.value.code == 2
    assert f"argument {wrong[0]}" in capsys.readouterr().err


def test_what_a_resumed_run_may_not_change(train, videos, tmp_path):
    train(*videos[:2], "-o", "a.gguf", *QUICK)
    for wrong in (
        ["--seed", 5], ["--gap", 2], ["--start", "random"], ["--positions", 7], ["--weigh-both"],
        ["--no-augmentation"], ["--cache-features", 9], ["--working-size", "48x32"],
        ["--model", videos[0]], [videos[0]], ["--run", "b-run"], ["--learning-rate", "1e-4"],
    ):  # fmt: skip
        errors = train("--resume", "a-run", *wrong, status=2)
        assert "covey train: error: argument" in errors
    # The same is no change; more steps are welcome.
    told = train("--resume", "a-run", *videos[:2], *QUICK, "--steps", 14, "-o", "b.gguf")
    assert told["steps_made_now"] == 2 and told["output"] == str(tmp_path / "b.gguf")
    errors = train(*videos, "-o", "a.gguf", *QUICK, status=1)
    assert "holds a run; go on with it by --resume" in errors


def test_what_is_there_is_not_written_over(train, videos, tmp_path, model_path):
    """Neither by a run that begins nor by one that goes on, which can be gone on with then."""
    shutil.copy(videos[1], "film.mp4")
    os.link("film.mp4", "linked.mp4")
    shutil.copy(videos[0], "other.mp4")
    shutil.copy(model_path, "model.gguf")
    (tmp_path / "notes.txt").write_text("GG")
    os.mkfifo("pipe")
    begin = ("film.mp4", "-m", "model.gguf", *QUICK, "--tau", "keep")
    train(*begin, "-o", "begun.gguf")

    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = files()
    for output, match in {
        "film.mp4": "one of the videos",
        "linked.mp4": "one of the videos",
        "other.mp4": "no weight file",
        "notes.txt": "no weight file",
        "pipe": "no weight file",
        "model.gguf": "the model that training begins with",
        "begun-run/checkpoint.gguf": "the checkpoint of the run",
        "nowhere/a.gguf": "its folder is not there",
        "begun-run": "is a folder",
    }.items():
        assert match in train("--resume", "begun-run", "-o", output, "--steps", 13, status=1)
        if match != "the checkpoint of the run":  # to another one a weight file like any
            assert match in train(*begin, "-o", output, "--run", "new-run", status=1)
        assert files() == before
    # A weight file may be written over.
    assert train("--resume", "begun-run")["done"]


def test_a_folder_that_cannot_be_written_to_is_known_at_once(train, videos, monkeypatch):
    monkeypatch.setattr("covey.training.settings.os.access", lambda path, mode: False)
    assert "cannot be written to" in train(videos[1], "-o", "a.gguf", *QUICK, status=1)


def test_a_resumed_run_is_of_its_own_videos(train, videos, tmp_path):
    (tmp_path / "broken.mp4").write_text("no film")
    train("broken.mp4", *videos[:2], "-o", "a.gguf", *QUICK, "--tau", "keep")
    errors = train("--resume", "a-run", *videos, status=2)
    assert f"{videos[2]}: the run was not begun with it" in errors
    assert f"the run is of {videos[1]} too" in train("--resume", "a-run", videos[0], status=2)
    # One that was left out is left out again.
    assert train("--resume", "a-run", "broken.mp4", *videos[:2])["videos"] == 2


def test_steps_that_are_made_already(train, videos, tmp_path):
    train(videos[0], "-o", "a.gguf", *QUICK, "--tau", "keep")
    before = (tmp_path / "a-run" / "run.json").read_bytes()
    errors = train("--resume", "a-run", "--steps", 11, status=2)
    assert "argument --steps: 12 are made already, found 11" in errors
    assert (tmp_path / "a-run" / "run.json").read_bytes() == before


def test_one_process_at_a_time(train, videos, tmp_path):
    train(videos[0], "-o", "a.gguf", *QUICK, "--tau", "keep")
    with RunFolder("a-run").taken():
        assert "another process" in train("--resume", "a-run", "--steps", 13, status=1)
        (tmp_path / "a-run" / "checkpoint.gguf").unlink()
        assert "another process" in train(videos[0], "-o", "a.gguf", *QUICK, status=1)


def test_what_another_run_left_behind(train, videos, tmp_path):
    """Its features are not trained on; what a process that was killed had begun goes."""
    cached = (*QUICK, "--tau", "keep", "--cache-features", 3)
    train(videos[0], "-o", "a.gguf", *cached)
    run = tmp_path / "a-run"
    features = (run / "features.npy").read_bytes()
    for name in (".features.npy.123", ".loss.png.7", "checkpoint.gguf.00ab34cd"):
        (run / name).write_bytes(b"half")
    (run / "checkpoint.gguf.kept").write_bytes(b"the user's")
    names = {each.name for each in run.iterdir()}
    train("--resume", "a-run", "--steps", 13)
    assert (run / "features.npy").read_bytes() == features
    assert names - {each.name for each in run.iterdir()} == {
        ".features.npy.123", ".loss.png.7", "checkpoint.gguf.00ab34cd",
    }  # fmt: skip
    (run / "checkpoint.gguf").unlink()
    train(videos[1], "-o", "a.gguf", *cached)
    assert (run / "features.npy").read_bytes() != features


def test_videos_that_have_changed_are_another_run(train, tmp_path):
    folder = tmp_path / "clip"
    folder.mkdir()
    for index, frame in enumerate(film("easy", 2, 6, 40, 60)[0]):
        Image.fromarray(frame).save(folder / f"{index}.png")
    train(folder, "-o", "a.gguf", *QUICK)
    (folder / "5.png").unlink()
    errors = train("--resume", "a-run", "--steps", 20, status=1)
    assert "another video than when the run began: 6 frames then, 5 now" in errors
    # As many others.
    Image.new("RGB", (60, 40)).save(folder / "5.png")
    assert "another video than when" in train("--resume", "a-run", "--steps", 20, status=1)
    shutil.rmtree(folder)
    assert "clip" in train("--resume", "a-run", "--steps", 20, status=1)
    (tmp_path / "a-run" / "run.json").write_text("{")
    assert "run.json" in train("--resume", "a-run", status=1)


def test_tensorboard(train, videos, tmp_path, monkeypatch):
    """Through a writer, if there is one."""
    written = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            written.append((name, value, step))

        def flush(self):
            pass

        def close(self):
            written.append("closed")

    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    errors = train(videos[0], "-o", "a.gguf", *QUICK, "--tensorboard", status=1)
    assert "pip install tensorboardX" in errors
    assert not (tmp_path / "a-run").exists()
    module = types.ModuleType("tensorboardX")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    train(videos[0], "-o", "a.gguf", *QUICK, "--tau", "keep", "--tensorboard")
    # It is an option like the others: kept.
    train("--resume", "a-run", "--steps", 14)
    assert [each for each in written if len(each) != 3] == [
        (str(tmp_path / "a-run" / "tensorboard"), 1), "closed",
        (os.path.join("a-run", "tensorboard"), 13), "closed",
    ]  # fmt: skip
    rows = lines(tmp_path / "a-run" / "log.jsonl")
    losses = [(each[1], each[2]) for each in written if each[0] == "total_loss"]
    assert losses == [(row["total_loss"], row["step"]) for row in rows]


def test_what_is_written_about_python(environment, videos, model_path, tmp_path):
    """Runs as it stands, with fewer steps."""
    text = (ROOT / "docs/TRAINING.md").read_text(encoding="utf-8")
    blocks = re.findall("```python\n(.*?)```", text, re.DOTALL)
    (block,) = (each for each in blocks if "Trainer(" in each)
    for folder in ("models", "videos", "frames"):
        (tmp_path / folder).mkdir()
    shutil.copy(model_path, tmp_path / "models" / "covey-nano.gguf")
    shutil.copy(videos[1], tmp_path / "videos" / "one.mp4")
    shutil.copytree(videos[2], tmp_path / "frames" / "shot-1")
    script = "import covey\n" + block.replace("100", "4").replace("500", "20")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**environment, "COVEY_MODEL": str(model_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 20
    with covey.Model(tmp_path / "adapted.gguf") as model:
        assert model.info.name == "random"


def test_a_full_disk_is_told_with_the_file(train, videos, monkeypatch):
    def full(log, path, step=0):
        begin(log, path, step)
        log._file.close()
        log._file = types.SimpleNamespace(write=write, close=lambda: None)

    def write(line):
        raise OSError(errno.ENOSPC, "No space left on device")

    begin = RunLog.__init__
    monkeypatch.setattr(RunLog, "__init__", full)
    errors = train(videos[0], "-o", "a.gguf", *QUICK, status=1)
    assert re.search(r"^covey: error: .*a-run/log\.jsonl: No space left on device$", errors, re.M)


def test_a_function_of_ffmpeg_is_no_file():
    error = av.error.ArgumentError(22, "Invalid argument", "avcodec_send_packet()")
    assert not _one_line(error).startswith("avcodec_send_packet")
    error = av.error.FileNotFoundError(2, "No such file or directory", "a.mp4")
    assert _one_line(error) == "a.mp4: No such file or directory"
