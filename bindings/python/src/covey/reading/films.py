"""Films through PyAV: opened, their stream of pictures, frames as they are to be shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def open_film(path: Path) -> Any:
    """PyAV's container of a video file."""
    return pyav().open(film_name(path))


def film_name(path: str | os.PathLike[str]) -> str:
    """As FFmpeg takes it, to which a name with a colon is a protocol."""
    name = os.fspath(path)
    return os.path.join(".", name) if ":" in name else name


def film_error() -> Any:
    """The class of what FFmpeg's failures raise."""
    return pyav().FFmpegError


def pyav() -> Any:
    """The module.  ImportError, with what to do, where it is not there."""
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


def decoded(container: Any, stream: Any, forgiving: bool) -> Iterator[Any]:
    """``forgiving``: over packets that cannot be decoded, as networks and cameras have them."""
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except film_error():
            if not forgiving:
                raise


def seconds_of(container: Any, stream: Any) -> float | None:
    """What is shown of a film lasts so long, as its container says."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return container.duration / 1e6 if container.duration else None


def cut_short(container: Any, stream: Any, count: int, span: float | None) -> str | None:
    """Of a film of which ``count`` frames could be read, the last one ``span`` seconds after
    the first: what is missing, if that is a tenth and more."""
    seconds = seconds_of(container, stream) or 0.0
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
