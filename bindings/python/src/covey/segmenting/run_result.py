"""What a run of ``covey segment`` was made from, and what it found: OUT/result.json.

It is removed before the first mask is written and comes back last, when all is on the disk:
where it is, the run is whole.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..mirror.library import default_model_path
from ..reading.video import Video
from ..writing.whole_files import parsed_json, write_json

#: In the folder of every result.
RESULT = "result.json"

#: Arguments of covey segment that change nothing in a result.
_NOT_SETTINGS = frozenset(
    {
        "command",
        "json",
        "memory_limit",
        "model",
        "output",
        "passed_on",
        "resume",
        "source",
        "threads",
    }
)


@dataclass(frozen=True)
class Made:
    """By which worker, when, from what, and what was found.

    worker: host-process, of a batch host-process-number.  began: seconds since 1970.
    settings: what the result depends on, as JSON knows it.  figures: as covey segment --json
    tells them, paths relative to the result.
    """

    covey: str
    worker: str
    began: float
    seconds: float
    settings: dict[str, Any]
    figures: dict[str, Any]

    def is_complete(self, folder: Path) -> bool:
        """Whether its files are in ``folder``; what is in them is not looked at."""
        written = [folder / name for name in self.figures["output"].values()]
        masks = (folder / self.figures["output"]["masks"]).glob("*.png")
        return all(each.exists() for each in written) and (
            sum(1 for _ in masks) == self.figures["frames"]
        )


def read_made(folder: Path) -> Made | None:
    """What is in its RESULT; None where it is not there.  ValueError for a file of something
    else."""
    try:
        told = parsed_json((folder / RESULT).read_text(encoding="utf-8"))
        made = Made(**{name: told[name] for name in Made.__dataclass_fields__})
        if not isinstance(made.settings, dict) or not isinstance(made.figures, dict):
            raise TypeError
        return made
    except FileNotFoundError:
        return None
    except (NotADirectoryError, ValueError, KeyError, TypeError):
        raise ValueError(f"{folder / RESULT}: is there, and was not written by covey") from None


def write_made(folder: Path, made: Made, written: Iterable[Path] = ()) -> None:
    """When what was ``written``, files and folders of files, is on the disk."""
    for path in written:
        if path.is_dir():
            for each in path.iterdir():
                _settle(each)
        _settle(path)
    write_json(folder / RESULT, asdict(made), indent=1)
    _settle(folder)


def remove_made(folder: Path) -> None:
    """Before anything else is written: what is there is not whole any more."""
    if (folder / RESULT).exists():
        (folder / RESULT).unlink()
        _settle(folder)


def _settle(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def settings_of(arguments: argparse.Namespace, source: str) -> dict[str, Any]:
    """What a result of these arguments depends on.  Raises as Video, OSError for the model."""
    chosen = {
        name: value
        for name, value in sorted(vars(arguments).items())
        if name not in _NOT_SETTINGS and value is not None and value is not False
    }
    model = model_identity(arguments.model)
    # As it will be read again: tuples are lists.
    found: dict[str, Any] = json.loads(
        json.dumps({"source": source_identity(source), "model": model, "options": chosen})
    )
    return found


def source_identity(source: str) -> dict[str, Any]:
    """A source by its path, and the names, sizes and times of its files.  Raises as Video."""
    digest = hashlib.sha256()
    files = Video(source).files
    size = 0
    for each in files:
        stat = each.stat()
        size += stat.st_size
        digest.update(f"{each.name}\n{stat.st_size}\n{stat.st_mtime_ns}\n".encode(errors="replace"))
    return {
        "path": os.path.abspath(source),
        "files": len(files),
        "bytes": size,
        "digest": digest.hexdigest(),
    }


def model_identity(path: str | None) -> dict[str, Any]:
    """A weight file, or the default one, by what is in it."""
    path = os.path.abspath(path or default_model_path())
    return _digest(path, os.stat(path).st_mtime_ns)


@functools.cache
def _digest(path: str, modified: int) -> dict[str, Any]:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return {"bytes": os.path.getsize(path), "sha256": digest.hexdigest()}


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
