"""A weight file: opened, looked into, written."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar, Union

import numpy as np

from ..mirror import abi
from ..mirror.abi import Dtype
from ..mirror.calls import deferred_signals
from ..mirror.errors import FormatError, check
from ..mirror.handle import Handle, HandleOwner
from ..mirror.library import default_model_path, lib
from ..mirror.options import enumerator

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


_Self = TypeVar("_Self", bound="Weights")


class Weights(HandleOwner):
    """What a Model is before anything is computed with it, and all that a Session knows of it."""

    def __init__(
        self,
        source: Source | None = None,
        read_into_memory: bool = False,
        skip_checksum: bool = False,
    ) -> None:
        options = abi.sized("covey_model_options")
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
    def _adopted(cls: type[_Self], address: int, keeps: object) -> _Self:
        """A model that the library made; ``keeps`` must live as long as it does."""
        model = cls.__new__(cls)
        model._handle = Handle(address, lib().covey_model_free, "model", keeps)
        return model

    @cached_property
    def info(self) -> ModelInfo:
        """Geometry, defaults, size."""
        struct = abi.sized("covey_model_info")
        with self._handle.using() as address:
            check(lib().covey_model_get_info(address, ctypes.byref(struct)))
            found = abi.values(struct)
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
                struct = abi.sized("covey_tensor_info")
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
