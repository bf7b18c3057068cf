"""``covey train``: what is read, features kept, tau, options that reach the trainer."""

import os
import re
import shutil
import signal
import weakref

import numpy as np
import pytest
from scenes import film
from training_runs import QUICK, partly_broken, train, videos  # noqa: F401

import covey
from covey.training.choosing_tau import Choice, choose_tau


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
