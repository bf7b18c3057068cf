"""One video to segment, what came of it, and what its result was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..mirror.abi import VERSION
from ..segmenting.run_result import Made, read_made

#: In OUT: PARTIAL/NAME/ATTEMPT is what an attempt works in.
PARTIAL = ".partial"


@dataclass(frozen=True)
class Task:
    """Plain values: tasks are sent to other processes, and machines.

    folder: OUT; the result will be in folder/name.  options: of covey segment, the model
    included.  settings: what the result depends on, as JSON knows it.  threads: of the
    process; None for one on every core, or on a Dask worker an even share of them for each
    of its tasks.  remake: whether a result of other settings is replaced.  version: of
    covey, which must be the worker's too.
    """

    name: str
    source: str
    folder: str
    options: tuple[str, ...]
    settings: dict[str, Any]
    threads: int | None = None
    remake: bool = False
    version: str = VERSION

    @property
    def result(self) -> Path:
        return Path(self.folder) / self.name

    @property
    def attempts(self) -> Path:
        """Where attempts at it work; one that finds its folder gone gives up."""
        return Path(self.folder) / PARTIAL / self.name


@dataclass(frozen=True)
class Outcome:
    """Of an attempt at a task.

    status: done, kept (was there), failed, stopped (its folder was taken away), lost (its
    worker ended); open: of a video that no attempt has come to an end at.  again: whether
    another attempt may help.  worker: host-process-number, of a result that was kept the one
    that made it.  began: seconds since 1970.  figures: as covey segment --json tells them,
    paths relative to the result.
    """

    name: str
    source: str
    status: str
    error: str | None = None
    again: bool = False
    attempt: int = 0
    worker: str | None = None
    began: float | None = None
    seconds: float | None = None
    figures: dict[str, Any] | None = None


def kept(made: Made, name: str, source: str) -> Outcome:
    """Of an attempt that finds what is there."""
    return Outcome(
        name,
        source,
        "kept",
        worker=made.worker,
        began=made.began,
        seconds=made.seconds,
        figures=made.figures,
    )


def read_result(folder: Path) -> Made | None:
    """Of a result that is there; None for no folder, and an empty one.  ValueError for a
    folder of anything else."""
    try:
        made = read_made(folder)
    except ValueError:
        made = None
    if made is None and folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise ValueError(f"{folder}: is there, and is no result of covey batch")
    return made
