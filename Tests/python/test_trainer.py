"""covey.Trainer: what the binding promises; the numbers themselves are tested in
test_training.py and in CoveyTests."""

import subprocess
import sys
import threading
from pathlib import Path

import gguf
import numpy as np
import pytest
from scenes import film

import covey

#: A step on 72 tokens of 48 channels: milliseconds.
OPTIONS = {"total_steps": 20, "seed": 5, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def frames():
    """[9, 40, 60, 3]"""
    return film("medium", 1, 9, 40, 60)[0]


@pytest.fixture
def trainer(model):
    with covey.Trainer(model, **OPTIONS) as made:
        yield made


def clips(frames, count, first=0):
    """Clips first ... of three frames each."""
    return [frames[[i % 6, i % 6 + 1, i % 6 + 3]] for i in range(first, first + count)]


def checkpoint(trainer, path):
    trainer.save(path)
    return path.read_bytes()


def test_what_it_is(trainer, frames):
    info = trainer.info
    assert (info.has_cls, info.clip_frames, info.clips_per_step) == (False, 3, 1)
    assert (info.step, info.total_steps) == (0, 20)
    # 4 x 6 patches of 8 x 8 pixels.
    assert trainer.feature_shape == (3, 24, 48)
    assert info.feature_count == 3 * 24 * 48
    assert info.memory_peak >= info.memory > 0
    metrics = trainer.step(frames[:3])
    assert metrics.step == trainer.step_count == 1
    assert metrics.total_loss == pytest.approx(metrics.semantic_loss + metrics.motion_loss)
    assert metrics.learning_rate == pytest.approx(1e-3, rel=1e-6)  # given in single precision
    assert metrics.gradient_norm > 0


def test_a_context_manager_that_outlives_its_model(model_path, frames):
    model = covey.Model(model_path)
    with covey.Trainer(model, **OPTIONS) as trainer:
        model.close()
        trainer.step(frames[:3])
        adapted = trainer.export()
    assert trainer.closed
    for call in (lambda: trainer.info, lambda: trainer.step(frames[:3]), trainer.cancel,
                 lambda: trainer.export(), trainer.__enter__):
        with pytest.raises(ValueError, match="the trainer is closed"):
            call()
    trainer.close()
    with adapted:
        assert adapted.segment(frames).shape == (9, 40, 60)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"clip_length": 1}, ValueError, "clip_length"),
        ({"clip_length": 17}, ValueError, "clip_length"),
        ({"clips_per_step": -1}, ValueError, "clips_per_step"),
        ({"total_steps": 2**31}, ValueError, "total_steps"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate"),
        ({"learning_rate": "fast"}, ValueError, "fast"),
        ({"learning_rate": [1]}, TypeError, "learning_rate"),
        ({"dropout": 1.0}, ValueError, "dropout"),
        ({"working_height": 32}, ValueError, "working_height"),
        ({"working_height": 33, "working_width": 48}, ValueError, "working_height"),
        ({"start": "here"}, ValueError, "'model', 'identity', 'random'"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 2**64}, ValueError, "seed"),
        ({"seed": 1.5}, TypeError, "seed"),
        ({"threads": 257}, ValueError, "threads"),
        ({"tau": 1.0}, TypeError, "unknown option 'tau'"),
        ({"progress": 3}, TypeError, "callable"),
        ({"memory_limit": 100}, MemoryError, "100"),
    ],
)
def test_wrong_options(model, options, error, match):
    with pytest.raises(error, match=match):
        covey.Trainer(model, **options)


def test_wrong_frames_and_features(trainer, frames):
    for given in (frames[:2], frames[:4]):
        for call in (trainer.encode, trainer.step):
            with pytest.raises(covey.ArgumentError, match="frame_count: expected"):
                call(given)
    with pytest.raises(covey.ArgumentError, match="60x40"):
        trainer.step([frames[0], frames[1], frames[2][:32]])
    with pytest.raises(ValueError, match="looks like one frame"):
        trainer.step(frames[0])
    with pytest.raises(ValueError, match="draw"):
        trainer.encode(frames[:3], -1)
    features = trainer.encode(frames[:3])
    for wrong in (features[:2], features[None, None], features.ravel(), features[..., :47]):
        with pytest.raises(ValueError, match="features: expected"):
            trainer.step_features(wrong)
    features[1, 2, 3] = np.inf
    with pytest.raises(covey.ArgumentError, match="finite|features"):
        trainer.step_features(features)
    assert trainer.step_count == 0
    trainer.step(frames[:3])


def test_features_are_those_of_the_model(model, frames):
    """Without augmentation, the last block's keys; with it, something else for every
    draw, and the same for one."""
    with covey.Trainer(model, augmentation=False) as trainer:
        plain = trainer.encode(frames[:3])
        np.testing.assert_array_equal(plain, trainer.encode(frames[:3], 7))
    expected = np.stack([model.encode(frame) for frame in frames[:3]]).reshape(3, 24, 48)
    np.testing.assert_array_equal(plain, expected)
    with covey.Trainer(model, seed=1) as trainer:
        draws = [trainer.encode(frames[:3], draw) for draw in range(6)]
        np.testing.assert_array_equal(draws[2], trainer.encode(frames[:3], 2))
        assert all(not np.array_equal(draw, plain) for draw in draws)


