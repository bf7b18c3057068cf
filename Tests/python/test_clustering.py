"""Properties of the reference clustering, on made-up scenes (scenes.py) and their truth.

Large enough that sketches decide pairs (maps and keys of 256 and more); the oracle is
reference.py, in float64.
"""

from __future__ import annotations

import numpy as np
import pytest

import covey
import reference
import scenes
from figures import record  # noqa: F401

FRAMES, ROWS, COLUMNS, CHANNELS, HEADS = 5, 12, 24, 96, 4


def scene(kind, seed, frames=FRAMES, rows=ROWS, columns=COLUMNS, stride=3):
    """queries [T, N, C], keys [M, C], truth [T, N]."""
    queries, keys, truth = scenes.maps_scene(kind, seed, frames, rows, columns, CHANNELS, HEADS)
    return queries, keys[::stride].reshape(-1, CHANNELS), truth


def segments(queries, keys, **options):
    return covey.cluster(queries, keys, HEADS, mode="reference", **options)


def agreement(a, b):
    return reference.adjusted_rand_index(a, b)


@pytest.mark.parametrize("seed", range(1, 6))
@pytest.mark.parametrize("kind", scenes.KINDS)
def test_labels_are_the_oracles(kind, seed, record):
    queries, keys, truth = scene(kind, seed)
    found = segments(queries, keys)
    expected = reference.cluster(queries, keys, HEADS)
    index = agreement(found.labels, expected.labels)
    record(ari=index, clusters=found.count, ari_truth=agreement(found.labels, truth))
    assert index >= 0.999
    assert found.count == expected.count


@pytest.mark.parametrize("kind", ["medium", "cluttered"])
def test_threads_change_nothing(kind):
    queries, keys, _ = scene(kind, 6)
    one = segments(queries, keys, threads=1)
    for threads in (2, 3, 5):
        more = segments(queries, keys, threads=threads)
        np.testing.assert_array_equal(more.labels, one.labels)
        np.testing.assert_array_equal(more.confidence, one.confidence)


def test_keys_in_another_order():
    """The order of the keys means nothing: it moves what tiles and panels hold, and
    where rounding falls."""
    queries, keys, _ = scene("medium", 2)
    found = segments(queries, keys).labels
    shuffled = np.random.default_rng(0).permutation(keys)
    assert agreement(segments(queries, shuffled).labels, found) >= 0.999


@pytest.mark.parametrize("kind", ["easy", "return"])
def test_frames_of_a_window_in_another_order(kind):
    """Leaders change with the order, and a few patches at borders with them; what the
    segments are does not.  Observed: .97 and more."""
    queries, keys, truth = scene(kind, 1, frames=6)
    found = segments(queries, keys).labels
    order = [2, 0, 1, 4, 5, 3]
    permuted = segments(queries[order], keys).labels
    assert agreement(permuted, found[order]) > 0.95
    assert agreement(permuted, truth[order]) > 0.9


def test_frames_that_are_there_twice():
    queries, keys, _ = scene("medium", 3, frames=3)
    once = segments(queries, keys)
    twice = segments(np.concatenate([queries, queries]), keys)
    np.testing.assert_array_equal(twice.labels[:3], twice.labels[3:])
    np.testing.assert_array_equal(twice.labels[:3], once.labels)


def test_frames_of_one_colour():
    """Every distance is 0 but for rounding: one cluster."""
    patch = np.random.default_rng(1).standard_normal(CHANNELS).astype(np.float32)
    queries = np.tile(patch, (4, 300, 1))
    found = segments(queries, queries[0], tau=1e-4)
    assert found.count == 1 and not found.labels.any() and (found.confidence == 1).all()


@pytest.mark.parametrize("patches", [1, 2])
def test_frames_of_so_few_patches(patches):
    queries, keys, _ = scene("easy", 1, frames=9, rows=1, columns=patches)
    found = segments(queries, keys)
    expected = reference.cluster(queries, keys, HEADS)
    np.testing.assert_array_equal(found.labels, expected.labels)


@pytest.mark.parametrize("window", [1, 3, 64])
def test_one_frame(window):
    queries, keys, truth = scene("easy", 4, frames=1)
    found = segments(queries, keys, window=window)
    expected = reference.cluster(queries, keys, HEADS, window=window)
    assert agreement(found.labels, expected.labels) >= 0.999
    assert agreement(found.labels, truth) > 0.9


@pytest.mark.parametrize("window", [1, 2, 5, 20])
def test_windows_of_any_length(window):
    queries, keys, _ = scene("medium", 5)
    found = segments(queries, keys, window=window)
    expected = reference.cluster(queries, keys, HEADS, window=window)
    assert agreement(found.labels, expected.labels) >= 0.999


@pytest.mark.parametrize(
    ("mode", "default", "other"), [("edge", "ceil", "floor"), ("reference", "floor", "ceil")]
)
def test_rounding_left_open(mode, default, other, model, video):
    """It is the mode's: as the authors' in reference mode, where \"ceil\" can be named."""
    options = {"output": "clusters", "mode": mode, "key_stride": 4, "tau": 0.05}
    found = model.segment(video[:7], **options)
    np.testing.assert_array_equal(found, model.segment(video[:7], key_rounding=default, **options))
    assert (found != model.segment(video[:7], key_rounding=other, **options)).any()


@pytest.mark.parametrize("mode", ["edge", "reference"])
@pytest.mark.parametrize("rounding", ["ceil", "floor"])
def test_fewer_frames_than_the_key_stride(rounding, mode, model, video):
    """The first frame is a key frame all the same, and the only one."""
    output = {"output": "clusters", "key_rounding": rounding, "mode": mode}
    expected = model.segment(video[:3], key_stride=3, **output)
    for stride in (4, 1000):
        found = model.segment(video[:3], key_stride=stride, **output)
        np.testing.assert_array_equal(found, expected)
    assert (model.segment(video[:1], key_stride=7, **output) > 0).all()
