"""Files that are there whole or not at all, of bytes, text or JSON; and folders that one process
writes to."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

__all__ = [
    "hold",
    "json_line",
    "made_folder",
    "naming",
    "parsed_json",
    "refuse_link",
    "write_json",
    "write_text",
    "written_whole",
]


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError that names no file, as that of a full disk, names this one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise


def hold(opened: int) -> bool:
    """Locks a file or folder until it is closed; False where another process has it."""
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # There are file systems without locks.
        pass
    return True


@contextlib.contextmanager
def made_folder(path: Path, busy: str) -> Iterator[None]:
    """Makes a folder where there is none, and keeps out other processes that ask for it so:
    ValueError, which says ``busy``.  After a failure it is removed again, and what it made
    above it, where nothing is in there."""
    made = []
    for each in (*reversed(path.parents), path):
        if not each.exists():
            with contextlib.suppress(FileExistsError):
                each.mkdir()
                made.append(each)
    opened = os.open(path, os.O_RDONLY)
    try:
        if not hold(opened):
            raise ValueError(f"{path}: {busy}")
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for each in reversed(made):
                each.rmdir()
        raise
    finally:
        os.close(opened)


def refuse_link(path: Path) -> None:
    """ValueError where a folder in which files are removed and written is elsewhere."""
    if path.is_symlink():
        raise ValueError(f"{path}: is a symbolic link; files elsewhere would be written over")


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


def parsed_json(text: str | bytes) -> Any:
    """What a file of others holds.  ValueError for what is no JSON, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def json_line(told: Any, indent: int | None = None) -> bytes:
    """With its newline."""
    return _bytes(json.dumps(told, indent=indent, ensure_ascii=False) + "\n")


def _bytes(text: str) -> bytes:
    """What is no text in the name of a file is escaped, as JSON does it too."""
    return text.encode("utf-8", "backslashreplace")
