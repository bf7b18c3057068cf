"""``covey segment``: frames read, results written, progress shown."""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import images
from ._method_arguments import check_mode, check_size, session_options
from ._options import Options
from .display import Display, mebibytes
from .model import Model
from .output import Output, knobs_as_text, unique_names
from .result import Result
from .session import Session
from .video import SourceFrame, Video

#: Pairs of frame and overlay on a sheet.
_SHEET_PAIRS = 8
#: Of the clustering, as results tell them.
_KNOBS = ("tau", "window", "key_stride", "key_pool", "query_pool", "key_budget")
#: Frames that the memory of a stream is estimated for at most: with more it is the same.
_LONG = 100_000


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
    #: The knobs of the clustering that were used, defaults filled in.
    knobs: dict[str, Any] = field(default_factory=dict)
    #: Masks of an earlier run that were in the way.
    removed: int = 0

    def add(self, result: Result) -> None:
        self.total_objects = result.total_objects
        self.total_clusters = result.total_clusters
        if not self.knobs:
            self.knobs = {name: getattr(result, name) for name in _KNOBS}
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


class _Forecast:
    """The most memory that the session may need, beside its limit."""

    def __init__(self, model: Model, options: Options, display: Display) -> None:
        self.limit = options.get("memory_limit")
        self.bytes: int | None = None
        self.warning: str | None = None
        self._model, self._options, self._display = model, options, display

    def make(self, frame: SourceFrame, count: int, endless: bool = False) -> None:
        """For ``count`` frames like this one, or a stream of them; warns, once."""
        height, width = frame.image.shape[:2]
        self.bytes = self._model.estimate_memory(width, height, count, **self._options).peak
        if self.limit is None or self.bytes <= self.limit or self.warning is not None:
            return
        self.warning = (
            f"{'a stream' if endless else count} {'' if endless else 'frames '}"
            f"of {width}x{height} may need up to {mebibytes(self.bytes)}, more "
            f"than --memory-limit allows, {mebibytes(self.limit)}"
        )
        self._display.warn(self.warning)


def _source_of(frame: SourceFrame, video: Video) -> str:
    return f"{video.path}: frame {frame.index}" if frame.path is None else str(frame.path)


class _Reader:
    """The frames of a source, each checked against the first one; counts them on
    the display and forecasts the memory they need."""

    def __init__(self, video: Video, display: Display, forecast: _Forecast, endless: bool) -> None:
        self.names: list[str] = []
        self._video, self._display, self._forecast = video, display, forecast
        self._stage = "segment" if endless else "encode"
        self._endless = endless

    def __iter__(self) -> Iterator[SourceFrame]:
        expected = self._video.frame_count
        first: SourceFrame | None = None
        for frame in self._video.frames():
            if first is None:
                # One frame is kept for its size, and for its name.
                first = frame
                if self._endless:
                    self._forecast.make(first, min(expected or _LONG, _LONG), endless=True)
                elif expected is not None:
                    self._forecast.make(first, expected)
                self._display.update(self._stage, 0, expected)
            (height, width), (rows, columns) = first.image.shape[:2], frame.image.shape[:2]
            if (rows, columns) != (height, width):
                raise ValueError(
                    f"{_source_of(frame, self._video)}: expected {width}x{height} like "
                    f"{_source_of(first, self._video)}, found {columns}x{rows}"
                )
            yield frame
            self.names.append(frame.name)
            # Containers misjudge how many frames they hold.
            count = len(self.names)
            self._display.update(
                self._stage, count, None if expected is None else max(expected, count)
            )
        count = len(self.names)
        self._display.update(self._stage, count, count)
        if first is not None and not self._endless and (expected is None or count > expected):
            self._forecast.make(first, count)


class _Sheet:
    """Pairs of frame and overlay, evenly spread over a video whose length need
    not be known: where there are too many, every other one goes."""

    def __init__(self) -> None:
        self._kept: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
        self._step = 1

    def offer(self, index: int, image: NDArray[np.uint8], blended: NDArray[np.uint8]) -> None:
        if index % self._step:
            return
        self._kept.append((image, blended))
        if len(self._kept) == 2 * _SHEET_PAIRS:
            self._kept = self._kept[::2]
            self._step *= 2

    def pairs(self) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        last = len(self._kept) - 1
        chosen = {round(place * last / (_SHEET_PAIRS - 1)) for place in range(_SHEET_PAIRS)}
        return [self._kept[place] for place in sorted(chosen)] if self._kept else []


