"""What a training run is of: from the arguments, or as it was recorded."""

from __future__ import annotations

import argparse
import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from ..arguments.values import UsageError
from ..mirror.library import default_model_path
from ..mirror.options import TrainerOptions
from ..reading.sources import videos_in
from .run_folder import RunFolder

#: Options of the trainer that the command passes on, as they are called there.
_METHOD = (
    "start",
    "clips_per_step",
    "learning_rate",
    "weight_decay",
    "clip_norm",
    "attention_dropout",
    "dropout",
    "positions",
    "weigh_both",
)
#: What a run that goes on may change: nothing that has been computed with.
_CHANGEABLE = ("steps", "tau", "dtype", "checkpoint_every", "tensorboard")


class Recorded(NamedTuple):
    """A video: its absolute path; and as it was when the run began its number of frames, and
    Footage.digest."""

    path: str
    frames: int = 0
    digest: str = ""


@dataclass
class Settings:
    """Paths are absolute.  videos: those that are used; left_out: those that are not.
    method: options of the trainer that were asked for.  tau: "auto", "keep" or nats.
    dtype: None for the model's."""

    model: str
    output: str
    videos: list[Recorded] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    steps: int = 2000
    tau: str | float = "auto"
    dtype: str | None = None
    checkpoint_every: int = 100
    tensorboard: bool = False
    gap: int = 4
    cache_features: int | None = None
    seed: int = 0
    working_size: tuple[int, int] | None = None
    no_augmentation: bool = False
    method: dict[str, Any] = field(default_factory=dict)

    def recorded(self) -> dict[str, Any]:
        """As JSON takes it."""
        return dataclasses.asdict(self)

    @classmethod
    def read(cls, folder: RunFolder) -> Settings:
        """As recorded.  ValueError where that is damaged."""
        found = folder.read_settings()
        try:
            settings = cls(**found)
            settings.videos = [Recorded(*each) for each in settings.videos]
            if settings.working_size is not None:
                height, width = settings.working_size
                settings.working_size = (int(height), int(width))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{folder.settings}: {error}") from None
        return settings

    def options(self, threads: int | None, memory_limit: int | None) -> TrainerOptions:
        """Of the trainer."""
        height, width = self.working_size or (None, None)
        return cast(
            TrainerOptions,
            {
                **self.method,
                "total_steps": self.steps,
                "seed": self.seed,
                "augmentation": not self.no_augmentation,
                "working_height": height,
                "working_width": width,
                "threads": threads,
                "memory_limit": memory_limit,
            },
        )


def _check_output(output: Path, folder: RunFolder, model: str, videos: list[Recorded]) -> None:
    """Raises OSError or ValueError where a weight file cannot, or must not, be written."""
    if output.is_dir() or not output.parent.is_dir():
        wrong = "is a folder" if output.is_dir() else "its folder is not there"
        raise ValueError(f"{output}: {wrong}; a weight file is written")
    if not os.access(output.parent, os.W_OK):
        raise PermissionError(f"{output.parent}: cannot be written to")
    for other, what in (
        (model, "the model that training begins with"),
        (os.fspath(folder.checkpoint), "the checkpoint of the run"),
        *((video.path, "one of the videos") for video in videos),
    ):
        if os.path.realpath(output) == os.path.realpath(other) or (
            output.exists() and os.path.exists(other) and output.samefile(other)
        ):
            raise ValueError(f"{output}: is {what}; name another file")
    if output.exists() and not _is_weight_file(output):
        raise ValueError(f"{output}: is there, and no weight file; name another file")


def _is_weight_file(path: Path) -> bool:
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(4) == b"GGUF"


def _paths(sources: list[str]) -> list[str]:
    """Absolute; of folders of films the films."""
    try:
        return [os.path.abspath(path) for each in sources for path in videos_in(each)]
    except ValueError as error:
        raise UsageError(f"argument VIDEO: {error}") from None


def new_run(arguments: argparse.Namespace) -> tuple[RunFolder, Settings]:
    """Of a run that begins; its videos have not been looked into.

    UsageError where something is missing, OSError or ValueError where something cannot be
    written, or would be written over.
    """
    if not arguments.videos:
        raise UsageError("the following arguments are required: VIDEO")
    if not arguments.output:
        raise UsageError("the following arguments are required: -o/--output")
    output = Path(os.path.abspath(arguments.output))
    model = os.path.abspath(arguments.model or default_model_path())
    videos = [Recorded(each) for each in _paths(arguments.videos)]
    folder = RunFolder(arguments.run or output.with_name(f"{output.stem}-run"))
    _check_output(output, folder, model, videos)
    if folder.holds_a_run:
        raise ValueError(
            f"{folder.path}: holds a run; go on with it by --resume {folder.path}, or name "
            "another folder by --run"
        )
    if folder.path.exists() and not folder.path.is_dir():
        raise NotADirectoryError(f"{folder.path}: not a folder")
    given = {
        name: value
        for name in (each.name for each in dataclasses.fields(Settings))
        if (value := getattr(arguments, name, None)) is not None
    }
    given |= {
        "model": model,
        "output": str(output),
        "videos": videos,
        "method": {
            name: value for name in _METHOD if (value := getattr(arguments, name)) is not None
        },
    }
    return folder, Settings(**given)


def resumed_run(arguments: argparse.Namespace) -> tuple[RunFolder, Settings]:
    """Of a run that goes on.  UsageError where an argument is not what it was, and
    would make it another run."""
    folder = RunFolder(arguments.resume)
    settings = Settings.read(folder)
    if arguments.run and os.path.abspath(arguments.run) != os.path.abspath(folder.path):
        raise UsageError("argument --run: not with --resume, which names the folder")
    for name in _CHANGEABLE:
        if (value := getattr(arguments, name)) is not None:
            setattr(settings, name, value)
    if arguments.output:
        settings.output = os.path.abspath(arguments.output)
    _check_output(Path(settings.output), folder, settings.model, settings.videos)
    if arguments.videos:
        given = set(_paths(arguments.videos))
        used = {each.path for each in settings.videos}
        for path in sorted(given - used - {*settings.left_out}):
            raise UsageError(
                f"argument VIDEO: {path}: the run was not begun with it, and cannot go on with it; "
                "begin another one"
            )
        for path in sorted(used - given):
            raise UsageError(
                f"argument VIDEO: the run is of {path} too; with --resume no video need be named"
            )
    if arguments.model and os.path.abspath(arguments.model) != settings.model:
        raise UsageError(f"argument --model: the run is of {settings.model}")
    fixed = {
        name: getattr(settings, name)
        for name in ("gap", "cache_features", "seed", "working_size", "no_augmentation")
    } | {name: settings.method.get(name) for name in _METHOD}
    for name, value in fixed.items():
        now = getattr(arguments, name)
        if now is not None and now != value:
            was = "the default" if value is None else value
            raise UsageError(
                f"argument --{name.replace('_', '-')}: cannot change in a run that goes on, "
                f"where it was {was}"
            )
    return folder, settings
