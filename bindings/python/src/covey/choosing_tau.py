"""The clustering threshold of a block that was trained.

Training makes maps sharper, so that their distances grow: the threshold that was
right for the block before would find more and smaller clusters.  The number of
clusters in the training clips is kept instead: before training, at the model's own
tau, each clip has so many on average; tau becomes what gives the trained block as
many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from .clustering import cluster
from .model import Model

#: How far from the model's tau another is looked for.
_FARTHEST = 2.0**20
#: How near to the true one it is found, as a ratio.
_NEAR = 1.01
#: The largest that a weight file takes.
_LARGEST = 1000.0


@dataclass(frozen=True)
class Choice:
    """tau in nats; clusters a clip with it, and before training with the model's."""

    tau: float
    clusters: float
    clusters_before: float


def choose_tau(
    before: Model,
    after: Model,
    clips: Sequence[NDArray[np.float32]],
    threads: int = 0,
    tried: Callable[[float, float], None] | None = None,
) -> Choice:
    """tau for ``after``, from features [T, rows, columns, C] of clips, which are the
    same for both models.  ``tried`` is told every tau and its clusters a clip."""
    target = _mean_count(before, clips, threads)(before.info.tau)
    counted = _mean_count(after, clips, threads)

    @cache
    def count(tau: float) -> float:
        found = counted(tau)
        if tried is not None:
            tried(tau, found)
        return found

    tau = tau_of(count, target, before.info.tau)
    return Choice(tau, count(tau), target)


def _mean_count(
    model: Model, clips: Sequence[NDArray[np.float32]], threads: int
) -> Callable[[float], float]:
    """Clusters a clip, as a function of tau."""
    info = model.info
    maps = []
    for features in clips:
        queries, keys = model.correlate(features, threads=threads)
        maps.append((queries, pooled(keys, info.key_pool)))

    def count(tau: float) -> float:
        found = [
            cluster(
                queries, keys, info.correlator_heads, tau=tau, window=info.window, threads=threads
            ).count
            for queries, keys in maps
        ]
        return sum(found) / len(found)

    return count


def pooled(keys: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """[T, rows, columns, C]: means over blocks of ``side`` x ``side`` patches, at the
    right and at the bottom of as many as there are."""
    for axis in (1, 2):
        size = keys.shape[axis]
        starts = np.arange(0, size, side)
        widths = np.diff(np.append(starts, size)).astype(np.float32)
        shape = [1] * keys.ndim
        shape[axis] = len(starts)
        keys = (np.add.reduceat(keys, starts, axis=axis) / widths.reshape(shape)).astype(np.float32)
    return keys


def tau_of(count: Callable[[float], float], target: float, start: float) -> float:
    """Where ``count``, which falls as tau rises, is ``target``: in the middle, by
    ratio, of the interval where it is, or where it jumps across.  ``start`` itself
    where that will do."""
    if count(start) == target:
        return start
    low, high = start / _FARTHEST, min(start * _FARTHEST, _LARGEST)
    lower = _edge(lambda tau: count(tau) > target, start, low, high)
    upper = _edge(lambda tau: count(tau) >= target, start, low, high)
    return math.sqrt(lower * upper)


def _edge(above: Callable[[float], bool], start: float, low: float, high: float) -> float:
    """Where ``above`` turns from true to false, between low and high."""
    lower = upper = start
    while lower > low and not above(lower):
        lower = max(lower / 2, low)
    while upper < high and above(upper):
        upper = min(upper * 2, high)
    if not above(lower) or above(upper):
        return lower if not above(lower) else upper
    while upper / lower > _NEAR:
        middle = math.sqrt(lower * upper)
        if above(middle):
            lower = middle
        else:
            upper = middle
    return math.sqrt(lower * upper)
