"""Reading frames: video files and cameras through PyAV, pictures through covey.pictures."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .pictures import Pictures, count_pages, read_image

__all__ = ["SourceFrame", "Video", "is_live", "natural_key", "read_image", "videos_in"]

#: What counts as a picture, in a folder or by itself.
IMAGE_SUFFIXES = frozenset(
    {
        *(".apng", ".bmp", ".gif", ".jpeg", ".jpg", ".mpo", ".pgm", ".png", ".ppm"),
        *(".tif", ".tiff", ".webp"),
    }
)
#: By itself read as a film, for its times.
_MOVING_SUFFIXES = frozenset({".gif"})
#: What counts as a film in a folder; by itself any file may be one.
FILM_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv", ".y4m"),
    }
)


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
      "frame_%04d.png"; a file of that very name comes first), or one; by itself also one
      file of several, TIFF, WebP, PNG or MPO;
    - what can be read only once, which ``is_live`` tells: "-", a YUV4MPEG2 stream on
      standard input; a camera ("/dev/video0"); FORMAT:NAME, of an input device of FFmpeg's,
      such as "x11grab::0"; a URL.  But for "-" a file or folder of that very name comes first.

    Iterating gives [H, W, 3] uint8 RGB arrays, turned and mirrored as the file's metadata
    says; frames() gives them with names and times.  Each iteration reads from the start and
    holds one frame at a time.

    first, last: indices of frames, from 0, the last one included; every: keep each n-th
    from the first only; max_frames: stop after so many; resize: frames of another size than
    the first are made as large as it.  Raises FileNotFoundError,
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
        resize: bool = False,
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
        self.resize = resize
        self._live = _live_source(self.name)
        #: None of a video file, or a live source.
        self.pictures = None if self._live else _pictures_of(self.path)
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
        return [self.path] if self.pictures is None else list(self.pictures.files)

    @property
    def has_unique_names(self) -> bool:
        """Whether no two of the frames that iterating gives have one name."""
        if self.pictures is None or self.pictures.are_pages:
            return True
        names = [self.pictures.files[index].stem for index in self._kept(self.pictures)]
        return len(set(names)) == len(names)

    def _kept(self, pictures: Pictures) -> range:
        end = len(pictures) if self.last is None else min(self.last + 1, len(pictures))
        return range(self.first, end, self.every)[: self.max_frames]

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
        if self.pictures is not None:
            return None, len(self.pictures)
        if self._live is not None:
            return None, None
        if self._probed is None:
            with open_film(self.path) as container:
                stream = film_stream(container, self.path)
                rate = stream.average_rate or stream.guessed_rate
                count = stream.frames or None
                seconds = _seconds(container, stream)
                if rate and seconds:
                    # Fewer than there are: of a film that was trimmed without coding it again.
                    lasting = max(1, round(seconds * float(rate)))
                    count = lasting if count is None or lasting < 0.9 * count else count
                self._probed = (float(rate) if rate else None, count)
        return self._probed

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        for frame in self.frames():
            yield frame.image

    def frames(self) -> Generator[SourceFrame, None, None]:
        """The frames with their names and times."""
        source = self._decoded() if self.pictures is None else self._read(self.pictures)
        given = 0
        shape: tuple[int, ...] | None = None
        for frame in source:
            shape = shape or frame.image.shape
            if self.resize and frame.image.shape != shape:
                frame = replace(frame, image=resized(frame.image, shape[1], shape[0]))
            yield frame
            given += 1
            if given == self.max_frames:
                return
        if not given:
            raise ValueError(f"{self.name}: no frames{'' if not self.first else ' so late'}")

    def _read(self, pictures: Pictures) -> Iterator[SourceFrame]:
        kept = self._kept(pictures)
        for index, image in zip(kept, pictures.read(kept), strict=True):
            path = None if pictures.are_pages else pictures.files[index]
            name = f"{index:05d}" if path is None else path.stem
            yield SourceFrame(image, index, name, None, path)

    def _decoded(self) -> Iterator[SourceFrame]:
        with open_film(self.path) if self._live is None else self._live.open() as container:
            stream = film_stream(container, self.path)
            stream.thread_type = "AUTO"
            index, begin, end = -1, None, None
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
                end = end if frame.time is None else frame.time
                begin = end if begin is None else begin
                if index < self.first or (index - self.first) % self.every:
                    continue
                yield SourceFrame(pixels(frame), index, f"{index:05d}", frame.time)
                if index == self.last:
                    # A live source may have no next one to find that out with.
                    return
            if self._live is None:
                span = None if begin is None or end is None else end - begin
                self.cut_short = _cut_short(container, stream, index + 1, span)


def _decode(container: Any, stream: Any, forgiving: bool) -> Iterator[Any]:
    """``forgiving``: over packets that cannot be decoded, as networks and cameras have them."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except film_error():
            if not forgiving:
                raise


