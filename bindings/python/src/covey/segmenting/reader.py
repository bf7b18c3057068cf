"""The frames of a run, each checked against the first."""

from __future__ import annotations

from collections.abc import Iterator

from ..reading.video import SourceFrame, Video
from ..system.display import Display
from .forecast import Forecast

#: Frames that the memory of a stream is estimated for at most: with more it is the same.
_LONG = 100_000


def _source_of(frame: SourceFrame, video: Video) -> str:
    return f"{video.name}: frame {frame.index}" if frame.path is None else str(frame.path)


class Reader:
    """The frames of a source, each checked against the first one; counts them on
    the display and forecasts the memory they need."""

    def __init__(self, video: Video, display: Display, forecast: Forecast, endless: bool) -> None:
        self.names: list[str] = []
        #: Of the pictures; of a film as names.
        self.files: list[str] = []
        self._video, self._display, self._forecast = video, display, forecast
        self._stage = "segment" if endless else "encode"
        self._endless = endless

    def __iter__(self) -> Iterator[SourceFrame]:
        expected = self._video.frame_count
        first, size = "", (0, 0)
        for frame in self._video.frames():
            rows, columns = frame.image.shape[:2]
            if not first:
                first, size = _source_of(frame, self._video), (rows, columns)
                if self._endless:
                    self._forecast.make(size, min(expected or _LONG, _LONG), endless=True)
                elif expected is not None:
                    self._forecast.make(size, expected)
                self._display.update(self._stage, 0, expected)
            if (rows, columns) != size:
                raise ValueError(
                    f"{_source_of(frame, self._video)}: expected {size[1]}x{size[0]} like "
                    f"{first}, found {columns}x{rows}; --resize makes it so"
                )
            self.names.append(frame.name)
            self.files.append(frame.name if frame.path is None else frame.path.name)
            yield frame
            # Containers misjudge how many frames they hold.
            count = len(self.names)
            self._display.update(
                self._stage, count, None if expected is None else max(expected, count)
            )
        count = len(self.names)
        self._display.update(self._stage, count, count)
        if self._video.cut_short:
            self._display.warn(f"{self._video.name}: {self._video.cut_short}; cut off, or damaged?")
        if first and not self._endless and (expected is None or count > expected):
            self._forecast.make(size, count)
