"""What commands show while they work."""

from __future__ import annotations

import math
import sys
import time
from typing import Any

from ..mirror.abi import Stage
from .terminal import say, shown


def duration(seconds: float) -> str:
    """ "25 s", "3 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def mebibytes(count: int) -> str:
    """ "1.5 MiB"."""
    return f"{count / 2**20:.1f} MiB"


def counted(count: int, thing: str) -> str:
    """ "1 frame", "2 frames"."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


#: Seconds between two lines about a stage.
_BETWEEN = 10.0


class _Lines:
    """Progress as lines, for files and where rich is not installed: now and then, and when a
    stage is done."""

    def __init__(self) -> None:
        #: Of a stage: when it began, what had been done before, when the last line was written.
        self._stages: dict[str, list[float]] = {}

    def update(self, name: str, done: float, total: float | None, unit: str) -> None:
        now = time.monotonic()
        began, before, told = self._stages.setdefault(name, [now, done, now])
        finished = done == total
        if told == math.inf or (not finished and now - told < _BETWEEN):
            return
        self._stages[name][2] = math.inf if finished else now
        if finished and unit == "%" and now - began < 1:
            # Nobody had to wait for it.
            return
        if finished:
            clock = f"took {duration(now - began)}"
        elif total is None or done <= before:
            clock = ""
        else:
            clock = f"{duration((now - began) * (total - done) / (done - before))} left"
        of = "?" if total is None else total
        say(f"{name:8} {done}/{of} {unit:6} {clock}".rstrip(), error=True)


class Display:
    """Progress and warnings on standard error; silent with --json.  On a terminal bars, if rich
    is there."""

    def __init__(self, silent: bool) -> None:
        #: What warn() was told, shown or not.
        self.warnings: list[str] = []
        self._silent = silent
        self._lines = _Lines()
        self._progress: Any = None
        self._tasks: dict[str, Any] = {}
        if silent or not sys.stderr.isatty():
            return
        try:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                ProgressColumn,
                Task,
                TextColumn,
            )
            from rich.table import Column
            from rich.text import Text
        except ImportError:
            return

        class Time(ProgressColumn):
            """What is left of a stage; of one that is done, what it took."""

            # Seconds: a figure that flickers cannot be read.
            max_refresh = 0.5

            def render(self, task: Task) -> Text:
                if task.finished:
                    return Text(f"took {duration(task.finished_time or 0)}")
                left = task.time_remaining
                return Text("" if left is None else f"{duration(left)} left")

        def whole() -> Column:
            return Column(no_wrap=True)

        # Where the terminal is narrow the bar gives way, not what stands beside it.
        self._progress = Progress(
            TextColumn("{task.description:8}", table_column=whole()),
            BarColumn(bar_width=None, table_column=Column(max_width=40)),
            MofNCompleteColumn(table_column=whole()),
            TextColumn("{task.fields[unit]:6}", table_column=whole()),
            Time(table_column=whole()),
            console=Console(stderr=True),
        )

    def update(self, name: str, done: float, total: float | None, unit: str = "frames") -> None:
        """``unit`` stands behind the figures, and may change."""
        if self._progress is None:
            if not self._silent:
                self._lines.update(name, done, total, unit)
            return
        if not self._tasks:
            # Not before: a failure to read is a line by itself.
            self._progress.start()
        if name not in self._tasks:
            # What was done before counts, but not as speed.
            self._tasks[name] = self._progress.add_task(
                name, total=total, completed=done, unit=unit
            )
        self._progress.update(self._tasks[name], completed=done, total=total, unit=unit)

    def stage(self, stage: Stage | int, fraction: float) -> None:
        """The progress function of the session: finish() only, push() is
        counted in frames."""
        if isinstance(stage, Stage) and stage is not Stage.ENCODE:
            self.update(stage.name.lower(), round(100 * fraction), 100, "%")

    def warn(self, text: str) -> None:
        """One line above the progress."""
        self.warnings.append(text)
        self.note(f"covey: warning: {text}")

    def note(self, text: str) -> None:
        """As warn(), without saying that it is one."""
        if self._silent:
            return
        if self._tasks:
            self._progress.console.print(shown(text), markup=False, highlight=False, soft_wrap=True)
        else:
            say(text, error=True)

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *_: object) -> None:
        if self._tasks:
            self._progress.stop()
