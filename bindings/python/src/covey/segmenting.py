"""``covey segment``: frames read, results written, progress shown."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import __version__
from ._arguments import UsageError
from ._method_arguments import check_mode, check_size, check_wanted, session_options
from ._options import Options
from .display import Display, counted, mebibytes
from .machine import peak_memory, usable_memory
from .model import Model
from .output import KINDS, Output, knobs_as_text, unique_names
from .report import Report
from .result import Result
from .run_result import Made, differences, read_made, remove_made, settings_of, write_made
from .session import Session
from .sinks import Arrays, Coco, Film, Masks, Sheet, Sink, YoutubeVis
from .summary import Summary
from .terminal import say
from .video import SourceFrame, Video
from .whole_files import naming

#: Frames that the memory of a stream is estimated for at most: with more it is the same.
_LONG = 100_000


def _with_less(arguments: argparse.Namespace) -> str:
    """What takes less memory than the run of ``arguments``."""
    if arguments.stream:
        return "a smaller --working-size needs less"
    if arguments.mode == "reference" or arguments.target_clusters:
        return "--every N, which leaves frames out, needs less"
    return "--stream, or --every N, which leaves frames out, needs less"


class _Forecast:
    """The most memory that the session may need, beside its limit and what the machine has."""

    def __init__(
        self, model: Model, options: Options, display: Display, with_less: str
    ) -> None:
        self.limit = options.get("memory_limit")
        self.bytes: int | None = None
        self._model, self._options, self._display = model, options, display
        self._with_less, self._has_warned = with_less, False

    def make(self, size: tuple[int, int], count: int, endless: bool = False) -> None:
        """For ``count`` frames of this height and width, or a stream of them; warns, once."""
        height, width = size
        self.bytes = self._model.estimate_memory(width, height, count, **self._options).peak
        usable = usable_memory()
        if self.limit is not None and self.bytes > self.limit:
            bound = f"--memory-limit allows, {mebibytes(self.limit)}"
        elif self.limit is None and usable is not None and self.bytes > usable:
            bound = f"there is, {mebibytes(usable)}"
        else:
            return
        if not self._has_warned:
            self._has_warned = True
            self._display.warn(
                f"{'a stream' if endless else f'{count} frames'} of {width}x{height} may need up "
                f"to {mebibytes(self.bytes)}, more than {bound}; {self._with_less}"
            )


def _source_of(frame: SourceFrame, video: Video) -> str:
    return f"{video.name}: frame {frame.index}" if frame.path is None else str(frame.path)


class _Reader:
    """The frames of a source, each checked against the first one; counts them on
    the display and forecasts the memory they need."""

    def __init__(self, video: Video, display: Display, forecast: _Forecast, endless: bool) -> None:
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


class _Writer:
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


def _sinks_of(output: Output, video: Video, reader: _Reader) -> dict[str, Sink]:
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


@dataclass
class _Times:
    """Seconds; encode and cluster are None for a stream, which does both by turns."""

    computing: float = 0.0
    writing: float = 0.0
    encode: float | None = None
    cluster: float | None = None


def _segment_whole(
    session: Session, reader: _Reader, video: Video, writer: _Writer, display: Display
) -> _Times:
    """Everything is pushed, then everything is written."""
    start = time.perf_counter()
    for frame in reader:
        session.push(frame.image, frame.index)
    del frame
    encoded = time.perf_counter()
    session.finish()
    finished = time.perf_counter()
    names = unique_names(reader.names)
    with contextlib.closing(video.frames()) as frames:
        for result in session.results():
            # Read a second time: keeping frames would take more memory than
            # everything else.
            again = next(frames, None) if writer.wants_pixels else None
            if writer.wants_pixels and again is None:
                raise ValueError(f"{video.name}: fewer frames than when it was read first")
            writer.write(result, names[result.index], again)
            display.update("write", result.index + 1, len(names))
    writing = time.perf_counter() - finished
    return _Times(finished - start, writing, encoded - start, finished - encoded)


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """Ctrl-C waits for its end: a result is in all files, or in none."""
    if threading.current_thread() is not threading.main_thread():
        yield  # which alone is interrupted
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


def _segment_stream(session: Session, reader: _Reader, video: Video, writer: _Writer) -> _Times:
    """Results are written as they come; frames are kept until theirs has."""
    numbered = not video.has_unique_names
    waiting: deque[tuple[str, SourceFrame | None]] = deque()
    times = _Times()

    def write() -> None:
        for result in session.results():
            name, frame = waiting.popleft()
            begun = time.perf_counter()
            writer.write(result, name, frame)
            times.writing += time.perf_counter() - begun

    start = time.perf_counter()
    try:
        for count, frame in enumerate(reader):
            name = f"{count:05d}" if numbered else frame.name
            with _whole():
                waiting.append((name, frame if writer.wants_pixels else None))
                session.push(frame.image, frame.index)
                write()
    except KeyboardInterrupt:
        # How a camera is stopped.
        if not video.is_live or not (waiting or writer.summary.frames):
            raise
    session.finish()
    write()
    times.computing = time.perf_counter() - start - times.writing
    return times


def segment(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0, or raises."""
    check_wanted(arguments)
    output = Output(arguments.output, [kind for kind in KINDS if getattr(arguments, kind)])
    video = Video(
        arguments.source,
        arguments.max_frames,
        arguments.every,
        arguments.first,
        arguments.last,
        arguments.resize,
    )
    output.check(video)
    # What is read only once, and may have no end, is segmented as it comes.
    arguments.stream |= video.is_live
    check_mode(arguments)
    if video.is_live and arguments.resume:
        raise UsageError("argument --resume: not with a source that can be read only once")
    with output.taken():
        try:
            _segment(arguments, output, video)
        except MemoryError as error:
            raise MemoryError(f"{error or 'out of memory'}; {_with_less(arguments)}") from None
    return 0


