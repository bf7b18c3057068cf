"""``covey segment``: frames read, results written, progress shown."""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from . import images
from ._abi import Stage
from ._options import Options
from .model import Model
from .output import Output, unique_names
from .result import Result
from .session import Session
from .video import SourceFrame, Video

#: Pairs of frame and overlay on a sheet.
_SHEET_PAIRS = 8


class UsageError(ValueError):
    """An argument that only the model shows to be wrong."""


@dataclass
class _Track:
    """One id over the video."""

    id: int
    first_frame: int
    frames: int = 0
    area: int = 0
    confidence: float = 0.0
    objectness: float = 0.0


@dataclass
class _Summary:
    tracks: dict[int, _Track] = field(default_factory=dict)
    total_objects: int = 0
    total_clusters: int = 0
    wide: bool = False
    #: Masks of an earlier run that were in the way.
    removed: int = 0

    def add(self, result: Result) -> None:
        self.total_objects = result.total_objects
        self.total_clusters = result.total_clusters
        for found in result.objects:
            track = self.tracks.setdefault(found.id, _Track(found.id, found.first_frame))
            track.frames += 1
            track.area += found.area
            track.confidence += found.confidence
            track.objectness = found.objectness

    def objects(self) -> list[dict[str, Any]]:
        return [
            {
                "id": track.id,
                "first_frame": track.first_frame,
                "frames": track.frames,
                "mean_area": track.area / track.frames,
                "mean_confidence": track.confidence / track.frames,
                "objectness": track.objectness,
            }
            for _, track in sorted(self.tracks.items())
        ]


def duration(seconds: float) -> str:
    """ "25 s", "3 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def mebibytes(count: int) -> str:
    """ "1.5 MiB"."""
    return f"{count / 2**20:.1f} MiB"


class _Display:
    """Progress and warnings on standard error; silent with --json, no progress
    without rich."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}
        if silent:
            return
        try:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                ProgressColumn,
                Task,
                TextColumn,
            )
            from rich.table import Column
            from rich.text import Text
        except ImportError:
            return

        class Time(ProgressColumn):
            """What is left of a stage; of one that is done, what it took."""

            # Seconds: a figure that flickers cannot be read.
            max_refresh = 0.5

            def render(self, task: Task) -> Text:
                if task.finished:
                    return Text(f"took {duration(task.finished_time or 0)}")
                left = task.time_remaining
                return Text("" if left is None else f"{duration(left)} left")

        self._progress = Progress(
            TextColumn("{task.description:8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]:6}"),
            Time(table_column=Column(no_wrap=True)),
            console=Console(stderr=True),
        )

    def update(self, name: str, done: float, total: float | None, unit: str = "frames") -> None:
        if self._progress is None:
            return
        if not self._tasks:
            # Not before: a failure to read is a line by itself.
            self._progress.start()
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, unit=unit)
        self._progress.update(self._tasks[name], completed=done, total=total)

    def stage(self, stage: Stage | int, fraction: float) -> None:
        """The progress function of the session: finish() only, push() is
        counted in frames."""
        if isinstance(stage, Stage) and stage is not Stage.ENCODE:
            self.update(stage.name.lower(), round(100 * fraction), 100, "%")

    def warn(self, text: str) -> None:
        """One line above the progress."""
        if self._silent:
            return
        if self._tasks:
            self._progress.console.print(
                f"covey: warning: {text}", markup=False, highlight=False, soft_wrap=True
            )
        else:
            print(f"covey: warning: {text}", file=sys.stderr)

    def __enter__(self) -> _Display:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tasks:
            self._progress.stop()


def _options(arguments: argparse.Namespace) -> Options:
    options: Options = {"output": "clusters" if arguments.clusters else "objects"}
    if arguments.working_size:
        options["working_height"], options["working_width"] = arguments.working_size
    for name in (
        "tau",
        "window",
        "key_stride",
        "key_pool",
        "key_rounding",
        "affinity",
        "max_objects",
        "min_area",
        "threads",
        "memory_limit",
    ):
        value = getattr(arguments, name)
        if value is not None:
            options[name] = value
    return options


class _Forecast:
    """The most memory that the session may need, beside its limit."""

    def __init__(self, model: Model, options: Options, display: _Display) -> None:
        self.limit = options.get("memory_limit")
        self.bytes: int | None = None
        self.warning: str | None = None
        self._model, self._options, self._display = model, options, display

    def make(self, frame: SourceFrame, count: int) -> None:
        """For ``count`` frames like this one; warns, once."""
        height, width = frame.image.shape[:2]
        self.bytes = self._model.estimate_memory(width, height, count, **self._options).peak
        if self.limit is None or self.bytes <= self.limit or self.warning is not None:
            return
        self.warning = (
            f"{count} frames of {width}x{height} may need up to {mebibytes(self.bytes)}, more "
            f"than --memory-limit allows, {mebibytes(self.limit)}"
        )
        self._display.warn(self.warning)


def _source_of(frame: SourceFrame, video: Video) -> str:
    return f"{video.path}: frame {frame.index}" if frame.path is None else str(frame.path)