class _Writer:
    """Results to files, as they come."""

    def __init__(self, output: Output, stack: contextlib.ExitStack, rate: float) -> None:
        self.summary = _Summary()
        self.written = {"masks": str(output.masks)}
        #: Whether the frames' pixels are needed beside their results.
        self.wants_pixels = output.overlay is not None or output.sheet is not None
        self._output = output
        self._sheet = None if output.sheet is None else _Sheet()
        self._film: images.VideoWriter | None = None
        self._stack, self._rate = stack, rate

    def write(self, result: Result, name: str, frame: SourceFrame | None) -> None:
        bits = images.write_labels(self._output.mask(name), result.labels)
        self.summary.wide |= bits == 16
        self.summary.add(result)
        if frame is None:
            return
        blended = images.overlay(frame.image, result.labels)
        if self._output.overlay is not None:
            if self._film is None:
                # Not before: a run that fails leaves the film of an earlier one.
                self.written["overlay"] = str(self._output.overlay)
                writer = images.VideoWriter(self._output.overlay, self._rate)
                self._film = self._stack.enter_context(writer)
            self._film.write(blended)
        if self._sheet is not None:
            self._sheet.offer(result.index, frame.image, blended)

    def remove_others(self, names: list[str]) -> int:
        return self._output.remove_others(names)

    def close(self) -> None:
        """Writes the sheet."""
        if self._sheet is not None and self._output.sheet is not None:
            self.written["sheet"] = str(self._output.sheet)
            images.write_image(self._output.sheet, images.contact_sheet(self._sheet.pairs()))


@dataclass
class _Times:
    """Seconds; encode and cluster are None for a stream, which does both by turns."""

    computing: float = 0.0
    encode: float | None = None
    cluster: float | None = None


def _segment_whole(
    session: Session, reader: _Reader, video: Video, writer: _Writer, display: Display
) -> _Times:
    """Everything is pushed, then everything is written."""
    start = time.perf_counter()
    for frame in reader:
        session.push(frame.image, frame.index)
    encoded = time.perf_counter()
    session.finish()
    finished = time.perf_counter()
    names = unique_names(reader.names)
    writer.summary.removed = writer.remove_others(names)
    with contextlib.closing(video.frames()) as frames:
        for result in session.results():
            # Read a second time: keeping frames would take more memory than
            # everything else.
            frame = next(frames, None) if writer.wants_pixels else None
            if writer.wants_pixels and frame is None:
                raise ValueError(f"{video.path}: fewer frames than when it was read first")
            writer.write(result, names[result.index], frame)
            display.update("write", result.index + 1, len(names))
    return _Times(finished - start, encoded - start, finished - encoded)


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
            times.computing -= time.perf_counter() - begun

    start = time.perf_counter()
    for count, frame in enumerate(reader):
        session.push(frame.image, frame.index)
        name = f"{count:05d}" if numbered else frame.name
        waiting.append((name, frame if writer.wants_pixels else None))
        write()
    session.finish()
    write()
    times.computing += time.perf_counter() - start
    names = unique_names(reader.names) if numbered else reader.names
    writer.summary.removed = writer.remove_others(names)
    return times


def segment(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0, or raises."""
    start = time.perf_counter()
    output = Output(arguments.output, arguments.overlay, arguments.sheet)
    video = Video(arguments.source, arguments.max_frames, arguments.every)
    output.check(video)
    check_mode(arguments)
    with Model(arguments.model) as model, Display(arguments.json) as display:
        options = session_options(arguments)
        options["output"] = "clusters" if arguments.clusters else "objects"
        check_size(arguments, model)
        forecast = _Forecast(model, options, display)
        # The fractions of a stream are of one push: frames tell more.
        progress = None if arguments.stream else display.stage
        with (
            model.session(**{**options, "progress": progress}) as session,
            contextlib.ExitStack() as stack,
        ):
            # Before the work: what cannot be written need not be computed.
            output.create()
            reader = _Reader(video, display, forecast, arguments.stream)
            writer = _Writer(output, stack, video.fps or 25.0)
            if arguments.stream:
                times = _segment_stream(session, reader, video, writer)
            else:
                times = _segment_whole(session, reader, video, writer, display)
            writer.close()
            memory = session.memory
        name = model.info.name
    summary = writer.summary
    _report(
        arguments,
        summary,
        writer.written,
        {
            "source": str(video.path),
            "model": name,
            "frames": len(reader.names),
            "objects": summary.total_objects,
            "clusters": summary.total_clusters,
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
            "seconds_per_frame": times.computing / len(reader.names),
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
    kind = f"{figures['mode']} mode{', streaming' if figures['streaming'] else ''}"
    asked = {name: value for name, value in figures["clustering"].items() if value is not None}
    print(f"{kind}: {knobs_as_text({**summary.knobs, **asked})}")
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
