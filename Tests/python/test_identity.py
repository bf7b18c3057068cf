"""IDF1 and switches of ids against TrackEval."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from covey import evaluation
from covey.evaluation import identity
from covey.evaluation.metrics import Overlaps


def tracks(random, frames=30, height=40, width=60, count=6):
    """ids [T, H, W] of rectangles that drift, come late, leave early, pass each other."""
    ids = np.zeros((frames, height, width), np.uint16)
    for number in range(1, count + 1):
        size, place = random.uniform(8, 20, 2), random.uniform(0, (height, width))
        speed = random.uniform(-1.5, 1.5, 2)
        first = random.integers(frames - 5)
        for t in range(first, random.integers(first + 3, frames + 1)):
            top, left = np.maximum(place + speed * t, 0).astype(int)
            ids[t, top : top + int(size[0]), left : left + int(size[1])] = number
    return ids


def found_badly(random, truth):
    """The truth moved by some pixels, with ids that change for a frame or for good,
    objects that are missed, and one that is made up."""
    labels = np.roll(truth, random.integers(-3, 4, 2), (1, 2))
    most = int(truth.max())
    for number in range(1, most + 1):
        if random.random() < 0.6:
            later = labels[random.integers(len(labels)) :]
            later[later == number] = most + number
        for t in np.flatnonzero(random.random(len(labels)) < 0.1):
            labels[t][labels[t] == number] = random.integers(0, most + 1)
    labels[:, :3, :3] = 100
    return labels


def trackevals(truth, labels):
    trackeval = pytest.importorskip("trackeval", exc_type=ImportError)
    pytest.importorskip("skimage", reason="TrackEval needs scikit-image")
    kinds = [np.unique(each[each > 0]) for each in (truth, labels)]
    data = {
        "num_timesteps": len(truth), "num_gt_ids": len(kinds[0]),
        "num_tracker_ids": len(kinds[1]), "gt_ids": [], "tracker_ids": [],
        "similarity_scores": [],
    }
    for one, other in zip(truth, labels, strict=True):
        things, parts = (np.unique(each[each > 0]) for each in (one, other))
        data["gt_ids"].append(np.searchsorted(kinds[0], things))
        data["tracker_ids"].append(np.searchsorted(kinds[1], parts))
        data["similarity_scores"].append(np.array([
            [((one == a) & (other == b)).sum() / ((one == a) | (other == b)).sum() for b in parts]
            for a in things
        ]).reshape(len(things), len(parts)))
    data["num_gt_dets"] = sum(map(len, data["gt_ids"]))
    data["num_tracker_dets"] = sum(map(len, data["tracker_ids"]))
    ids = trackeval.metrics.Identity({"PRINT_CONFIG": False}).eval_sequence(data)
    clear = trackeval.metrics.CLEAR({"PRINT_CONFIG": False}).eval_sequence(data)
    return {"IDF1": ids["IDF1"], "IDP": ids["IDP"], "IDR": ids["IDR"],
            "ID switches": clear["IDSW"]}


@pytest.mark.parametrize("seed", range(40))
def test_tracking_is_trackevals(seed):
    random = np.random.default_rng(seed)
    truth = tracks(random, count=int(random.integers(1, 9)))
    labels = found_badly(random, truth)
    (row,) = evaluation.PROTOCOLS["tracking"].rows(truth, labels, None)
    # Ratios of the same whole numbers.
    assert {name: row[name] for name in row if name != "mIoU"} == trackevals(truth, labels)


def test_random_tracks_are_neither_right_nor_wrong():
    """The test above is of figures in the middle, with switches."""
    rows = []
    for seed in range(40):
        random = np.random.default_rng(seed)
        truth = tracks(random, count=int(random.integers(1, 9)))
        rows += evaluation.PROTOCOLS["tracking"].rows(truth, found_badly(random, truth), None)
    assert 0.1 < np.mean([row["IDF1"] for row in rows]) < 0.9
    assert np.mean([row["ID switches"] for row in rows]) > 1


def squares():
    truth = np.zeros((10, 20, 30), np.uint16)
    truth[:, 2:8, 2:8], truth[:, 12:18, 12:20] = 1, 2
    return truth


def test_ids_that_hold_and_ids_that_do_not():
    truth = squares()
    (row,) = evaluation.PROTOCOLS["tracking"].rows(truth, truth * 7, None)
    assert row == {"IDF1": 1, "IDP": 1, "IDR": 1, "ID switches": 0, "mIoU": 1}
    swapped = truth.copy()
    swapped[6:][truth[6:] == 1], swapped[6:][truth[6:] == 2] = 2, 1
    (row,) = evaluation.PROTOCOLS["tracking"].rows(truth, swapped, None)
    assert (row["IDF1"], row["ID switches"]) == (12 / 20, 2)
    joined = (truth > 0).astype(np.uint16)  # 36 and 48 pixels: half of neither, or more
    (row,) = evaluation.PROTOCOLS["tracking"].rows(truth, joined, None)
    assert (row["IDP"], row["IDR"], row["ID switches"]) == (1, 0.5, 0)


def test_who_is_away_has_no_mask():
    truth = squares()
    truth[3:6][truth[3:6] == 1] = 0
    labels = truth.copy()
    labels[6:][labels[6:] == 1] = 3  # comes back as another
    (row,) = evaluation.PROTOCOLS["tracking"].rows(truth, labels, None)
    assert (row["IDF1"], row["ID switches"]) == (14 / 17, 1)


def test_a_choice_goes_to_the_id_it_had():
    truth = np.ones((4, 4, 8), np.uint16)
    labels = np.ones_like(truth)
    labels[1:, :, :4] = 2  # both halves have an IoU of a half: no switch
    overlaps = Overlaps.of(truth, labels)
    assert identity.switches(overlaps) == 0
    assert identity.Identity.of(overlaps) == identity.Identity(4, 4, 7)


def test_void_counts_nowhere():
    truth = squares()
    labels = truth.copy()
    labels[:, 0:2, 25:30] = 9  # nothing is known there
    void = np.zeros(truth.shape, bool)
    void[:, 0:2, 25:30] = True
    (row,) = evaluation.PROTOCOLS["tracking"].rows(truth, labels, void)
    assert row["IDF1"] == 1
    (row,) = evaluation.PROTOCOLS["tracking"].rows(truth, labels, None)
    assert row["IDF1"] == 40 / 50 * 10 / 10 and row["IDR"] == 1


def test_nothing_found_and_nothing_there():
    nothing = np.zeros_like(squares())
    (row,) = evaluation.PROTOCOLS["tracking"].rows(squares(), nothing, None)
    assert row == {"IDF1": 0, "IDP": 0, "IDR": 0, "ID switches": 0, "mIoU": 0}
    (row,) = evaluation.PROTOCOLS["tracking"].rows(nothing, squares(), None)
    assert set(row.values()) == {None}


def test_miou_is_of_the_instances():
    random = np.random.default_rng(3)
    noise = random.standard_normal((2, 5, 4, 20, 30))
    truth, labels = ndimage.gaussian_filter(noise, (0, 0, 1, 4, 4)).argmax(axis=1)
    (row,) = evaluation.PROTOCOLS["tracking"].rows(truth, labels, None)
    (instances,) = evaluation.PROTOCOLS["instances"].rows(truth, np.where(labels, labels, 0), None)
    assert 0 < row["mIoU"] <= instances["mIoU"]  # which judges the background as a segment too
