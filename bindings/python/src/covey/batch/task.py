"""One video to segment, what came of it, and what its result was made from."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..video import Video

#: In the folder of every result: the settings and the figures.  Written last.
RESULT = "result.json"
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
    version: str = __version__

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


def source_identity(source: str) -> dict[str, Any]:
    """A source by its path, and the names, sizes and times of its files.  Raises as Video."""
    digest = hashlib.sha256()
    files = Video(source).files
    size = 0
    for each in files:
        stat = each.stat()
        size += stat.st_size
        digest.update(f"{each.name}\n{stat.st_size}\n{stat.st_mtime_ns}\n".encode(errors="replace"))
    return {"path": source, "files": len(files), "bytes": size, "digest": digest.hexdigest()}


def file_identity(path: str) -> dict[str, Any]:
    """A file by what is in it."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return {"bytes": os.path.getsize(path), "sha256": digest.hexdigest()}


@dataclass(frozen=True)
class Made:
    """What is in RESULT: by which worker, when, from what, and what was found."""

    covey: str
    worker: str
    began: float
    seconds: float
    settings: dict[str, Any]
    figures: dict[str, Any]

    def kept(self, name: str, source: str) -> Outcome:
        """Of an attempt that finds it."""
        return Outcome(
            name,
            source,
            "kept",
            worker=self.worker,
            began=self.began,
            seconds=self.seconds,
            figures=self.figures,
        )


def read_result(folder: Path) -> Made | None:
    """Of a result that is there; None for no folder, and an empty one.  ValueError for a
    folder of anything else."""
    try:
        told = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        made = Made(**{name: told[name] for name in Made.__dataclass_fields__})
        if not isinstance(made.settings, dict) or not isinstance(made.figures, dict):
            raise TypeError
        return made
    except FileNotFoundError:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return None
        raise ValueError(f"{folder}: is there, and is no result of covey batch") from None
    except (NotADirectoryError, ValueError, KeyError, TypeError):
        raise ValueError(f"{folder}: is there, and is no result of covey batch") from None


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What is not the same in two settings: "tau was 0.5, is 0.7; the source has changed"."""
    told = [
        f"the {part} has changed" for part in ("source", "model") if before.get(part) != now[part]
    ]
    old, new = before.get("options", {}), now["options"]
    told += [
        f"{key} was {old.get(key, 'not given')}, is {new.get(key, 'not given')}"
        for key in sorted(set(old) | set(new))
        if old.get(key) != new.get(key)
    ]
    return "; ".join(told)
