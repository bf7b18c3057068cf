"""Files that are there whole or not at all, of bytes, text or JSON."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = ["json_line", "naming", "write_json", "write_text", "written_whole"]


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError that names no file, as that of a full disk, names this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which gets its name when it is on the disk, and not before.
    After an exception what was there before stays."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with naming(path), open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """UTF-8, whole or not at all."""
    with written_whole(path) as file:
        file.write(_bytes(text))


def write_json(path: Path, told: Any, indent: int | None = None) -> None:
    """Whole or not at all."""
    with written_whole(path) as file:
        file.write(json_line(told, indent))


def json_line(told: Any, indent: int | None = None) -> bytes:
    """With its newline."""
    return _bytes(json.dumps(told, indent=indent, ensure_ascii=False) + "\n")


def _bytes(text: str) -> bytes:
    """What is no text in the name of a file is escaped, as JSON does it too."""
    return text.encode("utf-8", "backslashreplace")
