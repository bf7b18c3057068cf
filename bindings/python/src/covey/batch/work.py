"""One task, done whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from ..mirror.abi import VERSION
from ..segmenting.run_result import Made, read_made, source_identity, write_made
from ..system.machine import usable_cores
from .child import command
from .task import Outcome, Task, kept, read_result

#: Seconds between looks at whether an attempt is still wanted.
_PATIENCE = 0.25
#: Exit statuses of covey segment after which it would fail again: failed, wrong usage.
_FINAL = (1, 2)
#: The system may have more in a while.
_SHORT_OF = (errno.EAGAIN, errno.ENOMEM)

_log = logging.getLogger("covey.batch")


def segment_video(task: Task) -> Outcome:
    """Segments the video of ``task`` in a process of its own, and returns what came of it;
    raises nothing that the video, the process or the files can cause.

    The folder of the batch must be held (see BatchFolder).  Works in a folder of its own,
    which becomes task.result in one step when all is in it and on the disk.  Where the result
    is there already, it is returned and nothing done; of two attempts at once the one that
    ends first counts.  Where the attempt's folder disappears, its process is stopped.
    """
    worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    began = time.time()
    attempt = Outcome(task.name, task.source, "failed", worker=worker, began=began)
    _log.info("%s: begun by %s", task.name, worker)
    try:
        found = _known(task) or _attempt(task, attempt, task.attempts / worker)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        again = getattr(error, "errno", None) in _SHORT_OF
        found = replace(attempt, error=str(error), again=again)
    _log.info("%s: %s by %s", task.name, found.status, worker)
    return found if found.seconds is not None else replace(found, seconds=time.time() - began)


def _attempt(task: Task, attempt: Outcome, place: Path) -> Outcome:
    if task.version != VERSION:
        return replace(attempt, error=f"this worker has covey {VERSION}, not {task.version}")
    stopped = replace(attempt, status="stopped", error="not wanted any more")
    try:
        # Not the folder above: nothing begins where the batch has ended.
        place.parent.mkdir(exist_ok=True)
        place.mkdir()
        status, error = _run(task, place)
        if not place.is_dir():
            return stopped
        if status:
            return replace(attempt, error=error, again=status not in _FINAL)
        if source_identity(task.source) != task.settings["source"]:
            return replace(attempt, error=f"{task.source}: changed while it was read")
        made = _signed(attempt, place)
        return _publish(task, place) or replace(
            kept(made, task.name, task.source), status="done"
        )
    except FileNotFoundError:
        if place.is_dir():
            raise
        return stopped
    finally:
        discard(place)


def _known(task: Task) -> Outcome | None:
    """The result that is there.  ValueError for a folder that must not be replaced."""
    known = read_result(task.result)
    if known is None:
        return None
    if known.settings == task.settings:
        return kept(known, task.name, task.source)
    if not task.remake:
        raise ValueError(f"{task.result}: is there, with other settings")
    return None


def _run(task: Task, place: Path) -> tuple[int, str]:
    """Exit status, and the error in one line."""
    threads = task.threads or _threads_of_worker()
    arguments = [task.source, *task.options]
    arguments += [] if threads is None else ["--threads", str(threads)]
    # A file, not a pipe: nobody need read it while the process writes.
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command(str(place), arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            # Ctrl-C is for the batch, which stops its processes itself.
            start_new_session=True,
        )
        try:
            while True:
                try:
                    status = process.wait(_PATIENCE)
                    break
                except subprocess.TimeoutExpired:
                    if not place.is_dir():
                        process.kill()
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else str(-status)
        return status, f"its process was ended by {name}"
    last = lines[-1] if lines else f"its process ended with status {status}"
    return status, last.removeprefix("covey: error: ").removeprefix("covey segment: error: ")


def _threads_of_worker() -> int | None:
    """An even share of the cores for every task that a Dask worker does at a time; None,
    which is all of them, elsewhere."""
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    try:
        at_once: int = distributed.get_worker().state.nthreads
    except ValueError:
        return None
    return max(1, usable_cores() // at_once)


def _signed(attempt: Outcome, place: Path) -> Made:
    """What the process wrote down, with who had it done, and how long that took."""
    made = read_made(place)
    if made is None:
        raise ValueError(f"{attempt.source}: its process left no result")
    began = attempt.began or made.began
    made = replace(
        made, worker=attempt.worker or made.worker, began=began, seconds=time.time() - began
    )
    write_made(place, made)
    return made


def _publish(task: Task, place: Path) -> Outcome | None:
    """Gives the folder its name; the other outcome where that was not to be."""
    try:
        os.rename(place, task.result)
        return None
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    # Somebody was quicker, or there is one to be replaced.
    known = _known(task)
    if known is not None:
        return known
    before = place.with_name(f"{place.name}.before")
    os.rename(task.result, before)
    os.rename(place, task.result)
    discard(before)
    return None


def discard(folder: Path) -> None:
    """Removes a folder in which somebody may be writing; nothing where it is not there."""
    aside = folder.with_name(f".{folder.name}.{secrets.token_hex(3)}")
    with contextlib.suppress(OSError):
        # At once, whatever is in it: who writes in there sees it gone.
        os.rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)