def _segment(arguments: argparse.Namespace, output: Output, video: Video) -> None:
    """With the folder of the output to itself."""
    start = time.perf_counter()
    earlier = read_made(output.folder)
    settings = None if video.is_live else settings_of(arguments, arguments.source)
    if arguments.resume and earlier is not None:
        if earlier.settings == settings and earlier.is_complete(output.folder):
            if not arguments.json:
                say(f"{output.folder}: is whole, and of these settings; kept")
            _tell(arguments, output.folder, earlier.figures)
            return
    began = time.time()
    with Model(arguments.model) as model, Display(arguments.json) as display:
        if arguments.resume and earlier is not None and settings is not None:
            why = differences(earlier.settings, settings) or "files are missing"
            display.note(f"{output.folder}: {why}; begun anew")
        options = session_options(arguments)
        options["output"] = (
            "clusters" if arguments.clusters else "kinds" if arguments.kinds else "objects"
        )
        check_size(arguments.working_size, model)
        forecast = _Forecast(model, options, display, _with_less(arguments))
        # The fractions of a stream are of one push: frames tell more.
        progress = None if arguments.stream else display.stage
        with (
            model.session(**{**options, "progress": progress}) as session,
            contextlib.ExitStack() as stack,
        ):
            # Before the work: what cannot be written need not be computed.
            output.try_out()
            reader = _Reader(video, display, forecast, arguments.stream)
            by_kind = _sinks_of(output, video, reader)
            writer = _Writer(output, [stack.enter_context(each) for each in by_kind.values()])
            if arguments.stream:
                times = _segment_stream(session, reader, video, writer)
            else:
                times = _segment_whole(session, reader, video, writer, display)
            memory = session.memory
        name = model.info.name
    summary = writer.summary
    figures = {
        "source": video.name,
        "model": name,
        "frames": summary.frames,
        "objects": summary.total_objects,
        "clusters": summary.total_clusters,
        "shots": summary.shots,
        "mode": arguments.mode or "edge",
        "streaming": arguments.stream,
        "clustering": {
            **summary.knobs,
            "target_clusters": arguments.target_clusters,
            "max_clusters": arguments.max_clusters,
            "bank_clusters": arguments.bank_clusters,
        },
        "seconds": time.perf_counter() - start,
        "seconds_encode": times.encode,
        "seconds_cluster": times.cluster,
        "seconds_write": times.writing,
        "seconds_per_frame": times.computing / summary.frames,
        "estimated_peak_bytes": forecast.bytes,
        "memory_limit_bytes": forecast.limit,
        "session_peak_bytes": memory.peak,
        "process_peak_bytes": peak_memory(),
        "masks_removed": writer.removed,
        "warnings": display.warnings,
    }
    report = by_kind.get("report")
    if isinstance(report, Report):
        report.write_report(figures, summary.objects())
    masks = by_kind["masks"]
    figures |= {
        "tracks": summary.objects(),
        "mask_bits": 16 if isinstance(masks, Masks) and masks.wide else 8,
        "output": {
            kind: str(each.path.relative_to(output.folder)) for kind, each in by_kind.items()
        },
    }
    if settings is not None:
        worker = f"{socket.gethostname()}-{os.getpid()}"
        made = Made(__version__, worker, began, time.time() - began, settings, figures)
        write_made(output.folder, made, [each.path for each in by_kind.values()])
    _tell(arguments, output.folder, figures)


def _tell(arguments: argparse.Namespace, folder: Path, figures: dict[str, Any]) -> None:
    """``figures``: with their paths relative to ``folder``."""
    written = {kind: str(folder / name) for kind, name in figures["output"].items()}
    if arguments.json:
        say(json.dumps({**figures, "output": written}, ensure_ascii=False))
        return
    kind = "cluster" if arguments.clusters else "object"
    # Not in results of before it was told.
    writing = figures.get("seconds_write")
    say(
        f"{counted(figures['frames'], 'frame')}, {counted(figures[f'{kind}s'], kind)}, "
        f"{figures['seconds_per_frame']:.3f} s a frame"
        + ("" if writing is None else f" and {writing / figures['frames']:.3f} s to write it")
        + f", {figures['seconds']:.1f} s in all"
    )
    if not arguments.clusters and figures["objects"] == 0:
        say(
            "nothing moves by itself or stands out enough to be an object: "
            "--least-objectness 0.1 finds more, --clusters shows all there is"
        )
    if figures["shots"] > 1:
        say(f"{figures['shots']} shots, each with ids of its own (--keep-shots: as one)")
    kind = f"{figures['mode']} mode{', streaming' if figures['streaming'] else ''}"
    # None: not asked for; of this one: no bound.
    knobs = {
        name: value
        for name, value in figures["clustering"].items()
        if value is not None or name == "key_budget"
    }
    say(f"{kind}: {knobs_as_text(knobs)}")
    say(
        f"peak memory: session {mebibytes(figures['session_peak_bytes'])}, "
        f"process {mebibytes(figures['process_peak_bytes'])}"
    )
    if figures["masks_removed"]:
        say(f"removed {counted(figures['masks_removed'], 'mask')} of an earlier run")
    for what, where in written.items():
        say(f"{what}: {where}")
    others = [name for kind, name in KINDS.items() if kind not in written]
    if left := [name for name in others if (folder / name).exists()]:
        say(f"of an earlier run, not this one: {', '.join(left)}")
    if figures["mask_bits"] > 8:
        say("ids beyond 255: masks are 16-bit gray where they have one", error=True)
