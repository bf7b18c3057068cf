"""Frames: arrays to the C struct, without copying where strides allow."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import abi
from .abi import PixelFormat
from .options import enumerator, integer

#: One frame: [H, W, 3] RGB, [H, W, 4] RGBA or [H, W] gray, uint8; for the
#: planar formats a sequence of planes; uint16 for P010.
FrameLike = ArrayLike | Sequence[ArrayLike]
#: A PixelFormat or its name: "rgb", "bgr", "rgba", "bgra", "gray", "i420",
#: "nv12", "yuyv", "p010" (also with the 8 of the C name).
FormatLike = PixelFormat | str | None

_ALIASES = {
    "RGB": PixelFormat.RGB8,
    "BGR": PixelFormat.BGR8,
    "RGBA": PixelFormat.RGBA8,
    "BGRA": PixelFormat.BGRA8,
    "GRAY": PixelFormat.GRAY8,
}
_CHANNELS = {
    PixelFormat.RGB8: 3,
    PixelFormat.BGR8: 3,
    PixelFormat.RGBA8: 4,
    PixelFormat.BGRA8: 4,
    PixelFormat.GRAY8: 1,
    PixelFormat.YUYV: 2,
}
#: Of several planes, with the chroma planes and the values of each of their samples.
_PLANAR = {PixelFormat.I420: (2, 1), PixelFormat.NV12: (1, 2), PixelFormat.P010: (1, 2)}
_BY_CHANNELS = {1: PixelFormat.GRAY8, 3: PixelFormat.RGB8, 4: PixelFormat.RGBA8}


def pixel_format(value: FormatLike) -> PixelFormat | None:
    """None stays None: to be told from the array."""
    if value is None:
        return None
    if isinstance(value, str) and value.upper() in _ALIASES:
        return _ALIASES[value.upper()]
    return enumerator(PixelFormat, "format", value)


def refuse_paths(found: object, what: str) -> None:
    """TypeError for what is not read here."""
    if isinstance(found, (str, bytes, os.PathLike)):
        raise TypeError(
            f"{what}, found a {type(found).__name__}; "
            f"covey.Video({os.fsdecode(found)!r}) gives the frames of a file"
        )


def _samples(array: FrameLike, wanted: PixelFormat | None) -> NDArray[Any]:
    refuse_paths(array, "frame: expected an array")
    converted = np.asarray(array)
    kind = np.dtype("<u2" if wanted is PixelFormat.P010 else np.uint8)
    if converted.dtype != kind:
        raise TypeError(f"frame: expected {kind}, found {converted.dtype}")
    return converted


def _rows(plane: NDArray[Any], channels: int) -> tuple[NDArray[Any], int]:
    """``plane`` [H, W, channels] or [H, W], or a copy of it whose rows are
    contiguous and apart; and the bytes from row to row."""
    height, width = plane.shape[:2]
    size = plane.itemsize
    row = width * channels * size
    inner = plane.ndim == 2 or channels == 1 or plane.strides[2] == size
    pixels = width == 1 or plane.strides[1] == channels * size
    apart = height == 1 or abs(plane.strides[0]) >= row
    if not (inner and pixels and apart):
        plane = np.ascontiguousarray(plane)
    # A single row may have any stride in NumPy.
    return plane, row if height == 1 else plane.strides[0]


class Frame:
    """A covey_frame and the arrays it points into, kept alive."""

    def __init__(self, frame: FrameLike, format: FormatLike = None, timestamp: int = 0) -> None:
        wanted = pixel_format(format)
        self.struct = abi.sized("covey_frame")
        self.struct.timestamp = integer("timestamp", timestamp, 64)
        self.planes: list[NDArray[Any]] = []
        if wanted in _PLANAR:
            self._set_planar(frame, wanted)
        else:
            self._set_packed(_samples(frame, wanted), wanted)

    def _set_packed(self, pixels: NDArray[Any], wanted: PixelFormat | None) -> None:
        if pixels.ndim not in (2, 3) or 0 in pixels.shape:
            raise ValueError(
                f"frame: expected [H, W, 3], [H, W, 4] or [H, W], found {_shape(pixels)}"
            )
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        if wanted is None:
            if channels not in _BY_CHANNELS:
                raise ValueError(f"frame: expected 1, 3 or 4 channels, found {_shape(pixels)}")
            wanted = _BY_CHANNELS[channels]
        if channels != _CHANNELS[wanted]:
            raise ValueError(
                f"frame: {wanted.name} has {_CHANNELS[wanted]} channels, found {_shape(pixels)}"
            )
        self._describe(wanted, pixels.shape[1], pixels.shape[0])
        self._add(pixels, channels)

    def _set_planar(self, frame: FrameLike, wanted: PixelFormat) -> None:
        count, channels = _PLANAR[wanted]
        if isinstance(frame, (tuple, list)) and len(frame) == 1 + count:
            planes = [_samples(plane, wanted) for plane in frame]
        else:
            planes = _split(_samples(frame, wanted), wanted)
        luma = planes[0]
        if luma.ndim != 2 or 0 in luma.shape:
            raise ValueError(f"frame: expected Y as [H, W], found {_shape(luma)}")
        height, width = luma.shape
        rows, columns = (height + 1) // 2, (width + 1) // 2
        self._describe(wanted, width, height)
        self._add(luma, 1)
        for plane in planes[1:]:
            if channels == 2 and plane.ndim == 2 and plane.shape[1] == 2 * columns:
                plane = np.ascontiguousarray(plane).reshape(plane.shape[0], columns, 2)
            shape = (rows, columns) if channels == 1 else (rows, columns, 2)
            if plane.shape != shape:
                raise ValueError(
                    f"frame: expected a chroma plane {list(shape)}, found {_shape(plane)}"
                )
            self._add(plane, channels)

    def _describe(self, format: PixelFormat, width: int, height: int) -> None:
        self.struct.format = format
        self.struct.width = integer("frame width", width)
        self.struct.height = integer("frame height", height)

    def _add(self, plane: NDArray[Any], channels: int) -> None:
        index = len(self.planes)
        plane, stride = _rows(plane, channels)
        self.planes.append(plane)
        self.struct.planes[index] = plane.ctypes.data
        self.struct.strides[index] = stride


def _shape(array: NDArray[Any]) -> str:
    return str(list(array.shape))


def _split(pixels: NDArray[Any], wanted: PixelFormat) -> list[NDArray[Any]]:
    """The planes of [H * 3 / 2, W], as decoders hand out I420, NV12 and P010 of
    even sizes in one array."""
    if pixels.ndim != 2 or pixels.shape[0] % 3 or pixels.shape[1] % 2 or not pixels.size:
        raise ValueError(
            f"frame: {wanted.name} of an even size is [H * 3 / 2, W], or a tuple of planes; "
            f"found {_shape(pixels)}"
        )
    height, width = pixels.shape[0] // 3 * 2, pixels.shape[1]
    pixels = np.ascontiguousarray(pixels)
    chroma = pixels[height:]
    if _PLANAR[wanted][1] == 2:
        return [pixels[:height], chroma.reshape(height // 2, width // 2, 2)]
    half = chroma.reshape(2, height // 2, width // 2)
    return [pixels[:height], half[0], half[1]]


def video_frames(frames: Iterable[FrameLike], format: FormatLike) -> Iterable[FrameLike]:
    """``frames`` as it is, where it is not plainly one frame.

    An array [H, W, 3] or [H, W, 4] would pass for H gray frames of W x 3 or
    W x 4: ValueError, unless the format says that it is.
    """
    refuse_paths(frames, "frames: expected an iterable of arrays")
    shape = getattr(frames, "shape", ())
    planar = (PixelFormat.GRAY8, *_PLANAR)
    if len(shape) == 3 and shape[2] in (3, 4) and pixel_format(format) not in planar:
        raise ValueError(
            f"frames: {list(shape)} looks like one frame; give a video of it as frames[None], "
            f'or format="gray" for {shape[0]} gray frames of {shape[1]} x {shape[2]} pixels'
        )
    return frames


def frame_array(frames: Iterable[FrameLike], format: FormatLike) -> tuple[Any, list[Frame]]:
    """A C array of covey_frame, timestamps 0, 1, 2, ..., and what it points to.

    Raises ValueError where there is no frame, or frames is one.
    """
    kept = [Frame(frame, format, index) for index, frame in enumerate(video_frames(frames, format))]
    if not kept:
        raise ValueError("frames: expected at least one")
    return (abi.STRUCTS["covey_frame"] * len(kept))(*(frame.struct for frame in kept)), kept


def reference(frame: Frame) -> Any:
    """``&frame`` for a call."""
    return ctypes.byref(frame.struct)
