"""Ctrl-C during a run: it ends after the step in progress."""

from __future__ import annotations

import contextlib
import signal
import threading
from types import FrameType
from typing import Any

from ..system.display import Display


class Stopped(Exception):
    """Out of the middle of what has no use when it is not whole."""


class Stop:
    """Ctrl-C and SIGTERM: the first is noted, the second interrupts."""

    def __init__(self, display: Display) -> None:
        self.asked = False
        self._display = display
        self._handlers: dict[int, Any] = {}

    def check(self) -> None:
        """Raises Stopped where it was asked for."""
        if self.asked:
            raise Stopped

    def _called(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        # In the middle of another line none can be begun.
        with contextlib.suppress(RuntimeError):
            self._display.note("stopping after this step; once more: at once")

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGINT, signal.SIGTERM):
                self._handlers[each] = signal.signal(each, self._called)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
