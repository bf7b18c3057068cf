"""The options of ``covey segment`` that do not say which video: a batch has them for each of its
videos."""

from __future__ import annotations

import argparse
from typing import Any

from ..arguments.method import add_method, add_running
from ..arguments.values import UsageError, index, positive
from .output import KINDS


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
    for kind, written in KINDS.items():
        told = f"also OUT/{written.file}{written.told}"
        command.add_argument(f"--{kind}", action="store_true", help=told)
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
