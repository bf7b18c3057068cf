"""The options of ``covey segment`` that do not say which video: a batch has them for each of its
videos."""

from __future__ import annotations

import argparse
from typing import Any

from ..arguments.method import add_method, add_running
from ..arguments.values import UsageError, index, positive


def add_options(command: Any) -> None:
    """Adds them to a parser."""
    command.add_argument(
        "--resume",
        action="store_true",
        help="keep what is in OUT if it is whole and of the same source, model and options; else "
        "begin anew",
    )
    command.add_argument(
        "-m",
        "--model",
        metavar="FILE",
        help="weight file; default: $COVEY_MODEL, else the one that came with covey",
    )
    command.add_argument("--overlay", action="store_true", help="also OUT/overlay.mp4")
    command.add_argument(
        "--sheet", action="store_true", help="also OUT/sheet.png: frames beside their overlays"
    )
    command.add_argument(
        "--report",
        action="store_true",
        help="also OUT/report.html: frames, when objects are seen, settings and times in one file",
    )
    command.add_argument(
        "--coco",
        action="store_true",
        help="also OUT/coco.json: images, and run lengths of the objects with their track_id",
    )
    command.add_argument(
        "--ytvis",
        action="store_true",
        help="also OUT/ytvis.json: the objects as YouTube-VIS has results",
    )
    command.add_argument(
        "--npz", action="store_true", help="also OUT/labels.npz: labels [T, H, W] and names [T]"
    )
    command.add_argument(
        "--clusters", action="store_true", help="every cluster gets an id, background too"
    )
    command.add_argument(
        "--kinds", action="store_true", help="objects that look alike get one id together"
    )
    reading = command.add_argument_group("reading")
    reading.add_argument(
        "--first", type=index, default=0, metavar="N", help="begin with frame N; the first is 0"
    )
    reading.add_argument("--last", type=index, metavar="N", help="end with frame N")
    reading.add_argument("--max-frames", type=positive, metavar="N", help="stop after N frames")
    reading.add_argument(
        "--every", type=positive, default=1, metavar="N", help="take each N-th frame only"
    )
    reading.add_argument(
        "--resize",
        action="store_true",
        help="frames of another size than the first are made as large as it; default: refused",
    )
    reading.add_argument(
        "--stream",
        action="store_true",
        help="write masks while frames are read, at most a window late: memory does not grow with "
        "the video; edge mode only",
    )
    add_method(command)
    add_running(command)


def check_wanted(arguments: argparse.Namespace) -> None:
    """Raises UsageError for ids of two sorts, or a range of frames that ends before it begins."""
    if arguments.kinds and arguments.clusters:
        raise UsageError("argument --kinds: not with --clusters")
    first, last = arguments.first, arguments.last
    if last is not None and last < first:
        raise UsageError(f"argument --last: expected at least --first, {first}, found {last}")
