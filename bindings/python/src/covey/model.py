"""The weights, and what can be computed with them."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Union, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _abi, _options
from ._abi import Dtype, Status
from ._calls import deferred_signals
from ._frames import FormatLike, Frame, FrameLike, frame_array, reference
from ._handle import Handle, HandleOwner
from ._library import default_model_path, lib
from ._options import enumerator, integer
from .errors import FormatError, check
from .result import values
from .session import Memory, Session

if TYPE_CHECKING:
    from ._options import Options, Unpack

#: A path, or the bytes of a weight file (anything with the buffer protocol).
Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, "NDArray[np.uint8]"]


@dataclass(frozen=True)
class ModelInfo:
    """What a checkpoint is.

    dtype: of the matrices.  patch_size in pixels; embed_dim, depth, heads: of
    the vision transformer; position_grid: trained on grid x grid patches;
    correlator_heads: of the spatio-temporal block.  has_cls_saliency: the CLS
    token means something.  working_height, working_width: default input size
    in pixels.  window, key_stride, key_pool, tau: defaults of the session
    options; reference_tau: tau's in reference mode.  weight_bytes: in the file.
    """

    dtype: Dtype
    patch_size: int
    embed_dim: int
    depth: int
    heads: int
    position_grid: int
    correlator_heads: int
    has_cls_saliency: bool
    working_height: int
    working_width: int
    window: int
    key_stride: int
    key_pool: int
    tau: float
    parameter_count: int
    weight_bytes: int
    name: str
    reference_tau: float


@dataclass(frozen=True)
class TensorInfo:
    """A tensor of a weight file.

    dtype: Q8 is int8, with its scales in the tensor "NAME.scale".  shape:
    row-major.  bytes: in the file.  quantization_error: relative error of the
    whole matrix, |W - W'| / |W|, from making it int8; None where it was not, or
    the file does not say.
    """

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    bytes: int
    quantization_error: float | None


class Model(HandleOwner):
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

    def __init__(
        self,
        source: Source | None = None,
        read_into_memory: bool = False,
        skip_checksum: bool = False,
    ) -> None:
        options = _abi.sized(_abi.covey_model_options)
        options.read_into_memory = bool(read_into_memory)
        options.skip_checksum = bool(skip_checksum)
        if source is None:
            source = default_model_path()
        out = ctypes.c_void_p()
        keeps: object = None
        with deferred_signals():
            if isinstance(source, (str, os.PathLike)):
                status = lib().covey_model_load(
                    encoded_path(source), ctypes.byref(options), ctypes.byref(out)
                )
            else:
                # The array holds the buffer, so that its owner cannot resize it.
                data = np.frombuffer(source, np.uint8)
                keeps = None if read_into_memory else data
                status = lib().covey_model_load_memory(
                    data.ctypes.data, data.size, ctypes.byref(options), ctypes.byref(out)
                )
            if out.value:
                self._handle = Handle(out.value, lib().covey_model_free, "model", keeps)
            try:
                check(status)
            except FormatError as error:
                raise FormatError(_plainly(error, source)) from None

    @classmethod
    def _adopted(cls, address: int, keeps: object) -> Model:
        """A model that the library made; ``keeps`` must live as long as it does."""
        model = cls.__new__(cls)
        model._handle = Handle(address, lib().covey_model_free, "model", keeps)
        return model

    @cached_property
    def info(self) -> ModelInfo:
        """Geometry, defaults, size."""
        struct = _abi.sized(_abi.covey_model_info)
        with self._handle.using() as address:
            check(lib().covey_model_get_info(address, ctypes.byref(struct)))
            found = values(struct)
            found["name"] = (struct.name or b"").decode("utf-8", "replace")
        found["dtype"] = Dtype(struct.dtype)
        found["has_cls_saliency"] = bool(struct.has_cls_saliency)
        return ModelInfo(**found)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The metadata of the weight file, as text, in the order of the file."""
        key, value = ctypes.c_char_p(), ctypes.c_char_p()
        found = {}
        with self._handle.using() as address:
            for index in range(lib().covey_model_metadata_count(address)):
                check(
                    lib().covey_model_metadata_at(
                        address, index, ctypes.byref(key), ctypes.byref(value)
                    )
                )
                name, text = key.value or b"", value.value or b""
                found[name.decode("utf-8", "replace")] = text.decode("utf-8", "replace")
        return found

    @cached_property
    def tensors(self) -> list[TensorInfo]:
        """All tensors of the weight file, in its order."""
        found = []
        with self._handle.using() as address:
            for index in range(lib().covey_model_tensor_count(address)):
                struct = _abi.sized(_abi.covey_tensor_info)
                check(lib().covey_model_tensor_at(address, index, ctypes.byref(struct)))
                error = struct.quantization_error
                found.append(
                    TensorInfo(
                        name=(struct.name or b"").decode("utf-8", "replace"),
                        dtype=Dtype(struct.dtype),
                        shape=tuple(struct.sizes[: struct.dimension_count]),
                        bytes=struct.bytes,
                        quantization_error=None if error < 0 else error,
                    )
                )
        return found

    def save(
        self,
        path: str | os.PathLike[str],
        dtype: Literal["f32", "f16", "q8"] | Dtype = "f32",
    ) -> None:
        """Writes a weight file with the matrices as ``dtype``: whole or not at all.

        "q8", int8 with a scale for every row, notes the error made in every matrix
        in the file, where ``tensors`` finds it; a model that is int8 already
        is kept as it is.  Raises ArgumentError where a weight is too large for
        ``dtype``.
        """
        kind = enumerator(Dtype, "dtype", dtype)
        with self._handle.using() as address, deferred_signals():
            status = lib().covey_model_save(address, encoded_path(path), kind)
            check(status)

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
        struct, progress = _options.make(options)
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
        struct, progress = _options.make(options)
        memory = _abi.sized(_abi.covey_memory)
        size = integer("width", width), integer("height", height), integer("frames", frames, 64)
        with self._handle.using() as address:
            check(
                lib().covey_estimate_memory(
                    address, ctypes.byref(struct), *size, ctypes.byref(memory)
                )
            )
        del progress
        return Memory(**values(memory))

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
        struct, progress = _options.make(options)
        grid = _abi.sized(_abi.covey_grid)

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
        struct, progress = _options.make(options)
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


def _plainly(error: FormatError, source: Source) -> str:
    """What is wrong with a weight file; of what is none, that."""
    if not isinstance(source, (str, os.PathLike)) or not os.path.isfile(source):
        return str(error)
    with open(source, "rb") as file:
        if file.read(4) == b"GGUF":
            return str(error)
    path = Path(source)
    checkpoint = path.suffix.lower() in (".bin", ".ckpt", ".pt", ".pth", ".safetensors")
    hint = "; covey convert makes one of a checkpoint" if checkpoint else ""
    return f"{path}: not a weight file (GGUF){hint}"


def encoded_path(path: str | os.PathLike[str]) -> bytes:
    """As the C interface takes it.  Raises ValueError for one with a null byte."""
    encoded = os.fsencode(path)
    if b"\0" in encoded:
        raise ValueError("path: embedded null byte")
    return encoded
