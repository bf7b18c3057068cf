"""Options of sessions and trainers: Python values to C structs, every range checked."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from . import abi
from .abi import Affinity, KeyRounding, Mask, Mode, Output, Start
from .calls import Progress, ProgressFunction

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack


class Options(TypedDict, total=False):
    """The options of a session.  Left out, None or 0: the default.

    threads: at most 256; default one per usable core.
    working_height, working_width: frames are resized to this many pixels,
        multiples of the patch size.  Both left out: the model's (swapped for
        upright frames); one left out: from the other, keeping the aspect; both -1: the
        frames' own, to whole patches.
    window: frames clustered together at level 1, at most 64; default the model's.
    key_stride: every n-th frame serves as key; default the model's.
    key_pool: keys are averaged over n x n patches, 1: not; default the model's.
    key_rounding: "ceil" (default in edge mode) or "floor" (in reference mode, as the
        authors' code).
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
    tau: clustering distance threshold in nats; default the model's for the mode.
    output: "objects" (default; an id each, 0 is background), "kinds" (objects that look
        alike have one id together) or "clusters" (every cluster an id, 0 unused).
    least_objectness: what is less an object than this is background; below 1, default 0.3.
    max_objects: the best so many are kept, of a stream the first; default 65535.
    min_area: objects that never cover more than this fraction of a frame are
        background; default 0.001, negative: none.
    mask: "refined" (default; along the edges of the frame), "bilinear" or
        "nearest" (every pixel as its patch).
    min_region: connected regions of less than this fraction of a frame get the
        id around them; default: holes in objects, and specks that no patch has
        the id of; negative: all stay.
    memory_limit: bytes, for all of the session but the model; default none.
    affinity: whose queries and keys are compared: "correlator" (default), the
        trained spatio-temporal block's; "features", the features themselves;
        "attention", the backbone's own, of its last block.  Each needs a tau of
        its own.
    keep_shots: True: cuts and fades are not looked for; default: every shot is clustered
        on its own, and no id is in two (edge mode).
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
    output: Literal["objects", "clusters", "kinds"] | Output | None
    max_objects: int | None
    min_area: float | None
    least_objectness: float | None
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
    keep_shots: bool | None
    progress: ProgressFunction | None


class TrainerOptions(TypedDict, total=False):
    """The options of a trainer.  Left out, None or 0: the default.

    threads: at most 256; default one per usable core.
    start: "model" (default; the model's block, of which what the file has not is
        drawn anew), "identity" (maps compare the features themselves) or "random".
    clip_length: frames of a clip, 2 to 16; default 3.
    clips_per_step: whose gradients are averaged, at most 1024; default 1.
    total_steps: over which the learning rate falls; default 10000.
    positions: queries of each frame; default 8.
    weigh_both: both losses are weighted by the sharpness of the maps, as the
        paper has it; default motion alone, as the released code does.
    augmentation: False: clips as they are; default grayscale, colours and blur.
    working_height, working_width: frames are resized to this many pixels,
        multiples of the patch size; default the model's.
    learning_rate: at step 0, along a cosine to 1e-6; default 1e-4.
    weight_decay: of matrices; default 0.1, negative: none.
    clip_norm: gradients are scaled down to this norm; default 0: never.
    attention_dropout: default 0.4; dropout: default 0.1; negative: none.
    seed: 0 to 2**64 - 1; same seed and data, same bits, whatever the threads.
    memory_limit: bytes, for all of the trainer but the model; default none.
    progress: as of a session, within one step or encode.
    """

    threads: int | None
    start: Literal["model", "identity", "random"] | Start | None
    clip_length: int | None
    clips_per_step: int | None
    total_steps: int | None
    positions: int | None
    weigh_both: bool | None
    augmentation: bool | None
    working_height: int | None
    working_width: int | None
    learning_rate: float | None
    weight_decay: float | None
    clip_norm: float | None
    attention_dropout: float | None
    dropout: float | None
    seed: int | None
    memory_limit: int | None
    progress: ProgressFunction | None


#: What the library takes where the options of a mode are left out and the model
#: does not say (None: no bound).
MODE_DEFAULTS: dict[str, dict[str, int | None]] = {
    "edge": {"query_pool": 4, "key_budget": 8},
    "reference": {"key_pool": 1, "query_pool": 1, "key_budget": None},
}

#: By name what is meant, which 0 is not: that stands for the mode's own.
_NAMED: dict[tuple[str, str], IntEnum] = {("key_rounding", "ceil"): KeyRounding.CEIL_ALWAYS}

#: Bits of the integers.
_INTEGERS = {"int32_t": 32, "int64_t": 64}

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


def unsigned(name: str, value: Any) -> int:
    """``value`` as an int of 64 bits without a sign."""
    number = integer(name, value, 66)
    if not 0 <= number < 1 << 64:
        raise ValueError(f"{name}: expected 0 to 2**64 - 1, found {number}")
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


def session_struct(options: Mapping[str, Any]) -> tuple[Any, Progress]:
    """The C struct and the callback it points to, which must outlive its use.

    Raises TypeError for an unknown name or a value of the wrong kind,
    ValueError for one out of range.
    """
    return _struct("covey_session_options", options, Options)


def trainer_struct(options: Mapping[str, Any]) -> tuple[Any, Progress]:
    """As session_struct(), of a trainer."""
    given = dict(options)
    if given.get("augmentation") is not None:
        given["augmentation"] = 0 if given["augmentation"] else -1
    return _struct("covey_trainer_options", given, TrainerOptions)


def _struct(name: str, options: Mapping[str, Any], known: type) -> tuple[Any, Progress]:
    """The fields of the header have the options' names, and its types say what each takes."""
    struct, types = abi.sized(name), abi.HEADER.structs[name]
    user: ProgressFunction | None = None
    for option, value in options.items():
        if option not in known.__annotations__:
            names = ", ".join(known.__annotations__)
            raise TypeError(f"unknown option {option!r}; there are {names}")
        if value is None:
            continue
        if option == "progress":
            user = value
        else:
            setattr(struct, option, _value(option, value, types[option]))
    progress = Progress(user)
    struct.progress = progress.function
    return struct, progress


def _value(name: str, value: Any, kind: str) -> Any:
    """``value`` as the field of this name and C type takes it."""
    if kind in abi.ENUMS:
        if isinstance(value, str):
            value = _NAMED.get((name, value.lower()), value)
        return enumerator(abi.ENUMS[kind][0], name, value)
    if kind in _INTEGERS:
        return integer(name, value, _INTEGERS[kind])
    if kind == "uint64_t":
        return unsigned(name, value)
    try:
        return float(value)
    except TypeError:
        raise TypeError(f"{name}: expected a number, found {type(value).__name__}") from None
