"""Videos through a predictor and a protocol, to figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .labelled import LabelledVideo
from .predictors import Prediction, Predictor
from .protocols import PROTOCOLS, Figures, Protocol

__all__ = ["Evaluation", "VideoFigures", "evaluate", "judge"]


@dataclass(frozen=True)
class VideoFigures:
    """Of one video.  rows: figures of its objects, or of itself, as the protocol says.
    segments: ids in its labels.  seconds: reading and predicting."""

    video: str
    frames: int
    segments: int
    seconds: float
    rows: list[Figures]

    def mean(self, column: str) -> float | None:
        """Over the rows that have the figure."""
        found = [value for row in self.rows if (value := row[column]) is not None]
        return float(np.mean(found)) if found else None


@dataclass(frozen=True)
class Evaluation:
    """Of a dataset."""

    protocol: Protocol
    videos: list[VideoFigures]

    def mean(self, column: str) -> float | None:
        """Over all rows: of DAVIS-2017, objects, however many a sequence has."""
        rows = [row for video in self.videos for row in video.rows]
        found = [value for row in rows if (value := row[column]) is not None]
        return float(np.mean(found)) if found else None

    def interval(
        self, column: str, share: float = 0.95, draws: int = 2000
    ) -> tuple[float, float] | None:
        """Where the mean lies with this probability, had other videos been drawn:
        percentiles of a bootstrap over videos.  None of fewer than two."""
        rows = [
            [value for row in video.rows if (value := row[column]) is not None]
            for video in self.videos
        ]
        rows = [each for each in rows if each]
        if len(rows) < 2:
            return None
        sums, counts = np.array([sum(each) for each in rows]), np.array([len(e) for e in rows])
        drawn = np.random.default_rng(0).integers(0, len(rows), (draws, len(rows)))
        means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
        low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
        return float(low), float(high)

    def worst(self, count: int = 5) -> list[VideoFigures]:
        """The videos with the least of the protocol's first figure, worst first."""
        column = self.protocol.columns[0]
        known = [video for video in self.videos if video.mean(column) is not None]
        return sorted(known, key=lambda video: video.mean(column) or 0.0)[:count]


def judge(
    protocol: Protocol, video: LabelledVideo, labels: NDArray[np.integer], seconds: float = 0.0
) -> VideoFigures:
    """``labels``: [T, H, W].  Raises ValueError where they do not fit the truth."""
    try:
        truth, void = video.truth()
        rows = protocol.rows(truth, labels, void)
    except ValueError as error:
        raise ValueError(f"{video.name}: {error}") from None
    return VideoFigures(video.name, len(video), len(np.unique(labels)), seconds, rows)


def evaluate(
    videos: Iterable[LabelledVideo],
    predictor: Predictor,
    protocol: str | Protocol,
    kept: Callable[[LabelledVideo, Prediction], Any] | None = None,
) -> Iterator[VideoFigures]:
    """The figures of the videos, one after the other.

    ``kept`` is called with the prediction of each, which is then forgotten."""
    rules = PROTOCOLS[protocol] if isinstance(protocol, str) else protocol
    for video in videos:
        start = time.perf_counter()
        found = predictor(video)
        seconds = time.perf_counter() - start
        figures = judge(rules, video, found.labels, seconds)
        if kept is not None:
            kept(video, found)
        yield figures
