"""What a training run is made of: features, log, plot, and tau."""

import itertools
import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

import covey
from covey.training import choosing_tau
from covey.training.choosing_tau import pooled, tau_of
from covey.training.feature_cache import FeatureCache
from covey.training.run_folder import RunLog, plot_losses, read_log, smoothed
from covey.writing.whole_files import written_whole


def test_the_cache_of_features(tmp_path):
    random = np.random.default_rng(0)
    clips = random.standard_normal((7, 3, 4, 5)).astype(np.float32)
    cache = FeatureCache(tmp_path / "features.npy", 7, (3, 4, 5), seed=1)
    assert cache.bytes == clips.nbytes
    assert not cache.open()
    told = []
    cache.fill(iter(clips), told.append)
    assert told == [1, 2, 3, 4, 5, 6, 7]
    # NumPy reads it too.
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), clips)
    again = FeatureCache(tmp_path / "features.npy", 7, (3, 4, 5), seed=1)
    assert again.open()
    found = [np.array(cache.clip(number)) for number in range(21)]
    np.testing.assert_array_equal(found, [again.clip(number) for number in range(21)])
    orders = [
        [int(np.flatnonzero((clips == each).all(axis=(1, 2, 3)))[0]) for each in found[i : i + 7]]
        for i in (0, 7, 14)
    ]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    other = FeatureCache(tmp_path / "features.npy", 7, (3, 4, 5), seed=2)
    assert other.open()
    assert not np.array_equal(found[:7], [other.clip(number) for number in range(7)])
    np.testing.assert_array_equal(again.clip(3), found[3])  # backwards too
    # Other shapes, a file cut short: made anew.
    assert not FeatureCache(tmp_path / "features.npy", 8, (3, 4, 5), 1).open()
    data = (tmp_path / "features.npy").read_bytes()
    (tmp_path / "features.npy").write_bytes(data[:-10])
    assert not FeatureCache(tmp_path / "features.npy", 7, (3, 4, 5), 1).open()


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="full"), written_whole(path) as file:
        file.write(b"new, half of it")
        raise OSError("full")
    assert path.read_bytes() == b"old"
    with written_whole(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_the_log(tmp_path):
    path = tmp_path / "log.jsonl"
    with RunLog(path) as log:
        for step in range(1, 6):
            log.append({"step": step, "semantic_loss": 0.5})
            # On its way to the disk at once.
            assert len(path.read_text().splitlines()) == step
    with open(path, "a") as file:
        file.write('{"step": 6, "seman')
    assert [row["step"] for row in read_log(path)] == [1, 2, 3, 4, 5]
    with RunLog(path, 3) as log:
        assert [row["step"] for row in log.rows] == [1, 2, 3]
        log.append({"step": 4, "semantic_loss": 0.25})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[3]["semantic_loss"] == 0.25


def rows(count):
    return [
        {"step": step, "semantic_loss": 1 / step, "motion_loss": 0.5, "learning_rate": 1e-4}
        for step in range(1, count + 1)
    ]


def test_the_plot(tmp_path, monkeypatch):
    assert not plot_losses(tmp_path / "loss.png", [])
    for count in (1, 30):
        assert plot_losses(tmp_path / "loss.png", rows(count))
        with Image.open(tmp_path / "loss.png") as picture:
            assert picture.size == (960, 600)
            # Both curves' colours, and more than them.
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 20
    for module in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.setitem(sys.modules, module, None)
    assert not plot_losses(tmp_path / "absent.png", rows(3))
    assert not (tmp_path / "absent.png").exists()


def test_smoothing():
    values = np.random.default_rng(1).standard_normal(40)
    for width in (1, 3, 50):
        expected = [values[max(0, i + 1 - width) : i + 1].mean() for i in range(40)]
        np.testing.assert_allclose(smoothed(values, width), expected, atol=1e-12)


def test_pooling_is_averaging():
    keys = np.random.default_rng(2).standard_normal((2, 5, 7, 3)).astype(np.float32)
    found = pooled(keys, 3)
    assert found.shape == (2, 2, 3, 3) and found.dtype == np.float32
    for row, column in itertools.product(range(2), range(3)):
        block = keys[:, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3].astype(float)
        # Sums of up to nine floats.
        np.testing.assert_allclose(found[:, row, column], block.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(pooled(keys, 1), keys)


@pytest.mark.parametrize("target", [2.0, 5.5, 6.0, 19.0])
@pytest.mark.parametrize("start", [0.3, 1.0, 3.0])
def test_tau_for_a_number_of_clusters(target, start):
    """Of a count that falls in steps of a half: the middle of the step, to 2 %."""

    def count(tau):
        return max(1.0, np.floor(2 * 6 / tau) / 2)

    found = tau_of(count, target, start)
    if count(start) == target:
        assert found == start
        return
    assert count(found) == target
    # Steps end where 12 / tau is whole.
    low, high = 12 / (2 * target + 1), 12 / (2 * target)
    assert found == pytest.approx(np.sqrt(low * high), rel=0.02)


def test_tau_is_that_of_sessions(monkeypatch):
    """The clustering alone, which is quick, is only where to begin: here at 4."""

    class Fake:
        def __init__(self, tau):
            self.info = types.SimpleNamespace(tau=tau)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    by_sessions = []

    def count(model, *_):
        by_sessions.append(model.info.tau)
        return (0.002 if model.before else 12) / model.info.tau

    monkeypatch.setattr(choosing_tau, "_by_sessions", count)
    monkeypatch.setattr(choosing_tau, "_features", lambda *_: [])
    monkeypatch.setattr(
        choosing_tau, "_clusters", lambda m, *_: lambda tau: (0.001 if m.before else 4) / tau
    )
    before, tried = Fake(0.001), []
    before.before, Fake.before = True, False
    choice = choosing_tau.choose_tau(before, Fake, [], lambda *each: tried.append(each))
    # 2 clusters before.
    assert choice.tau == pytest.approx(6, rel=0.03)
    assert (choice.clusters, choice.clusters_before) == (12 / choice.tau, 2)
    assert tried[-1] == (choice.tau, choice.clusters)
    # To double tau from the first one alone would take twelve.
    assert len(by_sessions) < 12


def test_a_guess_is_made_with_the_keys_of_sessions(make_model):
    """Pooled as the model says."""
    random = np.random.default_rng(3)
    frames = random.integers(0, 255, (3, 32, 48, 3), np.uint8)
    with covey.Model(make_model(settings={"key_pool": 2})) as model:
        features = np.stack([model.encode(frame) for frame in frames])
        queries, keys = model.correlate(features)
        pooled_keys = keys.reshape(3, 2, 2, 3, 2, -1).mean(axis=(2, 4))
        taus = np.geomspace(1e-3, 1, 30)
        count = choosing_tau._clusters(model, [features], 1)

        def clusters(keys):
            return [covey.cluster(queries, keys, 3, tau=tau, window=3).count for tau in taus]

        assert [count(tau) for tau in taus] == clusters(pooled_keys) != clusters(keys)


def test_tau_where_there_is_no_such_number():
    # A jump across it.
    assert tau_of(lambda tau: 9 if tau < 0.7 else 2, 5, 1.0) == pytest.approx(0.7, rel=0.01)
    # Nothing but one number: at the end of what is looked at.
    assert tau_of(lambda tau: 3, 5, 1.0) == pytest.approx(2**-20)
    assert tau_of(lambda tau: 7, 5, 1.0) == pytest.approx(1000)
