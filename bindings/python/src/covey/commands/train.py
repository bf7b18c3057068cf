"""``covey train``: videos read, steps made, checkpoints and a model written."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import time
from typing import Any

import numpy as np

from ..arguments.method import check_size
from ..arguments.values import (
    UsageError,
    above_zero,
    above_zero_or_none,
    fraction_or_none,
    height_by_width_of_a_model,
    positive,
    seed,
    size_in_bytes,
    threshold,
    whole,
)
from ..interface.model import Model
from ..interface.trainer import Trainer
from ..system.display import Display, duration, mebibytes
from ..system.machine import peak_memory, usable_cores
from ..system.terminal import say
from ..training.choosing_tau import LARGEST, Choice
from ..training.data import Data, cached
from ..training.run_folder import RunLog, TensorBoard, summary_writer
from ..training.settings import new_run, resumed_run
from ..training.steps import make_steps, write_model
from ..training.stop import Stop, Stopped

#: As a shell shows a command that Ctrl-C ended.
_INTERRUPTED = 130


def add(command: argparse.ArgumentParser) -> None:
    """The arguments.  Nothing has a default here: what is left out is, in a run
    that goes on, what it was."""
    command.description = (
        "Adapts the spatio-temporal block of a model to videos, without labels, and "
        "writes the model OUT. Checkpoints, a log and a plot of the losses go to the folder of "
        "the run. Ctrl-C ends the run after the step in progress; --resume goes on with it as "
        "if nothing had been."
    )
    command.add_argument(
        "videos",
        metavar="VIDEO",
        nargs="*",
        help="video files, folders of them and folders of pictures; one shot each; with --resume "
        "none",
    )
    command.add_argument(
        "-m", "--model", metavar="FILE", help="weight file; default: as of segment"
    )
    command.add_argument("-o", "--output", metavar="OUT", help="weight file to write")
    command.add_argument("--steps", type=positive, metavar="N", help="in all; default: 2000")
    command.add_argument(
        "--tau",
        type=threshold,
        metavar="auto|keep|NATS",
        help="clustering threshold of the written model; auto: as many clusters in clips of the "
        "videos as before training; keep: the model's; default: auto",
    )
    command.add_argument(
        "--dtype",
        choices=("q8", "f16", "f32"),
        help="of the written matrices; default: the model's",
    )
    command.add_argument(
        "--json", action="store_true", help="one JSON object on standard output, no progress"
    )
    run = command.add_argument_group("the run")
    run.add_argument(
        "--run", metavar="FOLDER", help="of the run; default: OUT without suffix, with -run"
    )
    run.add_argument("--resume", metavar="RUN", help="go on with the run in this folder")
    run.add_argument("--checkpoint-every", type=positive, metavar="N", help="steps; default: 100")
    run.add_argument(
        "--tensorboard",
        action="store_true",
        default=None,
        help="also files for TensorBoard in the run's folder; needs tensorboardX or PyTorch",
    )
    data = command.add_argument_group("data")
    data.add_argument(
        "--gap",
        type=whole(10000),
        metavar="N",
        help="the frames of a clip are 1 to N frames apart; default: 4",
    )
    data.add_argument(
        "--cache-features",
        type=whole(1000000),
        metavar="N",
        help="compute the features of N clips once, keep them in the run's folder, and train on "
        "them: steps without the backbone; default: fresh clips in every step",
    )
    data.add_argument(
        "--no-augmentation", action="store_true", default=None, help="clips as they are"
    )
    data.add_argument(
        "--working-size",
        type=height_by_width_of_a_model,
        metavar="HxW",
        help="height and width in pixels that frames are resized to; default: the model's",
    )
    data.add_argument("--seed", type=seed, metavar="N", help="of all random numbers; default: 0")
    method = command.add_argument_group("method")
    method.add_argument(
        "--start",
        choices=("model", "identity", "random"),
        help="the block to begin with: the model's, one that compares the features themselves, "
        "or random numbers; default: model",
    )
    method.add_argument(
        "--clips-per-step",
        type=whole(1024),
        metavar="N",
        help="whose gradients are averaged; default: 1",
    )
    method.add_argument(
        "--learning-rate",
        type=above_zero(1),
        metavar="RATE",
        help="at the start; falls to 1e-6 along a cosine; default: 1e-4",
    )
    method.add_argument(
        "--weight-decay",
        type=above_zero_or_none(1),
        metavar="RATE",
        help="of matrices; 0: none; default: 0.1",
    )
    method.add_argument(
        "--clip-norm",
        type=above_zero(1e9),
        metavar="NORM",
        help="gradients are scaled down to this norm; default: never",
    )
    method.add_argument(
        "--attention-dropout",
        type=fraction_or_none,
        metavar="FRACTION",
        help="0: none; default: 0.4",
    )
    method.add_argument(
        "--dropout", type=fraction_or_none, metavar="FRACTION", help="0: none; default: 0.1"
    )
    method.add_argument(
        "--positions",
        type=positive,
        metavar="N",
        help="patches of each frame that the losses look at; default: 8",
    )
    method.add_argument(
        "--weigh-both",
        action="store_true",
        default=None,
        help="weigh both losses by the sharpness of the maps, not the motion's alone",
    )
    running = command.add_argument_group("running")
    running.add_argument(
        "--threads", type=whole(256), metavar="N", help="default: one per usable core"
    )
    running.add_argument(
        "--memory-limit",
        type=size_in_bytes,
        metavar="SIZE",
        help="for all but the model and the frames: 500M, 2G; where more would be taken, the run "
        "fails",
    )


def take_up(arguments: argparse.Namespace, left: list[str]) -> str | None:
    """More videos."""
    arguments.videos += left
    return None


def run(arguments: argparse.Namespace) -> int:
    """Returns 0, 130 where it was stopped, or raises."""
    fresh = arguments.resume is None
    folder, settings = new_run(arguments) if fresh else resumed_run(arguments)
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
        data = Data(settings, trainer.info.clip_frames, fresh, display)
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
        stop = stack.enter_context(Stop(display))
        try:
            cache = None
            if settings.cache_features and first < settings.steps:
                cache = cached(folder, settings, trainer, data, display, stop)
            if first < settings.steps:
                make_steps(folder, settings, trainer, data, cache, log, board, display, stop)
            stop.check()
            tau, choice = write_model(
                settings, model, trainer, data, display, stop, threads
            )
            done = True
        except Stopped:
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
