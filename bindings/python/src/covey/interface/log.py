"""What the library has to say besides its results."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Literal

from ..mirror.abi import CALLBACKS, LogLevel
from ..mirror.library import lib
from ..mirror.options import enumerator

LogFunction = Callable[[LogLevel, str], Any]

_lock = threading.RLock()
_function: LogFunction | None = None


def _sink(_: int | None, level: int, message: bytes) -> None:
    function = _function
    if function is not None:
        function(LogLevel(level), message.decode("utf-8", "replace"))


# One for the process, never freed: a call on another thread may be inside it.
_sink_pointer = CALLBACKS["covey_log_fn"](_sink)


def set_log(
    log: LogFunction | None,
    level: LogLevel | Literal["error", "warning", "info", "debug"] = LogLevel.WARNING,
) -> None:
    """Sends messages of ``level`` and graver to ``log(level, message)``.

    One for the whole process, kept alive; None (the default) discards.  It is
    called on the thread that called covey, on several at once if several do.
    What it raises is printed and ignored.
    """
    global _function
    if log is not None and not callable(log):
        raise TypeError(f"log: expected a callable or None, found {type(log).__name__}")
    kind = enumerator(LogLevel, "level", level)
    sink = _sink_pointer if log is not None else CALLBACKS["covey_log_fn"]()
    with _lock:
        _function = log
        lib().covey_set_log(sink, None, kind)
