"""Clips for training: a few frames of a video, drawn at random, read by threads.

Which frames clip number k is of follows from the seed, k, and the lengths of the
videos alone: a run that is resumed draws what it would have drawn.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import os
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .films import film_error, film_stream, open_film, pixels
from .video import Video

#: Other clips tried where one cannot be read.
_ATTEMPTS = 50

_Result = TypeVar("_Result")


class Footage:
    """The frames of a video file or a folder of pictures, read in any order.

    count: how many there are.  digest: of the times and sizes of a film's packets, of the
    names and sizes of pictures.  Raises what Video does, and ValueError for a video without
    frames.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._pictures = Video(path).pictures
        self._index: _Index | None = None
        if self._pictures is None:
            self._index = _Index(self.path)
            self.count, self.digest = self._index.count, self._index.digest
        else:
            self.count = len(self._pictures)
            told = [f"{each.name} {each.stat().st_size}\n" for each in self._pictures.files]
            self.digest = hashlib.sha256("".join(told).encode(errors="surrogateescape")).hexdigest()

    def read(self, indices: Sequence[int]) -> list[NDArray[np.uint8]]:
        """Frames [H, W, 3] uint8 RGB; ``indices`` ascending.  ValueError where they
        are not all there, or not of one size; else what PyAV or Pillow raise."""
        for index in indices:
            if not 0 <= index < self.count:
                raise ValueError(f"{self.path}: frame {index}: expected 0 to {self.count - 1}")
        if self._pictures is not None:
            found = list(self._pictures.read(indices))
        else:
            by_index = self._sought(indices) or self._counted(indices)
            if by_index is None:
                raise ValueError(f"{self.path}: frame {indices[-1]} cannot be read")
            found = [by_index[index] for index in indices]
        if len({frame.shape for frame in found}) > 1:
            raise ValueError(f"{self.path}: frames {list(indices)} are not of one size")
        return found

    def _sought(self, indices: Sequence[int]) -> dict[int, NDArray[np.uint8]] | None:
        """Frames by their number, from a key frame on; None where that fails."""
        if self._index is None:
            return None
        with _opened(self.path) as (container, stream):
            for start in self._index.starts(indices[0]):
                try:
                    container.seek(start, stream=stream)
                    found = _picked(self._index.numbered(container.decode(stream)), indices)
                except film_error():
                    continue
                if found is not None:
                    return found
        return None

    def _counted(self, indices: Sequence[int]) -> dict[int, NDArray[np.uint8]] | None:
        """Frames by their number, from the first on, as Video reads them; None where there are
        not so many."""
        with _opened(self.path) as (container, stream):
            return _picked(enumerate(container.decode(stream)), indices)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """A film's container and stream."""
    with open_film(path) as container:
        stream = film_stream(container, path)
        # Clips are read in parallel: one thread each is enough.
        stream.codec_context.thread_count = 1
        yield container, stream


def _picked(
    frames: Iterable[tuple[int, Any]], indices: Sequence[int]
) -> dict[int, NDArray[np.uint8]] | None:
    """Those of numbered frames that are wanted; None where one of them does not come."""
    missing, found = sorted(set(indices)), {}
    for number, frame in frames:
        if number > missing[0]:
            return None
        if number == missing[0]:
            found[missing.pop(0)] = pixels(frame)
        if not missing:
            return found
    return None


class _Index:
    """What the packets of a film tell of its frames, without decoding them."""

    def __init__(self, path: Path) -> None:
        times, keys, self.count = array("q"), [], 0
        told = hashlib.sha256()
        with open_film(path) as container:
            stream = film_stream(container, path)
            # It has times of decoding only, which are passed off as the others.
            timed = container.format.name != "avi" or not stream.codec_context.has_b_frames
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                time = packet.pts
                told.update(f"{time} {packet.size}\n".encode())
                if packet.is_keyframe and time is not None:
                    keys.append((time, time if packet.dts is None else packet.dts))
                if packet.is_discard:
                    continue
                self.count += 1
                if time is None:
                    timed = False
                else:
                    times.append(time)
        if not self.count:
            raise ValueError(f"{path}: no frames")
        self.digest = told.hexdigest()
        self._times = np.unique(np.frombuffer(times, np.int64))
        if not timed or len(self._times) < self.count:
            keys = []
        #: Times of presentation and of decoding of the key frames, ascending.
        self._shown = sorted(shown for shown, _ in keys)
        self._decoded = sorted(decoded for _, decoded in keys)

    def starts(self, index: int) -> list[int]:
        """Where to seek for a frame, the best first; nowhere for the first ones.

        Some containers go by the times of presentation, some by those of decoding, and some
        reach a place behind what they are asked for.
        """
        if not self._shown:
            return []
        key = bisect.bisect_right(self._shown, self._times[index]) - 1
        if key < 1:
            return []
        earlier = [self._decoded[key - back] for back in (0, 1, 4, 16) if key > back]
        return [self._shown[key], *earlier]

    def numbered(self, frames: Iterable[Any]) -> Iterator[tuple[int, Any]]:
        """The frames of a decoder that begins anywhere, with their numbers, from a key frame on;
        ends where their times are not those expected, as where a container tells others after a
        seek."""
        number = None
        for frame in frames:
            if number is None:
                # What is shown before the key frame may refer to what has not been decoded.
                if not frame.key_frame or frame.pts not in self._shown:
                    continue
                number = int(np.searchsorted(self._times, frame.pts))
            if number == self.count or frame.pts != self._times[number]:
                return
            yield number, frame
            number += 1


@dataclass(frozen=True)
class Clip:
    """Clip number ``number``: frames ``indices`` of the video at ``path``.

    skipped: what was drawn first and could not be read: (path, frames and reason).
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
                places = ", ".join(map(str, indices))
                skipped.append((footage.path, f"frames {places}: {reason(error)}"))
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
