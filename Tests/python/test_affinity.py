"""What is compared in the maps: the three affinities, from pixels to labels,
against PyTorch and NumPy in float64."""

from __future__ import annotations

import numpy as np
import oracles
import pytest
import reference
from figures import record  # noqa: F401

import covey

torch = oracles.load("torch")

import torch_vit  # noqa: E402
from test_stages import make_model, picture  # noqa: E402

HEIGHT, WIDTH, FRAMES = 64, 96, 6
#: Heads of the backbone and of the block differ: taking the wrong ones shows.
GEOMETRY = torch_vit.Geometry(8, 48, 3, 3, 6, 4)

#: tau of each: some ten clusters.
TAUS = {"correlator": 0.1, "features": 0.2, "attention": 0.15}


@pytest.fixture(scope="module")
def frames():
    """A picture that moves; of the working size, so that nothing is resampled."""
    whole = picture(HEIGHT, WIDTH + 8 * FRAMES)
    return np.stack([whole[:, 8 * t : 8 * t + WIDTH] for t in range(FRAMES)])


@pytest.fixture(scope="module")
def state():
    return torch_vit.random_state(GEOMETRY, gain=1.5)


@pytest.fixture(scope="module")
def models(state, tmp_path_factory):
    """(of floats, int8)."""
    folder = tmp_path_factory.mktemp("affinity")
    floats = make_model(
        folder, {name: value.numpy() for name, value in state.items()}, GEOMETRY,
        working_height=HEIGHT, working_width=WIDTH, key_stride=2, key_pool=2,
    )
    floats.save(folder / "q8.gguf", "q8")
    with floats, covey.Model(folder / "q8.gguf") as bytes8:
        yield floats, bytes8


@pytest.fixture(scope="module")
def compared(state, frames):
    """compared(affinity): queries [T, N, C], keys [T, rows, columns, C] and heads."""
    encoded = []
    for frame in frames:
        image = torch_vit.normalise(torch_vit.resize(frame, HEIGHT, WIDTH, torch.float64))
        encoded.append(torch_vit.encode(state, GEOMETRY, image))
    features = np.stack([each.keys.numpy() for each in encoded])
    grid = encoded[0].rows, encoded[0].columns

    def of(affinity):
        if affinity == "attention":
            queries, keys = np.stack([each.queries.numpy() for each in encoded]), features
            heads = GEOMETRY.heads
        elif affinity == "features":
            queries = features - features.mean(axis=-1, keepdims=True)
            queries /= np.sqrt((queries**2).mean(axis=-1, keepdims=True) + 1e-5)
            keys, heads = queries, GEOMETRY.correlator_heads
        else:
            queries, keys = torch_vit.correlate(state, torch.from_numpy(features))
            queries, keys, heads = queries.numpy(), keys.numpy(), GEOMETRY.correlator_heads
        return queries, keys.reshape(FRAMES, *grid, -1), heads

    return of


def labels_of(queries, keys, heads, tau):
    """As a session gives them, with keys of every second frame over 2 x 2 patches."""
    grid = keys.shape[1:3]
    keys = reference.pool_keys(keys[::2], 2)
    labels = reference.cluster(queries, keys, heads, tau).labels
    ids = reference.cluster_ids(labels).reshape(FRAMES, *grid)
    return reference.nearest(ids, HEIGHT, WIDTH)


@pytest.mark.parametrize("affinity", TAUS)
def test_labels_are_those_of_numpy(affinity, models, frames, compared, record):
    tau = TAUS[affinity]
    queries, keys, heads = compared(affinity)
    expected = labels_of(queries, keys, heads, tau)
    found, bytes8 = (
        model.segment(
            frames, output="clusters", mode="reference", mask="nearest", key_pool=2,
            affinity=affinity, tau=tau,
        ) for model in models
    )
    index = reference.adjusted_rand_index(found, expected)
    index8 = reference.adjusted_rand_index(bytes8, expected)
    other = reference.adjusted_rand_index(
        labels_of(queries, keys, 7 - heads, tau), expected  # the other's heads: 4 or 3
    )
    record(clusters=int(expected.max()), ari=index, int8=index8, other_heads=other)
    assert 3 < expected.max() < 100
    # Observed: 1 for each; with the heads of another affinity .5 to .8.
    assert index >= 0.99
    assert other < 0.95
    # int8 moves patches that lie near tau; another affinity would give about 0.
    assert index8 > 0.5


def test_left_out_it_is_the_correlator(models, frames):
    for model in models:
        expected = model.segment(frames, output="clusters", tau=0.1)
        for affinity in (None, "correlator", covey.Affinity.CORRELATOR, 0):
            found = model.segment(frames, output="clusters", tau=0.1, affinity=affinity)
            np.testing.assert_array_equal(found, expected)


def test_memory_is_estimated_for_each(models, frames):
    """Of the two that are not projected, no second set of keys is kept while encoding."""
    model = models[0]
    for affinity in TAUS:
        estimate = model.estimate_memory(WIDTH, HEIGHT, FRAMES, affinity=affinity, threads=1)
        with model.session(affinity=affinity, threads=1) as session:
            for frame in frames:
                session.push(frame)
            assert session.memory.features <= estimate.features
            session.finish()
            assert session.memory.peak <= estimate.peak


@pytest.mark.parametrize("wrong, error, says", [
    (3, ValueError, "'features'"), (-1, ValueError, "'attention'"), ("dino", ValueError, "dino"),
])
def test_others_are_refused(wrong, error, says, models):
    with pytest.raises(error, match=says):
        models[0].session(affinity=wrong)
