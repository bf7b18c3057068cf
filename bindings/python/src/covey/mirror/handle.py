"""Owning a C handle: freed once, never in the middle of a call, never used
afterwards."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TypeVar

from .errors import StateError


class Handle:
    """One handle of the library.

    ``keeps`` is any object that must live as long as the handle does.  Closing
    while a call on another thread (or the call whose callback is running) uses
    the handle postpones freeing to the end of that call.
    """

    def __init__(
        self, address: int, free: Callable[[int], Any], what: str, keeps: object = None
    ) -> None:
        self._address: int | None = address
        self._free = free
        self._what = what
        self.keeps = keeps
        self._users = 0
        self._owner: int | None = None
        self._closed = False
        self._pid = os.getpid()
        # Re-entrant: a signal handler may use the handle its thread is locking.
        self._lock = threading.RLock()

    @property
    def closed(self) -> bool:
        return self._closed

    @contextmanager
    def using(self) -> Iterator[int]:
        """The address, for calls that any number of threads may make at once.

        Raises ValueError after close().
        """
        with self._lock:
            if self._closed or self._address is None:
                raise ValueError(f"the {self._what} is closed")
            self._users += 1
            address = self._address
        try:
            yield address
        finally:
            with self._lock:
                self._users -= 1
                self._free_if_last()

    @contextmanager
    def owning(self) -> Iterator[int]:
        """The address, for calls that one thread at a time may make.

        Raises ValueError after close(), StateError while another such call is
        in progress, and in a process forked off since.
        """
        with self.using() as address:
            if os.getpid() != self._pid:
                raise StateError(f"the {self._what} was made before fork()")
            with self._lock:
                if self._owner is not None:
                    who = (
                        "its own callback"
                        if self._owner == threading.get_ident()
                        else "two threads at once"
                    )
                    raise StateError(f"the {self._what} is in use: it cannot be called from {who}")
                self._owner = threading.get_ident()
            try:
                yield address
            finally:
                self._owner = None

    def close(self) -> None:
        """Frees the handle; a second call does nothing."""
        with self._lock:
            self._closed = True
            self._free_if_last()

    def _free_if_last(self) -> None:
        if not self._closed or self._users or self._address is None:
            return
        address, self._address = self._address, None
        # A child process has the memory but not the threads behind it.
        if os.getpid() == self._pid:
            self._free(address)
        self.keeps = None

    def __del__(self) -> None:
        # Not made in full where __init__ raised.
        if getattr(self, "_lock", None) is not None:
            self.close()


_Self = TypeVar("_Self", bound="HandleOwner")


class HandleOwner:
    """What models and sessions share: closing, and being a context manager."""

    _handle: Handle

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._handle.closed

    def close(self) -> None:
        """Gives the handle up.  A model's memory goes with its last session;
        results outlive their session.  A second call does nothing."""
        self._handle.close()

    def __enter__(self: _Self) -> _Self:
        with self._handle.using():
            return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
