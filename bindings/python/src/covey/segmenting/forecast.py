"""The most memory that a run may need, told before it begins."""

from __future__ import annotations

import argparse

from ..interface.model import Model
from ..mirror.options import Options
from ..system.display import Display, mebibytes
from ..system.machine import usable_memory


def with_less(arguments: argparse.Namespace) -> str:
    """What takes less memory than the run of ``arguments``."""
    if arguments.stream:
        return "a smaller --working-size needs less"
    if arguments.mode == "reference" or arguments.target_clusters:
        return "--every N, which leaves frames out, needs less"
    return "--stream, or --every N, which leaves frames out, needs less"


class Forecast:
    """The most memory that the session may need, beside its limit and what the machine has."""

    def __init__(
        self, model: Model, options: Options, display: Display, instead: str
    ) -> None:
        self.limit = options.get("memory_limit")
        self.bytes: int | None = None
        self._model, self._options, self._display = model, options, display
        self._instead, self._has_warned = instead, False

    def make(self, size: tuple[int, int], count: int, endless: bool = False) -> None:
        """For ``count`` frames of this height and width, or a stream of them; warns, once."""
        height, width = size
        self.bytes = self._model.estimate_memory(width, height, count, **self._options).peak
        usable = usable_memory()
        if self.limit is not None and self.bytes > self.limit:
            bound = f"--memory-limit allows, {mebibytes(self.limit)}"
        elif self.limit is None and usable is not None and self.bytes > usable:
            bound = f"there is, {mebibytes(usable)}"
        else:
            return
        if not self._has_warned:
            self._has_warned = True
            self._display.warn(
                f"{'a stream' if endless else f'{count} frames'} of {width}x{height} may need up "
                f"to {mebibytes(self.bytes)}, more than {bound}; {self._instead}"
            )
