"""From videos and options to tasks: everything is checked before anything is begun."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..arguments.method import check_mode, check_size
from ..arguments.values import Parser, UsageError
from ..interface.model import Model
from ..mirror.library import default_model_path
from ..segmenting.options import add_options, check_wanted
from ..segmenting.run_result import differences, settings_of
from .manifest import Entry, entry_of, unique_names
from .task import Outcome, Task, kept, read_result


@dataclass(frozen=True)
class Plan:
    """tasks: what is to be done.  settled: what need not be, or cannot: kept results, and
    sources that cannot be found.  names: all, in the order of the videos."""

    tasks: list[Task]
    settled: list[Outcome]
    names: list[str]


class Options:
    """Options of covey segment, checked as it does."""

    def __init__(self) -> None:
        self._parser = Parser(prog="covey segment", add_help=False)
        self._parser.add_argument("-o", "--output")
        self._parser.add_argument("--json", action="store_true")
        add_options(self._parser)
        self._known: dict[tuple[str, ...], argparse.Namespace] = {}

    def parsed(self, options: tuple[str, ...]) -> argparse.Namespace:
        """UsageError for what covey segment would not take, and what is not for its
        caller to say here; raises as Model for one that cannot be opened."""
        if options not in self._known:
            self._known[options] = self._parse(options)
        return self._known[options]

    def _parse(self, options: tuple[str, ...]) -> argparse.Namespace:
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                found = self._parser.parse_args(options)
        except SystemExit:
            line = (said.getvalue().splitlines() or [""])[-1]
            raise UsageError(f"options of covey segment: {line.partition('error: ')[2]}") from None
        if found.output is not None or found.resume:
            name = "--resume" if found.resume else "-o/--output"
            raise UsageError(f"options of covey segment: argument {name}: not here")
        try:
            check_wanted(found)
            check_mode(found)
            found.model = os.path.abspath(found.model or default_model_path())
            _check_model(found.model, found)
        except UsageError as error:
            raise UsageError(f"options of covey segment: {error}") from None
        return found


def _check_model(path: str, arguments: argparse.Namespace) -> None:
    with Model(path) as model:
        check_size(arguments.working_size, model)


def plan(
    entries: Iterable[Entry],
    folder: str | os.PathLike[str],
    options: Sequence[str] = (),
    remake: bool = False,
) -> Plan:
    """What is to be done for these videos to have their results in ``folder``.

    An entry that is there twice counts once.  remake: of results there that have other
    settings.

    UsageError for options and names that are wrong, for folders there that are no results,
    and without ``remake`` for results of other settings; as Model for a model.
    """
    checker = Options()
    absolute = [entry_of(each.source, each.name, (*options, *each.options)) for each in entries]
    chosen = list(dict.fromkeys(absolute))
    # All of them, before the first file is looked at.
    parsed = [checker.parsed(each.options) for each in chosen]
    made = Plan([], [], unique_names(chosen))
    others: list[str] = []
    for entry, arguments, name in zip(chosen, parsed, made.names, strict=True):
        try:
            settings = settings_of(arguments, entry.source)
        except (OSError, ValueError) as error:
            made.settled.append(Outcome(name, entry.source, "failed", str(error)))
            continue
        task = Task(
            name=name,
            source=entry.source,
            folder=os.path.abspath(folder),
            options=(*entry.options, "--model", arguments.model),
            settings=settings,
            threads=arguments.threads,
            remake=remake,
        )
        try:
            known = read_result(task.result)
        except ValueError as error:
            raise UsageError(f"{error}; name another folder") from None
        if known is None or known.settings != settings:
            made.tasks.append(task)
            if known is not None and not remake:
                others.append(f"{task.result}: {differences(known.settings, settings)}")
        else:
            made.settled.append(kept(known, name, entry.source))
    if others:
        more = f" (and {len(others) - 1} more)" if others[1:] else ""
        raise UsageError(f"{others[0]}{more}; make them anew with --remake, or name another folder")
    return made
