"""One video: frames in, then results out."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..mirror import abi
from ..mirror.abi import Status
from ..mirror.calls import deferred_signals
from ..mirror.errors import check
from ..mirror.frames import FormatLike, Frame, FrameLike, reference, video_frames
from ..mirror.handle import Handle, HandleOwner
from ..mirror.library import lib
from ..mirror.options import integer, session_struct
from .result import Result
from .weights import Weights

if TYPE_CHECKING:
    from ..mirror.options import Options, Unpack


@dataclass(frozen=True)
class Memory:
    """All in bytes.

    weights: of the model.  features: queries and keys kept of the frames, until
    reset() or close(), as another cut of the tree needs them (in reference mode
    until finish(); of a stream, those of the window that is not full yet and of
    the key frames); with refined masks also the frames at the working size.
    workspace: of encoding, clustering and drawing, at its largest.  current, peak:
    of the session, now and at its largest so far, without the weights.
    """

    weights: int
    features: int
    workspace: int
    current: int
    peak: int


@dataclass(frozen=True)
class Merge:
    """Two nodes of the tree of clusters become one: number leaves + index.

    a, b: nodes; below the number of leaves (merges + 1, if all became one) they
    are prototypes, groups of patches that look alike.  tau: at and above which
    they are one cluster.  share: of all patches, what the two have together.
    """

    a: int
    b: int
    tau: float
    share: float


class Session(HandleOwner):
    """One video.

    ``with model.session() as session:`` push the frames, finish, iterate.
    Keeps its model alive, closed or not.  Belongs to one thread at a time
    (a second one gets StateError), except cancel().  After close() every
    method raises ValueError.
    """

    def __init__(self, model: Weights, **options: Unpack[Options]) -> None:
        struct, self._progress = session_struct(options)
        self._streaming = bool(struct.streaming)
        out = ctypes.c_void_p()
        with model._handle.using() as address:
            keeps = (model._handle.keeps, self._progress)
            with deferred_signals():
                status = lib().covey_session_create(
                    address, ctypes.byref(struct), ctypes.byref(out)
                )
                if out.value:
                    self._handle = Handle(out.value, lib().covey_session_free, "session", keeps)
                check(status)

    def push(self, frame: FrameLike, timestamp: int = 0, format: FormatLike = None) -> None:
        """Takes one frame and computes its features.

        frame: uint8, [H, W, 3] RGB, [H, W, 4] RGBA or [H, W] gray, or as
        ``format`` says ("bgr", "bgra", "yuyv" [H, W, 2], "i420", "nv12", "p010", of
        which uint16: a tuple of planes or one array [H * 3 / 2, W]).  Read where it lies if
        the pixels of a row are contiguous, whatever the stride of the rows.
        All frames of a session have the same size.  After an error the frame
        has not been taken, and can be pushed again.
        """
        described = Frame(frame, format, timestamp)
        with self._handle.owning() as address:
            check(self._progress.run(lib().covey_session_push, address, reference(described)))

    def finish(self) -> None:
        """No more frames: clusters the whole video, of a stream what is left.

        Raises StateError where no frame was pushed.  After an error the
        session is as it was before the call.
        """
        with self._handle.owning() as address:
            check(self._progress.run(lib().covey_session_finish, address))

    def results(self) -> Iterator[Result]:
        """The results that are there, in frame order, each handed out once.

        Ends where more frames or finish() are needed first, and when all have
        been handed out.  Of a stream they come window by window, while frames are
        pushed, and are kept until they are handed out.
        """
        while True:
            out = ctypes.c_void_p()
            with self._handle.owning() as address:
                status = check(lib().covey_session_next(address, ctypes.byref(out)))
            if status != Status.OK or not out.value:
                return
            yield Result(out.value)

    def __iter__(self) -> Iterator[Result]:
        return self.results()

    def segment(self, frames: Iterable[FrameLike], format: FormatLike = None) -> Iterator[Result]:
        """Forgets what was before, pushes all ``frames`` with timestamps 0, 1,
        ..., finishes, and yields the results; with streaming=True as they come,
        at most ``window`` frames late.  Nothing happens before the first result
        is asked for.  ValueError for an array [H, W, 3] or
        [H, W, 4], which is one frame, without format="gray"."""
        frames = video_frames(frames, format)
        self.reset()
        for index, frame in enumerate(frames):
            self.push(frame, index, format)
            if self._streaming:
                yield from self.results()
        self.finish()
        yield from self.results()

    @property
    def tree(self) -> list[Merge]:
        """The merges of the clusters, by rising tau; after finish() in edge mode,
        not of a stream.  UnsupportedError where there are several shots, each with a
        tree of its own (keep_shots=True: one)."""
        leaves, count = ctypes.c_int32(), ctypes.c_int32()
        found = []
        with self._handle.owning() as address:
            check(
                lib().covey_session_get_tree(address, ctypes.byref(leaves), ctypes.byref(count))
            )
            struct = abi.sized("covey_merge")
            for index in range(count.value):
                check(lib().covey_session_get_merge(address, index, ctypes.byref(struct)))
                found.append(Merge(**abi.values(struct)))
        return found

    def recut(self, tau: float = 0, target_clusters: int = 0) -> None:
        """Cuts the tree at another tau, or number of clusters, without running
        the network again; results() then yields all frames anew.  After an error
        the session is as it was before the call."""
        clusters = integer("target_clusters", target_clusters)
        with self._handle.owning() as address:
            check(
                self._progress.run(lib().covey_session_recut, address, float(tau), clusters)
            )

    def reset(self) -> None:
        """Back to the state after creation: for the next video, of any size."""
        with self._handle.owning() as address:
            check(lib().covey_session_reset(address))

    def cancel(self) -> None:
        """From any thread: the push, finish, recut or result in progress, or else
        the next push, finish or recut, raises CancelledError."""
        with self._handle.using() as address:
            lib().covey_session_cancel(address)

    @property
    def memory(self) -> Memory:
        """What the session takes."""
        struct = abi.sized("covey_memory")
        with self._handle.owning() as address:
            check(lib().covey_session_get_memory(address, ctypes.byref(struct)))
        return Memory(**abi.values(struct))