def _push_all(session: Session, video: Video, display: _Display, forecast: _Forecast) -> list[str]:
    """The names of the frames, in order."""
    expected = video.frame_count
    names: list[str] = []
    first: SourceFrame | None = None
    for frame in video.frames():
        if first is None:
            # One frame is kept for its size, and for its name.
            first = frame
            if expected is not None:
                forecast.make(frame, expected)
            display.update("encode", 0, expected)
        (height, width), (rows, columns) = first.image.shape[:2], frame.image.shape[:2]
        if (rows, columns) != (height, width):
            raise ValueError(
                f"{_source_of(frame, video)}: expected {width}x{height} like "
                f"{_source_of(first, video)}, found {columns}x{rows}"
            )
        session.push(frame.image, frame.index)
        names.append(frame.name)
        # Containers misjudge how many frames they hold.
        display.update(
            "encode", len(names), None if expected is None else max(expected, len(names))
        )
    display.update("encode", len(names), len(names))
    if first is not None and (expected is None or len(names) > expected):
        forecast.make(first, len(names))
    return unique_names(names)


def _paired(
    session: Session, video: Video, pixels: bool
) -> Iterator[tuple[Result, SourceFrame | None]]:
    """Results beside their frames, which are read a second time: keeping them
    would take more memory than everything else."""
    if not pixels:
        for result in session.results():
            yield result, None
        return
    with contextlib.closing(video.frames()) as frames:
        for result, frame in zip(session.results(), frames, strict=True):
            yield result, frame


def _write(
    output: Output, session: Session, video: Video, names: list[str], display: _Display
) -> tuple[_Summary, dict[str, str]]:
    written = {"masks": str(output.masks)}
    summary = _Summary(removed=output.remove_others(names))
    count = len(names)
    shown = {round(index * (count - 1) / max(1, _SHEET_PAIRS - 1)) for index in range(_SHEET_PAIRS)}
    pairs = []
    with contextlib.ExitStack() as stack:
        film = None
        if output.overlay is not None:
            written["overlay"] = str(output.overlay)
            film = stack.enter_context(images.VideoWriter(output.overlay, video.fps or 25.0))
        wanted = output.overlay is not None or output.sheet is not None
        for result, frame in _paired(session, video, wanted):
            bits = images.write_labels(output.mask(names[result.index]), result.labels)
            summary.wide |= bits == 16
            summary.add(result)
            if frame is not None:
                blended = images.overlay(frame.image, result.labels)
                if film is not None:
                    film.write(blended)
                if output.sheet is not None and result.index in shown:
                    pairs.append((frame.image, blended))
            display.update("write", result.index + 1, count)
    if output.sheet is not None and pairs:
        written["sheet"] = str(output.sheet)
        images.write_image(output.sheet, images.contact_sheet(pairs))
    return summary, written


def _check_size(arguments: argparse.Namespace, model: Model) -> None:
    height, width = arguments.working_size or (0, 0)
    patch = model.info.patch_size
    if height % patch or width % patch:
        raise UsageError(
            f"argument --working-size: expected multiples of the model's patch size, {patch}, "
            f"found {height}x{width}"
        )


def segment(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0, or raises."""
    start = time.perf_counter()
    output = Output(arguments.output, arguments.overlay, arguments.sheet)
    video = Video(arguments.source, arguments.max_frames, arguments.every)
    output.check(video)
    with Model(arguments.model) as model, _Display(arguments.json) as display:
        options = _options(arguments)
        _check_size(arguments, model)
        forecast = _Forecast(model, options, display)
        with model.session(**{**options, "progress": display.stage}) as session:
            # Before the work: what cannot be written need not be computed.
            output.create()
            names = _push_all(session, video, display, forecast)
            encoded = time.perf_counter()
            session.finish()
            finished = time.perf_counter()
            summary, written = _write(output, session, video, names, display)
            memory = session.memory
        name = model.info.name
    _report(
        arguments,
        summary,
        written,
        {
            "source": str(video.path),
            "model": name,
            "frames": len(names),
            "objects": summary.total_objects,
            "clusters": summary.total_clusters,
            "seconds": time.perf_counter() - start,
            "seconds_encode": encoded - start,
            "seconds_cluster": finished - encoded,
            "seconds_per_frame": (finished - start) / len(names),
            "estimated_peak_bytes": forecast.bytes,
            "memory_limit_bytes": forecast.limit,
            "session_peak_bytes": memory.peak,
            # ru_maxrss is in KiB on Linux.
            "process_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "masks_removed": summary.removed,
            "warnings": [] if forecast.warning is None else [forecast.warning],
        },
    )
    return 0


def _report(
    arguments: argparse.Namespace,
    summary: _Summary,
    written: dict[str, str],
    figures: dict[str, Any],
) -> None:
    bits = 16 if summary.wide else 8
    if arguments.json:
        print(
            json.dumps(
                {**figures, "tracks": summary.objects(), "mask_bits": bits, "output": written},
                ensure_ascii=False,
            )
        )
        return
    kind = "clusters" if arguments.clusters else "objects"
    print(
        f"{figures['frames']} frames, {figures[kind]} {kind}, "
        f"{figures['seconds_per_frame']:.3f} s a frame, {figures['seconds']:.1f} s in all"
    )
    print(
        f"peak memory: session {mebibytes(figures['session_peak_bytes'])}, "
        f"process {mebibytes(figures['process_peak_bytes'])}"
    )
    if summary.removed:
        print(f"removed {summary.removed} masks of an earlier run")
    for what, where in written.items():
        print(f"{what}: {where}")
    if summary.wide:
        print("ids beyond 255: masks are 16-bit gray where they have one", file=sys.stderr)
