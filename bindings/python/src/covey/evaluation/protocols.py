"""How a video's labels become figures: one function for each way of judging.

A protocol asks for the labels that it judges (``options`` of the session), and gives
figures of a video, of which tables show ``columns``.  Two that bear the same metric's
name under different rules are different protocols: their figures do not compare.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import metrics
from .identity import Identity, switches
from .metrics import Floats, Ids, Mask, Overlaps

__all__ = ["PROTOCOLS", "Protocol"]

Figures = dict[str, float | None]


@dataclass(frozen=True)
class Protocol:
    """name; title: of tables.  options: of the session whose labels are judged.
    columns: names of figures, in order.  rows: figures of the objects or of the video,
    over which the means go.  unit: what a row is."""

    name: str
    title: str
    options: dict[str, Any]
    columns: tuple[str, ...]
    unit: str
    rows: Callable[[Ids, Ids, Mask | None], list[Figures]] = field(repr=False)


def _curves(j: Floats, f: Floats) -> Figures:
    """Of J and F over the frames [T]: mean, recall, decay, and the mean of both means."""
    figures: Figures = {"J&F": float((j.mean() + f.mean()) / 2)}
    for name, values in (("J", j), ("F", f)):
        figures[name] = float(values.mean())
        figures[f"{name} recall"] = metrics.recall(values)
        figures[f"{name} decay"] = metrics.decay(values)
    return figures


_J_AND_F = ("J&F", "J", "J recall", "J decay", "F", "F recall", "F decay")


def _measured(
    truth: Ids, labels: Ids, void: Mask | None, limit: int, objects: int = 0
) -> tuple[Floats, Floats]:
    """J and F [T, I, S], of so many objects at least, and with so many empty segments that
    every object can have one."""
    overlaps = Overlaps.of(truth, labels, void)
    if len(overlaps.segments) > limit:
        raise ValueError(
            f"labels: expected at most {limit} segments in a video, found "
            f"{len(overlaps.segments)}"
        )
    padded = overlaps.padded(objects, max(objects, len(overlaps.objects)))
    return metrics.region_j(padded), metrics.boundary_f(truth, labels, padded, void)


def _davis17(truth: Ids, labels: Ids, void: Mask | None) -> list[Figures]:
    j, f = _measured(truth, labels, void, 20)
    pairs = zip(*metrics.match((j.mean(axis=0) + f.mean(axis=0)) / 2), strict=True)
    return [_curves(j[:, thing, part], f[:, thing, part]) for thing, part in pairs]


def _davis17_per_frame(truth: Ids, labels: Ids, void: Mask | None) -> list[Figures]:
    j, f = _measured(truth, labels, void, 300)
    frames, things, _ = j.shape
    best_j, best_f = np.empty((frames, things)), np.empty((frames, things))
    for t in range(frames):
        rows, columns = metrics.match((j[t] + f[t]) / 2)
        best_j[t, rows], best_f[t, rows] = j[t][rows, columns], f[t][rows, columns]
    return [_curves(best_j[:, thing], best_f[:, thing]) for thing in range(things)]


def _davis16(truth: Ids, labels: Ids, void: Mask | None) -> list[Figures]:
    # DAVIS's evaluation of 2016 leaves out the first frame and the last.
    inner = slice(1, -1) if len(truth) > 2 else slice(None)
    things, parts = (truth[inner] > 0).astype(np.uint8), (labels[inner] > 0).astype(np.uint8)
    j, f = _measured(things, parts, None if void is None else void[inner], 1, objects=1)
    return [_curves(j[:, 0, 0], f[:, 0, 0])]


def _best(truth: Ids, labels: Ids, void: Mask | None) -> list[Figures]:
    overlaps = Overlaps.of(truth, labels, void)
    j, there = metrics.region_j(overlaps), overlaps.object_area > 0
    found: list[Figures] = []
    for thing in range(len(overlaps.objects)):
        seen = j[there[:, thing], thing]
        best = seen[:, seen.mean(axis=0).argmax()] if seen.shape[1] else np.zeros(len(seen))
        per_frame = seen.max(axis=1) if seen.shape[1] else best
        found.append(
            {
                "J": float(best.mean()),
                "J recall": metrics.recall(best),
                "J of frames": float(per_frame.mean()),
            }
        )
    return found


def _matched_iou(overlaps: Overlaps) -> Floats:
    """[I]: IoU as volumes after one assignment, 0 of an object that got no segment."""
    scores = metrics.video_iou(overlaps)
    matched = np.zeros(len(overlaps.objects))
    rows, columns = metrics.match(scores)
    matched[rows] = scores[rows, columns]
    return matched


def _instances(truth: Ids, labels: Ids, void: Mask | None) -> list[Figures]:
    overlaps = Overlaps.of(truth, labels, void, background=-1)
    matched, scores = _matched_iou(overlaps), metrics.video_iou(overlaps)
    return [
        {
            "FG-ARI of the video": metrics.video_fg_ari(overlaps),
            "FG-ARI of frames": metrics.frame_fg_ari(overlaps),
            "mIoU": float(matched.mean()) if matched.size else None,
            "mBO": float(scores.max(axis=1).mean()) if matched.size else None,
        }
    ]


def _tracking(truth: Ids, labels: Ids, void: Mask | None) -> list[Figures]:
    overlaps = Overlaps.of(truth, labels, void)
    found = Identity.of(overlaps)
    if not found.objects:
        return [dict.fromkeys(_IDENTITY)]
    matched = _matched_iou(overlaps).mean()
    figures = found.f1, found.precision, found.recall, switches(overlaps), matched
    return [dict(zip(_IDENTITY, map(float, figures), strict=True))]


_IDENTITY = ("IDF1", "IDP", "IDR", "ID switches", "mIoU")


PROTOCOLS = {
    each.name: each
    for each in (
        Protocol(
            "davis16",
            "DAVIS-2016: all objects as one foreground, first and last frame left out",
            {"output": "objects"},
            _J_AND_F,
            "video",
            _davis16,
        ),
        Protocol(
            "best",
            "the best cluster of each object, chosen with the truth",
            {"output": "clusters"},
            ("J", "J recall", "J of frames"),
            "object",
            _best,
        ),
        Protocol(
            "davis",
            "DAVIS-2017 unsupervised: at most 20 proposals, one assignment for a sequence",
            {"output": "objects", "max_objects": 20},
            _J_AND_F,
            "object",
            _davis17,
        ),
        Protocol(
            "ba",
            "DAVIS-2017 as its authors judge BA: at most 300 proposals, assigned frame by frame",
            {"output": "clusters"},
            _J_AND_F,
            "object",
            _davis17_per_frame,
        ),
        Protocol(
            "instances",
            "FG-ARI and mIoU of clusters",
            {"output": "clusters"},
            ("FG-ARI of the video", "FG-ARI of frames", "mIoU", "mBO"),
            "video",
            _instances,
        ),
        Protocol(
            "tracking",
            "IDF1 and switches of ids, of masks with an IoU of at least 0.5",
            {"output": "objects"},
            _IDENTITY,
            "video",
            _tracking,
        ),
    )
}
