"""Pictures and films of label maps."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..reading.films import film_name
from .palette import davis_palette, overlay_colours
from .sound import Sound

#: Rows that are blended at a time: of a large picture there are no copies in floats.
_ROWS = 256
#: Of a picture on a sheet.
SHEET_WIDTH = 320
#: Heights from which films are of HDTV, whose colours are coded otherwise.
_HD = 720
#: BT.709 and BT.601, by their numbers in H.273: matrix, primaries, transfer.
_BT709, _BT601 = (1, 1, 1), (6, 6, 6)


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ImportError("writing pictures needs Pillow: pip install pillow") from None
    return Image


def _pyav() -> Any:
    try:
        import av
    except ImportError:
        raise ImportError("writing video needs PyAV: pip install av") from None
    return av


def require_pictures() -> None:
    """Raises ImportError where pictures could not be written."""
    _pillow()


def require_films() -> None:
    """Raises ImportError where films could not be written."""
    _pyav()


def write_labels(path: str | os.PathLike[str], labels: NDArray[np.integer]) -> int:
    """Writes ids [H, W] as PNG and returns its bits per pixel.

    8: indexed, with the DAVIS palette, the ids as they are.  16: gray, where an
    id is beyond 255.
    """
    image = _pillow()
    ids = np.asarray(labels)
    if ids.ndim != 2:
        raise ValueError(f"labels: expected [H, W], found {list(ids.shape)}")
    if ids.size and (ids.min() < 0 or ids.max() > 65535):
        raise ValueError(f"labels: expected 0 to 65535, found {ids.min()} to {ids.max()}")
    if ids.size and ids.max() > 255:
        image.fromarray(ids.astype(np.uint16)).save(path, format="PNG")
        return 16
    picture = image.fromarray(ids.astype(np.uint8))
    picture.putpalette(davis_palette().tobytes())
    picture.save(path, format="PNG")
    return 8


#: Modes of Pillow's whose first channel may be ids.
_GRAY = frozenset({"1", "L", "P", "I", "I;16", "I;16B", "I;16L", "LA", "PA", "RGB", "RGBA"})


def read_labels(
    path: str | os.PathLike[str] | IO[bytes], name: str | None = None
) -> NDArray[np.uint16]:
    """The ids [H, W] of an indexed or gray picture, as write_labels() makes; of one in
    colours only where all are gray.  OSError, or ValueError for what holds no ids, which
    starts with ``name`` or else the path."""
    pictures = _pillow()
    name = str(path) if name is None else name
    try:
        with pictures.open(path) as picture:
            if (count := getattr(picture, "n_frames", 1)) > 1:
                raise ValueError(f"holds {count} pictures, expected one")
            kind, mode = picture.format, picture.mode
            ids = np.asarray(picture)
    except (OSError, SyntaxError, ValueError, pictures.DecompressionBombError) as error:
        if getattr(error, "filename", None):
            raise
        known = isinstance(error, pictures.UnidentifiedImageError)
        raise ValueError(f"{name}: {'not a picture' if known else error}") from None
    expected = f"{name}: expected ids, an indexed or gray PNG, found"
    if kind == "JPEG" or mode not in _GRAY:
        raise ValueError(f"{expected} {kind} of mode {mode}")
    if ids.ndim == 3:
        colours = ids[..., : 1 if ids.shape[2] == 2 else 3]  # without alpha
        if (colours != colours[..., :1]).any():
            raise ValueError(f"{expected} colours")
        ids = colours[..., 0]
    if ids.size and (ids.min() < 0 or ids.max() > 65535):
        raise ValueError(f"{name}: expected ids of 0 to 65535, found {ids.min()} to {ids.max()}")
    return ids.astype(np.uint16)


def contours(labels: NDArray[np.integer], thickness: int = 1) -> NDArray[np.bool_]:
    """[H, W], True on the outline of every object: its own pixels that touch
    another id, and ``thickness`` - 1 more inwards."""
    ids = np.asarray(labels)
    edge = np.zeros(ids.shape, bool)
    vertical, horizontal = ids[1:] != ids[:-1], ids[:, 1:] != ids[:, :-1]
    edge[1:] |= vertical
    edge[:-1] |= vertical
    edge[:, 1:] |= horizontal
    edge[:, :-1] |= horizontal
    for _ in range(thickness - 1):
        grown = edge.copy()
        grown[1:] |= edge[:-1]
        grown[:-1] |= edge[1:]
        grown[:, 1:] |= edge[:, :-1]
        grown[:, :-1] |= edge[:, 1:]
        edge = grown
    edge[ids == 0] = False
    return edge


def overlay(
    frame: NDArray[np.uint8],
    labels: NDArray[np.integer],
    alpha: float = 0.5,
    outline: bool = True,
) -> NDArray[np.uint8]:
    """[H, W, 3]: the frame [H, W, 3], the objects' colours (overlay_colours()) over it with
    weight ``alpha``, their outlines in white, and black around them."""
    pixels, ids = np.asarray(frame), np.asarray(labels)
    if pixels.shape != (*ids.shape, 3):
        raise ValueError(
            f"overlay: expected a frame {[*ids.shape, 3]} for its labels, "
            f"found {list(pixels.shape)}"
        )
    shown = pixels.copy()
    for top in range(0, len(ids), _ROWS):
        rows = slice(top, top + _ROWS)
        inside = ids[rows] != 0
        blended = (1 - alpha) * pixels[rows][inside] + alpha * overlay_colours(ids[rows][inside])
        shown[rows][inside] = np.clip(blended + 0.5, 0, 255).astype(np.uint8)
    if outline:
        # One line in 480 of the height, so that it shows when scaled down.
        thickness = max(1, round(ids.shape[0] / 480))
        # One of the two differs from any frame.
        shown[contours(ids == 0, thickness)] = 0
        shown[contours(ids, thickness)] = 255
    return shown


def smaller(
    frame: NDArray[np.uint8], labels: NDArray[np.integer], width: int
) -> tuple[NDArray[np.uint8], NDArray[np.integer]]:
    """Both no wider than ``width``."""
    rows, columns = labels.shape
    if columns <= width:
        return frame, labels
    image = _pillow()
    height = max(1, round(rows * width / columns))
    # Where the middle of each new pixel was.
    vertical = (np.arange(height) * 2 + 1) * rows // (2 * height)
    horizontal = (np.arange(width) * 2 + 1) * columns // (2 * width)
    picture = image.fromarray(np.ascontiguousarray(frame))
    small = picture.resize((width, height), image.Resampling.BOX)
    return np.asarray(small), labels[np.ix_(vertical, horizontal)]


def contact_sheet(
    pairs: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    columns: int = 2,
    width: int = SHEET_WIDTH,
    gap: int = 4,
) -> NDArray[np.uint8]:
    """[H, W, 3]: each pair (frame, overlay) side by side, ``columns`` pairs a
    row, every picture ``width`` pixels wide, white between them."""
    if not pairs:
        raise ValueError("contact_sheet: expected at least one pair")
    image = _pillow()
    height = max(1, round(width * pairs[0][0].shape[0] / pairs[0][0].shape[1]))
    columns = max(1, min(columns, len(pairs)))
    rows = math.ceil(len(pairs) / columns)
    sheet = np.full(
        (rows * (height + gap) + gap, columns * (2 * width + 2 * gap) + gap, 3), 255, np.uint8
    )
    for index, pair in enumerate(pairs):
        top = gap + index // columns * (height + gap)
        left = gap + index % columns * (2 * width + 2 * gap)
        for side, picture in enumerate(pair):
            small = image.fromarray(np.ascontiguousarray(picture)).resize(
                (width, height), image.Resampling.BOX
            )
            # The two of a pair touch.
            start = left + side * width
            sheet[top : top + height, start : start + width] = np.asarray(small)
    return sheet


def write_image(
    path: str | os.PathLike[str] | IO[bytes], pixels: NDArray[np.uint8], form: str | None = None
) -> None:
    """Writes [H, W, 3] RGB, in the format of the suffix, or in another ("PNG")."""
    _pillow().fromarray(np.ascontiguousarray(pixels)).save(path, form)


class VideoWriter:
    """An .mp4 written frame by frame: H.264 where PyAV can, else MPEG-4; in the colours of
    BT.709 from 720 lines on, else of BT.601, and marked so.  sound: of a film, whose frame at
    ``begin`` seconds is the first.

    A context manager; write() takes [H, W, 3] RGB frames of one size.  Both
    encoders want even sizes: an odd edge is repeated once.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        fps: float = 25.0,
        sound: Sound | None = None,
        begin: float = 0.0,
    ) -> None:
        self._av = _pyav()
        self._sound, self._begin, self._count = sound, begin, 0
        # As films are written down, 30000/1001 among them, but to numbers of 16 bits, which
        # is what MPEG-4 keeps.
        largest = max(1, min(1001, int(65535 / max(fps, 1))))
        self._rate = max(Fraction(1, 1000), Fraction(fps).limit_denominator(largest))
        self._container = self._av.open(film_name(path), "w", format="mp4")
        self._stream: Any = None
        self._colours = _BT601

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Appends one frame."""
        pixels = np.asarray(frame)
        height, width = pixels.shape[:2]
        if height % 2 or width % 2:
            pixels = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._stream is None:
            self._stream = self._add_stream(pixels.shape[1], pixels.shape[0])
        picture = self._av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        coded = picture.reformat(
            format="yuv420p",
            dst_colorspace=self._colours[0],
            dst_color_range=self._av.video.reformatter.ColorRange.MPEG,
        )
        self._container.mux(self._stream.encode(coded))
        self._count += 1
        if self._sound is not None:
            self._sound.copy(self._begin, self._begin + float(self._count / self._rate))

    def _add_stream(self, width: int, height: int) -> Any:
        try:
            stream = self._container.add_stream("libx264", rate=self._rate)
            stream.options = {"crf": "20", "preset": "veryfast"}
        except Exception:
            # Builds of FFmpeg without x264 raise one of several errors.
            stream = self._container.add_stream("mpeg4", rate=self._rate)
            stream.bit_rate = 4_000_000
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        self._colours = _BT709 if height >= _HD else _BT601
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = self._colours
        context.color_range = self._av.video.reformatter.ColorRange.MPEG
        if self._sound is not None:
            self._sound.add_to(self._container)
        return stream

    def close(self) -> None:
        """Writes what is left."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            if self._stream is not None:
                container.mux(self._stream.encode(None))
        finally:
            container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_video(
    path: str | os.PathLike[str], frames: Iterable[NDArray[np.uint8]], fps: float = 25.0
) -> None:
    """Writes RGB frames [H, W, 3] of one size as .mp4."""
    with VideoWriter(path, fps) as writer:
        for frame in frames:
            writer.write(frame)
