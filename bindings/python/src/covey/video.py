"""Reading frames: video files through PyAV, pictures through Pillow."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What counts as a picture, in a folder or by itself.
IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
#: A picture file that may hold more than one frame is read as a video.
_MOVING_SUFFIXES = frozenset({".gif"})


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts 2.png before 10.png."""
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


@dataclass(frozen=True)
class SourceFrame:
    """image: [H, W, 3] uint8 RGB.  index: place in the source, from 0, frames
    that were skipped counted.  name: file name without suffix, or the index in
    five digits.  time: seconds from the start, None where unknown.  path: of the
    picture, None for a frame of a film."""

    image: NDArray[np.uint8]
    index: int
    name: str
    time: float | None
    path: Path | None = None


class Video:
    """The frames of a video file, a folder of pictures (in natural order of
    their names), or one picture.

    Iterating gives [H, W, 3] uint8 RGB arrays, upright as the file's rotation
    metadata says; frames() gives them with names and times.  Each iteration
    reads from the start and holds one frame at a time.

    max_frames: stop after so many; every: keep each n-th only.  Raises
    FileNotFoundError, ValueError for what holds no frames, and when reading
    whatever PyAV or Pillow raise.
    """

    def __init__(
        self, path: str | os.PathLike[str], max_frames: int | None = None, every: int = 1
    ) -> None:
        self.path = Path(path)
        if every < 1:
            raise ValueError(f"every: expected at least 1, found {every}")
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames: expected at least 1, found {max_frames}")
        self.max_frames = max_frames
        self.every = every
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path}: no such file or folder")
        self._images: list[Path] | None = None
        if self.path.is_dir():
            found = [
                each
                for each in self.path.iterdir()
                if each.suffix.lower() in IMAGE_SUFFIXES
                and not each.name.startswith(".")
                and each.is_file()
            ]
            if not found:
                raise ValueError(f"{self.path}: no pictures in this folder")
            self._images = sorted(found, key=lambda each: natural_key(each.name))
        elif self.path.suffix.lower() in IMAGE_SUFFIXES - _MOVING_SUFFIXES:
            self._images = [self.path]
        self._probed: tuple[float | None, int | None] | None = None

    @property
    def files(self) -> list[Path]:
        """The pictures, those that ``max_frames`` and ``every`` leave out
        included, or the video file."""
        return [self.path] if self._images is None else list(self._images)

    @property
    def pictures(self) -> list[Path] | None:
        """As ``files``; None of a video file."""
        return None if self._images is None else list(self._images)

    @property
    def has_unique_names(self) -> bool:
        """Whether no two of the frames that iterating gives have one name."""
        names = [each.stem for each in (self._images or [])[:: self.every][: self.max_frames]]
        return len(set(names)) == len(names)

    @property
    def fps(self) -> float | None:
        """Frames per second as iterated (``every`` counted in); None for pictures."""
        rate = self._probe()[0]
        return None if rate is None else rate / self.every

    @property
    def frame_count(self) -> int | None:
        """How many frames iterating will give; for a video file what its
        container claims, None where it does not say."""
        total = self._probe()[1]
        if total is None:
            return None
        kept = -(-total // self.every)
        return kept if self.max_frames is None else min(kept, self.max_frames)

    def _probe(self) -> tuple[float | None, int | None]:
        if self._images is not None:
            return None, len(self._images)
        if self._probed is None:
            with open_film(self.path) as container:
                stream = film_stream(container, self.path)
                rate = stream.average_rate or stream.guessed_rate
                count = stream.frames or None
                if count is None and rate and container.duration:
                    count = max(1, round(container.duration / 1e6 * float(rate)))
                self._probed = (float(rate) if rate else None, count)
        return self._probed

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for frame in self.frames():
            yield frame.image

    def frames(self) -> Generator[SourceFrame, None, None]:
        """The frames with their names and times."""
        source = self._decoded() if self._images is None else self._pictures(self._images)
        given = 0
        for frame in source:
            yield frame
            given += 1
            if given == self.max_frames:
                return
        if not given:
            raise ValueError(f"{self.path}: no frames")

    def _pictures(self, paths: list[Path]) -> Iterator[SourceFrame]:
        for index in range(0, len(paths), self.every):
            path = paths[index]
            yield SourceFrame(read_image(path), index, path.stem, None, path)

    def _decoded(self) -> Iterator[SourceFrame]:
        with open_film(self.path) as container:
            stream = film_stream(container, self.path)
            stream.thread_type = "AUTO"
            for index, frame in enumerate(container.decode(stream)):
                if index % self.every:
                    continue
                image = upright(frame.to_ndarray(format="rgb24"), frame.rotation)
                yield SourceFrame(image, index, f"{index:05d}", frame.time)


def open_film(path: Path) -> Any:
    """PyAV's container of a video file."""
    try:
        import av
    except ImportError:
        raise ImportError("reading video needs PyAV: pip install av") from None
    return av.open(os.fspath(path))


def film_stream(container: Any, path: Path) -> Any:
    """Its first video stream.  ValueError where it has none."""
    if not container.streams.video:
        raise ValueError(f"{path}: no video stream")
    return container.streams.video[0]


def upright(image: NDArray[np.uint8], degrees: int) -> NDArray[np.uint8]:
    """``degrees``: counter-clockwise, to show the frame as it was taken."""
    turns = round(degrees / 90) % 4
    return image if turns == 0 else np.ascontiguousarray(np.rot90(image, turns))


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """[H, W, 3] uint8 RGB, upright as its EXIF data says.

    Raises OSError, or ValueError for what is no picture, naming the file.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise ImportError("reading pictures needs Pillow: pip install pillow") from None
    try:
        return _rgb(Image, ImageOps, path)
    except (OSError, SyntaxError, ValueError) as error:
        # Pillow names a file that it cannot open, but not one that is damaged.
        if getattr(error, "filename", None):
            raise
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else error
        raise ValueError(f"{os.fspath(path)}: {reason}") from None


def _rgb(Image: Any, ImageOps: Any, path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        if picture.mode.startswith(("I;16", "I")):
            # Pillow would clip instead of scaling.
            values = np.asarray(picture).astype(np.float64)
            gray = np.clip(values / 257.0 + 0.5, 0, 255).astype(np.uint8)
            return np.repeat(gray[:, :, None], 3, axis=2)
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
