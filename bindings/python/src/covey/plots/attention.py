"""Attention maps of chosen patches over the frames of a video, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from ..interface.model import Model

__all__ = ["Encoded", "attention_maps", "encoded"]

#: Whose queries and keys are compared.
Compared = Literal["correlator", "features"]


@dataclass(frozen=True)
class Encoded:
    """queries, keys: [T, rows, columns, C] of the frames; heads divides C."""

    queries: NDArray[np.float32]
    keys: NDArray[np.float32]
    heads: int

    def patch_at(self, x: float, y: float, width: int, height: int) -> tuple[int, int]:
        """(row, column) of the patch that a pixel of a frame of this size lies in."""
        if not (0 <= x < width and 0 <= y < height):
            raise ValueError(f"expected a pixel of {width}x{height}, found {x:g},{y:g}")
        rows, columns = self.queries.shape[1:3]
        return int(y * rows / height), int(x * columns / width)


def encoded(
    model: Model, frames: Sequence[NDArray[np.uint8]], compared: Compared = "correlator"
) -> Encoded:
    """Of frames [H, W, 3] uint8 RGB of one size: what sessions of this affinity compare."""
    features = np.stack([model.encode(frame) for frame in frames])
    heads = model.info.correlator_heads
    if compared == "correlator":
        return Encoded(*model.correlate(features), heads)
    epsilon = float(model.metadata["covey.correlator.layer_norm_eps"])
    centred = features - features.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(centred.var(axis=-1, keepdims=True) + epsilon)
    normal = (centred / deviation).astype(np.float32)
    return Encoded(normal, normal, heads)


def attention_maps(found: Encoded, frame: int, row: int, column: int) -> NDArray[np.float32]:
    """[T, rows, columns]: the mean over heads of the softmax over all patches of all
    frames, for the patch at ``row``, ``column`` of ``frame``; adds up to 1."""
    frames, rows, columns, channels = found.queries.shape
    if not (0 <= frame < frames and 0 <= row < rows and 0 <= column < columns):
        raise ValueError(
            f"expected a patch of {frames}x{rows}x{columns}, found {frame}, {row}, {column}"
        )
    width = channels // found.heads
    query = found.queries[frame, row, column].reshape(found.heads, width)
    keys = found.keys.reshape(-1, found.heads, width)
    scores = np.einsum("hd,nhd->hn", query, keys) / np.sqrt(width)
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(weights.mean(axis=0).reshape(frames, rows, columns), np.float32)
