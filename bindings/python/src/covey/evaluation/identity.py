"""Whether objects keep their ids: IDF1 and switches of ids, on masks.

An object and a segment are the same in a frame where their masks have an IoU of at least
``SAME``.  Sources:

- IDF1: Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
  Tracking", 2016.
- switches: Bernardin and Stiefelhagen, "Evaluating Multiple Object Tracking Performance:
  The CLEAR MOT Metrics", 2008.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .metrics import Floats, Overlaps, match, region_j

__all__ = ["Identity", "switches"]

#: The IoU from which on masks are of the same thing.
SAME = 0.5


def _same(overlaps: Overlaps) -> Floats:
    """[T, I, S]: IoU where it is enough, else 0."""
    j = region_j(overlaps)
    there = (overlaps.object_area > 0)[:, :, None] & (overlaps.segment_area > 0)[:, None, :]
    return np.where(there & (j >= SAME), j, 0.0)


@dataclass(frozen=True)
class Identity:
    """Masks of frames, after every object got one segment at most, and every segment one
    object, for the whole video, so that most masks are right.

    right: masks of objects that their segments found; objects, segments: all masks."""

    right: int
    objects: int
    segments: int

    @classmethod
    def of(cls, overlaps: Overlaps) -> Identity:
        together = np.count_nonzero(_same(overlaps), axis=0).astype(np.float64)  # [I, S]
        return cls(
            int(together[match(together)].sum()),
            int(np.count_nonzero(overlaps.object_area)),
            int(np.count_nonzero(overlaps.segment_area)),
        )

    @property
    def precision(self) -> float:
        return self.right / max(self.segments, 1)

    @property
    def recall(self) -> float:
        return self.right / max(self.objects, 1)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(self.objects + self.segments, 1)


def switches(overlaps: Overlaps) -> int:
    """How often an object is found as another segment than when it was last found.

    Where masks leave a choice (an IoU of exactly a half), an object goes on with the
    segment that it had."""
    count = 0
    last = np.full(len(overlaps.objects), -1)  # [I]
    for same in _same(overlaps):
        goes_on = last[:, None] == np.arange(same.shape[1])
        rows, columns = match(np.where(same > 0, same + 1000 * goes_on, 0.0))
        found = same[rows, columns] > 0
        rows, columns = rows[found], columns[found]
        count += int(np.count_nonzero((last[rows] >= 0) & (last[rows] != columns)))
        last[rows] = columns
    return count
