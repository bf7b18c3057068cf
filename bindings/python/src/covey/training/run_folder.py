"""The folder of a training run: settings, checkpoint, log, plot, features.

    RUN/run.json         what the run is of, and its options
    RUN/checkpoint.gguf  weights, moments, step
    RUN/log.jsonl        one line a step
    RUN/loss.png         the losses, where matplotlib is installed
    RUN/features.npy     features of clips, with --cache-features
    RUN/tensorboard      with --tensorboard
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..writing.whole_files import (
    json_line,
    made_folder,
    naming,
    parsed_json,
    write_json,
    written_whole,
)

#: Steps that a point of the plotted curve is the mean of, at most.
_SMOOTHED = 50


class RunFolder:
    """Names of the files, and reading and writing the small ones."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.path = Path(folder)
        self.settings = self.path / "run.json"
        self.checkpoint = self.path / "checkpoint.gguf"
        self.log = self.path / "log.jsonl"
        self.plot = self.path / "loss.png"
        self.features = self.path / "features.npy"
        self.tensorboard = self.path / "tensorboard"

    @property
    def holds_a_run(self) -> bool:
        return self.checkpoint.exists()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Makes the folder where there is none, and keeps other processes out of it; ValueError
        where one is in there.  What one that was killed had begun to write is removed."""
        with made_folder(self.path, "another process goes on with this run"):
            begun = [f".{each.name}.[0-9]*" for each in (self.settings, self.log, self.plot)]
            begun += [f".{self.features.name}.[0-9]*", self.checkpoint.name + "." + 8 * "[0-9a-f]"]
            for pattern in begun:
                for left in self.path.glob(pattern):
                    left.unlink()
            yield

    def begin(self, settings: dict[str, Any]) -> None:
        """Writes the settings of a run that has done nothing yet: what was computed in another
        is not its own."""
        self.features.unlink(missing_ok=True)
        self.write_settings(settings)

    def write_settings(self, settings: dict[str, Any]) -> None:
        write_json(self.settings, settings, indent=1)

    def read_settings(self) -> dict[str, Any]:
        """FileNotFoundError where there is no run, ValueError for a damaged file."""
        if not self.checkpoint.exists() or not self.settings.exists():
            raise FileNotFoundError(f"{self.path}: holds no run to go on with")
        try:
            settings = parsed_json(self.settings.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.settings}: {error}") from None
        if not isinstance(settings, dict):
            raise ValueError(f"{self.settings}: expected an object")
        return settings


def read_log(path: Path, last: int | None = None) -> list[dict[str, Any]]:
    """The lines of a log, in order of their steps; up to step ``last``.

    A line that is not whole, as a crash leaves it, ends the log.
    """
    rows: list[dict[str, Any]] = []
    if not path.exists():
        return rows
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = parsed_json(line)
                step = row["step"]
            except (ValueError, KeyError, TypeError):
                break
            if last is not None and step > last:
                break
            rows.append(row)
    return rows


class RunLog:
    """The log, appended line by line; and the rows so far.

    ``step``: of the checkpoint that the run goes on from: what comes after it in the
    file is cut off, and will be written again.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        self.rows = read_log(path, step)
        with written_whole(path) as file:
            for row in self.rows:
                file.write(json_line(row))
        self._path, self._file = path, open(path, "ab")

    def append(self, row: dict[str, Any]) -> None:
        """One line, handed to the system at once."""
        self.rows.append(row)
        with naming(self._path):
            self._file.write(json_line(row))
            self._file.flush()

    def sync(self) -> None:
        """To the disk: a checkpoint must not be ahead of its log."""
        with naming(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        with naming(self._path):
            self._file.close()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def smoothed(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Means of ``width`` values, the last of them in the place of each; at the start
    of as many as there are."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    means: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def plot_losses(path: Path, rows: Sequence[dict[str, Any]]) -> bool:
    """Writes a picture of both losses and the learning rate.  False without
    matplotlib, and without rows."""
    try:
        # Not pyplot: it is global, and looks for a screen.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    if not rows:
        return False
    steps = np.array([row["step"] for row in rows])
    width = max(1, min(_SMOOTHED, len(rows) // 10))
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for name, colour in (("semantic", "tab:blue"), ("motion", "tab:orange")):
        losses = np.array([row[f"{name}_loss"] for row in rows])
        axes.plot(steps, losses, color=colour, alpha=0.25, linewidth=0.6)
        axes.plot(steps, smoothed(losses, width), color=colour, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel(f"loss (bold: mean of {width} steps)")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    rates = axes.twinx()
    rates.plot(steps, [row["learning_rate"] for row in rows], color="0.5", linestyle=":")
    rates.set_ylabel("learning rate (dotted)")
    rates.set_ylim(bottom=0)
    axes.legend()
    with written_whole(path) as file:
        figure.savefig(file, format="png", dpi=120)
    return True


def summary_writer() -> Any:
    """The class of TensorBoard's writers.  ImportError where there is none."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ImportError(
                "TensorBoard's files need a writer: pip install tensorboardX"
            ) from None
    return SummaryWriter


class TensorBoard:
    """Rows of the log as TensorBoard reads them; what earlier runs wrote after ``step`` is
    hidden.  A context manager."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer = summary_writer()(str(folder), purge_step=step + 1)

    def append(self, row: dict[str, Any]) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def __enter__(self) -> TensorBoard:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()
