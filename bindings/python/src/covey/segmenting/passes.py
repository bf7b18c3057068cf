"""From frames to written results: over the whole video, or as it streams."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from ..interface.session import Session
from ..reading.video import SourceFrame, Video
from ..system.display import Display
from .output import unique_names
from .reader import Reader
from .writer import Writer


@dataclass
class Times:
    """Seconds; encode and cluster are None for a stream, which does both by turns."""

    computing: float = 0.0
    writing: float = 0.0
    encode: float | None = None
    cluster: float | None = None


def segment_whole(
    session: Session, reader: Reader, video: Video, writer: Writer, display: Display
) -> Times:
    """Everything is pushed, then everything is written."""
    start = time.perf_counter()
    for frame in reader:
        session.push(frame.image, frame.index)
    del frame
    encoded = time.perf_counter()
    session.finish()
    finished = time.perf_counter()
    names = unique_names(reader.names)
    with contextlib.closing(video.frames()) as frames:
        for result in session.results():
            # Read a second time: keeping frames would take more memory than
            # everything else.
            again = next(frames, None) if writer.wants_pixels else None
            if writer.wants_pixels and again is None:
                raise ValueError(f"{video.name}: fewer frames than when it was read first")
            writer.write(result, names[result.index], again)
            display.update("write", result.index + 1, len(names))
    writing = time.perf_counter() - finished
    return Times(finished - start, writing, encoded - start, finished - encoded)


@contextlib.contextmanager
def _whole() -> Iterator[None]:
    """Ctrl-C waits for its end: a result is in all files, or in none."""
    if threading.current_thread() is not threading.main_thread():
        yield  # which alone is interrupted
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        raise KeyboardInterrupt


def segment_stream(session: Session, reader: Reader, video: Video, writer: Writer) -> Times:
    """Results are written as they come; frames are kept until theirs has."""
    numbered = not video.has_unique_names
    waiting: deque[tuple[str, SourceFrame | None]] = deque()
    times = Times()

    def write() -> None:
        for result in session.results():
            name, frame = waiting.popleft()
            begun = time.perf_counter()
            writer.write(result, name, frame)
            times.writing += time.perf_counter() - begun

    start = time.perf_counter()
    try:
        for count, frame in enumerate(reader):
            name = f"{count:05d}" if numbered else frame.name
            with _whole():
                waiting.append((name, frame if writer.wants_pixels else None))
                session.push(frame.image, frame.index)
                write()
    except KeyboardInterrupt:
        # How a camera is stopped.
        if not video.is_live or not (waiting or writer.summary.frames):
            raise
    session.finish()
    write()
    times.computing = time.perf_counter() - start - times.writing
    return times
