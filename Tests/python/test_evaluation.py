"""Measures and protocols against plain loops, scikit-learn and TrackEval."""

from __future__ import annotations

import itertools

import numpy as np
import oracles
import pytest
from scipy import ndimage
from sklearn.metrics import adjusted_rand_score

from covey import evaluation
from covey.evaluation import metrics
from covey.evaluation.metrics import Overlaps


def blobs(random, frames, height, width, count, grain=4.0):
    """Label maps 0 to ``count``, of smooth regions that drift."""
    noise = random.standard_normal((count + 1, frames, height, width))
    smooth = ndimage.gaussian_filter(noise, (0, 1.5, grain, grain))
    return smooth.argmax(axis=0).astype(np.uint16)


def plain_boundary(mask):
    """Pixel by pixel, with the last row and column their own neighbours."""
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y in range(height):
        for x in range(width):
            below, beside = min(y + 1, height - 1), min(x + 1, width - 1)
            around = {mask[y, x], mask[y, beside], mask[below, x], mask[below, beside]}
            edge[y, x] = len(around) > 1
    return edge


def plain_f(truth, found):
    radius = int(np.ceil(0.008 * np.hypot(*truth.shape)))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = x**2 + y**2 <= radius**2
    ours, theirs = plain_boundary(found), plain_boundary(truth)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    precision = (ours & ndimage.binary_dilation(theirs, disk)).sum() / ours.sum()
    recall = (theirs & ndimage.binary_dilation(ours, disk)).sum() / theirs.sum()
    return 0.0 if precision + recall == 0 else 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize("height, width", [(40, 61), (150, 97), (9, 300)])
@pytest.mark.parametrize("with_void", [False, True])
def test_j_and_f_by_plain_loops(height, width, with_void):
    random = np.random.default_rng(height)
    truth = blobs(random, 2, height, width, 3)
    labels = blobs(random, 2, height, width, 5)
    labels[1][labels[1] == 4] = 0  # a segment that is not in every frame
    void = blobs(random, 2, height, width, 4) == 2 if with_void else None
    overlaps = Overlaps.of(truth, labels, void)
    j = metrics.region_j(overlaps)
    f = metrics.boundary_f(truth, labels, overlaps, void)
    known = np.ones(truth.shape, bool) if void is None else ~void
    for t in range(2):
        for row, thing in enumerate(overlaps.objects):
            for column, part in enumerate(overlaps.segments):
                one, other = (truth[t] == thing) & known[t], (labels[t] == part) & known[t]
                union = (one | other).sum()
                expected = (one & other).sum() / union if union else 1.0
                # The same integers are divided: not a bit apart but for the order.
                assert j[t, row, column] == pytest.approx(expected, abs=1e-15)
                assert f[t, row, column] == pytest.approx(plain_f(one, other), abs=1e-12)
    assert 0.05 < f.mean() < 0.95


def test_what_is_whole_or_empty():
    truth = np.zeros((2, 20, 30), np.uint16)
    truth[0, 5:9, 5:9] = 1
    labels = np.ones((2, 20, 30), np.uint16)  # no boundary anywhere
    overlaps = Overlaps.of(truth, labels)
    assert metrics.region_j(overlaps)[:, 0, 0].tolist() == [16 / 600, 0]
    assert metrics.boundary_f(truth, labels, overlaps)[:, 0, 0].tolist() == [0, 1]
    overlaps = Overlaps.of(truth, truth)
    assert metrics.region_j(overlaps)[:, 0, 0].tolist() == [1, 1]
    assert metrics.boundary_f(truth, truth, overlaps)[:, 0, 0].tolist() == [1, 1]


