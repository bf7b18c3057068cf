"""Reading frames: video files and cameras through PyAV, pictures through Pillow."""

from __future__ import annotations

import glob
import os
import re
import sys
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
    """The frames of a source:

    - a video file;
    - pictures: a folder (in natural order of their names), a pattern ("shots/*.jpg",
      "frame_%04d.png"; a file of that very name comes first), or one;
    - what can be read only once, which ``is_live`` tells: "-", a YUV4MPEG2 stream on
      standard input; a camera ("/dev/video0"); FORMAT:NAME, of an input device of FFmpeg's,
      such as "x11grab::0"; a URL.

    Iterating gives [H, W, 3] uint8 RGB arrays, upright as the file's rotation
    metadata says; frames() gives them with names and times.  Each iteration
    reads from the start and holds one frame at a time.

    first, last: indices of frames, from 0, the last one included; every: keep each n-th
    from the first only; max_frames: stop after so many.  Raises FileNotFoundError,
    ValueError for what holds no frames or is damaged, and when opening whatever PyAV or
    Pillow raise.  A film that just ends too early gives the frames that are there;
    ``cut_short`` tells.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_frames: int | None = None,
        every: int = 1,
        first: int = 0,
        last: int | None = None,
    ) -> None:
        #: As it was given, for messages.
        self.name = os.fspath(path)
        self.path = Path(path)
        if every < 1:
            raise ValueError(f"every: expected at least 1, found {every}")
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"max_frames: expected at least 1, found {max_frames}")
        if first < 0:
            raise ValueError(f"first: expected at least 0, found {first}")
        if last is not None and last < first:
            raise ValueError(f"last: expected at least {first}, the first, found {last}")
        self.max_frames, self.every, self.first, self.last = max_frames, every, first, last
        self._live = _live_source(self.name)
        self._images = None if self._live else _pictures_of(self.path)
        self._probed: tuple[float | None, int | None] | None = None
        #: Once a film was read to its end: how much of it was there, where it was much less than
        #: its container claims.
        self.cut_short: str | None = None

    @property
    def is_live(self) -> bool:
        """Whether it can be read only once, and may never end."""
        return self._live is not None

    @property
    def files(self) -> list[Path]:
        """The pictures, those that are left out included, or the video file; of a live
        source none."""
        if self._live is not None:
            return []
        return [self.path] if self._images is None else list(self._images)

    @property
    def pictures(self) -> list[Path] | None:
        """As ``files``; None of a video file, or a live source."""
        return None if self._images is None else list(self._images)

    @property
    def has_unique_names(self) -> bool:
        """Whether no two of the frames that iterating gives have one name."""
        names = [each.stem for each in self._kept(self._images or [])]
        return len(set(names)) == len(names)

    def _kept(self, images: list[Path]) -> list[Path]:
        end = None if self.last is None else self.last + 1
        return images[self.first : end : self.every][: self.max_frames]

    @property
    def fps(self) -> float | None:
        """Frames per second as iterated (``every`` counted in); None for pictures, and
        live sources."""
        rate = self._probe()[0]
        return None if rate is None else rate / self.every

    @property
    def frame_count(self) -> int | None:
        """How many frames iterating will give; for a video file what its
        container claims, None where it does not say."""
        total = self._probe()[1]
        if total is None:
            return None
        if self.last is not None:
            total = min(total, self.last + 1)
        kept = -(-max(0, total - self.first) // self.every)
        return kept if self.max_frames is None else min(kept, self.max_frames)

    def _probe(self) -> tuple[float | None, int | None]:
        if self._images is not None:
            return None, len(self._images)
        if self._live is not None:
            return None, None
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
            raise ValueError(f"{self.name}: no frames{'' if not self.first else ' so late'}")

    def _pictures(self, paths: list[Path]) -> Iterator[SourceFrame]:
        for number, path in enumerate(self._kept(paths)):
            index = self.first + number * self.every
            yield SourceFrame(read_image(path), index, path.stem, None, path)

    def _decoded(self) -> Iterator[SourceFrame]:
        with open_film(self.path) if self._live is None else self._live.open() as container:
            stream = film_stream(container, self.path)
            stream.thread_type = "AUTO"
            index, end = -1, 0.0
            decoded = _decode(container, stream, forgiving=self._live is not None)
            while True:
                try:
                    frame = next(decoded, None)
                except film_error() as error:
                    where = f"cannot be read beyond frame {index}" if index >= 0 else "no frames"
                    raise ValueError(f"{self.name}: {where}: {error.strerror}") from None
                if frame is None:
                    break
                index += 1
                if self.last is not None and index > self.last:
                    return
                end = frame.time or end
                if index < self.first or (index - self.first) % self.every:
                    continue
                image = upright(frame.to_ndarray(format="rgb24"), frame.rotation)
                yield SourceFrame(image, index, f"{index:05d}", frame.time)
                if index == self.last:
                    # A live source may have no next one to find that out with.
                    return
            if self._live is None:
                self.cut_short = _cut_short(container, stream, index + 1, end)


def _decode(container: Any, stream: Any, forgiving: bool) -> Iterator[Any]:
    """``forgiving``: over packets that cannot be decoded, as networks and cameras have them."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except film_error():
            if not forgiving:
                raise


