"""The bookkeeping of ids, on films whose truth is known: an id is one thing's.

What is not found is nobody's fault here: these are properties of the ids that there are.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from cars import judge_cars
from davis import data_folder
from figures import record  # noqa: F401
from films_of_things import VOID, film
from scipy import ndimage

import covey

FILMS = ("side by side", "pass", "touch", "cross", "replaced", "behind", "decoys", "arrivals")
MODES = {"whole": {}, "stream": {"streaming": True}}
#: Of a frame: a smaller region of an id is a speck, not a thing.
SPECK = 0.002


def segment(model, frames, **options):
    with model.session(**options) as session:
        return np.stack([each.labels for each in session.segment(frames)])


@pytest.fixture(scope="module")
def films(nano):
    """labels, truth of a kind in a mode, made once."""
    made = {}

    def labelled(kind, mode):
        if (kind, mode) not in made:
            frames, truth = film(kind, 1, frames=32)
            # Every pixel as its patch: ids without the finer work on masks.
            made[kind, mode] = segment(nano, frames, mask="nearest", **MODES[mode]), truth
        return made[kind, mode]

    return labelled


def every_film(test):
    test = pytest.mark.parametrize("kind", FILMS)(test)
    return pytest.mark.parametrize("mode", MODES)(test)


# ---- Separate regions -----------------------------------------------------------


def regions(mask):
    """Those of a mask that are no specks, each a mask."""
    pieces, count = ndimage.label(mask, np.ones((3, 3)))
    found = [pieces == each for each in range(1, count + 1)]
    return [each for each in found if each.mean() > SPECK]


def follow(region, around):
    """The one of the regions that has most in common with it, None where none has."""
    common = [(each & region).sum() for each in around]
    return around[int(np.argmax(common))] if max(common, default=0) else None


def were_one(masks, t, one, other, step):
    """Whether two regions of frame t, followed from frame to frame, meet in one."""
    while 0 <= t + step < len(masks):
        t += step
        around = regions(masks[t])
        one, other = follow(one, around), follow(other, around)
        if one is None or other is None:
            return False
        if one is other:
            return True
    return False


def shared(labels, directions):
    """(frame, id) where separate regions wear one id and never were one."""
    for number in np.unique(labels[labels > 0]):
        masks = labels == number
        for t, mask in enumerate(masks):
            for one, other in itertools.combinations(regions(mask), 2):
                if not any(were_one(masks, t, one, other, step) for step in directions):
                    yield t, int(number)


@every_film
def test_separate_regions_do_not_share_an_id(films, kind, mode):
    """Unless they were one thing before, as one that another stands before; where the whole
    video is known, or will be."""
    labels, _ = films(kind, mode)
    assert not list(shared(labels, (-1,) if mode == "stream" else (-1, 1)))


def test_regions_that_were_one():
    labels = np.zeros((4, 40, 60), np.uint16)
    labels[0, 10:20, 10:50] = 1
    labels[1:3, 10:20, 10:25] = labels[1:3, 10:20, 35:50] = 1  # a post before it
    labels[3, 10:20, 10:50] = 1
    assert not list(shared(labels, (-1,))) and not list(shared(labels, (1,)))
    labels[0] = 0
    assert {t for t, _ in shared(labels, (-1,))} == {1, 2}
    assert not list(shared(labels, (-1, 1)))
    labels[3, :, 30:] = 0
    assert {t for t, _ in shared(labels, (-1, 1))} == {1, 2}


# ---- Whose an id is -------------------------------------------------------------


def owners(labels, truth):
    """id: [(frame, the thing that most of its pixels are on)], of what is on a thing."""
    found = {}
    for t, (ids, things) in enumerate(zip(labels, truth, strict=True)):
        for number in np.unique(ids[ids > 0]):
            on = np.bincount(things[ids == number], minlength=VOID + 1)
            if on[1:VOID].max() > 0.5 * on.sum():
                found.setdefault(int(number), []).append((t, int(on[1:VOID].argmax()) + 1))
    return found


@every_film
def test_an_id_does_not_jump_to_another_thing(films, kind, mode):
    labels, truth = films(kind, mode)
    jumps = [
        (number, before, after)
        for number, times in owners(labels, truth).items()
        for before, after in itertools.pairwise(times)
        # Both were to be seen: neither had to be guessed.
        if before[1] != after[1]
        and (truth[after[0]] == before[1]).any() and (truth[before[0]] == after[1]).any()
    ]
    assert not jumps


@every_film
def test_ids_are_not_used_again(films, kind, mode):
    """What left does not leave its id to what comes, even of the same look."""
    labels, truth = films(kind, mode)
    things = {
        number: {thing for _, thing in times} for number, times in owners(labels, truth).items()
    }
    assert all(len(each) == 1 for each in things.values()), things


def test_whose_ids_are():
    truth = np.zeros((3, 20, 30), np.uint8)
    truth[:, 2:8, 2:8], truth[:, 12:18, 20:28] = 1, 2
    assert owners(truth.astype(np.uint16) * 5, truth) == {
        5: [(0, 1), (1, 1), (2, 1)], 10: [(0, 2), (1, 2), (2, 2)]}
    labels = np.ones(truth.shape, np.uint16)
    assert owners(labels, truth) == {}, "most of it is on no thing"


# ---- A disc that enters a stream ------------------------------------------------

BIRTHS = (3, 6, 11, 12, 15)
COLOURS = {"unlike": (60, 150, 70), "alike": (190, 60, 50)}


def two_discs(enters, colour, frames=30, height=192, width=384):
    """A disc that stands, and one that is there from a frame on and drives: frames, truth."""
    random = np.random.default_rng(enters)
    y, x = np.mgrid[:height, :width]
    pictures = np.empty((frames, height, width, 3), np.uint8)
    truth = np.zeros((frames, height, width), np.uint8)
    for t in range(frames):
        truth[t][(y - 96) ** 2 + (x - 100) ** 2 < 30**2] = 1
        if t >= enters:
            truth[t][(y - 96) ** 2 + (x - 320 + 3 * (t - enters)) ** 2 < 30**2] = 2
        colours = np.array([(118, 118, 118), COLOURS["alike"], COLOURS[colour]])
        picture = colours[truth[t]] + 3 * random.standard_normal((height, width, 3))
        pictures[t] = picture.clip(0, 255).round()
    return pictures, truth


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("enters", BIRTHS)
def test_a_disc_that_enters_gets_an_id_of_its_own(nano, enters, colour):
    """Within a window and a frame; never that of the disc that stands beside it."""
    frames, truth = two_discs(enters, colour)
    labels = segment(nano, frames, mask="nearest", streaming=True)

    def worn(t, thing):
        """The id of most of a disc, 0 for none."""
        counts = np.bincount(labels[t][truth[t] == thing])
        return int(counts.argmax()) if counts.max() > 0.5 * counts.sum() else 0

    standing = {worn(t, 1) for t in range(len(frames))} - {0}
    entered = [worn(t, 2) for t in range(enters, len(frames))]
    assert not standing & set(entered), (standing, entered)
    own = set(entered[nano.info.window + 1 :])
    assert len(own) == 1 and own != {0}, entered


# ---- A real film ----------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_four_cars_have_four_ids(nano, mode, record):  # noqa: F811
    """Each from where it enters to where it leaves, and the road none."""
    path = data_folder() / "films" / "car-detection.mp4"
    if not path.is_file():
        pytest.skip(f"{path}: not there")
    found = judge_cars(segment(nano, covey.Video(path), **MODES[mode]))
    record(right=found.right, of=found.frames, with_cars=found.right_with_cars,
           switches=found.switches)
    assert found.right >= 350 and found.switches == 0
    assert len({next(iter(ids), None) for ids in found.ids.values()} - {None}) == 4
