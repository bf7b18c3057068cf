"""Which videos: manifests, and the names of their results."""

from __future__ import annotations

import csv
import glob
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..arguments.values import UsageError
from ..reading.sources import is_live, videos_in
from ..writing.whole_files import parsed_json

#: Files of OUT itself.
RESERVED = frozenset({"batch.jsonl", "summary.json", "summary.csv"})


@dataclass(frozen=True)
class Entry:
    """One video to segment.  source: as covey.Video takes it, not live.  name: of its
    result; None: from the source.  options: of covey segment, after those of all."""

    source: str
    name: str | None = None
    options: tuple[str, ...] = ()


def entries_of(
    source: str,
    name: str | None = None,
    options: tuple[str, ...] = (),
    folder: str = "",
    where: str = "",
) -> list[Entry]:
    """As entry_of(); of a folder of films one for each."""
    entry = entry_of(source, name, options, folder, where)
    try:
        sources = videos_in(entry.source)
    except ValueError as error:
        raise UsageError(f"{where}{error}") from None
    if name is not None and sources[1:]:
        raise UsageError(f"{where}{source}: holds {len(sources)} films, for the one name {name}")
    return [replace(entry, source=each) for each in sources]


def entry_of(
    source: str,
    name: str | None = None,
    options: tuple[str, ...] = (),
    folder: str = "",
    where: str = "",
) -> Entry:
    """An entry with an absolute path; relative ones are of ``folder``.  UsageError, which
    begins with ``where``, for a live source and a name that none may have."""
    path = os.path.abspath(os.path.join(folder, source))
    if is_live(source) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise UsageError(f"{where}{source}: can be read only once; covey segment reads it")
    if name is not None and (
        not name or name.startswith(".") or "/" in name or "\0" in name or name in RESERVED
    ):
        raise UsageError(f"{where}expected the name of a folder, found {name!r}")
    return Entry(path, name, options)


def read_manifest(path: str) -> list[Entry]:
    """The entries of a manifest; relative sources are of its folder, or for standard
    input ("-") of the working one.  UsageError for what is none, with the line; OSError."""
    if path == "-":
        lines, folder = sys.stdin.read().splitlines(), ""
    else:
        if path.lower().endswith(".json"):
            raise UsageError(f"{path}: expected a line for every video, in a .jsonl")
        # Spreadsheets put a byte order mark in front.
        with open(path, encoding="utf-8-sig", newline="") as file:
            try:
                text = file.read()
            except UnicodeDecodeError:
                raise UsageError(f"{path}: expected text in UTF-8") from None
        lines, folder = text.splitlines(), os.path.dirname(os.path.abspath(path))
    forms = {".csv": _of_csv, ".jsonl": _of_json_lines, ".ndjson": _of_json_lines}
    form = forms.get(Path(path).suffix.lower(), _of_text)
    return [
        entry
        for line, source, name, options in form(lines, path)
        for entry in entries_of(source, name, options, folder, f"{path}: line {line}: ")
    ]


#: Line, source, name, options.
_Row = tuple[int, str, str | None, tuple[str, ...]]


def _of_text(lines: list[str], path: str) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line.strip(), None, ()


def _of_csv(lines: list[str], path: str) -> Iterator[_Row]:
    # With their ends: a field in quotes may go over lines.
    reader = csv.DictReader([f"{line}\n" for line in lines], skipinitialspace=True)
    columns = list(reader.fieldnames or [])
    if "source" not in columns or set(columns) - {"source", "name"}:
        raise UsageError(
            f"{path}: line 1: expected the columns source,name or source, "
            f"found {','.join(columns) or 'nothing'}"
        )
    for row in reader:
        if row.get(None) or not row["source"]:
            raise UsageError(f"{path}: line {reader.line_num}: expected {','.join(columns)}")
        yield reader.line_num, row["source"], row.get("name") or None, ()


def _of_json_lines(lines: list[str], path: str) -> Iterator[_Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            told: Any = parsed_json(line)
        except ValueError as error:
            raise UsageError(f"{path}: line {number}: {error}") from None
        if not isinstance(told, dict) or set(told) - {"source", "name", "options"}:
            raise UsageError(
                f"{path}: line {number}: expected an object of source, name and options"
            )
        source, name, options = told.get("source"), told.get("name"), told.get("options", [])
        if not isinstance(source, str) or not source or not isinstance(name, (str, type(None))):
            raise UsageError(f"{path}: line {number}: expected text as source, and as name if any")
        if not isinstance(options, list):
            raise UsageError(f"{path}: line {number}: expected a list of options")
        if not all(type(each) in (str, int, float) for each in options):
            raise UsageError(f"{path}: line {number}: expected options of text and numbers")
        yield number, source, name, tuple(map(str, options))


def unique_names(entries: Sequence[Entry]) -> list[str]:
    """A name for each: the one given, else the stem of a file or the name of a folder; where
    two are the same with the suffix, then with the folders above in front, as many as it
    takes, at last with a number, which alone depends on the order.  UsageError where the
    same name was given twice."""
    given = Counter(each.name for each in entries if each.name is not None)
    for name, count in given.items():
        if count > 1:
            raise UsageError(f"{count} videos have the name {name}")
    choices = [_choices(each) for each in entries]
    levels = [0] * len(entries)
    while True:
        names = [each[level] for each, level in zip(choices, levels, strict=True)]
        # Of one source, with other options, no name is better than another.
        sources: dict[str, set[str]] = {}
        for name, each in zip(names, entries, strict=True):
            sources.setdefault(name, set()).add(each.source)
        longer = [
            place
            for place, name in enumerate(names)
            if len(sources[name]) > 1 and levels[place] + 1 < len(choices[place])
        ]
        if not longer:
            return _numbered(entries, names)
        for place in longer:
            levels[place] += 1


def _choices(entry: Entry) -> list[str]:
    """Names it may have, the best first."""
    if entry.name is not None:
        return [entry.name]
    path = Path(entry.source)
    if not path.exists() and (glob.has_magic(path.name) or re.search(r"%[0-9]*d", path.name)):
        # Pictures are called by their folder.
        path = path.parent
    short = path.name if path.is_dir() else path.stem
    above = path.parts[1:-1]
    found = []
    for depth in range(len(above) + 1):
        front = above[len(above) - depth :]
        found += ["-".join([*front, short]), "-".join([*front, path.name])]
    plain = [each.lstrip(".") or "video" for each in dict.fromkeys(found)]
    return [each for each in plain if each not in RESERVED] or ["video"]


def _numbered(entries: Sequence[Entry], names: list[str]) -> list[str]:
    """With numbers from 2 where names are still the same."""
    all_names = set(names)
    used = {each.name for each in entries}
    found = []
    for entry, name in zip(entries, names, strict=True):
        unique, number = name, 1
        if entry.name is None:
            while unique in used or (number > 1 and unique in all_names):
                number += 1
                unique = f"{name}-{number}"
            used.add(unique)
        found.append(unique)
    return found
