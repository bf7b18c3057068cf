"""``covey segment`` in a process that does not outlive the one that wants it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence

from ..mirror.library import lib

#: Of Linux's prctl(): the signal to get when the parent ends.
_PR_SET_PDEATHSIG = 1

#: The program of the child.  Not python -m covey: that looks for modules in the working folder
#: first, whatever is there.  The caller's sys.path finds what the caller found.
_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from covey.batch.child import begin
from covey.commands.main import main
words = begin(sys.argv[2:])
sys.exit(1 if words is None else main(words))
"""


def command(folder: str, arguments: Sequence[str]) -> list[str]:
    """The command line of ``covey segment ARGUMENTS -o FOLDER --json``.  A folder that is not
    there, or is moved, is not made again."""
    path = json.dumps([os.path.abspath(each) for each in sys.path])
    return [sys.executable, "-I", "-c", _PROGRAM, path, str(os.getpid()), folder, *arguments]


def begin(words: Sequence[str]) -> list[str] | None:
    """In the child, whose first word is the process to end with, the second the folder: the words
    for covey; None where nobody waits any more."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(words[0]):
        # It ended before it could be watched.
        return None
    # COVEY_LIBRARY may be relative.
    lib()
    # From within, the folder can be moved away from under the process.
    os.chdir(words[1])
    return ["segment", *words[2:], "-o", ".", "--json"]
