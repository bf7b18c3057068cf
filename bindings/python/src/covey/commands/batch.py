"""``covey batch``: videos to OUT/NAME, on this machine or a cluster."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from ..arguments.values import Parser, UsageError, index, whole
from ..batch.folder import BatchFolder
from ..batch.manifest import Entry, entries_of, read_manifest
from ..batch.mapping import map_videos
from ..batch.planning import plan
from ..batch.task import Outcome, Task, kept, read_result
from ..segmenting.options import add_options
from ..system.display import Display, counted, duration
from ..system.machine import usable_cores
from ..system.terminal import say
from . import segment

#: Seconds to find a cluster's scheduler in.
PATIENCE = 30


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


def add(command: argparse.ArgumentParser) -> None:
    """The arguments."""
    command.usage = (
        "covey batch [SOURCE ...] [--manifest FILE] -o OUT [OPTIONS] [OPTIONS OF segment]"
    )
    command.description = (
        "Segments every video as covey segment does, with its options, into "
        "OUT/NAME. A video that fails is reported and passed over. Run again, it goes on: results "
        "that are there and whole are kept. OUT/summary.csv and .json have a row for every video, "
        "OUT/batch.jsonl a line for every attempt. docs/BATCH.md has the rest. Exit status: 0 all "
        "done, 1 some failed, 2 refused before anything began, 130 interrupted."
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
    add_options(_PassedOn(command))


def take_up(arguments: argparse.Namespace, left: list[str]) -> str | None:
    """More videos."""
    arguments.sources += left
    return None


def run(arguments: argparse.Namespace) -> int:
    """Returns 0, 1 where videos failed, or raises."""
    if {"-h", "--help"} & set(arguments.passed_on):
        parser = Parser(prog="covey segment")
        segment.add(parser)
        parser.print_help()
        return 0
    entries = _entries(arguments)
    folder = BatchFolder(arguments.output)
    made = plan(entries, folder.path, arguments.passed_on, arguments.remake)
    start = time.perf_counter()
    rows = {each.name: each for each in made.settled}
    sources = {each.name: each.source for each in made.tasks}
    with folder.locked(), Display(arguments.json) as display:
        for each in made.settled:
            if each.status == "failed":
                folder.add(each)
                display.warn(f"{each.name}: {each.error}")
        try:
            tasks, at_once = made.tasks, 0
            if not arguments.cluster:  # whose workers know their own cores
                tasks, at_once = _shared_out(tasks, arguments.workers)
            with _executor(arguments.cluster, at_once, folder, display) as executor:
                outcomes = map_videos(tasks, executor.submit, arguments.retries)
                with contextlib.closing(outcomes):
                    _work(outcomes, folder, rows, len(made.names), display)
        finally:
            # Interrupted or not: what is known.
            _note_untold(made.tasks, folder, rows)
            ordered = [
                rows.get(name) or Outcome(name, sources[name], "open") for name in made.names
            ]
            told = folder.write_summary(ordered, time.perf_counter() - start)
    _report(arguments, folder, told)
    return 1 if told["failed"] else 0


def _entries(arguments: argparse.Namespace) -> list[Entry]:
    entries = [entry for each in arguments.sources for entry in entries_of(each)]
    for manifest in arguments.manifest:
        entries += read_manifest(manifest)
    if not entries:
        raise UsageError("expected SOURCE or --manifest with at least one video")
    return entries


def _shared_out(tasks: list[Task], workers: int | None) -> tuple[list[Task], int]:
    """With threads, where none were asked for; and how many are to run at once."""
    cores = usable_cores()
    at_once = max(1, min(workers or cores, len(tasks)))
    threads = max(1, cores // at_once)
    return [replace(task, threads=task.threads or threads) for task in tasks], at_once


@contextlib.contextmanager
def _executor(
    cluster: str | None, workers: int, folder: BatchFolder, display: Display
) -> Iterator[Executor]:
    """Whose submit() runs tasks; leaving it, nothing runs any more that it began."""
    if cluster is None:
        with ThreadPoolExecutor(workers, "batch") as threads:
            try:
                yield threads
            finally:
                # Before the threads are waited for.
                threads.shutdown(wait=False, cancel_futures=True)
                folder.stop()
        return
    try:
        from distributed import Client
    except ImportError:
        raise ImportError("--cluster needs Dask: pip install 'covey[cluster]'") from None
    # What it would say, with tracebacks, the outcomes tell.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    file = cluster if cluster.endswith(".json") else None
    address = None if file else cluster
    try:
        client = Client(address, scheduler_file=file, timeout=PATIENCE, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ConnectionError(f"{cluster}: no scheduler: {error}") from None
    with client:
        count = len(client.ncores())
        display.note(f"{cluster}: {counted(count, 'worker')}")
        yield client.get_executor(pure=False)


def _work(
    outcomes: Iterator[Outcome],
    folder: BatchFolder,
    rows: dict[str, Outcome],
    total: int,
    display: Display,
) -> None:
    """Notes the outcomes as they come."""
    lost: dict[str, int] = {}
    display.update("batch", len(rows), total, "videos")
    for found in outcomes:
        if found.status == "kept":
            # It was not there before: of a worker that ended before it could tell.
            found = replace(found, status="done")
        before = folder.add(found)
        lost[found.name] = lost.get(found.name, 0) + len(before)
        for each in before:
            display.note(f"{each.name}: {each.worker}: {each.error}, done again")
        if found.again:
            display.note(f"{found.name}: {found.error}; once more")
            continue
        if found.status != "done":
            found = replace(found, status="failed")
            display.warn(f"{found.name}: {found.error}")
        for warning in (found.figures or {}).get("warnings", []):
            display.warn(warning)
        rows[found.name] = replace(found, attempt=found.attempt + lost[found.name])
        display.update("batch", len(rows), total, "videos")


def _note_untold(tasks: list[Task], folder: BatchFolder, rows: dict[str, Outcome]) -> None:
    """Results of attempts that the end of the batch came before the news of."""
    for task in tasks:
        if task.name in rows:
            continue
        with contextlib.suppress(OSError, ValueError):
            made = read_result(task.result)
            if made is not None and made.settings == task.settings:
                found = replace(kept(made, task.name, task.source), status="done", attempt=1)
                folder.add(found)
                rows[task.name] = found


def _report(arguments: argparse.Namespace, folder: BatchFolder, told: dict[str, Any]) -> None:
    if arguments.json:
        say(json.dumps(told, ensure_ascii=False))
        return
    counts = ", ".join(
        f"{told[status]} {status}" for status in ("done", "kept", "failed") if told[status]
    )
    say(
        f"{counted(len(told['videos']), 'video')}: {counts}; "
        f"{counted(told['frames'], 'frame')}, "
        f"{duration(told['seconds'])}"
    )
    for row in told["videos"]:
        if row["status"] == "failed":
            say(f"failed: {row['name']}: {row['error']}")
    say(f"summary: {folder.table}, .json; attempts: {folder.log}")