@pytest.mark.parametrize("objects, segments", [(3, 7), (2, 2), (5, 1), (1, 4)])
def test_protocol_davis_is_trackevals(objects, segments):
    """J and F of objects, means, recall and decay, after one assignment."""
    oracles.load("skimage")  # which TrackEval needs without saying so
    trackeval = oracles.load("trackeval")
    from covey.writing import coco

    random = np.random.default_rng(objects)
    truth = blobs(random, 9, 60, 80, objects)
    labels = blobs(random, 9, 60, 80, segments)
    truth[:3][truth[:3] == 1] = 0  # comes late
    labels[5:][labels[5:] == 1] = 0

    def detections(ids):
        kinds = [int(k) for k in np.unique(ids) if k]
        present = [[k for k in kinds if (frame == k).any()] for frame in ids]
        masks = [
            [coco.encode(frame == k) for k in there]
            for frame, there in zip(ids, present, strict=True)
        ]
        return len(kinds), [np.array([kinds.index(k) for k in there]) for there in present], masks

    gt_count, gt_ids, gt_masks = detections(truth)
    count, ids, masks = detections(labels)
    judge = trackeval.metrics.JAndF()
    judge.optim_type = "J&F"
    expected = judge.eval_sequence(
        {
            "num_timesteps": 9, "num_gt_ids": gt_count, "gt_ids": gt_ids, "gt_dets": gt_masks,
            "num_tracker_ids": count, "tracker_ids": ids, "tracker_dets": masks,
        }
    )
    rows = evaluation.PROTOCOLS["davis"].rows(truth, labels, None)
    assert len(rows) == gt_count
    for ours, theirs in {
        "J": "J-Mean", "F": "F-Mean", "J recall": "J-Recall", "F recall": "F-Recall",
        "J decay": "J-Decay", "F decay": "F-Decay", "J&F": "J&F",
    }.items():
        # Sums of nine exact ratios in another order.
        assert np.mean([row[ours] for row in rows]) == pytest.approx(expected[theirs], abs=1e-12)


def test_protocols_differ_where_identities_swap():
    truth = np.zeros((4, 30, 40), np.uint16)
    truth[:, 3:14, 3:14], truth[:, 15:28, 20:38] = 1, 2
    swapped = truth.copy()
    swapped[2:][truth[2:] == 1], swapped[2:][truth[2:] == 2] = 2, 1
    per_frame = evaluation.PROTOCOLS["ba"].rows(truth, swapped, None)
    assert [row["J&F"] for row in per_frame] == [1, 1]
    whole = evaluation.PROTOCOLS["davis"].rows(truth, swapped, None)
    assert [row["J"] for row in whole] == [0.5, 0.5]
    everything = evaluation.PROTOCOLS["davis16"].rows(truth, swapped, None)
    assert [row["J&F"] for row in everything] == [1]
    (figures,) = evaluation.PROTOCOLS["instances"].rows(truth, swapped, None)
    assert figures["FG-ARI of frames"] == 1
    assert figures["FG-ARI of the video"] < 0.1


def test_an_object_that_is_away_suits_a_segment_that_is_away():
    truth = np.zeros((4, 30, 40), np.uint16)
    truth[:2, 3:14, 3:14] = 1
    right = evaluation.PROTOCOLS["davis"].rows(truth, truth, None)
    assert right[0]["J&F"] == 1
    nothing = evaluation.PROTOCOLS["davis"].rows(truth, np.zeros_like(truth), None)
    assert nothing[0]["J"] == 0.5 and nothing[0]["F"] == 0.5


def test_an_object_with_no_boundary_and_no_proposal():
    """Where it fills a frame its boundary is empty, as that of nothing is."""
    truth = np.zeros((2, 20, 30), np.uint16)
    truth[0] = 1
    truth[1, 4:9, 4:9] = 1
    (row,) = evaluation.PROTOCOLS["davis"].rows(truth, np.zeros_like(truth), None)
    assert (row["J"], row["F"]) == (0, 0.5)


def test_foreground_of_davis_2016():
    truth = np.zeros((5, 30, 40), np.uint16)
    truth[:, 3:14, 3:14] = 7
    labels = truth.copy()
    labels[0], labels[4], labels[2] = 0, 9, 0  # the first and the last do not count
    (row,) = evaluation.PROTOCOLS["davis16"].rows(truth, labels, None)
    assert row["J"] == row["F"] == pytest.approx(2 / 3)
    # Of three frames the first two are the first quarter, the third is the last.
    assert row["J recall"] == pytest.approx(2 / 3) and row["J decay"] == -0.5
    (row,) = evaluation.PROTOCOLS["davis16"].rows(truth[:2], labels[:2], None)
    assert row["J"] == 0.5


