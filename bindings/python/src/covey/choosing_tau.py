"""The clustering threshold of a block that was trained.

Training makes maps sharper, so that their distances grow: the threshold that was
right for the block before would find more and smaller clusters.  The number of
clusters in clips is kept instead: before training, at the model's own tau, each has
so many on average; tau becomes what gives the trained block as many.

Clips are clustered as sessions do it, with a model whose own tau is the one in
question: that sets the scale at which prototypes are made, which only small changes
of tau leave alone.  A guess comes first, from the clustering alone.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .clustering import cluster
from .model import Model

#: How far from the model's tau another is guessed, as a ratio; and how far from a guess
#: a session can tell.
_FARTHEST, _NEARBY = 2.0**20, 2.0
#: How near to the true one it is found, as a ratio.
_NEAR = 1.01
#: Guesses that are checked by sessions at most, and the change that is none.
_ROUNDS, _SETTLED = 3, 1.02
#: The largest that a weight file takes.
_LARGEST = 1000.0

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
    clips: Sequence[Frames],
    tried: Callable[[float, float], None] | None = None,
    **options: Any,
) -> Choice:
    """tau for the trained model that ``export(tau)`` makes.

    options: working_height, working_width and threads of sessions.  ``tried`` is told
    every tau and its clusters a clip.
    """

    def told(count: Callable[[float], float]) -> Callable[[float], float]:
        @cache
        def counted(tau: float) -> float:
            found = count(tau)
            if tried is not None:
                tried(tau, found)
            return found

        return counted

    with _sessions(before, clips, options) as count:
        target = count(before.info.tau)
    tau = before.info.tau
    with export(0) as model:
        features, threads = _features(before, clips, options), options.get("threads") or 0
        guessed = _clusters(before, features, threads)(tau)
        tau = tau_of(told(_clusters(model, features, threads)), guessed, tau)
    found = target
    for _ in range(_ROUNDS):
        with export(tau) as model, _sessions(model, clips, options) as sessions:
            # As the file will have it, in single precision.
            last, count = model.info.tau, told(sessions)
            tau = tau_of(count, target, last, _NEARBY)
            found = count(tau)
        if max(tau, last) / min(tau, last) < _SETTLED:
            break
    return Choice(tau, found, target)


@contextlib.contextmanager
def _sessions(
    model: Model, clips: Sequence[Frames], options: dict[str, Any]
) -> Iterator[Callable[[float], float]]:
    """Clusters a clip as a function of tau, near the model's own."""
    with contextlib.ExitStack() as stack:
        sessions = []
        for frames in clips:
            # Clips are short: all of their frames are keys.
            session = model.session(output="clusters", key_stride=1, mask="nearest", **options)
            sessions.append(stack.enter_context(session))
            for frame in frames:
                session.push(frame)
            session.finish()

        def count(tau: float) -> float:
            total = 0
            for session in sessions:
                session.recut(tau)
                total += next(session.results()).total_clusters
            return total / len(sessions)

        yield count


def _features(
    model: Model, clips: Sequence[Frames], options: dict[str, Any]
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
    count: Callable[[float], float], target: float, start: float, farthest: float = _FARTHEST
) -> float:
    """Where ``count``, which falls as tau rises, is ``target``: in the middle, by
    ratio, of the interval where it is, or where it jumps across; at most a factor of
    ``farthest`` from ``start``, which it is itself where that will do."""
    if count(start) == target:
        return start
    low, high = start / farthest, min(start * farthest, _LARGEST)
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
