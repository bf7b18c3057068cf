"""Masks as COCO's run lengths, and the files of COCO and YouTube-VIS made of them."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import TypedDict

    class RunLengths(TypedDict):
        """COCO's compressed form: size is [H, W]."""

        size: list[int]
        counts: str


def require() -> None:
    """Raises ImportError where run lengths could not be made."""
    _pycocotools()


def _pycocotools() -> Any:
    try:
        from pycocotools import mask
    except ImportError:
        raise ImportError("run lengths need pycocotools: pip install pycocotools") from None
    return mask


def encode(mask: NDArray[np.bool_]) -> RunLengths:
    """The compressed run lengths of a mask [H, W]."""
    coded = _pycocotools().encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in coded["size"]], "counts": coded["counts"].decode()}


def compressed(run_lengths: Mapping[str, Any]) -> RunLengths:
    """The compressed form of ``{"size": [H, W], "counts": [zeros, ones, ...]}``."""
    height, width = run_lengths["size"]
    coded = _pycocotools().frPyObjects(dict(run_lengths), height, width)
    return {"size": [height, width], "counts": coded["counts"].decode()}


def decode(run_lengths: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The mask [H, W] of run lengths, compressed or not.  ValueError for what is none: of
    runs that end too early pycocotools would give what happens to be in memory."""
    try:
        height, width = map(operator.index, run_lengths["size"])
        counts = run_lengths["counts"]
        runs = [*map(operator.index, counts)] if isinstance(counts, list) else _expanded(counts)
        if min(height, width, *runs) < 0:
            raise ValueError("below 0")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not run lengths: {error!r}") from None
    if sum(runs) != height * width:
        raise ValueError(
            f"run lengths: expected {height}x{width} pixels, found runs of {sum(runs)}"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, runs).reshape((height, width), order="F")


def _expanded(text: str) -> list[int]:
    """Runs of the compressed form: five bits a character, the lowest first; the sixth says
    that more follow.  From the fourth on, a run is the difference to that two before."""
    runs: list[int] = []
    value = shift = 0
    for code in text.encode():
        bits = code - 48
        if not 0 <= bits < 64:
            raise ValueError(f"character {chr(code)!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("ends in the middle of a run")
    return runs


def video_tracks(
    labels: NDArray[np.integer], scores: Mapping[int, float], video_id: int
) -> list[dict[str, Any]]:
    """The ids of a video [T, H, W] as entries of a YouTube-VIS results file: for every
    id but 0 a mask in each frame, None where it is not; the category is always 1."""
    entries = []
    for number in np.unique(labels):
        if number == 0:
            continue
        masks = labels == number
        entries.append(
            {
                "video_id": video_id,
                "category_id": 1,
                "score": float(scores.get(int(number), 1.0)),
                "segmentations": [encode(mask) if mask.any() else None for mask in masks],
            }
        )
    return entries
