"""Session options: Python values to the C struct, every range checked."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from . import _abi
from ._abi import Affinity, KeyRounding, Mask, Mode, Output
from ._calls import Progress, ProgressFunction

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack


class Options(TypedDict, total=False):
    """The options of a session.  Left out, None or 0: the default.

    threads: at most 256; default one per usable core.
    working_height, working_width: frames are resized to this many pixels,
        multiples of the patch size.  Both left out: the model's (swapped for
        upright frames); one left out: from the other, keeping the aspect.
    window: frames clustered together at level 1, at most 64; default the model's.
    key_stride: every n-th frame serves as key; default the model's.
    key_pool: keys are averaged over n x n patches, 1: not; default the model's.
    key_rounding: "ceil" (default) or "floor".
    mode: "edge" (default) or "reference" (labels as the authors' code computes
        them; key_pool is then 1 by default).
    streaming: results come while frames are pushed, at most ``window`` frames
        late, with a memory that does not grow; edge mode only.
    query_pool: prototypes are made of queries averaged over n x n patches;
        default 4; edge mode only.
    key_budget: key frames used at most; default 8, in reference mode all.
    target_clusters: so many, as nearly as the tree allows, instead of by tau;
        edge mode, not streaming.
    max_clusters: no more than this, whatever tau says; edge mode.
    bank_clusters: clusters that a stream remembers; default 64.
    tau: clustering distance threshold in nats; default the model's.
    output: "objects" (default; 0 is background) or "clusters" (every cluster
        an id, 0 unused).
    max_objects: the best so many are kept, of a stream the first; default 65535.
    min_area: objects that never cover more than this fraction of a frame are
        background; default 0.001, negative: none.
    mask: "refined" (default; along the edges of the frame), "bilinear" or
        "nearest" (every pixel as its patch).
    min_region: connected regions of less than this fraction of a frame get the
        id around them; default 0: all stay.
    memory_limit: bytes, for all of the session but the model; default none.
    affinity: whose queries and keys are compared: "correlator" (default), the
        trained spatio-temporal block's; "features", the features themselves;
        "attention", the backbone's own, of its last block.  Each needs a tau of
        its own.
    progress: ``progress(stage, fraction)``, called every 10 ms or so on the
        thread of the call; returning False cancels, raising cancels and comes
        out of the call.
    """

    threads: int | None
    working_height: int | None
    working_width: int | None
    window: int | None
    key_stride: int | None
    key_pool: int | None
    key_rounding: Literal["ceil", "floor"] | KeyRounding | None
    tau: float | None
    output: Literal["objects", "clusters"] | Output | None
    max_objects: int | None
    min_area: float | None
    mode: Literal["edge", "reference"] | Mode | None
    streaming: bool | None
    query_pool: int | None
    key_budget: int | None
    target_clusters: int | None
    max_clusters: int | None
    bank_clusters: int | None
    mask: Literal["refined", "bilinear", "nearest"] | Mask | None
    min_region: float | None
    memory_limit: int | None
    affinity: Literal["correlator", "features", "attention"] | Affinity | None
    progress: ProgressFunction | None


#: What the library takes where the options of a mode are left out and the model
#: does not say (None: no bound).
MODE_DEFAULTS: dict[str, dict[str, int | None]] = {
    "edge": {"query_pool": 4, "key_budget": 8},
    "reference": {"key_pool": 1, "query_pool": 1, "key_budget": None},
}

_INTEGERS = {
    "threads": 32,
    "working_height": 32,
    "working_width": 32,
    "window": 32,
    "key_stride": 32,
    "key_pool": 32,
    "streaming": 32,
    "query_pool": 32,
    "key_budget": 32,
    "target_clusters": 32,
    "max_clusters": 32,
    "bank_clusters": 32,
    "max_objects": 32,
    "memory_limit": 64,
}
_FLOATS = ("tau", "min_area", "min_region")
_ENUMS: dict[str, type[IntEnum]] = {
    "key_rounding": KeyRounding,
    "output": Output,
    "mode": Mode,
    "mask": Mask,
    "affinity": Affinity,
}

_Enum = TypeVar("_Enum", bound=IntEnum)


def integer(name: str, value: Any, bits: int = 32) -> int:
    """``value`` as an int of so many bits: ctypes would wrap it silently."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an int, found {type(value).__name__}") from None
    bound = 1 << (bits - 1)
    if not -bound <= number < bound:
        raise ValueError(f"{name}: {number} does not fit {bits} bits")
    return number


def enumerator(kind: type[_Enum], name: str, value: Any) -> _Enum:
    """``value``, an enumerator, its number or its name in any case."""
    try:
        if isinstance(value, str):
            return kind[value.upper()]
        return kind(value)
    except (KeyError, ValueError):
        choices = ", ".join(repr(each.name.lower()) for each in kind)
        raise ValueError(f"{name}: expected one of {choices}, found {value!r}") from None


def make(options: Mapping[str, Any]) -> tuple[_abi.covey_session_options, Progress]:
    """The C struct and the callback it points to, which must outlive its use.

    Raises TypeError for an unknown name or a value of the wrong kind,
    ValueError for one out of range.
    """
    struct = _abi.sized(_abi.covey_session_options)
    user: ProgressFunction | None = None
    for name, value in options.items():
        if value is None and (name in Options.__annotations__):
            continue
        if name in _INTEGERS:
            setattr(struct, name, integer(name, value, _INTEGERS[name]))
        elif name in _FLOATS:
            try:
                setattr(struct, name, float(value))
            except TypeError:
                raise TypeError(
                    f"{name}: expected a number, found {type(value).__name__}"
                ) from None
        elif name in _ENUMS:
            setattr(struct, name, enumerator(_ENUMS[name], name, value))
        elif name == "progress":
            user = value
        else:
            known = ", ".join(Options.__annotations__)
            raise TypeError(f"unknown option {name!r}; there are {known}")
    progress = Progress(user)
    struct.progress = progress.function
    return struct, progress
