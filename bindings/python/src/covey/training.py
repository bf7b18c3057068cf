"""``covey train``: videos read, steps made, checkpoints and a model written."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import signal
import threading
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict
from types import FrameType
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from . import training_settings
from ._arguments import UsageError
from ._method_arguments import check_size
from .choosing_tau import LARGEST, Choice, choose_tau
from .clips import Clip, Clips, Footage, read_ahead, reason
from .display import Display, duration, mebibytes
from .feature_cache import FeatureCache
from .machine import peak_memory, usable_cores
from .model import Model
from .run_folder import RunFolder, RunLog, TensorBoard, plot_losses, summary_writer
from .terminal import say
from .trainer import Trainer
from .training_settings import Recorded, Settings

#: Threads that read clips.
_READERS = 2
#: Clips, never trained on as such, that tau is chosen on.
_TAU_CLIPS = 16
#: Series of clips: to train on, and to choose tau on.
_TRAINING, _CHOOSING = 0, 1
#: As a shell shows a command that Ctrl-C ended.
_INTERRUPTED = 130


class _Stopped(Exception):
    """Out of the middle of what has no use when it is not whole."""


class _Stop:
    """Ctrl-C and SIGTERM: the first is noted, the second interrupts."""

    def __init__(self, display: Display) -> None:
        self.asked = False
        self._display = display
        self._handlers: dict[int, Any] = {}

    def check(self) -> None:
        """Raises _Stopped where it was asked for."""
        if self.asked:
            raise _Stopped

    def _called(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        # In the middle of another line none can be begun.
        with contextlib.suppress(RuntimeError):
            self._display.note("stopping after this step; once more: at once")

    def __enter__(self) -> _Stop:
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGINT, signal.SIGTERM):
                self._handlers[each] = signal.signal(each, self._called)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)


class _Data:
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


class _ClipsOfTau:
    """The clips that tau is chosen on, read anew whenever they are gone through: all of them
    would take more memory than training."""

    def __init__(self, data: _Data, stop: _Stop) -> None:
        self._data, self._stop = data, stop

    def __iter__(self) -> Iterator[list[NDArray[np.uint8]]]:
        with contextlib.closing(self._data.clips(range(_TAU_CLIPS), _CHOOSING)) as clips:
            for clip in clips:
                self._stop.check()
                yield clip.frames


class _Waiting:
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


def _cached(
    folder: RunFolder,
    settings: Settings,
    trainer: Trainer,
    data: _Data,
    display: Display,
    stop: _Stop,
) -> FeatureCache:
    """The features of clips.  _Stopped where the user stopped before they were made."""
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


def _steps(
    folder: RunFolder,
    settings: Settings,
    trainer: Trainer,
    data: _Data,
    cache: FeatureCache | None,
    log: RunLog,
    board: TensorBoard | None,
    display: Display,
    stop: _Stop,
) -> None:
    """The steps that are left, with checkpoints in between and one at the end."""
    each, made = trainer.info.clips_per_step, trainer.step_count
    numbers = range(made * each, settings.steps * each)
    with contextlib.ExitStack() as stack:
        if cache is None:
            clips = stack.enter_context(contextlib.closing(data.clips(numbers)))
            waiting = _Waiting(clip.frames for clip in clips)
        else:
            waiting = _Waiting(cache.clip(number) for number in numbers)
        display.update("train", made, settings.steps, "steps")
        start, waited = time.perf_counter(), 0.0
        for metrics in trainer.train(waiting, len(numbers) // each):
            now = time.perf_counter()
            row = {
                **asdict(metrics),
                "seconds": round(now - start, 4),
                "waited": round(waiting.seconds - waited, 4),
            }
            start, waited = now, waiting.seconds
            log.append(row)
            if board is not None:
                board.append(row)
            display.update(
                "train",
                metrics.step,
                settings.steps,
                f"semantic {metrics.semantic_loss:.3f}, motion {metrics.motion_loss:.3f}",
            )
            if stop.asked:
                break
            if metrics.step % settings.checkpoint_every == 0 and metrics.step < settings.steps:
                _checkpoint(folder, trainer, log, display)
                start = time.perf_counter()
    _checkpoint(folder, trainer, log, display)


def _checkpoint(folder: RunFolder, trainer: Trainer, log: RunLog, display: Display) -> None:
    log.sync()
    trainer.save(folder.checkpoint)
    try:
        plot_losses(folder.plot, log.rows)
    except Exception as error:
        # Hours of training do not end for a picture.
        display.warn(f"{folder.plot}: {reason(error)}")


def _written(
    settings: Settings,
    model: Model,
    trainer: Trainer,
    data: _Data,
    display: Display,
    stop: _Stop,
    threads: int | None,
) -> tuple[float, Choice | None]:
    """Writes the model; returns its tau, and how that was chosen.  _Stopped where the user
    stopped before that was."""
    choice = None
    tau = 0.0 if isinstance(settings.tau, str) else settings.tau
    if settings.tau == "auto":
        height, width = settings.working_size or (None, None)
        tries = 0

        def tried(tau: float, clusters: float) -> None:
            nonlocal tries
            tries += 1
            stop.check()
            display.update("tau", tries, None, f"tries; {tau:.3g}: {clusters:.1f} clusters")

        display.update("tau", 0, None, "tries")
        choice = choose_tau(
            model,
            trainer.export,
            _ClipsOfTau(data, stop),
            tried,
            working_height=height,
            working_width=width,
            threads=threads,
        )
        tau = choice.tau
        display.update("tau", tries, tries, f"tries; {tau:.3g}: {choice.clusters:.1f} clusters")
    dtype = settings.dtype or model.info.dtype.name.lower()
    with trainer.export(tau) as adapted:
        adapted.save(settings.output, cast(Literal["f32", "f16", "q8"], dtype))
        return adapted.info.tau, choice


def train(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0, 130 where it was stopped, or raises."""
    fresh = arguments.resume is None
    folder, settings = (
        training_settings.new(arguments) if fresh else training_settings.resumed(arguments)
    )
    threads = arguments.threads or min(usable_cores(), 256)
    again = f"covey train --resume {shlex.quote(os.path.relpath(folder.path))}"
    start = time.perf_counter()
    tau, choice, board = None, None, None
    with contextlib.ExitStack() as stack:
        if not fresh:
            stack.enter_context(folder.taken())
        model = stack.enter_context(Model(settings.model))
        display = stack.enter_context(Display(arguments.json))
        check_size(settings.working_size, model)
        tau_before = model.info.tau
        options = settings.options(threads, arguments.memory_limit)
        trainer = stack.enter_context(Trainer(model, **options))
        if settings.tensorboard:
            summary_writer()
        data = _Data(settings, trainer.info.clip_frames, fresh, display)
        if fresh:
            stack.enter_context(folder.taken())
            folder.begin(settings.recorded())
            # What cannot be written need not be computed.
            trainer.save(folder.checkpoint)
        else:
            trainer.restore(folder.checkpoint)
            if settings.steps < trainer.step_count:
                raise UsageError(
                    f"argument --steps: {trainer.step_count} are made already, "
                    f"found {settings.steps}"
                )
            folder.write_settings(settings.recorded())
        first = trainer.step_count
        log = stack.enter_context(RunLog(folder.log, first))
        if settings.tensorboard:
            board = stack.enter_context(TensorBoard(folder.tensorboard, first))
        stop = stack.enter_context(_Stop(display))
        try:
            cache = None
            if settings.cache_features and first < settings.steps:
                cache = _cached(folder, settings, trainer, data, display, stop)
            if first < settings.steps:
                _steps(folder, settings, trainer, data, cache, log, board, display, stop)
            stop.check()
            tau, choice = _written(
                settings, model, trainer, data, display, stop, threads
            )
            done = True
        except _Stopped:
            done = False
        except BaseException:
            # With --json too.
            say(f"covey: the last checkpoint is kept; to go on: {again}", error=True)
            raise
        made, memory = trainer.step_count, trainer.info.memory_peak
        losses = _ends(log.rows)
        warnings = doubts(losses, len(log.rows), choice, tau_before) if done else []
        for text in warnings:
            display.warn(text)
    _report(
        arguments,
        {
            "output": settings.output if done else None,
            "run": str(folder.path),
            "done": done,
            "resume": None if done else again,
            "steps": made,
            "total_steps": settings.steps,
            "steps_made_now": made - first,
            "videos": len(settings.videos),
            "frames": data.frames,
            "left_out": _told(data.left_out),
            "partly_unreadable": _told(data.unreadable),
            "losses": losses,
            "warnings": warnings,
            "seconds_per_step": _median(log.rows[-(made - first) :] if made > first else []),
            "tau": tau,
            "tau_before": tau_before,
            "clusters_per_clip": None if choice is None else choice.clusters,
            "clusters_per_clip_before": None if choice is None else choice.clusters_before,
            "seconds": time.perf_counter() - start,
            "trainer_peak_bytes": memory,
            "process_peak_bytes": peak_memory(),
        },
    )
    return 0 if done else _INTERRUPTED


