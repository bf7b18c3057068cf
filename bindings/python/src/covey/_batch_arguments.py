"""The arguments of ``covey batch``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ._arguments import index, whole
from ._segment_arguments import add_segment_options


class _PassOn(argparse.Action):
    """An option of covey segment: noted as it was given, to be understood there."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        words = values if isinstance(values, list) else [values]
        namespace.passed_on = [*namespace.passed_on, option_string, *words]


class _PassedOn:
    """A parser to what adds options of covey segment: with it covey batch takes them too."""

    def __init__(self, command: Any) -> None:
        self._command = command
        command.set_defaults(passed_on=[])

    def add_argument(self, *names: str, **settings: Any) -> None:
        self._command.add_argument(
            *names,
            action=_PassOn,
            dest="passed_on",
            default=argparse.SUPPRESS,
            nargs=0 if settings.get("action") == "store_true" else None,
            help=argparse.SUPPRESS,
        )

    def add_argument_group(self, title: str) -> _PassedOn:
        return self


def split_off_options(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of ``covey batch``, and those after its first ``--``, which are for
    ``covey segment`` alone; of other commands all and none."""
    words = list(words)
    if words[:1] != ["batch"] or "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def add_batch(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "batch",
        help="many videos, on this machine or a cluster",
        usage="covey batch [SOURCE ...] [--manifest FILE] -o OUT [OPTIONS] [OPTIONS OF segment]",
        description="Segments every video as covey segment does, with its options, into "
        "OUT/NAME. A video that fails is reported and passed over. Run again, it goes on: results "
        "that are there and whole are kept. OUT/summary.csv and .json have a row for every video, "
        "OUT/batch.jsonl a line for every attempt. docs/BATCH.md has the rest. Exit status: 0 all "
        "done, 1 some failed, 2 refused before anything began, 130 interrupted.",
    )
    command.add_argument(
        "sources",
        metavar="SOURCE",
        nargs="*",
        help="video file, folder or pattern of pictures, or a folder of films, which are a video "
        "each; NAME is the file's without suffix, or the folder's; longer where two would be the "
        "same",
    )
    command.add_argument(
        "--manifest",
        action="append",
        default=[],
        metavar="FILE",
        help="more of them: .csv with the columns source,name; .jsonl with source, name, options; "
        "any other: one source a line; - for those lines on standard input; may be repeated",
    )
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="folder to write to")
    command.add_argument(
        "--remake",
        action="store_true",
        help="make results anew whose source, model or options are others now; default: refuse",
    )
    command.add_argument(
        "--retries",
        type=index,
        default=2,
        metavar="N",
        help="try a video N times more whose process was killed or crashed; default: 2",
    )
    command.add_argument(
        "--json", action="store_true", help="one JSON object on standard output, no progress"
    )
    where = command.add_argument_group("where").add_mutually_exclusive_group()
    where.add_argument(
        "--workers",
        type=whole(1024),
        metavar="N",
        help="videos at a time, each in a process of its own; they share the cores evenly, as "
        "--threads; default: one for every core",
    )
    where.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="workers of a Dask cluster instead: tcp://HOST:8786, or the scheduler's file (.json); "
        "they need OUT, the videos and the model under the same paths",
    )
    add_segment_options(_PassedOn(command))
