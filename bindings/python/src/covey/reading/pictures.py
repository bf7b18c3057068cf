"""Reading pictures through Pillow: of any type of numbers, one or several in a file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Pictures of a sequence that tell how many of their 16 bits are used.
_LOOKED_AT = 32
#: Rows that are copied at a time: of a large picture there is no second copy.
_ROWS = 256


def read_image(path: str | os.PathLike[str]) -> NDArray[np.uint8]:
    """[H, W, 3] uint8 RGB, upright as its EXIF data says.

    16 bits are scaled down; where a gray picture uses the lowest 8, 10, 12 or 14 of them alone,
    those.  Floats must be in 0 to 1.  Raises OSError, or ValueError, naming the file, for what
    is no picture, holds several, or other numbers.
    """
    return next(Pictures([Path(path)]).read([0]))


class Pictures:
    """A sequence of pictures: files, or, as ``are_pages``, those in one file.

    len() is how many there are.
    """

    def __init__(self, files: Sequence[Path], are_pages: bool = False) -> None:
        self.files = list(files)
        self.are_pages = are_pages
        self._count = len(self.files)
        if are_pages:
            with _PictureFile(self.files[0]) as opened:
                self._count = len(opened.pages)

    def __len__(self) -> int:
        return self._count

    def read(self, indices: Iterable[int]) -> Iterator[NDArray[np.uint8]]:
        """Those, as read_image() gives them, but with 16 bits all scaled alike."""
        for index, values in self._values(indices):
            yield values if values.dtype == np.uint8 else self._scaled(index, values)

    def _values(self, indices: Iterable[int]) -> Iterator[tuple[int, NDArray[Any]]]:
        """As the file has them."""
        if self.are_pages:
            with _PictureFile(self.files[0]) as opened:
                for index in indices:
                    yield index, opened.read(index)
            return
        for index in indices:
            with _PictureFile(self.files[index]) as opened:
                if len(opened.pages) > 1:
                    raise ValueError(
                        f"{self.files[index]}: holds {len(opened.pages)} pictures, expected one; "
                        "by itself it is read as a video"
                    )
                values = opened.read(0)
            yield index, values

    def _scaled(self, index: int, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Of floats [H, W], or 16 bits [H, W] or [H, W, 3]."""
        name = f"{self.files[0]}: picture {index}" if self.are_pages else str(self.files[index])
        least, most = (values.min(), values.max()) if values.size else (0, 0)
        if values.dtype == np.uint16:
            if values.ndim == 3 and self._bits <= 12:
                raise ValueError(
                    f"{name}: colours of 16 bits that use the lowest {self._bits} alone; expected "
                    "all 16, or 8"
                )
            limit = 2**self._bits - 1
            found = f"{most}, with none above {limit} in the pictures looked at first"
        else:
            limit, found = 1, f"{least:g} to {most:g}"
        if not (least >= 0 and most <= limit):  # nor nan
            raise ValueError(f"{name}: expected numbers from 0 to {limit}, found {found}")
        scaled = (values * np.float32(255 / limit) + np.float32(0.5)).astype(np.uint8)
        return scaled if scaled.ndim == 3 else np.repeat(scaled[:, :, None], 3, axis=2)

    @cached_property
    def _bits(self) -> int:
        """How many of 16 are used, as cameras of 12 bits leave the others: the fewest for all
        of some pictures, spread evenly."""
        step = -(-len(self) // _LOOKED_AT)
        most = max(
            int(values.max())
            for _, values in self._values(range(0, len(self), step))
            if values.dtype == np.uint16 and values.size
        )
        return next((bits for bits in (8, 10, 12, 14) if 0 < most < 2**bits), 16)


class _PictureFile:
    """An open file.  pages: those of Pillow's that are pictures of their own: not previews, nor
    the still that stands for an animation.  Failures name the file."""

    def __init__(self, path: Path) -> None:
        try:
            from PIL import Image, ImageOps, UnidentifiedImageError
        except ImportError:
            raise ImportError("reading pictures needs Pillow: pip install pillow") from None
        self._path, self._ops, self._unknown = path, ImageOps, UnidentifiedImageError
        self._refusals = (Image.DecompressionBombError,)
        self.pages = [0]
        self._picture: Any = None
        with self._naming():
            self._picture = Image.open(path)
            if (count := getattr(self._picture, "n_frames", 1)) > 1:
                size = self._picture.size
                self.pages = [page for page in range(count) if self._is_shown(page, size)]

    def _is_shown(self, page: int, size: tuple[int, int]) -> bool:
        self._picture.seek(page)
        if self._picture.format == "TIFF":
            return not self._picture.tag_v2.get(254, 0) & 1  # NewSubfileType: reduced
        if self._picture.format == "MPO":
            # Telephones add previews, depths and gains, which are smaller.
            return bool(self._picture.size == size)
        return page > 0 or not getattr(self._picture, "default_image", False)

    def read(self, index: int) -> NDArray[Any]:
        """The picture on a page of ``pages``, upright: [H, W, 3] uint8, or what is to be
        scaled, uint16 [H, W, 3] or [H, W], or float32 [H, W]."""
        with self._naming():
            self._picture.seek(self.pages[index])
            # How the file has them, which is forgotten when they are loaded.
            stored = str([tile[3:] for tile in self._picture.tile])
            self._picture.load()
            picture, mode = self._picture, self._picture.mode
            if mode.startswith("I"):
                # Pillow would clip instead of scaling.
                values = np.asarray(self._ops.exif_transpose(picture.convert("I")))
                if values.size and not 0 <= values.min() <= values.max() <= 65535:
                    raise ValueError(
                        f"expected numbers from 0 to 65535, found {values.min()} to {values.max()}"
                    )
                return values.astype(np.uint16)
            if mode == "F":
                return np.asarray(self._ops.exif_transpose(picture))
            if self._picture.getexif().get(0x0112, 1) != 1:
                picture = self._ops.exif_transpose(picture)
            pixels = _copied(picture if mode == "RGB" else picture.convert("RGB"))
            # Of colours of 16 bits Pillow keeps the upper 8.
            return pixels * np.uint16(257) if ";16" in stored else pixels

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SyntaxError, ValueError, *self._refusals) as error:
            # Pillow names a file that it cannot open, but not one that is damaged.
            if getattr(error, "filename", None):
                raise
            reason = "not a picture" if isinstance(error, self._unknown) else error
            raise ValueError(f"{self._path}: {reason}") from None

    def __enter__(self) -> _PictureFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._picture.close()


def _copied(picture: Any) -> NDArray[np.uint8]:
    """[H, W, 3], of a picture in RGB."""
    width, height = picture.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, _ROWS):
        bottom = min(top + _ROWS, height)
        pixels[top:bottom] = np.asarray(picture.crop((0, top, width, bottom)))
    return pixels


def count_pages(path: Path) -> int:
    """The pictures in a file; 1 for one that cannot be read, which reading it tells."""
    try:
        return len(Pictures([path], are_pages=True))
    except (OSError, ValueError):
        return 1
