"""The steps of a run, its checkpoints, and the model at its end."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from typing import Literal, cast

from ..interface.model import Model
from ..interface.trainer import Trainer
from ..reading.clips import reason
from ..system.display import Display
from .choosing_tau import Choice, choose_tau
from .data import ClipsOfTau, Data, Waiting
from .feature_cache import FeatureCache
from .run_folder import RunFolder, RunLog, TensorBoard, plot_losses
from .settings import Settings
from .stop import Stop


def make_steps(
    folder: RunFolder,
    settings: Settings,
    trainer: Trainer,
    data: Data,
    cache: FeatureCache | None,
    log: RunLog,
    board: TensorBoard | None,
    display: Display,
    stop: Stop,
) -> None:
    """The steps that are left, with checkpoints in between and one at the end."""
    each, made = trainer.info.clips_per_step, trainer.step_count
    numbers = range(made * each, settings.steps * each)
    with contextlib.ExitStack() as stack:
        if cache is None:
            clips = stack.enter_context(contextlib.closing(data.clips(numbers)))
            waiting = Waiting(clip.frames for clip in clips)
        else:
            waiting = Waiting(cache.clip(number) for number in numbers)
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


def write_model(
    settings: Settings,
    model: Model,
    trainer: Trainer,
    data: Data,
    display: Display,
    stop: Stop,
    threads: int | None,
) -> tuple[float, Choice | None]:
    """Writes the model; returns its tau, and how that was chosen.  Stopped where the user
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
            ClipsOfTau(data, stop),
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
