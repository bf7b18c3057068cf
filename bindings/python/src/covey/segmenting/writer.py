"""The results of a run, to all files that are wanted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..interface.result import Result
from ..reading.video import SourceFrame, Video
from ..writing.report import Report
from ..writing.sinks import Arrays, Coco, Film, Masks, Sheet, Sink, YoutubeVis
from ..writing.whole_files import naming
from .output import Output
from .reader import Reader
from .run_result import remove_made
from .summary import Summary


class Writer:
    """Results to the sinks and the summary, as they come.  Before the first, all masks of an
    earlier run go: what a run leaves that is broken off is its own."""

    def __init__(self, output: Output, sinks: list[Sink]) -> None:
        self.summary = Summary()
        #: Whether the frames' pixels are needed beside their results.
        self.wants_pixels = any(each.wants_pixels for each in sinks)
        self._output, self._sinks = output, sinks
        self._earlier: set[str] | None = None

    def write(self, result: Result, name: str, frame: SourceFrame | None) -> None:
        if self._earlier is None:
            remove_made(self._output.folder)
            self._earlier = self._output.remove_masks()
        self._earlier.discard(name)
        for sink in self._sinks:
            with naming(sink.path):
                sink.write(result, name, frame)
        self.summary.add(result)

    @property
    def removed(self) -> int:
        """Masks that were there and have no successor."""
        return len(self._earlier or ())


def sinks_of(output: Output, video: Video, reader: Reader) -> dict[str, Sink]:
    """By the kind of what they write."""
    makers: dict[str, Callable[[Path], Sink]] = {
        "overlay": lambda path: Film(
            path, video.fps or 25.0, video.path if video.fps is not None else None
        ),
        "sheet": Sheet,
        "coco": lambda path: Coco(path, video.name, reader.files),
        "ytvis": YoutubeVis,
        "npz": Arrays,
        "report": Report,
    }
    made: dict[str, Sink] = {"masks": Masks(output.masks)}
    return {**made, **{kind: makers[kind](path) for kind, path in output.files.items()}}
