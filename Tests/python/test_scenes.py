"""The made-up scenes themselves: that their truth is the truth."""

from __future__ import annotations

import numpy as np
import pytest

import scenes

GRID = {"rows": 12, "columns": 20, "channels": 32, "heads": 4}


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_everything_follows_from_the_seed(kind):
    once, again = (scenes.maps_scene(kind, 3, 4, **GRID) for _ in range(2))
    other = scenes.maps_scene(kind, 4, 4, **GRID)
    for one, same, different in zip(once, again, other):
        np.testing.assert_array_equal(one, same)
        assert (one != different).any()
    queries, keys, truth = once
    assert queries.shape == keys.shape == (4, 240, 32) and truth.shape == (4, 240)
    assert queries.dtype == keys.dtype == np.float32
    assert np.isfinite(queries).all() and np.isfinite(keys).all()
    one, same = (scenes.film(kind, 3, 2, 48, 80) for _ in range(2))
    np.testing.assert_array_equal(one[0], same[0])
    np.testing.assert_array_equal(one[1], same[1])
    assert one[0].shape == (2, 48, 80, 3) and one[0].dtype == np.uint8


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_features_tell_regions_apart(kind):
    """Means of regions: a patch is nearest to that of its own, but for those at
    borders and, in "cluttered", for noise.  Observed: .93 of the patches and more."""
    queries, _, truth = scenes.maps_scene(kind, 1, 4, 24, 48, 64, 8)
    queries, truth = queries.reshape(-1, 64).astype(np.float64), truth.ravel()
    regions = np.unique(truth)
    means = np.stack([queries[truth == region].mean(axis=0) for region in regions])
    distance = (means**2).sum(axis=1) - 2 * queries @ means.T
    assert (regions[distance.argmin(axis=1)] == truth).mean() > 0.85


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_features_and_film_show_the_same_regions(kind):
    """The truth of a patch is the region of most of its pixels."""
    _, _, truth = scenes.maps_scene(kind, 2, 3, **GRID)
    _, pixels = scenes.film(kind, 2, 3, 12 * 4, 20 * 4)
    blocks = pixels.reshape(3, 12, 4, 20, 4).swapaxes(2, 3).reshape(3, 240, 16)
    most = np.apply_along_axis(lambda each: np.bincount(each).argmax(), -1, blocks)
    np.testing.assert_array_equal(most, truth)


@pytest.mark.parametrize("seed", range(1, 6))
def test_what_leaves_comes_back(seed):
    """The blob behind the pillar is not to be seen for a while, and is before and after."""
    scene = scenes.Scene("return", seed, 2.0)
    areas = [
        (scene.regions(time, 48, 96) == scene.first_blob).sum() for time in scenes.times(40)
    ]
    hidden = np.flatnonzero(np.array(areas) == 0)
    assert len(hidden) >= 3 and (np.diff(hidden) == 1).all()
    assert 0 < hidden[0] and hidden[-1] < 39
    assert areas[0] > 100 and areas[-1] > 100


def test_the_camera_pans():
    """The ground moves to the left by the camera's step; new ground comes into sight."""
    scene = scenes.Scene("pan", 1, 2.0)
    ground = [scene.grid(time, 4, 8)[1][0, 0] for time in (0, 0.5, 1)]
    np.testing.assert_allclose(np.diff(ground), 0.5 * scene.style.pan * 2.0)
    first, last = (set(np.unique(scene.regions(time, 48, 96))) for time in (0, 1))
    assert last - first


@pytest.mark.parametrize("kind", ["easy", "medium", "cluttered", "pan"])
def test_blobs_move(kind):
    scene = scenes.Scene(kind, 5, 2.0)
    steps = [
        np.linalg.norm(scene.centre(blob, 0.3) - scene.centre(blob, 0.0))
        for blob in range(scene.style.blobs)
    ]
    assert min(steps) > 0.02


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="easy, medium, cluttered, return, pan"):
        scenes.Scene("difficult", 1, 2.0)
