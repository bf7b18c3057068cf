"""The folder of a batch:

    OUT/NAME/...                 a result: what covey segment writes, and result.json
    OUT/batch.jsonl              a line for every attempt that came to an end
    OUT/summary.json, .csv       a row for every video of the last run
    OUT/.partial/NAME/ATTEMPT    what is being worked on
    OUT/.lock                    locked while a batch runs

Workers write below OUT/.partial and give results their names; all else is the batch's.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..mirror.abi import VERSION
from ..writing.whole_files import hold, json_line, write_json, write_text
from .task import PARTIAL, Outcome
from .work import discard

#: Of an attempt's figures, in the summary.
_FIGURES = (
    "frames",
    "objects",
    "clusters",
    "seconds",
    "seconds_per_frame",
    "session_peak_bytes",
    "process_peak_bytes",
)
_COLUMNS = ("name", "source", "status", "attempts", *_FIGURES, "warnings", "error")


class BatchFolder:
    """Names of the files, and writing them."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.log = self.path / "batch.jsonl"
        self.summary = self.path / "summary.json"
        self.table = self.path / "summary.csv"
        self._partial = self.path / PARTIAL

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder, and holds it, without which no task begins; BlockingIOError
        where another batch does.  What an earlier one left half done is removed, and what
        still works on it ends."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "wb") as file:
            if not hold(file.fileno()):
                raise BlockingIOError(f"{self.path}: another covey batch is writing there")
            self.stop()
            self._partial.mkdir(exist_ok=True)
            try:
                yield
            finally:
                self.stop()

    def stop(self) -> None:
        """Takes the folders of all attempts away, whereupon they stop; none begins."""
        discard(self._partial)

    def add(self, found: Outcome) -> list[Outcome]:
        """Logs an outcome, and returns the attempts at the same video that were lost before
        it, which are logged as well."""
        attempts = self._partial / found.name
        left = []
        if attempts.is_dir():
            left = sorted(each for each in attempts.iterdir() if not each.name.startswith("."))
        lost = [
            Outcome(
                found.name,
                found.source,
                "lost",
                "its worker ended",
                again=True,
                worker=each.name,
            )
            for each in left
        ]
        # Should one of them work on after all: it is not wanted any more.
        discard(attempts)
        with open(self.log, "ab") as file:
            for each in (*lost, found):
                file.write(json_line(_line(each)))
        return lost

    def write_summary(self, rows: Sequence[Outcome], seconds: float) -> dict[str, Any]:
        """Writes the tables of a run, and returns what is in the JSON file."""
        videos = [_row(each) for each in rows]
        counts = {
            status: sum(row["status"] == status for row in videos)
            for status in ("done", "kept", "failed", "open")
        }
        told = {
            "covey": VERSION,
            **counts,
            "frames": sum(row["frames"] or 0 for row in videos),
            "seconds": seconds,
            "videos": videos,
        }
        write_json(self.summary, told, indent=1)
        text = io.StringIO()
        table = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(videos)
        write_text(self.table, text.getvalue())
        return told


def _line(found: Outcome) -> dict[str, Any]:
    """An attempt, for the log: what it was, without all figures."""
    told = {key: value for key, value in asdict(found).items() if key != "figures"}
    for name in ("frames", "objects", "clusters"):
        told[name] = None if found.figures is None else found.figures[name]
    return told


def _row(found: Outcome) -> dict[str, Any]:
    figures = found.figures or {}
    return {
        "name": found.name,
        "source": found.source,
        "status": found.status,
        "attempts": found.attempt,
        **{name: figures.get(name) for name in _FIGURES},
        "warnings": "; ".join(figures.get("warnings", [])) or None,
        "error": found.error,
    }
