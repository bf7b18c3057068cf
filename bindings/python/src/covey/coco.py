"""Masks as COCO's run lengths, and the files of COCO and YouTube-VIS made of them."""

from __future__ import annotations

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
    """The mask [H, W] of run lengths, compressed or not."""
    tools = _pycocotools()
    is_list = isinstance(run_lengths["counts"], list)
    coded = compressed(run_lengths) if is_list else dict(run_lengths)
    return np.asarray(tools.decode(coded), bool)


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
