"""Tasks done by any executor, with another attempt where it may help."""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import BrokenExecutor, CancelledError, Future
from dataclasses import replace

from .task import Outcome, Task
from .work import segment_video

Submit = Callable[[Callable[[Task], Outcome], Task], "Future[Outcome]"]

#: Seconds.  A signal that comes just before a wait for a lock does not end the wait.
_WAKES = 0.5


def map_videos(
    tasks: Iterable[Task], submit: Submit, retries: int = 2
) -> Generator[Outcome, None, None]:
    """The outcome of every attempt, as they come, one after the other of a task.

    submit: of an executor of threads, for processes of this machine, or of a
    distributed.Client's get_executor(pure=False).  An outcome with ``again`` set is followed
    by another of the same task, unless it had ``retries`` more attempts already: the last
    one of a task never has it set.  ConnectionError where the executor gives tasks up.

    To stop early, close the iterator: what has not begun will not, and what has goes on
    until the folder of its attempt is removed.
    """
    ended: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
    running: dict[Future[Outcome], tuple[Task, int]] = {}

    def begin(task: Task, attempt: int) -> None:
        future = submit(segment_video, task)
        running[future] = task, attempt
        future.add_done_callback(ended.put)

    try:
        for task in tasks:
            begin(task, 1)
        while running:
            try:
                future = ended.get(timeout=_WAKES)
            except queue.Empty:
                continue
            task, attempt = running.pop(future)
            found = replace(_outcome_of(future, task), attempt=attempt)
            found = replace(found, again=found.again and attempt <= retries)
            yield found
            if found.again:
                begin(task, attempt + 1)
    finally:
        for future in running:
            future.cancel()


def _outcome_of(future: Future[Outcome], task: Task) -> Outcome:
    try:
        return future.result()
    except CancelledError:
        raise ConnectionError("the scheduler has given the videos up; run again to go on") from None
    except Exception as error:
        # Of the executor: segment_video itself returns what went wrong.
        kind = type(error).__name__
        # Several workers of a cluster ended while they were at it.
        again = isinstance(error, BrokenExecutor) or kind == "KilledWorker"
        text = " ".join(str(error).split())
        return Outcome(task.name, task.source, "failed", f"{kind}: {text}", again)
