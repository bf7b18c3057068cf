"""The clustering alone, for queries and keys of one's own.  Experimental."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..mirror import abi
from ..mirror.errors import check
from ..mirror.library import lib
from ..mirror.options import integer, session_struct

if TYPE_CHECKING:
    from ..mirror.calls import ProgressFunction
    from ..mirror.options import Options, Unpack


class Clusters(NamedTuple):
    """labels: int32, the shape of the queries without channels, 0 .. count - 1
    in the order of the centres.  confidence: float32, likewise, in [0, 1]."""

    labels: NDArray[np.int32]
    confidence: NDArray[np.float32]
    count: int  # type: ignore[assignment]  # not the method of tuple


def cluster(
    queries: ArrayLike,
    keys: ArrayLike,
    heads: int,
    tau: float = 1.0,
    window: int = 3,
    threads: int = 0,
    memory_limit: int = 0,
    progress: ProgressFunction | None = None,
    **options: Unpack[Options],
) -> Clusters:
    """Clusters the attention maps of ``queries`` over ``keys``.

    queries: [T, rows, columns, C], or [T, N, C], which will do for
    mode="reference".  keys: [M, C], or [..., C]
    with M the product of the rest.  heads divides C.  tau in nats; window in
    frames; memory_limit in bytes.  The other rules are those of the session
    options of the same names.
    """
    q = np.ascontiguousarray(queries, np.float32)
    k = np.ascontiguousarray(keys, np.float32)
    if q.ndim < 3:
        raise ValueError(f"queries: expected [T, N, C], found {list(q.shape)}")
    channels = q.shape[-1]
    if k.ndim < 2 or k.shape[-1] != channels:
        raise ValueError(f"keys: expected [M, {channels}], found {list(k.shape)}")
    struct, callback = session_struct(
        {
            "tau": tau,
            "window": window,
            "threads": threads,
            "memory_limit": memory_limit,
            "progress": progress,
            **options,
        }
    )
    maps = abi.sized("covey_maps")
    maps.frames = integer("frames", q.shape[0])
    maps.patches = integer("patches", int(np.prod(q.shape[1:-1])))
    maps.channels = integer("channels", channels)
    maps.heads = integer("heads", heads)
    maps.key_count = int(np.prod(k.shape[:-1]))
    if q.ndim == 4:
        maps.rows, maps.columns = integer("rows", q.shape[1]), integer("columns", q.shape[2])
    maps.queries = q.ctypes.data
    maps.keys = k.ctypes.data
    labels = np.empty(q.shape[:-1], np.int32)
    confidence = np.empty(q.shape[:-1], np.float32)
    count = ctypes.c_int32()
    check(
        callback.run(
            lib().covey_cluster,
            ctypes.byref(maps),
            ctypes.byref(struct),
            labels.ctypes.data,
            confidence.ctypes.data,
            ctypes.byref(count),
        )
    )
    return Clusters(labels, confidence, count.value)