def test_no_foreground_at_all():
    truth, labels = np.zeros((2, 5, 30, 40), np.uint16)
    labels[1, 5:9, 5:9] = 1
    (row,) = evaluation.PROTOCOLS["davis16"].rows(truth, labels, None)
    assert row["J"] == row["F"] == pytest.approx(2 / 3)
    for protocol in ("davis", "ba", "best"):
        assert evaluation.PROTOCOLS[protocol].rows(truth, labels, None) == []
    (row,) = evaluation.PROTOCOLS["instances"].rows(truth, labels, None)
    assert set(row.values()) == {None}


@pytest.mark.parametrize("protocol, limit", [("davis", 20), ("ba", 300)])
def test_too_many_proposals(protocol, limit):
    truth = np.ones((1, 20, 40), np.uint16)
    labels = (np.arange(800).reshape(1, 20, 40) % (limit + 2)).astype(np.uint16)
    with pytest.raises(ValueError, match=f"expected at most {limit} segments in a video, found"):
        evaluation.PROTOCOLS[protocol].rows(truth, labels, None)


@pytest.mark.parametrize("seed", range(6))
def test_rand_index_is_scikit_learns(seed):
    random = np.random.default_rng(seed)
    truth = blobs(random, 3, 24, 30, 1 + seed)
    labels = blobs(random, 3, 24, 30, 4)
    overlaps = Overlaps.of(truth, labels, background=-1)
    inside = truth > 0
    found = metrics.video_fg_ari(overlaps)
    if seed == 0:
        assert found is None
        return
    # Products of pairs around 1e10 in double.
    expected = adjusted_rand_score(truth[inside], labels[inside])
    assert found == pytest.approx(expected, abs=1e-12)
    by_frame = metrics.frame_fg_ari(overlaps)
    scores = metrics.region_j(overlaps)
    means = []
    for t in range(3):
        there = [row for row in range(len(overlaps.objects)) if overlaps.object_area[t, row]]
        if len(there) < 2:
            continue
        kept = overlaps.segments[metrics.match(scores[t][there])[1]]
        shown = np.where(np.isin(labels[t], kept), labels[t] + 1, 0)
        means.append(adjusted_rand_score(truth[t][inside[t]], shown[inside[t]]))
    assert by_frame == pytest.approx(np.mean(means), abs=1e-12)


def test_best_cluster():
    truth = np.zeros((4, 30, 40), np.uint16)
    truth[:3, :10, :10] = 1
    labels = np.full((4, 30, 40), 7, np.uint16)
    labels[:2, :10, :10], labels[2, :10, :5], labels[3] = 3, 4, 3
    (row,) = evaluation.PROTOCOLS["best"].rows(truth, labels, None)
    # The fourth frame, without the object, does not count.
    assert row["J"] == pytest.approx(2 / 3)
    assert row["J of frames"] == pytest.approx((1 + 1 + 0.5) / 3)


def test_the_best_cluster_is_the_best_of_the_video():
    truth = np.zeros((3, 30, 40), np.uint16)
    truth[:, :10, :10] = 1
    labels = np.zeros_like(truth)
    labels[0, :10, :10], labels[1:, :6, :10] = 1, 2
    (row,) = evaluation.PROTOCOLS["best"].rows(truth, labels, None)
    # 2: 0, .6, .6; and 1: 1, 0, 0.
    assert row["J"] == pytest.approx(0.4)


