"""Features of clips, computed once and used many times."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..writing.whole_files import written_whole

#: What the file's array is of; the shape of a clip follows.
_TYPE = np.dtype("<f4")


class FeatureCache:
    """The features of ``count`` clips in a NumPy file [count, T, tokens, C], which is
    mapped, not read."""

    def __init__(self, path: Path, count: int, shape: tuple[int, ...], seed: int) -> None:
        self.path, self.count, self.shape, self._seed = path, count, shape, seed
        self._array: NDArray[np.float32] | None = None
        self._epoch = -1
        self._order: NDArray[np.intp] = np.empty(0, np.intp)

    @property
    def bytes(self) -> int:
        return self.count * math.prod(self.shape) * _TYPE.itemsize

    def open(self) -> bool:
        """Whether the file is there, and whole, with the shape expected."""
        try:
            array = np.load(self.path, mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return False
        if array.shape != (self.count, *self.shape) or array.dtype != _TYPE:
            return False
        self._array = array
        return True

    def fill(self, clips: Iterator[NDArray[np.float32]], done: Callable[[int], None]) -> None:
        """Writes the file from the features of clips 0, 1, ...; ``done`` is told how
        many there are.  OSError where the disk is full: no file is left then."""
        header = {
            "descr": np.lib.format.dtype_to_descr(_TYPE),
            "fortran_order": False,
            "shape": (self.count, *self.shape),
        }
        with written_whole(self.path) as file:
            np.lib.format.write_array_header_1_0(file, header)
            for index in range(self.count):
                file.write(np.ascontiguousarray(next(clips), _TYPE).data)
                done(index + 1)
        self.open()

    def clip(self, number: int) -> NDArray[np.float32]:
        """Features [T, tokens, C] for the clip number ``number`` of a run: every clip
        of the file once, in an order from the seed, then all again in another."""
        epoch, place = divmod(number, self.count)
        if epoch != self._epoch:
            words = np.random.SeedSequence([self._seed, 2**32 - 1, epoch]).generate_state(
                self.count, np.uint64
            )
            self._epoch, self._order = epoch, np.argsort(words, kind="stable")
        if self._array is None:
            raise ValueError(f"{self.path}: not open")
        features: NDArray[np.float32] = self._array[self._order[place]]
        return features
