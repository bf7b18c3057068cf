"""Processes that tests begin, kill and wait for."""

from __future__ import annotations

import time
from pathlib import Path


def wait_for(condition, seconds=60):
    """Its value, once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


def processes_of(text):
    """Ids of the processes with ``text`` in their command line."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(text).encode() in each.read_bytes():
                found.append(int(each.parent.name))
        except OSError:
            pass
    return found


def children(process):
    """Ids of the processes that a process has begun."""
    found = [each.read_text().split() for each in Path(f"/proc/{process}/task").glob("*/children")]
    return [int(number) for each in found for number in each]
