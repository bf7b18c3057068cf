"""A video and what is true of it; and the parts that readers of datasets share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..reading.pictures import Pictures
from ..reading.video import Video
from ..writing.images import read_labels

__all__ = ["DatasetError", "LabelledVideo", "names_in", "of_pictures", "pictures", "stacked"]

Image = NDArray[np.uint8]
Ids = NDArray[np.uint16]


class DatasetError(ValueError):
    """A folder that is not laid out as the dataset is, or a file in it that is damaged."""


@dataclass(frozen=True)
class LabelledVideo:
    """A video and what is true of it.

    frame_names: without suffix.  read_frame: the [H, W, 3] uint8 RGB of a frame;
    read_truth: its [H, W] uint16 ids, 0 where there is no object.  void: the id that
    says that nothing is known.  identifier: the dataset's number of the video, if it has
    one.
    """

    name: str
    frame_names: tuple[str, ...]
    read_frame: Callable[[int], Image] = field(repr=False)
    read_truth: Callable[[int], Ids] = field(repr=False)
    void: int | None = None
    identifier: int | None = None

    def __len__(self) -> int:
        return len(self.frame_names)

    def frames(self) -> Iterator[Image]:
        """One after the other.  DatasetError for one of another size than the first."""
        shape: tuple[int, ...] | None = None
        for index, name in enumerate(self.frame_names):
            frame = self.read_frame(index)
            shape = shape or frame.shape
            if frame.shape != shape:
                raise DatasetError(f"{self.name}: frame {_other(name, frame.shape, shape)}")
            yield frame

    def truth(self) -> tuple[Ids, NDArray[np.bool_] | None]:
        """ids [T, H, W], 0 in place of void, and where void is; None where nowhere."""
        ids = stacked(map(self.read_truth, range(len(self))), self.frame_names)
        if self.void is None:
            return ids, None
        unknown = ids == self.void
        ids[unknown] = 0
        return ids, unknown if unknown.any() else None


def pictures(folder: Path) -> list[Path]:
    """Those of a folder, in natural order of their names."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    try:
        return Video(folder).files
    except ValueError as error:
        raise DatasetError(str(error)) from None


def stacked(maps: Iterable[Ids], names: Sequence[str]) -> Ids:
    """[T, H, W].  DatasetError naming what is of another size than the first."""
    found = list(maps)
    for name, each in zip(names, found, strict=True):
        if each.shape != found[0].shape:
            raise DatasetError(_other(name, each.shape, found[0].shape))
    return np.stack(found)


def _other(name: str, found: tuple[int, ...], first: tuple[int, ...]) -> str:
    return (
        f"{name}: expected {first[0]}x{first[1]} pixels like the first one, "
        f"found {found[0]}x{found[1]}"
    )


def names_in(path: Path) -> list[str]:
    """The lines of a text file that hold something."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: {error}") from None
    return [line.strip() for line in text.splitlines() if line.strip()]


def of_pictures(
    name: str, frames: Sequence[Path], truth: Sequence[Path], void: int | None
) -> LabelledVideo:
    """Frames that have a mask of the same name; those without are not judged."""
    masks = {each.stem: each for each in truth}
    both = [each for each in frames if each.stem in masks]
    if not both:
        raise DatasetError(f"{name}: no frame has a mask of its name")
    sequence = Pictures(both)
    return LabelledVideo(
        name,
        tuple(each.stem for each in both),
        lambda index: next(sequence.read([index])),
        lambda index: read_labels(masks[both[index].stem]),
        void,
    )