@pytest.mark.parametrize("with_void", [False, True])
@pytest.mark.parametrize("objects, segments", [(3, 5), (4, 2), (1, 3), (3, 3)])
def test_miou_and_mbo_by_plain_loops(objects, segments, with_void):
    random = np.random.default_rng(10 * objects + segments)
    truth = blobs(random, 4, 40, 50, objects)
    labels = blobs(random, 4, 40, 50, segments - 1)  # 0 is a cluster as any other
    void = blobs(random, 4, 40, 50, 4) == 2 if with_void else None
    known = np.ones(truth.shape, bool) if void is None else ~void

    def iou(thing, part):
        one, other = (truth == thing) & known, (labels == part) & known
        return (one & other).sum() / (one | other).sum()

    scores = np.array(
        [[iou(thing, part) for part in range(segments)] for thing in range(1, objects + 1)])
    # Every assignment; objects beyond the segments have none, which is worth 0.
    padded = np.concatenate([scores, np.zeros((objects, max(0, objects - segments)))], axis=1)
    best = max(
        sum(padded[thing, part] for thing, part in enumerate(parts))
        for parts in itertools.permutations(range(padded.shape[1]), objects)
    )
    (row,) = evaluation.PROTOCOLS["instances"].rows(truth, labels, void)
    assert row["mIoU"] == pytest.approx(best / objects, abs=1e-12)
    assert row["mBO"] == pytest.approx(scores.max(axis=1).mean(), abs=1e-12)


def test_frames_of_one_object_have_no_rand_index():
    truth = np.zeros((2, 20, 30), np.uint16)
    truth[:, 2:10, 2:10] = 1
    truth[0, 12:18, 2:10] = 2
    labels = truth.copy()
    labels[1, 2:6, 2:10] = 3
    assert metrics.frame_fg_ari(Overlaps.of(truth, labels, background=-1)) == 1


def test_half_is_not_found():
    assert metrics.recall(np.array([0.5, 0.6, 0.4, 1.0])) == 0.5


def test_proposals_are_assigned_by_j_and_f():
    truth = np.zeros((2, 60, 80), np.uint16)
    truth[:, 20:40, 30:50] = 1
    # The inside, .64 of the area and nowhere near the boundary; and the rim.
    labels = truth * 2
    labels[:, 22:38, 32:48] = 1
    (row,) = evaluation.PROTOCOLS["davis"].rows(truth, labels, None)
    assert row["J"] == pytest.approx(0.36) and row["F"] > 0.6


def test_intervals_and_means():
    protocol = evaluation.PROTOCOLS["best"]
    random = np.random.default_rng(1)
    values = random.uniform(size=40)
    videos = [
        evaluation.VideoFigures(
            f"v{i}", 3, 2, 0.0, [{"J": float(value), "J recall": 1.0, "J of frames": None}]
        )
        for i, value in enumerate(values)
    ]
    found = evaluation.Evaluation(protocol, videos)
    assert found.mean("J") == pytest.approx(values.mean())
    assert found.mean("J of frames") is None and found.interval("J of frames") is None
    low, high = found.interval("J")
    # 1.96 standard errors each way; of 2,000 draws, to a tenth of that.
    error = 1.96 * values.std() / np.sqrt(40)
    assert (low, high) == pytest.approx((values.mean() - error, values.mean() + error), abs=0.009)
    assert [video.video for video in found.worst(3)] == [
        f"v{i}" for i in np.argsort(values)[:3]
    ]


def test_names_are_text(capsys):
    names = ["a[/x]", "[red]b", "c|d\ne", "<b>"]
    videos = [
        evaluation.VideoFigures(
            name, 3, 2, 0.0, [{"J": 0.5, "J recall": 1.0, "J of frames": None}])
        for name in names
    ]
    found = evaluation.Evaluation(evaluation.PROTOCOLS["best"], videos)
    evaluation.print_tables(found)
    shown = capsys.readouterr().out
    assert "a[/x]" in shown and "[red]b" in shown
    rows = evaluation.as_markdown(found).splitlines()[5:]
    assert [row.split(" | 0.500")[0] for row in rows] == [
        "| a[/x]", "| [red]b", "| c\\|d e", "| &lt;b&gt;"]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"expected \[2, 4, 5\] as the truth's, found \[2, 5, 4\]"):
        Overlaps.of(np.zeros((2, 4, 5), int), np.zeros((2, 5, 4), int))
