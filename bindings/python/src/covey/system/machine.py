"""What the machine leaves this process: cores and memory, within the bounds of its control
groups (containers), of version 2 or 1."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

#: Replaced by tests.
PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def _groups(controller: str) -> Iterator[Path]:
    """Folders of the groups that this process is in, up to the root; some may not be there."""
    try:
        lines = (PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # Of a container its own group may be mounted as the root.
        inside = Path(path.lstrip("/"))
        for root in {GROUPS, GROUPS / controllers, GROUPS / controller}:
            for each in (inside, *inside.parents):
                yield root / each


def _numbers(path: Path) -> list[int]:
    """In a file of a group; none where it is not there, or says "max"."""
    with contextlib.suppress(OSError, ValueError):
        return [int(word) for word in path.read_text().split()]
    return []


def usable_cores() -> int:
    """At least 1."""
    found = [len(os.sched_getaffinity(0))]
    for group in _groups("cpu"):
        limits = _numbers(group / "cpu.max")
        if not limits:
            limits = _numbers(group / "cpu.cfs_quota_us") + _numbers(group / "cpu.cfs_period_us")
        if len(limits) == 2 and limits[0] > 0 and limits[1] > 0:
            found.append(-(-limits[0] // limits[1]))
    return max(1, min(found))


def usable_memory() -> int | None:
    """Bytes; None where nothing says."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in (PROC / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                found.append(int(line.split()[1]) * 1024)
    for group in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            found += _numbers(group / name)[:1]
    for kind in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            found.append(soft)
    return min(found, default=None)


def peak_memory() -> int:
    """Bytes that this process had at most.  Not ru_maxrss, which begins with the parent's."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10  # kB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
