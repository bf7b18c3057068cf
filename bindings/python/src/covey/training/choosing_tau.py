"""The clustering threshold of a block that was trained.

Training makes maps sharper, so that their distances grow: the threshold that was
right for the block before would find more and smaller clusters.  The number of
clusters in clips is kept instead: before training, at the model's own tau, each has
so many on average; tau becomes what gives the trained block as many.

Clips are clustered as sessions do it, with a model whose own tau is the one in
question: it also sets the scale at which prototypes are made.  That runs the network
for every tau, so a guess comes first, from the clustering alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..interface.clustering import cluster
from ..interface.model import Model

#: How far from the model's tau another is looked for, as a ratio.
_FARTHEST = 2.0**20
#: How near to the true one it is found, as a ratio: the guess, and the choice.
_GUESSED, _NEAR = 1.1, 1.03
#: The largest that a weight file takes.
LARGEST = 1000.0

#: A clip: frames [H, W, 3] uint8 RGB.
Frames = Sequence[NDArray[np.uint8]]


@dataclass(frozen=True)
class Choice:
    """tau in nats; clusters a clip with it, and before training with the model's."""

    tau: float
    clusters: float
    clusters_before: float


def choose_tau(
    before: Model,
    export: Callable[[float], Model],
    clips: Iterable[Frames],
    tried: Callable[[float, float], None] | None = None,
    **options: Any,
) -> Choice:
    """tau for the trained model that ``export(tau)`` makes.

    clips: gone through about ten times, one of them in use at a time.  options:
    working_height, working_width and threads of sessions.  ``tried`` is told every tau and
    its clusters a clip.
    """

    def told(count: Callable[[float], float]) -> Callable[[float], float]:
        @cache
        def counted(tau: float) -> float:
            found = count(tau)
            if tried is not None:
                tried(tau, found)
            return found

        return counted

    @told
    def count(tau: float) -> float:
        with export(tau) as model:
            return _by_sessions(model, clips, options)

    target = _by_sessions(before, clips, options)
    features, threads = _features(before, clips, options), options.get("threads") or 0
    tau = before.info.tau
    guessed = _clusters(before, features, threads)(tau)
    with export(0) as model:
        tau = tau_of(told(_clusters(model, features, threads)), guessed, tau, _GUESSED)
    tau = tau_of(count, target, tau, _NEAR)
    return Choice(tau, count(tau), target)


def _by_sessions(model: Model, clips: Iterable[Frames], options: dict[str, Any]) -> float:
    """Clusters a clip, at the model's own tau."""
    found = []
    # Clips are short: all of their frames are keys.
    with model.session(output="clusters", key_stride=1, mask="nearest", **options) as session:
        for frames in clips:
            found.append(next(session.segment(frames)).total_clusters)
    return sum(found) / len(found)


def _features(
    model: Model, clips: Iterable[Frames], options: dict[str, Any]
) -> list[NDArray[np.float32]]:
    """[T, rows, columns, C] of each clip: the same for the trained model."""
    return [np.stack([model.encode(frame, **options) for frame in frames]) for frames in clips]


def _clusters(
    model: Model, clips: Sequence[NDArray[np.float32]], threads: int
) -> Callable[[float], float]:
    """Clusters a clip as a function of tau, of the clustering alone."""
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


def tau_of(
    count: Callable[[float], float], target: float, start: float, near: float = 1.01
) -> float:
    """Where ``count``, which falls as tau rises, is ``target``: in the middle, by
    ratio, of the interval where it is, or where it jumps across; to a ratio of
    ``near``.  ``start`` itself where that will do."""
    if count(start) == target:
        return start
    low, high = start / _FARTHEST, min(start * _FARTHEST, LARGEST)
    lower = _edge(lambda tau: count(tau) > target, start, low, high, near)
    upper = _edge(lambda tau: count(tau) >= target, start, low, high, near)
    return math.sqrt(lower * upper)


def _edge(
    above: Callable[[float], bool], start: float, low: float, high: float, near: float
) -> float:
    """Where ``above`` turns from true to false, between low and high."""
    lower = upper = start
    while lower > low and not above(lower):
        lower = max(lower / 2, low)
    while upper < high and above(upper):
        upper = min(upper * 2, high)
    if not above(lower) or above(upper):
        return lower if not above(lower) else upper
    while upper / lower > near:
        middle = math.sqrt(lower * upper)
        if above(middle):
            lower = middle
        else:
            upper = middle
    return math.sqrt(lower * upper)
