"""``covey plot``: figures of a video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..arguments.values import UsageError, above_zero, index, whole
from ..interface.model import Model
from ..plots import figures
from ..plots.figures import AFFINITIES
from ..plots.grid import figure_format
from ..reading.video import Video
from ..system.terminal import say


def _point(text: str) -> tuple[int, float, float]:
    """ "12:200,90" is pixel x 200, y 90 of frame 12."""
    frame, _, place = text.partition(":")
    try:
        x, y = (float(part) for part in place.split(","))
        return index(frame), x, y
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected FRAME:X,Y, found {text!r}") from None


def _system(text: str) -> tuple[str, str]:
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"expected NAME=FOLDER, found {text!r}")
    return name, folder


def add(command: argparse.ArgumentParser) -> None:
    """The arguments, and those of its own commands."""
    command.description = "Figures of a video, as PNG, WebP, PDF or SVG."
    figures = command.add_subparsers(
        title="figures", dest="figure", required=True, metavar="FIGURE"
    )

    attention = _figure(figures, "attention", "what chosen patches attend to over the frames")
    attention.add_argument(
        "--at",
        type=_point,
        action="append",
        required=True,
        metavar="FRAME:X,Y",
        help="a pixel of one of the frames read, the first being 0; may be repeated",
    )
    attention.add_argument(
        "--affinity",
        choices=("correlator", "features"),
        default="correlator",
        help="the trained block's queries and keys, or the features themselves; default: "
        "correlator",
    )
    affinities = _figure(
        figures, "affinities", "clusters of the features beside those of the block's attention"
    )
    affinities.add_argument(
        "--affinity",
        choices=tuple(AFFINITIES),
        nargs="+",
        default=["features", "correlator"],
        help="whose, a row each; attention: the backbone's own; default: features correlator",
    )
    affinities.add_argument(
        "--clusters", type=whole(1024), default=8, metavar="N", help="of either; default: 8"
    )
    hierarchy = _figure(figures, "hierarchy", "the clusters at several tau")
    hierarchy.add_argument(
        "--tau",
        type=above_zero(1000),
        nargs="+",
        default=[],
        metavar="NATS",
        help="default: the model's times .5, .7, 1, 1.4 and 2",
    )
    compare = _figure(figures, "compare", "masks of several systems, from their folders")
    compare.add_argument(
        "systems",
        type=_system,
        nargs="+",
        metavar="NAME=FOLDER",
        help="FOLDER has a PNG of ids for every frame, of its name: OUT/masks of covey segment",
    )


def _figure(figures: Any, name: str, text: str) -> Any:
    command = figures.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    command.add_argument("source", metavar="SOURCE", help="as of covey segment")
    command.add_argument("-o", "--output", required=True, metavar="FILE")
    command.add_argument(
        "--shown", type=whole(100), default=6, metavar="N", help="frames shown; default: 6"
    )
    command.add_argument("--first", type=index, default=0, metavar="N", help="frame to begin with")
    command.add_argument("--last", type=index, metavar="N", help="frame to end with")
    command.add_argument("--every", type=whole(10**6), default=1, metavar="N")
    if name != "compare":
        command.add_argument(
            "-m", "--model", metavar="FILE", help="weight file; default: as of segment"
        )
    return command


def run(arguments: argparse.Namespace) -> int:
    """Returns 0, or raises."""
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
                figures.plot_affinities(
                    path, model, frames, arguments.clusters, shown, arguments.affinity)
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
