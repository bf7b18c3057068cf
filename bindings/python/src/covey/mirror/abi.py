"""The C interface as ctypes has it, from covey.h: structs, callbacks, functions.  Enumerators are
written out, for those who read types; a test holds them to the header.

Nothing here checks, converts or owns anything.  Enums are ``int`` on the C side; arrays and handles
are passed as addresses (``c_void_p``).
"""

from __future__ import annotations

import ctypes
import re
from ctypes import CFUNCTYPE, POINTER, Structure
from enum import IntEnum
from typing import Any

from . import header

HEADER = header.read(header.path().read_text(encoding="utf-8"))
#: Of the header.
VERSION = ".".join(map(str, HEADER.version))


class Status(IntEnum):
    """What a C function returned: 0 done, > 0 nothing to return, < 0 error."""

    OK = 0
    AGAIN = 1
    END = 2
    ERROR_ARGUMENT = -1
    ERROR_MEMORY = -2
    ERROR_IO = -3
    ERROR_FORMAT = -4
    ERROR_VERSION = -5
    ERROR_UNSUPPORTED = -6
    ERROR_CAPACITY = -7
    ERROR_CANCELLED = -8
    ERROR_INTERNAL = -9
    ERROR_STATE = -10


class LogLevel(IntEnum):
    """How grave a message is; 1 is the gravest."""

    ERROR = 1
    WARNING = 2
    INFO = 3
    DEBUG = 4


class Dtype(IntEnum):
    """How the matrices of a weight file are stored."""

    F32 = 1
    F16 = 2
    Q8 = 3


class PixelFormat(IntEnum):
    """The layout of a frame's pixels."""

    RGB8 = 1
    BGR8 = 2
    RGBA8 = 3
    BGRA8 = 4
    GRAY8 = 5
    I420 = 6
    NV12 = 7
    YUYV = 8
    P010 = 9


class Stage(IntEnum):
    """What a call in progress is doing."""

    ENCODE = 1
    CLUSTER = 2
    MERGE = 3
    ASSIGN = 4
    TRAIN = 5


class Output(IntEnum):
    """What the ids of a label map stand for."""

    OBJECTS = 0
    CLUSTERS = 1
    KINDS = 2


class KeyRounding(IntEnum):
    """How many key frames T frames have: T / key_stride, rounded.  CEIL, 0, is the
    default: in reference mode that of the mode, FLOOR."""

    CEIL = 0
    FLOOR = 1
    CEIL_ALWAYS = 2


class Mode(IntEnum):
    """How the maps are clustered."""

    EDGE = 0
    REFERENCE = 1


class Mask(IntEnum):
    """How the labels of patches become labels of pixels."""

    REFINED = 0
    BILINEAR = 1
    NEAREST = 2


class Affinity(IntEnum):
    """Whose queries and keys are compared in the attention maps."""

    CORRELATOR = 0
    FEATURES = 1
    ATTENTION = 2


class Start(IntEnum):
    """The block that training begins with."""

    MODEL = 0
    IDENTITY = 1
    RANDOM = 2


#: The C name of each enum, and its prefix of the enumerators.
ENUMS: dict[str, tuple[type[IntEnum], str]] = {
    "covey_status": (Status, "COVEY_"),
    "covey_log_level": (LogLevel, "COVEY_LOG_"),
    "covey_dtype": (Dtype, "COVEY_DTYPE_"),
    "covey_pixel_format": (PixelFormat, "COVEY_PIXEL_"),
    "covey_stage": (Stage, "COVEY_STAGE_"),
    "covey_output": (Output, "COVEY_OUTPUT_"),
    "covey_key_rounding": (KeyRounding, "COVEY_KEYS_"),
    "covey_mode": (Mode, "COVEY_MODE_"),
    "covey_mask": (Mask, "COVEY_MASK_"),
    "covey_affinity": (Affinity, "COVEY_AFFINITY_"),
    "covey_trainer_start": (Start, "COVEY_START_"),
}

_SCALARS: dict[str, Any] = {
    "void": None,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
    "size_t": ctypes.c_size_t,
    "ptrdiff_t": ctypes.c_ssize_t,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
}

CALLBACKS: dict[str, Any] = {}
STRUCTS: dict[str, type[Structure]] = {}


def _type(text: str) -> Any:
    """Of a type of the header: "const char **", "int64_t [4]"."""
    name, stars, count = re.findall(r"^(?:const )?(\w+)\s*(\**)\s*(?:\[(\d+)\])?$", text)[0]
    if stars:
        kind: Any = ctypes.c_char_p if name == "char" else ctypes.c_void_p
        if name in STRUCTS:
            kind = POINTER(STRUCTS[name])
        if stars == "**":
            kind = POINTER(kind)
    elif name in HEADER.enums:
        kind = ctypes.c_int
    else:
        kind = CALLBACKS[name] if name in CALLBACKS else _SCALARS[name]
    return kind * int(count) if count else kind


def _signature(told: header.Signature) -> tuple[Any, list[Any]]:
    return _type(told.result), [_type(each) for each in told.arguments]


for _name, _told in HEADER.callbacks.items():
    _result, _arguments = _signature(_told)
    CALLBACKS[_name] = CFUNCTYPE(_result, *_arguments)
for _name, _fields in HEADER.structs.items():
    _typed = [(each, _type(text)) for each, text in _fields.items()]
    STRUCTS[_name] = type(_name, (Structure,), {"_fields_": _typed})

#: name: (result, arguments)
FUNCTIONS = {name: _signature(told) for name, told in HEADER.functions.items()}


def declare(library: ctypes.CDLL) -> None:
    """Gives every function of ``library`` its types.

    Raises AttributeError naming the first function that it does not have.
    """
    for name, (result, arguments) in FUNCTIONS.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments


def values(struct: Structure) -> dict[str, Any]:
    """The fields of a struct but its size, by name."""
    return {name: getattr(struct, name) for name, *_ in struct._fields_ if name != "struct_size"}


def sized(name: str) -> Any:
    """The struct of this C name, zeroed, its struct_size set: everything at its default."""
    value: Any = STRUCTS[name]()
    value.struct_size = ctypes.sizeof(value)
    return value
