"""Calling the library so that Ctrl-C and exceptions of callbacks come through.

While C code runs, Python's signal handlers wait: the interpreter runs them on
the main thread at its next instruction of Python.  The progress callback is
such Python, but a handler would run before the callback's first line, outside
any ``try`` of it, and ctypes only prints what leaves a callback.  So during a
call the handlers are replaced by one that notes the signal; the callback then
runs the true handler where its exception can be caught, has the library
cancel, and the exception is raised again from the call.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .abi import CALLBACKS, Stage

#: ``progress(stage, fraction)``, fraction in [0, 1] of the stage.  Returning
#: False cancels the call, anything else (None too) lets it go on.
#: A stage newer than this package comes as a plain int.
ProgressFunction = Callable[[Any, float], Any]


class Signals:
    """Signals that arrived during one call, for its callback to handle."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def note(self, number: int, frame: FrameType | None) -> None:
        self.waiting.append(number)

    def deliver(self) -> None:
        """Runs the handlers of the signals noted; whatever they raise comes out."""
        while self.waiting:
            number = self.waiting.pop(0)
            self.handlers[number](number, None)


@contextmanager
def deferred_signals() -> Iterator[Signals]:
    """Notes signals instead of handling them; handles the rest at the end.

    Does nothing off the main thread: Python handles no signals there.
    """
    signals = Signals()
    note = signals.note
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    try:
        try:
            for each in signal.valid_signals():
                handler = signal.getsignal(each)
                if callable(handler):
                    signals.handlers[int(each)] = handler
                    signal.signal(each, note)
        except ValueError:
            # A subinterpreter: it has no signals either.
            signals.handlers.clear()
        yield signals
    finally:
        # Each handler put back may be called at once, and raise.
        raised: BaseException | None = None
        remaining = list(signals.handlers.items())
        while remaining:
            try:
                while remaining:
                    number, handler = remaining[-1]
                    # A handler run meanwhile may have installed another one.
                    if signal.getsignal(number) == note:
                        signal.signal(number, handler)
                    remaining.pop()
            except BaseException as error:
                raised = error
        signals.deliver()
        if raised is not None:
            raise raised


class Progress:
    """The C callback of one session or call.

    ``function`` is kept alive for as long as the C side may call it, by being
    kept alive with this object.
    """

    def __init__(self, user: ProgressFunction | None) -> None:
        if user is not None and not callable(user):
            raise TypeError(f"progress: expected a callable, found {type(user).__name__}")
        self._user = user
        self._error: BaseException | None = None
        self._signals: Signals | None = None
        self.function = CALLBACKS["covey_progress_fn"](self._called)

    def _called(self, _: int | None, stage: int, fraction: float) -> int:
        try:
            if self._signals is not None:
                self._signals.deliver()
            if self._user is not None and self._user(_stage(stage), fraction) is False:
                return 1
            return 0
        except BaseException as error:
            self._error = error
            return 1

    def run(self, function: Callable[..., int], *arguments: Any) -> int:
        """The status of ``function(*arguments)``.

        Raises instead what the user's function or a signal handler raised
        during the call.
        """
        self._error = None
        try:
            with deferred_signals() as signals:
                self._signals = signals
                status = function(*arguments)
            if self._error is not None:
                raise self._error
        finally:
            self._signals = None
            # The traceback refers to frames that refer to the arguments.
            self._error = None
        return status


def _stage(number: int) -> Stage | int:
    # "New enumerators may appear."
    try:
        return Stage(number)
    except ValueError:
        return number