def _cut_short(container: Any, stream: Any, count: int, end: float) -> str | None:
    """Of a film whose frames end here: what is missing, if that is a tenth and more."""
    if stream.frames:
        if count <= 0.9 * stream.frames:
            return f"{count} of {stream.frames} frames could be read"
        return None
    # Guesses of how many there are mislead where the rate varies; times do not.
    seconds = (container.duration or 0) / 1e6
    after = float(1 / stream.average_rate) if stream.average_rate else 0.0
    if seconds - (end + after) >= max(0.1 * seconds, 0.5):
        return f"{end + after:.1f} of {seconds:.1f} seconds could be read"
    return None


def _pictures_of(path: Path) -> list[Path] | None:
    """Those that a path stands for; None for a video file."""
    if path.is_dir():
        found = [each for each in path.iterdir() if _is_picture(each)]
        if not found:
            raise ValueError(f"{path}: no pictures in this folder; films are named one by one")
    elif path.exists():
        return [path] if path.suffix.lower() in IMAGE_SUFFIXES - _MOVING_SUFFIXES else None
    elif glob.has_magic(os.fspath(path)) or _NUMBER.search(path.name):
        pattern = _NUMBER.sub("[0-9]*", os.fspath(path))
        found = [each for each in map(Path, glob.glob(pattern)) if _is_picture(each)]
        if not found:
            raise FileNotFoundError(f"{path}: no pictures of such names")
    else:
        raise FileNotFoundError(f"{path}: no such file or folder")
    return sorted(found, key=lambda each: natural_key(each.name))


def _is_picture(path: Path) -> bool:
    return (
        path.suffix.lower() in IMAGE_SUFFIXES
        and not path.name.startswith(".")
        and path.is_file()
    )


#: Inputs of FFmpeg that are no files.
_DEVICES = frozenset({"avfoundation", "dshow", "gdigrab", "kmsgrab", "lavfi", "v4l2", "x11grab"})
#: As in "frame_%05d.png".
_NUMBER = re.compile(r"%[0-9]*d")


@dataclass(frozen=True)
class _Live:
    """file and format as PyAV's open() takes them."""

    file: Any
    format: str | None

    def open(self) -> Any:
        av = _pyav()
        if self.format is not None and self.format not in av.formats_available:
            raise ImportError(
                f"PyAV as it is installed has no input {self.format}; as YUV4MPEG2 on standard "
                f"input it can be read: ffmpeg -f {self.format} -i {self.file} -f yuv4mpegpipe - "
                "| covey segment - ..."
            )
        try:
            return av.open(self.file, format=self.format)
        except film_error():
            if self.format == "yuv4mpegpipe":
                raise ValueError(
                    "standard input: expected YUV4MPEG2, as of ffmpeg ... -f yuv4mpegpipe -"
                ) from None
            raise


def is_live(name: str) -> bool:
    """Whether a source of this name can be read only once; no file need be there."""
    return _live_source(name) is not None


def _live_source(name: str) -> _Live | None:
    """None for files and folders."""
    if name == "-":
        return _Live(sys.stdin.buffer, "yuv4mpegpipe")
    if re.fullmatch(r"/dev/video[0-9]+", name):
        return _Live(name, "v4l2")
    if re.match(r"[a-z][a-z0-9+.-]*://", name):
        return _Live(name, None)
    device, _, rest = name.partition(":")
    return _Live(rest, device) if rest and device in _DEVICES else None


def open_film(path: Path) -> Any:
    """PyAV's container of a video file."""
    return _pyav().open(os.fspath(path))


def film_error() -> Any:
    """The class of what FFmpeg's failures raise."""
    return _pyav().FFmpegError


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise ImportError("reading video needs PyAV: pip install av") from None
    return av


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
