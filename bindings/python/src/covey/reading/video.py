"""Reading frames: a video, whatever its source, as arrays, one by one."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .films import cut_short, decoded, film_error, film_stream, open_film, pixels, seconds_of
from .pictures import Pictures
from .sources import live_source, pictures_of


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
        self._live = live_source(self.name)
        #: None of a video file, or a live source.
        self.pictures = None if self._live else pictures_of(self.path)
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
                seconds = seconds_of(container, stream)
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
            coming = decoded(container, stream, forgiving=self._live is not None)
            while True:
                try:
                    frame = next(coming, None)
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
                self.cut_short = cut_short(container, stream, index + 1, span)


def resized(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """[height, width, 3]."""
    from PIL import Image

    made = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(made)