def _seconds(container: Any, stream: Any) -> float | None:
    """What is shown of a film lasts so long, as its container says."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def _cut_short(container: Any, stream: Any, count: int, span: float | None) -> str | None:
    """Of a film of which ``count`` frames could be read, the last one ``span`` seconds after
    the first: what is missing, if that is a tenth and more."""
    seconds = _seconds(container, stream) or 0.0
    after = float(1 / stream.average_rate) if stream.average_rate else 0.0
    # Without times the frames alone tell.
    there = 0.0 if span is None else span + after
    if stream.frames:
        # Neither alone: an edit list hides frames that are there, and a rate varies.
        if count > 0.9 * stream.frames or (seconds and there > 0.9 * seconds):
            return None
        return f"{count} of {stream.frames} frames could be read"
    if span is not None and seconds - there >= max(0.1 * seconds, 0.5):
        return f"{there:.1f} of {seconds:.1f} seconds could be read"
    return None


def _pictures_of(path: Path) -> Pictures | None:
    """Those that a path stands for; None for a video file."""
    if path.is_dir():
        found = [each for each in path.iterdir() if _is_picture(each)]
        if not found:
            raise ValueError(f"{path}: no pictures in this folder{_instead_of(path)}")
    elif path.exists():
        if path.suffix.lower() not in IMAGE_SUFFIXES - _MOVING_SUFFIXES:
            return None
        return Pictures([path], are_pages=count_pages(path) > 1)
    elif glob.has_magic(os.fspath(path)) or _NUMBER.search(path.name):
        pattern = _NUMBER.sub("[0-9]*", os.fspath(path))
        found = [each for each in map(Path, glob.glob(pattern)) if _is_picture(each)]
        if not found:
            raise FileNotFoundError(f"{path}: no pictures of such names")
    else:
        raise FileNotFoundError(f"{path}: no such file or folder")
    return Pictures(sorted(found, key=_by_name))


def _instead_of(folder: Path) -> str:
    """What can be asked for instead of a folder without pictures."""
    if films := _films_in(folder):
        return (
            f"; films are named one by one, as {films[0]}; covey batch and covey train take the "
            "folder"
        )
    inner = sorted((each for each in folder.iterdir() if each.is_dir()), key=_by_name)
    return f"; those in it are named one by one, as {inner[0]}" if inner else ""


def videos_in(source: str) -> list[str]:
    """What ``source`` stands for where there may be several videos: the films of a folder,
    anything else by itself.  ValueError for a folder of pictures beside films."""
    folder = Path(source)
    films = _films_in(folder) if folder.is_dir() else []
    if films and any(_is_picture(each) for each in folder.iterdir()):
        raise ValueError(
            f"{source}: holds films and pictures; name which: "
            f"{source.rstrip('/')}/*{films[0].suffix} is films"
        )
    return list(map(str, films)) or [source]


def is_picture_name(name: str) -> bool:
    """Whether a file of this name counts as a picture."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _films_in(folder: Path) -> list[Path]:
    films = (each for each in folder.iterdir() if _is_one_of(FILM_SUFFIXES, each))
    return sorted(films, key=_by_name)


def _by_name(path: Path) -> list[tuple[int, int, str]]:
    return natural_key(path.name)


def _is_one_of(suffixes: frozenset[str], path: Path) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


def _is_picture(path: Path) -> bool:
    return _is_one_of(IMAGE_SUFFIXES, path)


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
    """None for files and folders, whatever they are called but "-"."""
    if name == "-":
        return _Live(sys.stdin.buffer, "yuv4mpegpipe")
    if os.path.isfile(name) or os.path.isdir(name):
        return None
    if re.fullmatch(r"/dev/video[0-9]+", name):
        return _Live(name, "v4l2")
    if re.match(r"[a-z][a-z0-9+.-]*://", name):
        return _Live(name, None)
    device, _, rest = name.partition(":")
    return _Live(rest, device) if rest and device in _DEVICES else None


def open_film(path: Path) -> Any:
    """PyAV's container of a video file."""
    return _pyav().open(film_name(path))


def film_name(path: str | os.PathLike[str]) -> str:
    """As FFmpeg takes it, to which a name with a colon is a protocol."""
    name = os.fspath(path)
    return os.path.join(".", name) if ":" in name else name


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


def pixels(frame: Any) -> NDArray[np.uint8]:
    """A frame of PyAV's as [H, W, 3] uint8 RGB, as it is to be shown: turned by quarters and
    mirrored as its display matrix says."""
    image: NDArray[np.uint8] = frame.to_ndarray(format="rgb24")
    for each in frame.side_data:
        if each.type.name == "DISPLAYMATRIX":
            # a b u, c d v, x y w: what is at (x, y) is shown at (ax + cy, bx + dy).
            a, b, _, c, d = np.frombuffer(bytes(each), np.int32)[:5].tolist()
            right, down = a, d
            if abs(b) > abs(a):
                image, right, down = image.transpose(1, 0, 2), c, b
            image = image[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]
    return np.ascontiguousarray(image)


def resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """[height, width, 3]."""
    from PIL import Image

    made = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(made)
