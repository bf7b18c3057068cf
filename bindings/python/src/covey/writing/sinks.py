"""What ``covey segment`` writes: one sink for every kind of file.

A sink takes the results in the order of the frames.  It is a context manager, and its
file gets its name at the end: a run that fails leaves that of an earlier one.  (Masks are
written as they come.)
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..interface.result import Result
from ..reading.video import SourceFrame
from . import coco, images
from .sound import Sound
from .whole_files import naming, write_json, written_whole

#: Pairs of frame and overlay on a sheet.
_SHEET_PAIRS = 8


class Sink:
    """path: of its file, or folder.  wants_pixels: whether it needs the frames beside
    their results."""

    wants_pixels = False

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, result: Result, name: str, frame: SourceFrame | None) -> None:
        """The result of the next frame, whose mask has this name; ``frame`` where pixels
        are wanted."""
        raise NotImplementedError

    def close(self) -> None:
        """Writes what is left."""

    def abandon(self) -> None:
        """Instead of close(), after a failure."""

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            with naming(self.path):
                self.close()
        else:
            self.abandon()


class Masks(Sink):
    """OUT/masks/NAME.png.  wide: whether there was one with 16 bits."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.wide = False

    def write(self, result: Result, name: str, frame: SourceFrame | None) -> None:
        file = self.path / f"{name}.png"
        with naming(file):
            self.wide |= images.write_labels(file, result.labels) == 16


class Film(Sink):
    """The frames with their objects over them; with the sound of the film at ``source``."""

    wants_pixels = True

    def __init__(self, path: Path, rate: float, source: Path | None) -> None:
        super().__init__(path)
        self._rate = rate
        self._sound = None if source is None else Sound(source)
        # One name, so that what a killed run leaves is the next one's.
        self._beside = path.with_name(f".{path.name}.partial")
        self._film: images.VideoWriter | None = None

    def write(self, result: Result, name: str, frame: SourceFrame | None) -> None:
        if frame is None:
            return
        if self._film is None:
            self._film = images.VideoWriter(
                self._beside, self._rate, self._sound, frame.time or 0.0
            )
        self._film.write(images.overlay(frame.image, result.labels))

    def close(self) -> None:
        try:
            if self._film is not None:
                self._film.close()
                os.replace(self._beside, self.path)
        finally:
            self._end()

    def abandon(self) -> None:
        try:
            # A disk that is full is also when it is closed.
            with contextlib.suppress(OSError):
                if self._film is not None:
                    self._film.close()
        finally:
            self._end()

    def _end(self) -> None:
        self._beside.unlink(missing_ok=True)
        if self._sound is not None:
            self._sound.close()


Kept = TypeVar("Kept")


class Spread(Generic[Kept]):
    """Some items, evenly spread over a video whose length need not be known: where
    there are too many, every other one goes."""

    def __init__(self, count: int) -> None:
        self._count, self._step = count, 1
        self._kept: list[Kept] = []

    def offer(self, index: int, make: Callable[[], Kept]) -> None:
        """``make`` is called for those that are kept."""
        if index % self._step:
            return
        self._kept.append(make())
        if len(self._kept) == 2 * self._count:
            self._kept = self._kept[::2]
            self._step *= 2

    def items(self) -> list[Kept]:
        """At most ``count``, the first and the last kept among them."""
        last = len(self._kept) - 1
        places = {round(place * last / (self._count - 1)) for place in range(self._count)}
        return [self._kept[place] for place in sorted(places)] if self._kept else []


class Sheet(Sink):
    """Pairs of frame and overlay."""

    wants_pixels = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._pairs: Spread[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = Spread(_SHEET_PAIRS)

    def write(self, result: Result, name: str, frame: SourceFrame | None) -> None:
        if frame is not None:
            pixels = frame.image

            def pair() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
                image, labels = images.smaller(pixels, result.labels, images.SHEET_WIDTH)
                return image, images.overlay(image, labels)

            self._pairs.offer(result.index, pair)

    def close(self) -> None:
        if pairs := self._pairs.items():
            with written_whole(self.path) as file:
                images.write_image(file, images.contact_sheet(pairs), "PNG")


class Arrays(Sink):
    """labels [T, H, W] uint16 and names [T], compressed: for numpy.load()."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._names: list[str] = []
        self._shape = (0, 0)
        # Frame by frame on the disk: a video need not fit the memory.
        self._labels: IO[bytes] = tempfile.TemporaryFile(dir=path.parent)

    def write(self, result: Result, name: str, frame: SourceFrame | None) -> None:
        self._names.append(name)
        self._shape = result.labels.shape
        self._labels.write(np.ascontiguousarray(result.labels).tobytes())

    def close(self) -> None:
        self._labels.flush()
        shape = (len(self._names), *self._shape)
        with written_whole(self.path) as file:
            labels = np.memmap(self._labels, np.uint16, "r", shape=shape)
            np.savez_compressed(file, labels=labels, names=np.array(self._names))
        self._labels.close()

    def abandon(self) -> None:
        self._labels.close()


class Coco(Sink):
    """Run lengths of every object in every frame, as a file of COCO's with a video:
    images have video_id and frame_index, annotations track_id and score, which is the
    object's objectness as far as it was known."""

    def __init__(self, path: Path, source: str, files: Sequence[str]) -> None:
        """``files``: names of the frames, by index."""
        super().__init__(path)
        self._source, self._files = source, files
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def write(self, result: Result, name: str, frame: SourceFrame | None) -> None:
        image = len(self._images) + 1
        self._images.append(
            {
                "id": image,
                "video_id": 1,
                "frame_index": result.index,
                "file_name": self._files[result.index],
                "height": result.height,
                "width": result.width,
            }
        )
        for found in result.objects:
            self._annotations.append(
                {
                    "id": len(self._annotations) + 1,
                    "image_id": image,
                    "video_id": 1,
                    "track_id": found.id,
                    "category_id": 1,
                    "segmentation": coco.compressed(result.rle(found.id)),
                    "bbox": [found.x, found.y, found.width, found.height],
                    "area": found.area,
                    "iscrowd": 0,
                    "score": found.objectness,
                }
            )

    def close(self) -> None:
        write_json(
            self.path,
            {
                "videos": [{"id": 1, "name": self._source}],
                "images": self._images,
                "categories": [{"id": 1, "name": "object"}],
                "annotations": self._annotations,
            },
        )


class YoutubeVis(Sink):
    """The objects as entries of a results file of YouTube-VIS: run lengths of each in
    all frames, None where it is not; score is the last objectness."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._frames = 0
        self._masks: dict[int, dict[int, coco.RunLengths]] = {}
        self._scores: dict[int, float] = {}

    def write(self, result: Result, name: str, frame: SourceFrame | None) -> None:
        for found in result.objects:
            masks = self._masks.setdefault(found.id, {})
            masks[self._frames] = coco.compressed(result.rle(found.id))
            self._scores[found.id] = found.objectness
        self._frames += 1

    def close(self) -> None:
        write_json(
            self.path,
            [
                {
                    "video_id": 1,
                    "category_id": 1,
                    "score": self._scores[number],
                    "segmentations": [masks.get(index) for index in range(self._frames)],
                }
                for number, masks in sorted(self._masks.items())
            ],
        )