def test_features_with_the_cls_token(make_model, frames):
    with covey.Model(make_model(settings={"cls_saliency": True})) as model:
        with covey.Trainer(model, augmentation=False) as trainer:
            assert trainer.info.has_cls
            features = trainer.encode(frames[:3])
            assert features.shape == (3, 25, 48)
            np.testing.assert_array_equal(
                features[:, 1:], [model.encode(frame).reshape(24, 48) for frame in frames[:3]]
            )
            trainer.step_features(features)


@pytest.mark.parametrize("count", [1, 2])
def test_a_step_on_frames_is_one_on_their_features(model, frames, tmp_path, count):
    """The draws are step x clips_per_step and up."""
    found = []
    with covey.Trainer(model, clips_per_step=count, **OPTIONS) as trainer:
        for step in range(3):
            batch = np.stack(clips(frames, count, step * count))
            found.append(trainer.step(batch))
        by_frames = checkpoint(trainer, tmp_path / "frames.gguf")
    with covey.Trainer(model, clips_per_step=count, **OPTIONS) as trainer:
        features = [trainer.encode(clip, draw) for draw, clip in
                    enumerate(clips(frames, 3 * count))]
        assert list(trainer.train(features, 3)) == found
        by_features = checkpoint(trainer, tmp_path / "features.gguf")
    assert by_frames == by_features


def test_the_same_bits_again(model, frames, tmp_path):
    """On any number of threads; with another seed others."""
    files = []
    for threads, seed in ((1, 5), (2, 5), (1, 6)):
        with covey.Trainer(model, **{**OPTIONS, "seed": seed}, threads=threads) as trainer:
            list(trainer.train(clips(frames, 4), 4))
            files.append(checkpoint(trainer, tmp_path / "state.gguf"))
    assert files[0] == files[1]
    assert files[0] != files[2]


def test_restoring_goes_on_bit_for_bit(model, frames, tmp_path):
    with covey.Trainer(model, **OPTIONS) as trainer:
        straight = list(trainer.train(clips(frames, 6), 6))
        whole = checkpoint(trainer, tmp_path / "whole.gguf")
    with covey.Trainer(model, **OPTIONS) as trainer:
        before = list(trainer.train(clips(frames, 6), 2))
        trainer.save(tmp_path / "half.gguf")
    with covey.Trainer(model, threads=1, **OPTIONS) as trainer:
        trainer.step(frames[:3])  # what was there does not matter
        trainer.restore(tmp_path / "half.gguf")
        assert trainer.step_count == 2
        after = list(trainer.train(clips(frames, 4, 2), 4))
        assert checkpoint(trainer, tmp_path / "again.gguf") == whole
    assert before + after == straight


