"""Measures of a segmentation against the truth, on label maps.

Truth and labels are [T, H, W] ids.  ``void``, True where the truth says nothing, is
[T, H, W] too; such pixels count nowhere.  Sources:

- J and F: Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video
  Object Segmentation", CVPR 2016; boundaries and tolerance as in its evaluation code.
- ARI: Hubert and Arabie, "Comparing partitions", 1985.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Overlaps",
    "boundary_f",
    "decay",
    "frame_fg_ari",
    "match",
    "rand_index",
    "recall",
    "region_j",
    "video_fg_ari",
    "video_iou",
]

Ids = NDArray[np.integer]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

#: Of the diagonal: how far a boundary may be from the true one.
BOUNDARY_TOLERANCE = 0.008


@dataclass(frozen=True)
class Overlaps:
    """Pixels that objects and segments have in common, frame by frame.

    objects: [I] ids of the truth above 0; segments: [S] ids of the labels, 0 among them
    where it occurs and ``background`` was not said to be none of them.
    shared: [T, I, S]; object_area: [T, I]; segment_area: [T, S], of pixels that are not
    void.
    """

    objects: NDArray[np.int64]
    segments: NDArray[np.int64]
    shared: NDArray[np.int64]
    object_area: NDArray[np.int64]
    segment_area: NDArray[np.int64]

    @classmethod
    def of(cls, truth: Ids, labels: Ids, void: Mask | None = None, background: int = 0) -> Overlaps:
        """``background``: the label that is no segment; -1 for none such."""
        if truth.shape != labels.shape or truth.ndim != 3:
            raise ValueError(
                f"labels: expected {list(truth.shape)} as the truth's, found {list(labels.shape)}"
            )
        objects, segments = _ids(truth), _ids(labels)
        counts = np.zeros((len(truth), len(objects), len(segments)), np.int64)
        # Frame by frame: of a long video the indices alone would fill the memory.
        for t, table in enumerate(counts):
            rows = np.searchsorted(objects, truth[t])
            flat = rows * len(segments) + np.searchsorted(segments, labels[t])
            kept = flat.ravel() if void is None else flat[~void[t]]
            table[:] = np.bincount(kept, minlength=table.size).reshape(table.shape)
        things, parts = objects > 0, segments != background
        return cls(
            objects[things].astype(np.int64),
            segments[parts].astype(np.int64),
            counts[:, things][:, :, parts],
            counts.sum(axis=2)[:, things],
            counts.sum(axis=1)[:, parts],
        )

    def padded(self, objects: int, segments: int) -> Overlaps:
        """With as many at least of each: those added are nowhere."""
        more = max(0, objects - len(self.objects)), max(0, segments - len(self.segments))

        def ids(known: NDArray[np.int64], count: int) -> NDArray[np.int64]:
            first = known.max(initial=0) + 1
            return np.concatenate([known, np.arange(first, first + count)])

        return Overlaps(
            ids(self.objects, more[0]),
            ids(self.segments, more[1]),
            np.pad(self.shared, ((0, 0), (0, more[0]), (0, more[1]))),
            np.pad(self.object_area, ((0, 0), (0, more[0]))),
            np.pad(self.segment_area, ((0, 0), (0, more[1]))),
        )


def _ids(maps: Ids) -> NDArray[np.int64]:
    """Those in [T, H, W], rising."""
    return np.unique(np.concatenate([np.unique(each) for each in maps])).astype(np.int64)


def region_j(overlaps: Overlaps) -> Floats:
    """[T, I, S]: area of the intersection over that of the union; 1 where both are empty."""
    shared = overlaps.shared.astype(np.float64)
    union = overlaps.object_area[:, :, None] + overlaps.segment_area[:, None, :] - shared
    return np.where(union > 0, shared / np.maximum(union, 1), 1.0)


def video_iou(overlaps: Overlaps) -> Floats:
    """[I, S]: as region_j, of the video as one volume."""
    shared = overlaps.shared.sum(axis=0).astype(np.float64)
    areas = overlaps.object_area.sum(axis=0)[:, None] + overlaps.segment_area.sum(axis=0)[None]
    return np.asarray(shared / np.maximum(areas - shared, 1))


def boundary_f(
    truth: Ids, labels: Ids, overlaps: Overlaps, void: Mask | None = None
) -> Floats:
    """[T, I, S]: F of boundaries, the harmonic mean of precision and recall.

    A pixel is on a region's boundary where it, or its neighbour to the right, below, or
    diagonally below, is in the region, and not all of them are.  It counts as found where
    the other boundary is within ceil(0.008 x diagonal) pixels.  Both empty: 1.
    """
    frames, height, width = truth.shape
    radius = int(np.ceil(BOUNDARY_TOLERANCE * np.hypot(height, width)))
    found = np.empty((frames, len(overlaps.objects), len(overlaps.segments)))
    for t in range(frames):
        left = None if void is None else void[t]
        ours = _Boundaries(labels[t], overlaps.segments, left)
        theirs = _Boundaries(truth[t], overlaps.objects, left)
        found[t] = _frame_f(theirs, ours, radius)
    return found


class _Boundaries:
    """The boundaries of all regions of a frame.

    lengths: [R]; pixels, regions: which region has which pixel (flat, of [H, W]) on its
    boundary, every pair once, by rising pixel.
    """

    def __init__(self, ids: Ids, regions: NDArray[np.int64], void: Mask | None) -> None:
        self.shape = ids.shape
        places = np.searchsorted(regions, ids)
        is_region = np.append(regions, -1)[places] == ids
        if void is not None:
            is_region &= ~void
        # One more, for what is in no region.
        index = np.where(is_region, places, len(regions))
        padded = np.pad(index, ((0, 1), (0, 1)), mode="edge")
        around = np.stack(
            [padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]]
        ).reshape(4, -1)
        pixels = np.flatnonzero((around != around[0]).any(axis=0))
        pairs = np.unique((pixels * (len(regions) + 1) + around[:, pixels]).ravel())
        pairs = pairs[pairs % (len(regions) + 1) < len(regions)]
        self.pixels, self.regions = np.divmod(pairs, len(regions) + 1)
        self.lengths = np.bincount(self.regions, minlength=len(regions))

    def of(self, region: int) -> NDArray[np.int64]:
        """The pixels of one, flat."""
        own: NDArray[np.int64] = self.pixels[self.regions == region]
        return own


def _frame_f(truth: _Boundaries, labels: _Boundaries, radius: int) -> Floats:
    """[I, S] of one frame."""
    height, width = truth.shape
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    inside = rows**2 + columns**2 <= radius**2
    rows, columns = rows[inside], columns[inside]
    # starts[p] to starts[p + 1]: the pairs of labels whose pixel is p.
    starts = np.searchsorted(labels.pixels, np.arange(height * width + 1))
    many = len(labels.lengths)
    result = np.empty((len(truth.lengths), many))
    for thing in range(len(truth.lengths)):
        own = truth.of(thing)
        y, x = np.divmod(own, width)
        near = np.zeros(height * width, bool)
        met = np.zeros((len(own), many), bool)
        for down, right in zip(rows, columns, strict=True):
            below, beside = y + down, x + right
            valid = np.flatnonzero(
                (below >= 0) & (below < height) & (beside >= 0) & (beside < width)
            )
            places = below[valid] * width + beside[valid]
            near[places] = True
            # At most four regions have a pixel on their boundary.
            for extra in range(4):
                pair = starts[places] + extra
                there = pair < starts[places + 1]
                if not there.any():
                    break
                met[valid[there], labels.regions[pair[there]]] = True
        right_ones = np.bincount(labels.regions[near[labels.pixels]], minlength=many)
        result[thing] = _harmonic(right_ones, labels.lengths, met.sum(axis=0), len(own))
    return result


def _harmonic(
    right: NDArray[np.int64], ours: NDArray[np.int64], met: NDArray[np.int64], theirs: int
) -> Floats:
    """F where ``right`` of ``ours`` [S] pixels, and ``met`` [S] of ``theirs`` are near."""
    if theirs == 0:
        return np.asarray(ours == 0, np.float64)
    precision, recall = right / np.maximum(ours, 1), met / theirs
    return np.asarray(2 * precision * recall / np.maximum(precision + recall, 1e-300))


def match(scores: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the pairing with the largest sum of ``scores`` [I, S]."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(scores, maximize=True)
    return rows, columns


def recall(values: Floats) -> float:
    """The share of frames with more than 0.5; of [T]."""
    return float(np.mean(values > 0.5)) if values.size else float("nan")


def decay(values: Floats) -> float:
    """Mean of the first quarter of the frames less that of the last; of [T]."""
    if not values.size:
        return float("nan")
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    quarters = [values[edges[i] : edges[i + 1] + 1] for i in range(4)]
    return float(quarters[0].mean() - quarters[3].mean())


def rand_index(table: NDArray[np.integer]) -> float:
    """Adjusted Rand index of two partitions with ``table`` [I, S] members in common;
    1 where both are one part only."""

    def pairs(n: NDArray[np.integer]) -> float:
        exact = n.astype(np.float64)
        return float((exact * (exact - 1) / 2).sum())

    together = pairs(table)
    rows, columns = pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    total = pairs(np.array([table.sum()]))
    if total == 0:
        return 1.0
    expected, most = rows * columns / total, (rows + columns) / 2
    # Nothing apart in either, or everything: the same.
    return float((together - expected) / (most - expected)) if most > expected else 1.0


def video_fg_ari(overlaps: Overlaps) -> float | None:
    """FG-ARI over the pixels of all objects of the video at once, identities included
    (as in SAVi, and VideoSAUR).  ``overlaps`` with no background.  None where there are
    fewer than two objects: any clustering of one has the same index."""
    table = overlaps.shared.sum(axis=0)
    return rand_index(table) if np.count_nonzero(table.sum(axis=1)) > 1 else None


def frame_fg_ari(overlaps: Overlaps) -> float | None:
    """FG-ARI frame by frame, after every frame's segments were matched with its objects
    by IoU and the others counted as one background (as in SOLV); mean over the frames of
    two objects or more, None where there are none."""
    found = []
    scores = region_j(overlaps)
    for t, counts in enumerate(overlaps.shared):
        there = overlaps.object_area[t] > 0
        if np.count_nonzero(there) < 2:
            continue
        columns = match(scores[t][there])[1]
        matched = counts[there][:, columns]
        rest = counts[there].sum(axis=1, keepdims=True) - matched.sum(axis=1, keepdims=True)
        found.append(rand_index(np.concatenate([matched, rest], axis=1)))
    return float(np.mean(found)) if found else None
