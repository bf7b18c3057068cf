"""``covey train``, as a user runs it."""

import contextlib
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types
import weakref

import av
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from scenes import film

import covey
from covey.commands.main import _one_line, main
from covey.system.display import Display
from covey.training.choosing_tau import Choice, choose_tau
from covey.training.run_folder import RunFolder, RunLog
from covey.writing import images

#: Made quickly: 72 tokens a clip.
QUICK = ("--steps", "12", "--learning-rate", "1e-3", "--seed", "4")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two films, and a folder of pictures."""
    folder = tmp_path_factory.mktemp("videos")
    for index, count in enumerate((24, 9)):
        images.write_video(folder / f"{index}.mp4", film("medium", index, count, 40, 60)[0], fps=10)
    (folder / "pictures").mkdir()
    for index, frame in enumerate(film("easy", 2, 5, 40, 60)[0]):
        Image.fromarray(frame).save(folder / "pictures" / f"{index}.png")
    return [folder / "0.mp4", folder / "1.mp4", folder / "pictures"]


@pytest.fixture
def train(model_path, tmp_path, monkeypatch, capsys):
    """train(*arguments) runs the command in tmp_path with --json and returns what it
    told; its status is checked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COVEY_MODEL", str(model_path))

    def train(*arguments, status=0):
        capsys.readouterr()
        found = main(["train", "--json", *map(str, arguments)])
        output, errors = capsys.readouterr()
        assert found == status, errors
        return json.loads(output) if status in (0, 130) else errors

    return train


@pytest.fixture
def command(environment, model_path, tmp_path):
    """command(*arguments) is the process of ``covey train ...``, started."""
    started = []

    def command(*arguments):
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "covey", "train", *map(str, arguments)],
                env={**environment, "COVEY_MODEL": str(model_path)},
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield command
    for process in started:
        process.kill()
        process.communicate()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def metrics(path):
    """The log without what a clock says."""
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "waited")}
        for row in lines(path)
    ]


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


def partly_broken(folder, picture):
    """Twelve pictures, three of which are none."""
    folder.mkdir()
    for index in range(12):
        shutil.copy(picture, folder / f"{index}.png")
    for index in (3, 6, 9):
        (folder / f"{index}.png").write_bytes(b"no picture")
    return folder


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


def test_a_result_of_no_use_is_told():
    from covey.commands.train import doubts

    def told(semantic=(0.9, 0.5), rows=100, choice=None, before=1.0):
        return doubts({"semantic": [*semantic], "motion": [0.7, 0.6]}, rows, choice, before)

    assert told() == [] == told(semantic=(0.5, 0.9), rows=99)  # of a few steps each
    (text,) = told(semantic=(0.5, 0.9))
    assert "the semantic loss ended higher than it began: 0.500 at first, 0.900 at last" in text
    assert told(choice=Choice(0.02, 5.0, 5.0)) == []
    for tau, before in ((0.009, 1.0), (101.0, 1.0), (1000.0, 50.0)):
        (text,) = told(choice=Choice(tau, 5.0, 5.0), before=before)
        assert f"tau went from {before:.3g} to {tau:.3g}" in text


def test_cached_features_are_those_of_the_clips(train, videos, tmp_path, model_path):
    told = train(*videos, "-o", "a.gguf", *QUICK, "--cache-features", 5, "--clips-per-step", 2)
    array = np.load(tmp_path / "a-run" / "features.npy")
    assert array.shape == (5, 3, 24, 48)
    from covey.reading.clips import Clips, Footage

    clips = Clips([Footage(path) for path in videos], seed=4)
    with covey.Model(model_path) as model, covey.Trainer(model, seed=4) as trainer:
        for number in range(5):
            np.testing.assert_array_equal(
                array[number], trainer.encode(clips.read(number).frames, number)
            )
    assert told["steps"] == 12


def test_what_cannot_be_read_is_skipped(train, videos, tmp_path):
    """At the start, or in the middle of the run; it is not silent."""
    (tmp_path / "broken.mp4").write_text("no film")
    half = partly_broken(tmp_path / "half", videos[2] / "0.png")
    short = tmp_path / "short"
    short.mkdir()
    shutil.copy(videos[2] / "0.png", short)
    told = train(tmp_path / "broken.mp4", half, short, videos[1], "-o", "a.gguf", *QUICK)
    assert told["videos"] == 2
    left_out = {os.path.basename(each["path"]): each["reason"] for each in told["left_out"]}
    assert set(left_out) == {"broken.mp4", "short"}
    assert "1 frames, fewer than 3" in left_out["short"]
    # Trained on, but for some of its frames: told once.
    (partly,) = told["partly_unreadable"]
    assert partly["path"] == str(half)
    assert re.search(r"^frames [0-9, ]+: .*[369]\.png: not a picture", partly["reason"])
    errors = train(tmp_path / "broken.mp4", short, "-o", "b.gguf", *QUICK, status=1)
    assert "none of the videos can be trained on" in errors and "the first: " in errors
    assert not (tmp_path / "b-run").exists()


