"""The clips of a run, read as they are needed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..interface.trainer import Trainer
from ..reading.clips import Clip, Clips, Footage, read_ahead, reason
from ..system.display import Display, mebibytes
from .feature_cache import FeatureCache
from .run_folder import RunFolder
from .settings import Recorded, Settings
from .stop import Stop

#: Threads that read clips.
_READERS = 2
#: Clips, never trained on as such, that tau is chosen on.
_TAU_CLIPS = 16
#: Series of clips: to train on, and to choose tau on.
_TRAINING, _CHOOSING = 0, 1


class Data:
    """The run's clips, with a warning for every video that cannot be read."""

    def __init__(self, settings: Settings, length: int, fresh: bool, display: Display) -> None:
        #: Path and reason: videos that are not trained on, and some of whose clips are not.
        self.left_out: dict[str, str] = {}
        self.unreadable: dict[str, str] = {}
        self._display = display
        footage, recorded = [], []
        for index, video in enumerate(settings.videos):
            display.update("open", index, len(settings.videos), "videos")
            try:
                opened = Footage(video.path)
                if opened.count < length:
                    raise ValueError(
                        f"{video.path}: {opened.count} frames, fewer than {length}"
                    )
            except (ImportError, MemoryError):
                raise
            except Exception as error:
                if not fresh:
                    # Other videos in its place would be another run.
                    raise
                text = self.left_out[video.path] = reason(error)
                display.warn(f"{text if video.path in text else f'{video.path}: {text}'}; left out")
                continue
            found = Recorded(video.path, opened.count, opened.digest)
            if not fresh and found != video:
                raise ValueError(
                    f"{video.path}: is another video than when the run began: {video.frames} "
                    f"frames then, {opened.count} now"
                )
            footage.append(opened)
            recorded.append(found)
        display.update("open", len(settings.videos), len(settings.videos), "videos")
        settings.videos, settings.left_out = recorded, [*settings.left_out, *self.left_out]
        if not footage:
            path, text = next(iter(self.left_out.items()))
            raise ValueError(
                f"none of the videos can be trained on, which takes {length} frames; "
                f"the first: {path}: {text.removeprefix(f'{path}: ')}"
            )
        self.frames = sum(each.count for each in footage)
        self._clips = Clips(footage, length, settings.gap, settings.seed)

    def clips(self, numbers: range, series: int = _TRAINING) -> Generator[Clip, None, None]:
        """Clips in the order of their numbers, read while others are in use; to be
        closed."""
        read = read_ahead(lambda number: self._clips.read(number, series), numbers, _READERS)
        with contextlib.closing(read) as clips:
            for clip in clips:
                for path, text in clip.skipped:
                    if str(path) not in self.unreadable:
                        self.unreadable[str(path)] = text
                        self._display.warn(
                            f"{path}: clips of it cannot be read (first: {text}); others are drawn"
                        )
                yield clip


class ClipsOfTau:
    """The clips that tau is chosen on, read anew whenever they are gone through: all of them
    would take more memory than training."""

    def __init__(self, data: Data, stop: Stop) -> None:
        self._data, self._stop = data, stop

    def __iter__(self) -> Iterator[list[NDArray[np.uint8]]]:
        with contextlib.closing(self._data.clips(range(_TAU_CLIPS), _CHOOSING)) as clips:
            for clip in clips:
                self._stop.check()
                yield clip.frames


class Waiting:
    """Counts the seconds that an iterator takes to give its next."""

    def __init__(self, inner: Iterator[Any]) -> None:
        self.seconds = 0.0
        self._inner = inner

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        start = time.perf_counter()
        try:
            return next(self._inner)
        finally:
            self.seconds += time.perf_counter() - start


def cached(
    folder: RunFolder,
    settings: Settings,
    trainer: Trainer,
    data: Data,
    display: Display,
    stop: Stop,
) -> FeatureCache:
    """The features of clips.  Stopped where the user stopped before they were made."""
    count = settings.cache_features or 0
    cache = FeatureCache(folder.features, count, trainer.feature_shape, settings.seed)
    if cache.open():
        return cache
    display.note(f"features of {count} clips: {mebibytes(cache.bytes)} in {cache.path}")

    def features() -> Iterator[NDArray[np.float32]]:
        with contextlib.closing(data.clips(range(count))) as clips:
            for clip in clips:
                stop.check()
                yield trainer.encode(clip.frames, clip.number)

    display.update("features", 0, count, "clips")
    cache.fill(features(), lambda done: display.update("features", done, count, "clips"))
    return cache
