"""The weights, and what can be computed with them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..mirror import abi
from ..mirror.abi import Status
from ..mirror.errors import check
from ..mirror.frames import FormatLike, Frame, FrameLike, frame_array, reference
from ..mirror.library import lib
from ..mirror.options import integer, session_struct
from .session import Memory, Session
from .weights import Weights

if TYPE_CHECKING:
    from ..mirror.options import Options, Unpack


class Model(Weights):
    """A checkpoint: immutable, and usable from any number of threads at once.

    source: path of a weight file, or its bytes; without one, the default
        model's (default_model_path()).
    read_into_memory: copy the file instead of mapping it.  A mapped file must
        not be changed in place while in use; replacing it by rename is safe.
    skip_checksum: do not verify.

    Raises FileError, FormatError, VersionError or UnsupportedError.  A context
    manager; after close() every method raises ValueError, but sessions made
    before work on.
    """

    def session(self, **options: Unpack[Options]) -> Session:
        """A session for one video; see Options."""
        return Session(self, **options)

    def segment(
        self,
        frames: Iterable[FrameLike],
        format: FormatLike = None,
        **options: Unpack[Options],
    ) -> NDArray[np.uint16]:
        """The ids of all frames: [T, H, W].

        frames: any iterable of frames of one size, an array [T, H, W, 3]
        among them (see Session.push); all are held in memory at once.  With a
        session, and results frame by frame, neither they nor the labels are.
        An array [H, W, 3] or [H, W, 4] is one frame, and refused (ValueError)
        unless format="gray" says otherwise.
        """
        structs, kept = frame_array(frames, format)
        first = kept[0].struct
        struct, progress = session_struct(options)
        with self._handle.using() as address:
            labels = np.empty((len(kept), first.height, first.width), np.uint16)
            check(
                progress.run(
                    lib().covey_segment,
                    address,
                    ctypes.byref(struct),
                    structs,
                    len(kept),
                    labels.ctypes.data,
                    labels.size,
                    None,
                )
            )
        return labels

    def estimate_memory(
        self, width: int, height: int, frames: int, **options: Unpack[Options]
    ) -> Memory:
        """What a session would need at most for so many frames of this size in
        pixels; peak is the figure to compare with a limit."""
        struct, progress = session_struct(options)
        memory = abi.sized("covey_memory")
        size = integer("width", width), integer("height", height), integer("frames", frames, 64)
        with self._handle.using() as address:
            check(
                lib().covey_estimate_memory(
                    address, ctypes.byref(struct), *size, ctypes.byref(memory)
                )
            )
        del progress
        return Memory(**abi.values(memory))

    @overload
    def encode(
        self,
        frame: FrameLike,
        format: FormatLike = None,
        saliency: Literal[False] = False,
        **options: Unpack[Options],
    ) -> NDArray[np.float32]: ...

    @overload
    def encode(
        self,
        frame: FrameLike,
        format: FormatLike = None,
        *,
        saliency: Literal[True],
        **options: Unpack[Options],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]: ...

    def encode(
        self,
        frame: FrameLike,
        format: FormatLike = None,
        saliency: bool = False,
        **options: Unpack[Options],
    ) -> NDArray[np.float32] | tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The keys of the last block for one frame: [rows, columns, C].

        With ``saliency`` also the attention of the CLS token to the patches,
        [rows, columns], mean over heads; UnsupportedError where the model's
        CLS token means nothing.  Experimental.
        """
        described = Frame(frame, format)
        struct, progress = session_struct(options)
        grid = abi.sized("covey_grid")

        with self._handle.using() as address:

            def encode(keys: NDArray[np.float32], cls: NDArray[np.float32] | None) -> int:
                return progress.run(
                    lib().covey_encode,
                    address,
                    ctypes.byref(struct),
                    reference(described),
                    keys.ctypes.data,
                    keys.size,
                    None if cls is None else cls.ctypes.data,
                    ctypes.byref(grid),
                )

            status = encode(np.empty(0, np.float32), None)
            if status != Status.ERROR_CAPACITY:
                check(status)
            keys = np.empty((grid.rows, grid.columns, grid.channels), np.float32)
            cls = np.empty((grid.rows, grid.columns), np.float32) if saliency else None
            check(encode(keys, cls))
        return keys if cls is None else (keys, cls)

    def correlate(
        self, features: ArrayLike, **options: Unpack[Options]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Queries and keys of the spatio-temporal block, each of the shape of
        ``features`` [..., C] as from encode().  Experimental."""
        array = np.ascontiguousarray(features, np.float32)
        channels = self.info.embed_dim
        if array.ndim == 0 or array.shape[-1] != channels:
            raise ValueError(f"features: expected [..., {channels}], found {list(array.shape)}")
        queries, keys = np.empty_like(array), np.empty_like(array)
        struct, progress = session_struct(options)
        with self._handle.using() as address:
            check(
                progress.run(
                    lib().covey_correlate,
                    address,
                    ctypes.byref(struct),
                    array.ctypes.data,
                    array.size // channels,
                    queries.ctypes.data,
                    keys.ctypes.data,
                )
            )
        return queries, keys
