"""``covey segment`` in a process that does not outlive the one that wants it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence

#: Of Linux's prctl(): the signal to get when the parent ends.
_PR_SET_PDEATHSIG = 1

#: Not python -m: that looks for modules in the working folder first, whatever is there.
#: The caller's sys.path finds what the caller found.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from covey.batch.child import main; sys.exit(main(sys.argv[2:]))"
)


def command(folder: str, arguments: Sequence[str]) -> list[str]:
    """The command line of ``covey segment ARGUMENTS -o FOLDER --json``.  A folder that is not
    there, or is moved, is not made again."""
    path = json.dumps([os.path.abspath(each) for each in sys.path])
    return [sys.executable, "-I", "-c", _START, path, str(os.getpid()), folder, *arguments]


def main(words: Sequence[str]) -> int:
    """Runs covey segment; the first word is the process to end with, the second the folder."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(words[0]):
        # It ended before it could be watched.
        return 1
    from .._library import lib
    from ..cli import main as run

    # COVEY_LIBRARY may be relative.
    lib()
    # From within, the folder can be moved away from under the process.
    os.chdir(words[1])
    return run(["segment", *words[2:], "-o", ".", "--json"])
