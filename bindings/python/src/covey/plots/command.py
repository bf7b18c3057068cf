"""``covey plot``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..model import Model
from ..video import Video
from . import figures


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0, or raises."""
    video = Video(
        arguments.source, every=arguments.every, first=arguments.first, last=arguments.last
    )
    if video.is_live:
        raise ValueError(f"{video.name}: expected a file or a folder")
    read = list(video.frames())
    frames = [each.image for each in read]
    path, shown = arguments.output, arguments.shown
    if arguments.figure == "compare":
        folders = {name: Path(folder) for name, folder in arguments.systems}
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
    print(f"{path}: {arguments.figure} of {len(frames)} frames")
    return 0