def doubts(
    losses: dict[str, list[float]] | None, steps: int, choice: Choice | None, tau_before: float
) -> list[str]:
    """What tells that the written model may be of no use."""
    found = []
    for name, (first, last) in (losses or {}).items():
        # A mean over few steps is anything.
        if last > first and steps >= 100:
            found.append(
                f"the {name} loss ended higher than it began: {first:.3f} at first, "
                f"{last:.3f} at last; a lower --learning-rate, or more steps, may help"
            )
    if choice is not None:
        ratio = choice.tau / tau_before
        if not 0.01 <= ratio <= 100 or choice.tau >= LARGEST:
            found.append(
                f"tau went from {tau_before:.3g} to {choice.tau:.3g}: look at what the model finds "
                "before you use it"
            )
    return found


def _told(reasons: dict[str, str]) -> list[dict[str, str]]:
    return [{"path": path, "reason": text} for path, text in reasons.items()]


def _ends(rows: list[dict[str, Any]]) -> dict[str, list[float]] | None:
    """Of each loss the mean over the first and over the last tenth of the run."""
    if not rows:
        return None
    tenth = max(1, len(rows) // 10)
    return {
        name: [
            float(np.mean([row[f"{name}_loss"] for row in part]))
            for part in (rows[:tenth], rows[-tenth:])
        ]
        for name in ("semantic", "motion")
    }


def _median(rows: list[dict[str, Any]]) -> float | None:
    return float(np.median([row["seconds"] for row in rows])) if rows else None


def _report(arguments: argparse.Namespace, figures: dict[str, Any]) -> None:
    if arguments.json:
        say(json.dumps(figures, ensure_ascii=False))
        return
    speed = figures["seconds_per_step"]
    say(
        f"{figures['steps']} of {figures['total_steps']} steps"
        + ("" if speed is None else f", {speed:.2f} s a step")
        + f", {duration(figures['seconds'])} in all; {figures['videos']} videos, "
        f"{figures['frames']} frames"
    )
    for name, (first, last) in (figures["losses"] or {}).items():
        say(f"{name} loss: {first:.3f} at first, {last:.3f} at last")
    say(
        f"peak memory: trainer {mebibytes(figures['trainer_peak_bytes'])}, "
        f"process {mebibytes(figures['process_peak_bytes'])}"
    )
    say(f"run: {figures['run']}")
    if not figures["done"]:
        say(f"stopped; to go on: {figures['resume']}")
        return
    now = f"tau: {figures['tau']:.4g}, before training {figures['tau_before']:.4g}"
    if figures["clusters_per_clip"] is not None:
        now += (
            f": {figures['clusters_per_clip']:.1f} clusters a clip, "
            f"before {figures['clusters_per_clip_before']:.1f}"
        )
    say(now)
    say(f"model: {figures['output']}")