def test_choosing_tau(make_model, train, videos, tmp_path):
    """As many clusters as before; nothing changes where nothing was trained."""
    frames = film("medium", 1, 9, 40, 60)[0]
    path = make_model(settings={"tau": 0.05, "key_pool": 1})
    with covey.Model(path) as before:
        clips = [frames[i : i + 3] for i in range(6)]
        with covey.Trainer(before) as trainer:
            same = choose_tau(before, trainer.export, clips)
        assert same.tau == before.info.tau
        assert same.clusters == same.clusters_before > 1.5
    # Maps of a random block are all alike.
    told = train(*videos, "-m", path, "-o", "a.gguf", *QUICK, "--start", "random")
    assert told["clusters_per_clip_before"] > 1.5
    assert told["clusters_per_clip"] == pytest.approx(told["clusters_per_clip_before"], abs=0.5)
    assert told["tau"] < 0.5 * told["tau_before"]
    with covey.Model("a.gguf") as model:
        assert model.info.tau == told["tau"]
    kept = train(*videos, "-m", path, "-o", "b.gguf", *QUICK, "--tau", "keep")
    assert kept["tau"] == kept["tau_before"] and kept["clusters_per_clip"] is None
    assert train("--resume", "b-run", "--tau", 0.5)["tau"] == 0.5
    with covey.Model("b.gguf") as model:
        assert model.info.tau == 0.5


def test_the_chosen_tau_is_the_written_one(train, videos, tmp_path, make_model, monkeypatch):
    """It is chosen on 16 clips of another series, at the working size; few of them are in memory
    at once, and tries are counted."""
    from covey.reading.clips import Clips, Footage

    path = make_model(settings={"tau": 0.05})
    read, frames, most = Clips.read, [], []

    def watched(clips, number, series=0):
        clip = read(clips, number, series)
        frames.extend(map(weakref.ref, clip.frames))
        most.append(sum(frame() is not None for frame in frames))
        return clip

    shown = []
    with monkeypatch.context() as patched:
        patched.setattr(Clips, "read", watched)
        patched.setattr(
            "covey.system.display.Display.update",
            lambda display, *given: shown.append(given[1:3]) if given[0] == "tau" else None,
        )
        told = train(*videos, "-m", path, "-o", "a.gguf", *QUICK, "--working-size", "48x32")
    # Four read ahead, one in use, one that has just been.
    assert max(most) <= 6 * 3
    tries = shown[-1][0]
    assert tries > 3 and shown == [(n, None) for n in range(tries + 1)] + [(tries, tries)]
    clips = Clips([Footage(path) for path in videos], seed=4)
    with covey.Model(path) as model, covey.Trainer(
        model, seed=4, learning_rate=1e-3, working_height=48, working_width=32
    ) as trainer:
        trainer.restore(tmp_path / "a-run" / "checkpoint.gguf")
        choice = choose_tau(
            model, trainer.export, [clips.read(n, series=1).frames for n in range(16)],
            working_height=48, working_width=32,
        )  # fmt: skip
    assert choice.tau != model_tau(path)
    assert np.float32(choice.tau) == np.float32(told["tau"]) == np.float32(model_tau("a.gguf"))
    assert choice.clusters == told["clusters_per_clip"]


def model_tau(path):
    with covey.Model(path) as model:
        return model.info.tau


def test_stopped_while_tau_is_chosen(train, videos, tmp_path, monkeypatch):
    """At the next clip; the run can be gone on with."""
    from covey.training import choosing_tau

    whole = train(videos[2], "-o", "a.gguf", *QUICK)
    real, calls = choosing_tau._by_sessions, []

    def counted(*arguments):
        calls.append("begun")
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        found = real(*arguments)
        calls.append("ended")
        return found

    with monkeypatch.context() as patched:
        patched.setattr(choosing_tau, "_by_sessions", counted)
        told = train(videos[2], "-o", "b.gguf", *QUICK, status=130)
    assert calls == ["begun", "ended", "begun"]
    assert (told["done"], told["steps"]) == (False, 12)
    assert not (tmp_path / "b.gguf").exists()
    assert train("--resume", "b-run")["tau"] == whole["tau"]
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_options_reach_the_trainer(train, videos, tmp_path, monkeypatch):
    seen = {}

    class Watched(covey.Trainer):
        def __init__(self, model, **options):
            seen.update(options)
            super().__init__(model, **options)

    monkeypatch.setattr("covey.commands.train.Trainer", Watched)
    train(
        videos[0], "-o", "a.gguf", "--steps", 2, "--seed", 2**64 - 1, "--start", "identity",
        "--clips-per-step", 2, "--learning-rate", 0.01, "--weight-decay", 0, "--clip-norm", 3,
        "--attention-dropout", 0.25, "--dropout", 0, "--positions", 5, "--weigh-both",
        "--no-augmentation", "--working-size", "48x32", "--threads", 1, "--memory-limit", "200M",
        "--gap", 1, "--tau", "keep", "--dtype", "f16",
    )  # fmt: skip
    assert seen == {
        "total_steps": 2, "seed": 2**64 - 1, "start": "identity", "clips_per_step": 2,
        "learning_rate": 0.01, "weight_decay": -1, "clip_norm": 3, "attention_dropout": 0.25,
        "dropout": -1, "positions": 5, "weigh_both": True, "augmentation": False,
        "working_height": 48, "working_width": 32, "threads": 1, "memory_limit": 200 * 2**20,
    }  # fmt: skip
    with covey.Model("a.gguf") as model:
        assert model.info.dtype == covey.Dtype.F16


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


@pytest.mark.parametrize("document", ["README.md", "docs/TRAINING.md"])
def test_what_is_written_about_python(document, environment, videos, model_path, tmp_path):
    """Runs as it stands, with fewer steps."""
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall("```python\n(.*?)```", text, re.DOTALL)
    (block,) = (each for each in blocks if "Trainer(" in each)
    for folder in ("models", "videos", "my-videos", "frames"):
        (tmp_path / folder).mkdir()
    shutil.copy(model_path, tmp_path / "models" / "covey-nano.gguf")
    for name in ("videos/one.mp4", "my-videos/one.mp4", "my-videos/two.mp4"):
        shutil.copy(videos[1], tmp_path / name)
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
