"""``covey plot``."""

from __future__ import annotations

import argparse
from pathlib import Path

from .._arguments import UsageError
from ..model import Model
from ..terminal import say
from ..video import Video
from . import figures
from .grid import figure_format


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0, or raises."""
    video = Video(
        arguments.source, every=arguments.every, first=arguments.first, last=arguments.last
    )
    if video.is_live:
        raise ValueError(f"{video.name}: expected a file or a folder")
    path, shown = Path(arguments.output), arguments.shown
    folders = {name: Path(folder) for name, folder in getattr(arguments, "systems", ())}
    if len(folders) < len(getattr(arguments, "systems", ())):
        raise UsageError("argument NAME=FOLDER: expected names that differ")
    _check_output(path, video, folders)
    read = list(video.frames())
    frames = [each.image for each in read]
    if arguments.figure == "compare":
        figures.plot_comparison(path, frames, [each.name for each in read], folders, shown)
    else:
        with Model(arguments.model) as model:
            if arguments.figure == "attention":
                for frame, _, _ in arguments.at:
                    if frame >= len(frames):
                        raise ValueError(
                            f"--at: expected a frame from 0 to {len(frames) - 1}, found {frame}"
                        )
                figures.plot_attention(
                    path, model, frames, arguments.at, shown, arguments.affinity)
            elif arguments.figure == "affinities":
                figures.plot_affinities(path, model, frames, arguments.clusters, shown)
            else:
                figures.plot_hierarchy(path, model, frames, arguments.tau, shown)
    say(f"{path}: {arguments.figure} of {len(frames)} frames")
    return 0


def _check_output(path: Path, video: Video, folders: dict[str, Path]) -> None:
    """Raises, before anything is computed, where no figure could be written, or one over
    what is read."""
    figure_format(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: no such folder")
    if path.exists() and (
        any(path.samefile(each) for each in video.files)
        or any(path.parent.samefile(each) for each in folders.values() if each.is_dir())
    ):
        raise ValueError(f"{path}: is read, and would be overwritten")
