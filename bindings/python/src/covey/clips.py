"""Clips for training: a few frames of a video, drawn at random, read by threads.

Which frames clip number k is of follows from the seed, k, and the lengths of the
videos alone: a run that is resumed draws what it would have drawn.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from . import video
from .video import Video, read_image

#: Other clips tried where one cannot be read.
_ATTEMPTS = 50

_Result = TypeVar("_Result")


class Footage:
    """The frames of a video file or a folder of pictures, read in any order.

    count: how many there are.  Raises what Video does, and ValueError for a video
    without frames.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        opened = Video(path)
        self._pictures = opened.pictures
        #: Presentation times of a film's frames, ascending; None: it has none.
        self._times: list[int] | None = None
        if self._pictures is None:
            self.count, self._times = _index(self.path)
        else:
            self.count = len(self._pictures)

    def read(self, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Frames [H, W, 3] uint8 RGB; ``indices`` ascending.  ValueError where they
        are not all there, or not of one size; else what PyAV or Pillow raise."""
        if self._pictures is not None:
            found = [read_image(self._pictures[index]) for index in indices]
        elif self._times is not None:
            wanted = [self._times[index] for index in indices]
            # Some containers seek past the frame that was asked for.
            by_time = self._decode(wanted, seek=True) or self._decode(wanted, seek=False)
            found = [by_time[time] for time in wanted] if by_time else []
        else:
            by_index = self._decode(list(indices), seek=False, numbered=True)
            found = [by_index[index] for index in indices] if by_index else []
        if len(found) < len(indices):
            raise ValueError(f"{self.path}: frame {indices[-1]} cannot be read")
        if len({frame.shape for frame in found}) > 1:
            raise ValueError(f"{self.path}: frames {list(indices)} are not of one size")
        return found

    def _decode(
        self, wanted: list[int], seek: bool, numbered: bool = False
    ) -> dict[int, NDArray[np.uint8]] | None:
        """Frames by their time, or by their number; None where one was not met."""
        missing = set(wanted)
        found = {}
        with video.open_film(self.path) as container:
            stream = video.film_stream(container, self.path)
            # Clips are read in parallel: one thread each is enough.
            stream.codec_context.thread_count = 1
            if seek and wanted[0] > 0:
                container.seek(wanted[0], stream=stream)
            for number, frame in enumerate(container.decode(stream)):
                place = number if numbered else frame.pts
                if place in missing:
                    missing.discard(place)
                    found[place] = video.upright(frame.to_ndarray(format="rgb24"), frame.rotation)
                if not missing:
                    return found
                if place is not None and place > wanted[-1]:
                    break
        return None


def _index(path: Path) -> tuple[int, list[int] | None]:
    """How many frames a film has, and their times, without decoding it."""
    with video.open_film(path) as container:
        stream = video.film_stream(container, path)
        packets = [each for each in container.demux(stream) if each.size]
        times = [each.pts for each in packets if not each.is_discard]
        # It has times of decoding only, which are passed off as the others.
        untimed = container.format.name == "avi"
    if not times:
        raise ValueError(f"{path}: no frames")
    if untimed or None in times or len(set(times)) < len(times):
        return len(times), None
    return len(times), sorted(times)


@dataclass(frozen=True)
class Clip:
    """Clip number ``number``: frames ``indices`` of the video at ``path``.

    skipped: what was drawn first and could not be read: (path, reason).
    """

    number: int
    path: Path
    indices: list[int]
    frames: list[NDArray[np.uint8]] = field(repr=False)
    skipped: list[tuple[Path, str]]


class Clips:
    """All clips of some videos.

    A clip is ``length`` frames, g apart: g at random from 1 to ``gap``, or what a
    short video allows.  A video is as likely as it is long.  ValueError where none
    has ``length`` frames; shorter ones are never drawn.
    """

    def __init__(
        self, footage: Sequence[Footage], length: int = 3, gap: int = 4, seed: int = 0
    ) -> None:
        if gap < 1:
            raise ValueError(f"gap: expected at least 1, found {gap}")
        self._footage = [each for each in footage if each.count >= length]
        if not self._footage:
            raise ValueError(f"no video of {length} frames or more")
        self._ends = np.cumsum([each.count for each in self._footage])
        self._length, self._gap, self._seed = length, gap, seed

    def place(self, number: int, series: int = 0, attempt: int = 0) -> tuple[Footage, list[int]]:
        """The video and the frames of a clip; another one for every ``series`` and
        ``attempt``."""
        # Its words are promised to stay the same; those of a Generator are not.
        words = np.random.SeedSequence([self._seed, series, number, attempt]).generate_state(
            3, np.uint64
        )
        chosen, gap, first = (int(word) for word in words)
        index = int(np.searchsorted(self._ends, chosen % int(self._ends[-1]), side="right"))
        footage = self._footage[index]
        steps = self._length - 1
        gap = 1 + gap % min(self._gap, (footage.count - 1) // steps)
        first %= footage.count - steps * gap
        return footage, [first + gap * step for step in range(self._length)]

    def read(self, number: int, series: int = 0) -> Clip:
        """A clip; where it cannot be read, another in its place, the same one every
        time.  ValueError after many failures."""
        skipped: list[tuple[Path, str]] = []
        for attempt in range(_ATTEMPTS):
            footage, indices = self.place(number, series, attempt)
            try:
                frames = footage.read(indices)
            except (ImportError, MemoryError):
                raise
            except Exception as error:
                skipped.append((footage.path, reason(error)))
                continue
            return Clip(number, footage.path, indices, frames, skipped)
        path, text = skipped[-1]
        raise ValueError(f"no clip can be read; the last one tried: {path}: {text}")


def reason(error: Exception) -> str:
    """One line for a failure to read."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return text or type(error).__name__


def read_ahead(
    read: Callable[[int], _Result], numbers: Iterable[int], workers: int = 2, ahead: int = 3
) -> Generator[_Result, None, None]:
    """``read(n)`` for each of the numbers, in their order, by ``workers`` threads, at
    most ``ahead`` of them before they are asked for.  Closing it ends the threads."""
    waiting: deque[Future[Any]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="covey-clips")
    try:
        for number in numbers:
            waiting.append(pool.submit(read, number))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