def test_restoring_what_does_not_fit(model, trainer, frames, tmp_path):
    trainer.step(frames[:3])
    before = checkpoint(trainer, tmp_path / "before.gguf")
    with covey.Trainer(model, **{**OPTIONS, "seed": 6}) as other:
        other.save(tmp_path / "other.gguf")
    (tmp_path / "short.gguf").write_bytes(before[: len(before) // 2])
    damaged = bytearray(before)
    damaged[-100] ^= 1
    (tmp_path / "damaged.gguf").write_bytes(damaged)
    model.save(tmp_path / "model.gguf")
    for name, error in (
        ("other", covey.ArgumentError), ("short", covey.FormatError),
        ("damaged", covey.FormatError), ("model", covey.FormatError), ("absent", covey.FileError),
    ):
        with pytest.raises(error, match=f"{name}.gguf"):
            trainer.restore(tmp_path / f"{name}.gguf")
        assert checkpoint(trainer, tmp_path / "after.gguf") == before
    with pytest.raises(OSError, match="nowhere"):
        trainer.save(tmp_path / "nowhere" / "state.gguf")


def test_export(model, frames):
    features = model.encode(frames[0])
    with covey.Trainer(model, **OPTIONS) as trainer:
        with trainer.export() as same:
            assert same.info.tau == model.info.tau
            for ours, theirs in zip(same.correlate(features), model.correlate(features),
                                    strict=True):
                np.testing.assert_array_equal(ours, theirs)
        list(trainer.train(clips(frames, 5), 5))
        adapted = trainer.export(tau=0.25)
        with pytest.raises(covey.ArgumentError, match="tau"):
            trainer.export(tau=-1)
    with adapted:
        assert adapted.info.tau == 0.25
        assert adapted.info.name == model.info.name
        assert [each.name for each in adapted.tensors] == [each.name for each in model.tensors]
        np.testing.assert_array_equal(adapted.encode(frames[0]), features)
        for ours, theirs in zip(adapted.correlate(features), model.correlate(features),
                                strict=True):
            assert not np.array_equal(ours, theirs)


def test_identity_compares_the_features_themselves(model, frames):
    features = model.encode(frames[0])
    with covey.Trainer(model, start="identity") as trainer, trainer.export() as exported:
        queries, keys = exported.correlate(features)
    centred = features - features.mean(axis=-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5)
    # Observed 5e-7: a few roundings of numbers up to 4.
    np.testing.assert_allclose(queries, expected, atol=5e-6)
    np.testing.assert_allclose(keys, expected, atol=5e-6)


def test_train_is_a_generator(model, frames):
    taken = []

    def counted():
        for index, clip in enumerate(clips(frames, 5)):
            taken.append(index)
            yield clip

    with covey.Trainer(model, clips_per_step=2, **OPTIONS) as trainer:
        steps = trainer.train(counted(), 10)
        assert taken == []
        assert next(steps).step == 1
        assert taken == [0, 1]
        # The fifth is no step by itself.
        assert [each.step for each in steps] == [2]
        assert taken == [0, 1, 2, 3, 4]
        assert list(trainer.train(clips(frames, 9), 0)) == []
        # What is left of total_steps.
        assert len(list(trainer.train(clips(frames, 50)))) == OPTIONS["total_steps"] - 2


def test_one_clip_is_learnt(model, frames):
    """Without dropout and augmentation: the motion loss falls.  The semantic one cannot:
    with 24 patches all of them are positives, and negatives too, which costs 0.8."""
    with covey.Trainer(
        model, total_steps=60, learning_rate=3e-3, dropout=-1, attention_dropout=-1,
        positions=24, augmentation=False, start="random", seed=1,
    ) as trainer:
        features = trainer.encode(frames[:3])
        metrics = list(trainer.train([features] * 60))
    # Observed 1.00 to .52.
    assert metrics[-1].motion_loss < 0.7 * metrics[0].motion_loss
    assert 0.799 < metrics[-1].semantic_loss < metrics[0].semantic_loss
    assert metrics[-1].learning_rate < 1e-5


def test_cancelling(model, frames, tmp_path):
    """The step has not been made; made again, it is what it would have been."""
    calls = []

    def progress(stage, fraction):
        calls.append((stage, fraction))
        return not stopping

    def failing(stage, fraction):
        raise LookupError("from the callback")

    stopping = True
    with covey.Trainer(model, progress=progress, **OPTIONS) as trainer:
        with pytest.raises(covey.CancelledError):
            trainer.step(frames[:3])
        assert trainer.step_count == 0
        trainer.cancel()
        with pytest.raises(covey.CancelledError):
            trainer.encode(frames[:3])
        stopping = False
        trainer.step(frames[:3])
        assert all(0 <= fraction <= 1 for _, fraction in calls)
        found = checkpoint(trainer, tmp_path / "state.gguf")
    with covey.Trainer(model, **OPTIONS) as trainer:
        trainer.step(frames[:3])
        assert checkpoint(trainer, tmp_path / "state.gguf") == found
    with covey.Trainer(model, progress=failing, **OPTIONS) as trainer:
        with pytest.raises(LookupError, match="from the callback"):
            trainer.step(frames[:3])
        assert trainer.step_count == 0


def test_one_thread_at_a_time(model, frames):
    caught = []

    def progress(stage, fraction):
        def call():
            try:
                trainer.step(frames[:3])
            except covey.StateError as error:
                caught.append(str(error))

        call()
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        return False

    trainer = covey.Trainer(model, progress=progress, **OPTIONS)
    with trainer, pytest.raises(covey.CancelledError):
        trainer.step(frames[:3])
    assert "callback" in caught[0]
    assert "two threads" in caught[1]


def test_weights_that_are_not_finite_are_not_handed_out(tmp_path, model_path):
    """A model that was loaded unverified may have them; nobody could load what is made of it."""
    reader = gguf.GGUFReader(model_path)
    (tensor,) = [each for each in reader.tensors if each.name == "correlator.norm1.weight"]
    data = bytearray(Path(model_path).read_bytes())
    data[tensor.data_offset : tensor.data_offset + 4] = b"\0\0\xc0\x7f"
    path = tmp_path / "nan.gguf"
    path.write_bytes(data)
    with covey.Model(path, skip_checksum=True) as model, covey.Trainer(model, **OPTIONS) as trainer:
        for call in (trainer.export, lambda: trainer.save(tmp_path / "state.gguf")):
            with pytest.raises(covey.StateError, match="not finite"):
                call()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["nan.gguf"]


def test_not_after_fork(environment, model_path):
    """The child of a fork has no threads of its parent's."""
    script = (
        "import os, sys, numpy, covey\n"
        "trainer = covey.Trainer(covey.Model(sys.argv[1]))\n"
        "if os.fork() == 0:\n"
        "    try:\n"
        "        trainer.step(numpy.zeros((3, 40, 60, 3), numpy.uint8))\n"
        "    except covey.StateError:\n"
        "        os._exit(7)\n"
        "    os._exit(1)\n"
        "print(os.waitstatus_to_exitcode(os.wait()[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(model_path)],
        env=environment, capture_output=True, text=True, timeout=60,
    )
    assert done.stdout == "7\n", done.stderr
