"""Finding and loading libcovey.so, once per process."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from . import abi

_NAME = "libcovey.so"
_SONAME = "libcovey.so.0"

_lock = threading.RLock()
_library: ctypes.CDLL | None = None


def checkout() -> Path | None:
    """The folder of the sources, where this package is used from within them."""
    here = Path(__file__).resolve()
    if len(here.parents) < 6:
        return None
    root = here.parents[5]
    return root if (root / "Include" / "covey.h").is_file() else None


def _candidates() -> Iterator[tuple[str, str]]:
    """(what to hand to dlopen, what to tell the user about it), in order."""
    package = Path(__file__).resolve().parents[1]
    for name in (_NAME, _SONAME):
        yield str(package / name), f"{package / name} (inside the package)"
    root = checkout()
    if root is not None:
        yield str(root / "build" / _NAME), f"{root / 'build' / _NAME} (the checkout)"
    yield _SONAME, f"{_SONAME} (the system's loader)"
    yield _NAME, f"{_NAME} (the system's loader)"


def _open() -> tuple[ctypes.CDLL, str]:
    chosen = os.environ.get("COVEY_LIBRARY")
    if chosen:
        # Whoever names a library wants that one: no falling back.
        try:
            return ctypes.CDLL(chosen), chosen
        except OSError as error:
            raise OSError(f"COVEY_LIBRARY={chosen}: {error}") from None
    looked: list[str] = []
    for target, description in _candidates():
        if os.sep in target and not os.path.exists(target):
            looked.append(f"{description}: not there")
            continue
        try:
            return ctypes.CDLL(target), target
        except OSError as error:
            looked.append(f"{description}: {error}")
    places = "\n  ".join(looked)
    raise OSError(
        f"{_NAME} was not found. Build it with `make lib` in the checkout, then reinstall "
        "this package or set COVEY_LIBRARY to the library's path. "
        f"Looked at:\n  COVEY_LIBRARY: not set\n  {places}"
    )


def split_version(number: int) -> tuple[int, int, int]:
    """10203 is (1, 2, 3)."""
    return number // 10000, number // 100 % 100, number % 100


def _check(library: ctypes.CDLL, where: str) -> None:
    ours = abi.VERSION
    try:
        library.covey_version.restype = ctypes.c_int32
        library.covey_version.argtypes = []
        found = split_version(library.covey_version())
    except AttributeError:
        raise OSError(f"{where} is not a covey library: it has no covey_version") from None
    theirs = ".".join(map(str, found))
    if found[0] != abi.HEADER.version[0]:
        raise OSError(
            f"{where} has interface {theirs}, this package needs {ours}: the major versions differ"
        )
    try:
        abi.declare(library)
    except AttributeError as error:
        raise OSError(
            f"{where} has interface {theirs}, older than {ours} of this package: {error}"
        ) from None


def lib() -> ctypes.CDLL:
    """The library, loaded at the first call.

    Raises OSError, naming the places looked at, where there is none, or none
    of the right version.
    """
    global _library
    if _library is not None:
        return _library
    with _lock:
        if _library is None:
            library, where = _open()
            _check(library, where)
            _library = library
    return _library


def default_model_path() -> Path:
    """The weight file used where none is named.

    In this order: $COVEY_MODEL, inside the package, models/ of the checkout.
    Raises FileNotFoundError naming the places looked at.
    """
    chosen = os.environ.get("COVEY_MODEL")
    if chosen:
        return Path(chosen)
    places = [Path(__file__).resolve().parents[1] / "models" / "covey-nano.gguf"]
    root = checkout()
    if root is not None:
        places.append(root / "models" / "covey-nano.gguf")
    for place in places:
        if place.is_file():
            return place
    listed = ", ".join(map(str, places))
    raise FileNotFoundError(
        f"no weight file: name one, or set COVEY_MODEL. Looked at: COVEY_MODEL (not set), {listed}"
    )
