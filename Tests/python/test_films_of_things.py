"""The made-up films: what their truth says is what their pixels show."""

from __future__ import annotations

import numpy as np
import pytest
from davis import data_folder
from films_of_things import KINDS, VOID, film, photographs
from scipy import ndimage

SIZE = {"frames": 24, "height": 108, "width": 216}


@pytest.fixture(scope="session")
def films():
    return {kind: film(kind, 3, **SIZE) for kind in KINDS}


def shown(truth):
    """Frames that show each id."""
    return {
        int(number): np.flatnonzero((truth == number).any(axis=(1, 2)))
        for number in np.unique(truth) if number not in (0, VOID)
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_film(films, kind):
    frames, truth = film(kind, 3, **SIZE)
    assert np.array_equal(frames, films[kind][0]) and np.array_equal(truth, films[kind][1])
    assert not np.array_equal(frames, film(kind, 4, **SIZE)[0])


#: In the others everything changes.
STILL = [kind for kind in KINDS if kind not in ("pan", "pan twins", "exposure")]


@pytest.mark.parametrize("kind", STILL)
def test_what_moves_before_a_camera_that_stands_still_has_an_id(films, kind):
    frames, truth = films[kind]
    near = ndimage.binary_dilation(truth > 0, np.ones((1, 5, 5)))
    free = np.where(near[..., None], np.nan, frames)  # what is seen of the ground
    known = (~near).sum(axis=0) > 3
    ground = np.nanmedian(free[:, known], axis=0)
    differs = abs(frames[:, known] - ground).max(axis=2) > 25  # twelve deviations of the noise
    # Of a thing that is about to enter, a row may be seen by less than a half.
    assert (differs & ~near[:, known]).sum(axis=1).max() < 10
    assert differs[(truth > 0)[:, known]].mean() > 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_a_thing_is_of_a_piece_and_large_enough(films, kind):
    _, truth = films[kind]
    for number, times in shown(truth).items():
        for t in times:
            mask = truth[t] == number
            pieces = ndimage.label(mask, np.ones((3, 3)))[0]
            # What another crosses may fall in two.
            whole = np.bincount(pieces[mask])[1:].max() / mask.sum()
            assert whole > (0.5 if kind in ("cross", "touch") else 0.97)
        assert 0.015 < np.mean([(truth[t] == number).mean() for t in times]) < 0.08


def test_ids_of_those_that_leave(films):
    count = {kind: len(shown(truth)) for kind, (_, truth) in films.items()}
    assert count == {
        "side by side": 2, "pass": 2, "touch": 2, "cross": 2, "replaced": 3, "behind": 2,
        "back": 2, "stop": 1, "decoys": 1, "arrivals": 3, "exposure": 2, "parts": 1, "pan": 2,
        "pan twins": 2,
    }
    replaced = shown(films["replaced"][1])
    assert replaced[1][-1] + 2 < replaced[2][0]
    for kind in ("behind", "back"):
        times = shown(films[kind][1])[1]
        assert np.diff(times).max() > 2, "away, and then the same again"
    arrivals = shown(films["arrivals"][1])
    assert arrivals[1][0] > 1, "nothing at first"


def test_twins_touch_and_do_not(films):
    def apart(kind):
        _, truth = films[kind]
        grown = [ndimage.binary_dilation(truth == number, np.ones((1, 3, 3))) for number in (1, 2)]
        return (grown[0] & grown[1]).any(axis=(1, 2))

    assert not apart("side by side").any() and not apart("pass").any()
    touching = apart("touch")
    assert not touching[0] and touching[len(touching) // 2] and not touching[-1]


def test_twins_are_twins(films):
    frames, truth = films["side by side"]
    one, other = (frames[0][truth[0] == number].astype(float) for number in (1, 2))
    assert abs(one.mean(axis=0) - other.mean(axis=0)).max() < 3
    frames, truth = films["cross"]
    one, other = (frames[0][truth[0] == number].astype(float) for number in (1, 2))
    assert abs(one.mean(axis=0) - other.mean(axis=0)).max() > 25


def test_films_of_photographs():
    pictures = photographs(data_folder())
    if pictures is None:
        pytest.skip(f"{data_folder()}: no sprites_tuxpaint and backgrounds there")
    for kind in KINDS:
        frames, truth = film(kind, 0, frames=3, pictures=pictures)
        assert frames.shape == (3, 216, 432, 3) and truth.shape == (3, 216, 432)
        assert frames.std() > 10


def test_kinds_have_names():
    with pytest.raises(ValueError, match=r"kind: expected one of side by side, pass, .* 'passs'"):
        film("passs", 0)
