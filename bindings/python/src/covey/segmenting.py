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
from pathlib import Path
from typing import Any

from . import images
from ._abi import Stage
from ._options import Options
from .model import Model
from .result import Result
from .session import Session
from .video import SourceFrame, Video

#: Pairs of frame and overlay on a sheet.
_SHEET_PAIRS = 8


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


class _Display:
    """Progress on standard error; silent with --json or without rich."""

    def __init__(self, silent: bool) -> None:
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
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
        except ImportError:
            return
        self._progress = Progress(
            TextColumn("{task.description:8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]:6}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
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
        "max_objects",
        "min_area",
        "threads",
        "memory_limit",
    ):
        value = getattr(arguments, name)
        if value is not None:
            options[name] = value
    return options


def _push_all(session: Session, video: Video, display: _Display) -> list[str]:
    """The names of the frames, in order."""
    expected = video.frame_count
    names: list[str] = []
    display.update("encode", 0, expected)
    for frame in video.frames():
        session.push(frame.image, frame.index)
        names.append(frame.name)
        # Containers misjudge how many frames they hold.
        display.update(
            "encode", len(names), None if expected is None else max(expected, len(names))
        )
    display.update("encode", len(names), len(names))
    if len(set(names)) != len(names):
        # a.jpg beside a.png: the masks would overwrite each other.
        names = [f"{index:05d}" for index in range(len(names))]
    return names


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
    arguments: argparse.Namespace,
    session: Session,
    video: Video,
    names: list[str],
    display: _Display,
) -> tuple[_Summary, dict[str, str]]:
    folder = Path(arguments.output)
    masks = folder / "masks"
    masks.mkdir(parents=True, exist_ok=True)
    written = {"masks": str(masks)}
    summary = _Summary()
    count = len(names)
    shown = {round(index * (count - 1) / max(1, _SHEET_PAIRS - 1)) for index in range(_SHEET_PAIRS)}
    pairs = []
    with contextlib.ExitStack() as stack:
        film = None
        if arguments.overlay:
            written["overlay"] = str(folder / "overlay.mp4")
            film = stack.enter_context(
                images.VideoWriter(folder / "overlay.mp4", video.fps or 25.0)
            )
        wanted = arguments.overlay or arguments.sheet
        for result, frame in _paired(session, video, wanted):
            bits = images.write_labels(masks / f"{names[result.index]}.png", result.labels)
            summary.wide |= bits == 16
            summary.add(result)
            if frame is not None:
                blended = images.overlay(frame.image, result.labels)
                if film is not None:
                    film.write(blended)
                if arguments.sheet and result.index in shown:
                    pairs.append((frame.image, blended))
            display.update("write", result.index + 1, count)
    if arguments.sheet and pairs:
        written["sheet"] = str(folder / "sheet.png")
        images.write_image(folder / "sheet.png", images.contact_sheet(pairs))
    return summary, written


def segment(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0, or raises."""
    start = time.perf_counter()
    folder = Path(arguments.output)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder}: not a folder")
    video = Video(arguments.source, arguments.max_frames, arguments.every)
    with Model(arguments.model) as model, _Display(arguments.json) as display:
        options = _options(arguments)
        options["progress"] = display.stage
        with model.session(**options) as session:
            names = _push_all(session, video, display)
            encoded = time.perf_counter()
            session.finish()
            finished = time.perf_counter()
            summary, written = _write(arguments, session, video, names, display)
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
            "session_peak_bytes": memory.peak,
            # ru_maxrss is in KiB on Linux.
            "process_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
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
        f"peak memory: session {figures['session_peak_bytes'] / 2**20:.1f} MiB, "
        f"process {figures['process_peak_bytes'] / 2**20:.1f} MiB"
    )
    for what, where in written.items():
        print(f"{what}: {where}")
    if summary.wide:
        print("ids beyond 255: masks are 16-bit gray where they have one", file=sys.stderr)
