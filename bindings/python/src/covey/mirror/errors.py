"""Errors: one exception class per status, one function that raises them."""

from __future__ import annotations

from .abi import Status
from .library import lib

__all__ = [
    "ArgumentError",
    "CancelledError",
    "CapacityError",
    "CoveyError",
    "FileError",
    "FormatError",
    "InternalError",
    "OutOfMemoryError",
    "StateError",
    "Status",
    "UnsupportedError",
    "VersionError",
]


class CoveyError(Exception):
    """Something the library refused or failed at.

    ``status`` tells what, ``str(error)`` where, with what was expected and
    what was found.
    """

    status: Status = Status.ERROR_INTERNAL

    def __init__(self, message: str = "", status: Status | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class ArgumentError(CoveyError, ValueError):
    """An argument is out of range, or does not go with the others."""

    status = Status.ERROR_ARGUMENT


class OutOfMemoryError(CoveyError, MemoryError):
    """The system gave no memory, or memory_limit would have been passed."""

    status = Status.ERROR_MEMORY


class FileError(CoveyError, OSError):
    """A file could not be read or written."""

    status = Status.ERROR_IO


class FormatError(CoveyError, ValueError):
    """The file is not a covey weight file, or is damaged."""

    status = Status.ERROR_FORMAT


class VersionError(CoveyError):
    """A file newer than this library."""

    status = Status.ERROR_VERSION


class UnsupportedError(CoveyError, NotImplementedError):
    """Valid, but not in this build of the library, or not with this model."""

    status = Status.ERROR_UNSUPPORTED


class CapacityError(CoveyError, BufferError):
    """A buffer was too small."""

    status = Status.ERROR_CAPACITY


class CancelledError(CoveyError):
    """The call was cancelled: by Session.cancel(), or by a progress function
    that returned False."""

    status = Status.ERROR_CANCELLED


class InternalError(CoveyError, RuntimeError):
    """A bug in covey: please report."""

    status = Status.ERROR_INTERNAL


class StateError(CoveyError, RuntimeError):
    """Not now: for instance push after finish."""

    status = Status.ERROR_STATE


_CLASSES: dict[Status, type[CoveyError]] = {
    kind.status: kind
    for kind in (
        ArgumentError,
        OutOfMemoryError,
        FileError,
        FormatError,
        VersionError,
        UnsupportedError,
        CapacityError,
        CancelledError,
        InternalError,
        StateError,
    )
}


def check(status: int) -> Status:
    """Raises the exception that belongs to an error status; returns the others.

    To be called on the thread that made the failing call, before its next one:
    the library keeps the text per thread.
    """
    if status >= 0:
        try:
            return Status(status)
        except ValueError:
            return Status.OK
    library = lib()
    text = (library.covey_last_error() or b"").decode("utf-8", "replace")
    if not text:
        text = library.covey_status_string(status).decode("utf-8", "replace")
    try:
        known = Status(status)
    except ValueError:
        raise CoveyError(f"{text} (status {status})") from None
    raise _CLASSES[known](text)
