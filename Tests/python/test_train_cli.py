"""``covey train``, as a user runs it."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from scenes import film
from training_runs import QUICK, command, lines, metrics, partly_broken, train, videos  # noqa: F401

import covey
from covey.commands.main import main
from covey.system.display import Display


def test_a_run(train, videos, tmp_path, model_path):
    told = train(*videos, "-o", "adapted.gguf", *QUICK)
    assert told["done"] and told["resume"] is None
    assert (told["steps"], told["total_steps"], told["steps_made_now"]) == (12, 12, 12)
    assert (told["videos"], told["frames"], told["left_out"]) == (3, 38, [])
    assert told["output"] == str(tmp_path / "adapted.gguf")
    assert told["seconds_per_step"] > 0
    run = tmp_path / "adapted-run"
    rows = lines(run / "log.jsonl")
    assert [row["step"] for row in rows] == list(range(1, 13))
    for row in rows:
        assert row["total_loss"] == pytest.approx(row["semantic_loss"] + row["motion_loss"])
        assert 0 <= row["waited"] <= row["seconds"]
    rates = [row["learning_rate"] for row in rows]
    assert rates[0] == pytest.approx(1e-3) and rates == sorted(rates, reverse=True)
    assert told["losses"]["motion"] == [rows[0]["motion_loss"], rows[-1]["motion_loss"]]
    recorded = json.loads((run / "run.json").read_text())
    assert [each[:2] for each in recorded["videos"]] == [
        [str(path), count] for path, count in zip(videos, (24, 9, 5), strict=True)
    ]
    assert len({digest for _, _, digest in recorded["videos"]}) == 3
    with covey.Model("adapted.gguf") as model, covey.Model(model_path) as before:
        assert model.info.tau == told["tau"]
        assert before.info.tau == told["tau_before"]
        assert model.info.dtype == before.info.dtype
        features = before.encode(film("easy", 2, 1, 40, 60)[0][0])
        assert not np.array_equal(model.correlate(features)[0], before.correlate(features)[0])
    assert main(["segment", str(videos[0]), "-o", "out", "-m", "adapted.gguf", "--json"]) == 0


def test_losses_are_plotted(train, videos, tmp_path):
    train(videos[0], "-o", "a.gguf", *QUICK)
    with Image.open(tmp_path / "a-run" / "loss.png") as picture:
        assert picture.format == "PNG"


def test_a_picture_that_fails_is_no_reason_to_stop(command, videos, tmp_path):
    (tmp_path / "a-run" / "loss.png").mkdir(parents=True)
    output, errors = (process := command(videos[0], "-o", "a.gguf", *QUICK)).communicate(timeout=60)
    assert process.returncode == 0, errors
    assert re.search(r"covey: warning: .*loss\.png", errors)
    assert "12 of 12 steps" in output


def test_a_run_that_could_not_begin_leaves_nothing_in_the_way(train, videos, tmp_path, monkeypatch):
    def full(trainer, path):
        raise covey.FileError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr("covey.interface.trainer.Trainer.save", full)
        assert "no space left" in train(videos[0], "-o", "a.gguf", *QUICK, status=1)
    assert train(videos[0], "-o", "a.gguf", *QUICK)["done"]


def test_as_a_user_sees_it(command, videos, tmp_path):
    (tmp_path / "broken.mp4").write_text("no film")
    half = partly_broken(tmp_path / "half", videos[2] / "0.png")
    process = command(*videos[:2], half, tmp_path / "broken.mp4", "-o", "a.gguf", *QUICK)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert re.search(r"^12 of 12 steps, [0-9.]+ s a step, .* in all; 3 videos, 45 frames$", output,
                     re.MULTILINE)
    for line in ("semantic loss: ", "motion loss: ", "peak memory: trainer ", "tau: ",
                 f"model: {tmp_path / 'a.gguf'}", "run: "):
        assert line in output
    assert re.search(r"covey: warning: .*broken\.mp4.*; left out", errors)
    assert re.search(
        r"covey: warning: .*half: clips of it cannot be read \(first: frames [0-9, ]+: .*: not a "
        r"picture\); others are drawn", errors)
    assert errors.count("half") == 2  # the folder, the picture
    assert "train" in errors and "12/12" in errors and "semantic 0" in errors
    assert "Traceback" not in errors


def test_progress_fits_a_terminal(environment):
    """Of 80 columns: nothing is cut off, or goes on in another line."""
    import pty

    script = (
        "import time; from covey.system.display import Display\n"
        "with Display(False) as display:\n"
        "    for step in range(1000000, 1000004):\n"
        "        time.sleep(0.02)\n"
        "        display.update('train', step, 2000000, 'semantic 0.812, motion 0.913')\n"
        "    time.sleep(0.6)\n"
    )
    terminal, inner = pty.openpty()
    done = subprocess.Popen(
        [sys.executable, "-c", script], stderr=inner,
        env={**environment, "COLUMNS": "80", "LINES": "24", "TERM": "xterm"},
    )  # fmt: skip
    os.close(inner)
    shown = b""
    with contextlib.suppress(OSError):  # as the end of a terminal is told
        while part := os.read(terminal, 4096):
            shown += part
    os.close(terminal)
    assert done.wait(30) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    last = [each.strip() for each in re.split("[\r\n]", text) if each.strip()][-1]
    assert re.fullmatch(
        r"train +[━╺╸]+ 1000003/2000000 semantic 0\.812, motion 0\.913 [0-9]+ h [0-9]+ min left",
        last,
    ), last
    assert len(last) <= 80


def test_progress_in_a_file(monkeypatch, capsys):
    """A line now and then, and one for what is done."""
    clock = [100.0]
    monkeypatch.setattr("covey.system.display.time.monotonic", lambda: clock[0])
    display = Display(False)
    for step in range(50, 101):
        display.update("train", step, 100, f"loss {step}")
        clock[0] += 1
    display.update("tau", 0, None, "tries")
    clock[0] += 11
    for _ in range(2):
        display.update("tau", 4, None, "tries")
    for _ in range(2):
        display.update("tau", 4, 4, "tries")
    assert [re.sub(" +", " ", line) for line in capsys.readouterr().err.splitlines()] == [
        "train 60/100 loss 60 40 s left", "train 70/100 loss 70 30 s left",
        "train 80/100 loss 80 20 s left", "train 90/100 loss 90 10 s left",
        "train 100/100 loss 100 took 50 s", "tau 4/? tries", "tau 4/4 tries took 11 s",
    ]  # fmt: skip
    Display(True).update("train", 100, 100)
    assert capsys.readouterr().err == ""


def test_the_same_again(train, videos, tmp_path):
    for name in ("a", "b"):
        train(*videos, "-o", f"{name}.gguf", *QUICK, "--threads", 1 if name == "a" else 2)
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    assert metrics(tmp_path / "a-run" / "log.jsonl") == metrics(tmp_path / "b-run" / "log.jsonl")
    train(*videos, "-o", "c.gguf", *QUICK, "--seed", 5)
    assert (tmp_path / "a.gguf").read_bytes() != (tmp_path / "c.gguf").read_bytes()


@pytest.mark.parametrize(
    ("sent", "cached"), [(signal.SIGINT, False), (signal.SIGTERM, True)], ids=["int", "term"]
)
def test_interrupted_and_resumed(command, train, videos, tmp_path, sent, cached):
    """The step in progress is finished and saved, and the run goes on from there."""
    steps = ("--steps", 5000, "--clips-per-step", 2, "--checkpoint-every", 5000,
             *(("--cache-features", 7) if cached else ()))
    process = command(*videos, "-o", "a.gguf", *QUICK, *steps)
    log = tmp_path / "a-run" / "log.jsonl"
    deadline = time.monotonic() + 30
    while not (log.exists() and log.read_text().count("\n") >= 3):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(sent)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    made = len(lines(log))
    assert 3 <= made < 5000
    assert f"{made} of 5000 steps" in output
    assert "stopped; to go on: covey train --resume a-run" in output
    assert "stopping after this step; once more: at once" in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "a.gguf").exists()
    # On from there, but not so far as it was meant to go.
    told = train("--resume", "a-run", "--steps", made + 4)
    assert (told["steps"], told["steps_made_now"]) == (made + 4, 4)
    assert [row["step"] for row in lines(log)] == list(range(1, made + 5))
    assert (tmp_path / "a.gguf").exists()


@pytest.mark.parametrize(
    "more",
    [("--tau", "keep"), ("--cache-features", 5, "--clips-per-step", 2, "--start", "random")],
    ids=["read", "cached"],
)
def test_resumed_bit_for_bit(train, videos, tmp_path, monkeypatch, make_model, more):
    """Whatever a crash left behind the checkpoint; a tau that is chosen too."""
    model = make_model(settings={"tau": 0.05})
    options = ("-m", model, *QUICK, "--checkpoint-every", 5, *more)
    whole = train(videos[1], "-o", "whole.gguf", *options)

    class Crash(Exception):
        pass

    save, saved, synced, sync = covey.Trainer.save, [], {}, os.fsync
    log = tmp_path / "half-run" / "log.jsonl"

    def syncing(file):
        sync(file)
        synced[os.fstat(file).st_ino] = os.fstat(file).st_size

    def crashing(trainer, path):
        if log.exists():
            # It is on the disk when the checkpoint is.
            assert synced[log.stat().st_ino] == log.stat().st_size
        if len(saved) == 2:  # at step 0, at step 5: not at step 10
            raise Crash
        save(trainer, path)
        saved.append(trainer.step_count)

    monkeypatch.setattr(covey.Trainer, "save", crashing)
    monkeypatch.setattr(os, "fsync", syncing)
    errors = train(videos[1], "-o", "half.gguf", *options, status=1)
    assert "to go on: covey train --resume half-run" in errors and "Crash" in errors
    monkeypatch.setattr(covey.Trainer, "save", save)
    assert saved == [0, 5]
    assert len(lines(log)) == 10
    with open(log, "a") as file:
        file.write('{"step": 11, "sem')
    told = train("--resume", "half-run")
    assert told["steps_made_now"] == 7
    for name in ("{}.gguf", "{}-run/checkpoint.gguf"):
        paths = [tmp_path / name.format(each) for each in ("whole", "half")]
        assert paths[0].read_bytes() == paths[1].read_bytes()
    assert metrics(log) == metrics(tmp_path / "whole-run" / "log.jsonl")
    assert told["losses"] == whole["losses"]
    assert ("keep" in more) == (told["tau"] == told["tau_before"])
    # Once more: nothing is left but to write the model.
    (tmp_path / "half.gguf").unlink()
    assert train("--resume", "half-run")["steps_made_now"] == 0
    assert (tmp_path / "half.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_what_a_step_takes(train, videos, tmp_path, monkeypatch):
    """With what it waits for its clips, without a checkpoint after it."""
    from covey.reading.clips import Clips

    read, save = Clips.read, covey.Trainer.save

    def slow_read(clips, number, series=0):
        if number == 0:
            time.sleep(0.2)
        return read(clips, number, series)

    def slow_save(trainer, path):
        if trainer.step_count == 2:
            time.sleep(1)
        save(trainer, path)

    monkeypatch.setattr(Clips, "read", slow_read)
    monkeypatch.setattr("covey.interface.trainer.Trainer.save", slow_save)
    train(videos[1], "-o", "a.gguf", "--steps", 4, "--checkpoint-every", 2, "--tau", "keep")
    rows = lines(tmp_path / "a-run" / "log.jsonl")
    assert 0.15 < rows[0]["waited"] < rows[0]["seconds"]
    assert max(row["seconds"] for row in rows) < 1
