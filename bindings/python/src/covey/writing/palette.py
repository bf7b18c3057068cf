"""The colours of the ids."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


@lru_cache(maxsize=1)
def _computed() -> NDArray[np.uint8]:
    ids = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    # Bits 0, 1, 2 of the id go to the highest bits of red, green, blue, bits
    # 3, 4, 5 to the next ones, so that neighbouring ids differ most.
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((ids >> channel & 1) << (7 - bit)).astype(np.uint8)
        ids >>= 3
    palette.setflags(write=False)
    return palette


def davis_palette() -> NDArray[np.uint8]:
    """[256, 3] RGB: the colour map of PASCAL VOC, which DAVIS uses; read-only.

    Entry 0, the background, is black.
    """
    return _computed()


def colour_indices(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """The palette entry of each id: 0 for 0; ids beyond 255 begin again at 1."""
    ids = np.asarray(labels)
    wrapped = (ids.astype(np.int64) - 1) % 255 + 1
    return np.where(ids == 0, 0, wrapped).astype(np.uint8)


def overlay_colours(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """As colours(), lighter, from 85 to 255: dark ones, as those of 1 and 2 are, would be lost
    over what is red or green itself."""
    return (85 + colours(labels).astype(np.uint16) * 170 // 224).astype(np.uint8)


def colours(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """[..., 3] RGB for ids [...]."""
    return davis_palette()[colour_indices(labels)]
