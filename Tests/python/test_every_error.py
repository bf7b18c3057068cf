"""Every function of covey.h, and every error that the header documents for it.

The functions, their parameters and errors are read from the header.  A function, or an
error of one, that is not in the tables here fails, as does one of the tables that the
header does not have.
"""

from __future__ import annotations

import ctypes
import re
import struct
from ctypes import c_float, c_void_p, sizeof
from pathlib import Path

import gguf
import numpy as np
import pytest
from conftest import HEADER
from every_call import (
    CALLS,
    ERRORS,
    FUNCTIONS,
    MAY_BE_NULL,
    OK,
    OTHERS,
    WITH_STATUS,
    is_pointer,
    message,
    parse,
    run,
    struct_of,
    world,  # noqa: F401
)

from covey.mirror import abi


# ---- By the signature -----------------------------------------------------------------


def test_the_tables_know_every_function():
    assert set(FUNCTIONS) == set(CALLS) | OTHERS
    assert set(CALLS) == WITH_STATUS and not set(CALLS) & OTHERS
    assert set(FUNCTIONS) == set(abi.FUNCTIONS)
    pointers = {(f, name) for f in CALLS for kind, name in FUNCTIONS[f][1] if is_pointer(kind)}
    assert pointers >= MAY_BE_NULL


@pytest.mark.parametrize("name", sorted(CALLS))
def test_right(world, name):
    assert run(world, name, CALLS[name](world)) == OK, message(world)


@pytest.mark.parametrize(
    "name, index",
    [(f, i) for f in sorted(CALLS) for i, (kind, _) in enumerate(FUNCTIONS[f][1])
     if is_pointer(kind)],
)  # fmt: skip
def test_null(world, name, index):
    parameter = FUNCTIONS[name][1][index][1]
    arguments = CALLS[name](world)
    arguments[index] = None
    status = run(world, name, arguments)
    if parameter == "options" or (name, parameter) in MAY_BE_NULL:
        assert status == OK, message(world)
    elif parameter in ("counts", "xy", "ring_ends", "keys"):
        # Allowed with a capacity of 0 only, which asks how much there is.
        assert status == ERRORS["ARGUMENT"] and parameter in message(world)
        arguments = CALLS[name](world)
        for at, (_, other) in enumerate(FUNCTIONS[name][1]):
            if other in ("counts", "xy", "ring_ends", "keys"):
                arguments[at], arguments[at + 1] = None, 0
        assert run(world, name, arguments) == ERRORS["CAPACITY"]
    else:
        assert status == ERRORS["ARGUMENT"], message(world)
        assert parameter in message(world)


@pytest.mark.parametrize(
    "name, index",
    [(f, i) for f in sorted(CALLS) for i, (kind, _) in enumerate(FUNCTIONS[f][1])
     if struct_of(kind)],
)  # fmt: skip
def test_sizes_of_structs(world, name, index):
    kind, parameter = FUNCTIONS[name][1][index]
    known = sizeof(struct_of(kind))

    def with_size(size, beyond=0):
        arguments = CALLS[name](world)
        raw = ctypes.create_string_buffer(max(size, known) + 8)
        given = arguments[index]
        given = given if isinstance(given, ctypes.Structure) else given[0]
        ctypes.memmove(raw, ctypes.addressof(given), known)
        struct.pack_into("<I", raw, 0, size)
        if beyond:
            struct.pack_into("<Q", raw, known, beyond)
        arguments[index] = ctypes.cast(raw, ctypes.POINTER(struct_of(kind)))
        return run(world, name, arguments)

    for size in (0, 4, 8):
        assert with_size(size) == ERRORS["ARGUMENT"], message(world)
        assert "struct_size" in message(world)
    assert with_size(4097) == ERRORS["VERSION"], message(world)
    # Of several the size is the stride.
    if parameter == "frames" and name != "covey_segment" or parameter == "objects":
        return
    assert with_size(known + 8) == OK, message(world)
    assert with_size(known + 8, 1 << 63) == (
        ERRORS["VERSION"] if kind.startswith("const") else OK), message(world)


@pytest.mark.parametrize(
    "name", [f for f in sorted(CALLS) if any(n == "path" for _, n in FUNCTIONS[f][1])])
def test_paths(world, name):
    at = [parameter for _, parameter in FUNCTIONS[name][1]].index("path")
    for path in ("no/such/folder/file", str(world.folder), "", "a" * 256, "/dev/null"):
        arguments = CALLS[name](world)
        arguments[at] = path.encode()
        assert run(world, name, arguments) == ERRORS["IO"], (path, message(world))
        assert path in message(world)


# ---- As the comments say ------------------------------------------------------------------


def documented() -> set[tuple[str, str]]:
    """Functions and the errors that the comments before them name, by their own names."""
    found = set()
    for name, (_, _, comment) in FUNCTIONS.items():
        if name in OTHERS and not name.endswith("_cancel"):
            continue  # the comment is of the function before
        for error in re.findall(r"(?:COVEY_)?ERROR_([A-Z]+)", comment):
            found.add((name, error))
    return found


def with_float(w, tensor, value):
    """A copy of the weight file in which a number of a tensor is another."""
    reader = gguf.GGUFReader(w.path.decode())
    (found,) = [each for each in reader.tensors if each.name == tensor]
    data = bytearray(Path(w.path.decode()).read_bytes())
    struct.pack_into("<f", data, found.data_offset, value)
    path = w.folder / "changed.gguf"
    path.write_bytes(data)
    return w.load(str(path).encode(), skip=1)


def too_large_for_half(w):
    model = with_float(w, "encoder.blocks.0.attn.qkv.weight", 1e30)
    return "covey_model_save", [model, str(w.folder / "x").encode(), 2]


def nowhere(w):
    (w.folder / "link").symlink_to("nothing")
    return "covey_model_save", [w.model, str(w.folder / "link").encode(), 1]


def cancelled(kind, name, rest):
    def case(w):
        handle = w.trainer() if kind == "trainer" else w.session(2)
        w.call(f"covey_{kind}_cancel", handle)
        return name, [handle, *rest(w)]
    return case


def without_saliency(w):
    arguments = CALLS["covey_encode"](w)
    arguments[5] = w.floats(1 << 15)
    return "covey_encode", arguments


def short(name, index):
    def case(w):
        arguments = CALLS[name](w)
        arguments[index] = 1
        return name, arguments
    return case


def other_options(w):
    return "covey_trainer_restore", [w.trainer(seed=9), w.state()]


def not_finite(name, rest):
    def case(w):
        model = with_float(w, "correlator.norm1.weight", float("nan"))
        return name, [w.trainer(model), *rest(w)]
    return case


def overflowing(w):
    """The features are finite, their products are not."""
    model = with_float(w, "correlator.norm1.bias", 3e38)
    session = w.make("session", "covey_session_create", model, w.options())
    assert w.call("covey_session_push", session, w.frame()) == OK
    return "covey_session_finish", [session]


def too_many_clusters(w):
    """Shots of two frames, each with clusters of its own: every second patch is one."""
    random, rows, columns = np.random.default_rng(0), 12, 16
    settings = {"tau": 1e-6, "working_height": 8 * rows, "working_width": 8 * columns}
    options = w.options(key_budget=1, key_pool=2, mask=2)
    for key, value in settings.items():
        setattr(options, key, value)
    session = w.make("session", "covey_session_create", w.model, options)
    for shot in range(65536 // (rows * columns // 2) + 130):
        patches = random.integers(0, 250, (rows, columns, 3))
        patches[..., shot % 3] += 150  # another colour than the shot before
        pixels = patches.clip(0, 255).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        frame = w.struct(
            "covey_frame", format=1, width=8 * columns, height=8 * rows,
            planes=(c_void_p * 3)(pixels.ctypes.data))
        for _ in range(2):
            assert w.call("covey_session_push", session, frame) == OK
    return "covey_session_finish", [session]


def beyond_numbers(w):
    """As many frames and keys as can be asked for, of the largest size."""
    options = w.options(mode=1)
    options.query_pool = 0
    options.key_stride = 1
    options.working_height = options.working_width = -1
    arguments = CALLS["covey_estimate_memory"](w)
    arguments[1:5] = [options, 32768, 32768, 100_000_000]
    return "covey_estimate_memory", arguments


def damaged(w):
    model = with_float(w, "encoder.cls_token", float("inf"))
    session = w.make("session", "covey_session_create", model, w.options())
    return "covey_session_push", [session, w.frame()]


def tree(name, **settings):
    def case(w):
        return name, [w.session(2, True, **settings), *CALLS[name](w)[1:]]
    return case


def before_finish(name):
    return lambda w: (name, [w.session(2), *CALLS[name](w)[1:]])


#: For each documented error of a function: a call that has it.
CASES = {
    ("covey_model_save", "IO"): nowhere,
    ("covey_model_save", "ARGUMENT"): too_large_for_half,
    ("covey_estimate_memory", "MEMORY"): beyond_numbers,
    ("covey_session_push", "FORMAT"): damaged,
    ("covey_session_finish", "FORMAT"): overflowing,
    ("covey_session_finish", "CAPACITY"): too_many_clusters,
    ("covey_session_finish", "STATE"): lambda w: ("covey_session_finish", [w.session()]),
    ("covey_session_cancel", "CANCELLED"): cancelled(
        "session", "covey_session_push", lambda w: [w.frame()]),
    ("covey_session_get_tree", "STATE"): before_finish("covey_session_get_tree"),
    ("covey_session_get_merge", "STATE"): before_finish("covey_session_get_merge"),
    ("covey_session_get_tree", "UNSUPPORTED"): tree("covey_session_get_tree", mode=1),
    ("covey_session_get_merge", "UNSUPPORTED"): tree("covey_session_get_merge", streaming=1),
    ("covey_result_get_objects", "CAPACITY"): short("covey_result_get_objects", 2),
    ("covey_result_get_rle", "CAPACITY"): short("covey_result_get_rle", 3),
    ("covey_result_get_polygons", "CAPACITY"): short("covey_result_get_polygons", 4),
    ("covey_encode", "CAPACITY"): short("covey_encode", 4),
    ("covey_encode", "UNSUPPORTED"): without_saliency,
    ("covey_trainer_save", "STATE"): not_finite(
        "covey_trainer_save", lambda w: [str(w.folder / "x").encode()]),
    ("covey_trainer_export", "STATE"): not_finite(
        "covey_trainer_export", lambda w: [c_float(0), w.out()]),
    ("covey_trainer_restore", "ARGUMENT"): other_options,
    ("covey_trainer_cancel", "CANCELLED"): cancelled(
        "trainer", "covey_trainer_step", lambda w: [w.frames(2), 2, None]),
}  # fmt: skip


def test_the_tables_know_every_documented_error():
    assert documented() == set(CASES)
    assert {error for _, error in documented()} <= set(ERRORS)


@pytest.mark.parametrize("name, error", sorted(CASES))
def test_documented(world, name, error):
    called, arguments = CASES[name, error](world)
    assert run(world, called, arguments) == ERRORS[error], message(world)
    assert message(world)


# ---- As the header says of all ------------------------------------------------------------


@pytest.mark.parametrize(
    "name", [f for f in sorted(CALLS) if re.match(r"covey_(session|trainer)_(?!create)", f)])
def test_from_the_own_callback(world, name):
    """ERROR_STATE, but for get_memory and get_info."""
    kind = name.split("_")[1]
    seen = []

    @abi.CALLBACKS["covey_progress_fn"]
    def progress(*_):
        if not seen:
            arguments = CALLS[name](world)
            arguments[0] = handle
            seen.append((run(world, name, arguments), message(world)))
        return 0

    if kind == "session":
        handle = world.session(progress=progress)
        assert world.call("covey_session_push", handle, world.frame()) == OK
    else:
        handle = world.trainer(progress=progress)
        assert world.call("covey_trainer_step", handle, world.frames(2), 2, None) == OK
    ((status, said),) = seen
    if name.endswith(("get_memory", "get_info")):
        assert status == OK
    else:
        assert status == ERRORS["STATE"] and "callback" in said


@pytest.mark.parametrize(
    "name", ["covey_segment", "covey_encode", "covey_correlate", "covey_cluster",
             "covey_trainer_create", "covey_train_gradients", "covey_session_push"])  # fmt: skip
def test_memory_limit(world, name):
    arguments = CALLS[name](world)
    for index, (kind, parameter) in enumerate(FUNCTIONS[name][1]):
        if parameter == "options":
            arguments[index].memory_limit = 1
    if name == "covey_session_push":
        arguments[0] = world.session(memory_limit=1)
    assert run(world, name, arguments) == ERRORS["MEMORY"]
    assert re.search(r"\d", message(world))


def test_files_that_are_none(world):
    path = world.folder / "text"
    path.write_bytes(b"GGUF" + bytes(100))
    data = np.zeros(100, np.uint8)
    for name, arguments in (
        ("covey_model_load", [str(path).encode(), None, world.out()]),
        ("covey_trainer_restore", [world.trainer(), str(path).encode()]),
    ):
        assert run(world, name, arguments) == ERRORS["UNSUPPORTED"]  # GGUF of version 0
    path.write_bytes(b"text" * 20)
    for name, arguments in (
        ("covey_model_load", [str(path).encode(), None, world.out()]),
        ("covey_trainer_restore", [world.trainer(), str(path).encode()]),
        ("covey_model_load_memory", [c_void_p(data.ctypes.data), 100, None, world.out()]),
    ):
        assert run(world, name, arguments) == ERRORS["FORMAT"]


def test_that_a_new_function_is_noticed():
    text = HEADER.read_text()
    changed = text.replace(
        "COVEY_API void covey_trainer_free(",
        "/* Nothing: ERROR_IO. */\nCOVEY_API covey_status covey_new(\n    const char *a, int32_t b);\n"
        "COVEY_API void covey_trainer_free(")
    added = set(parse(changed)) - set(parse(text))
    assert added == {"covey_new"}
    kind, parameters, comment = parse(changed)["covey_new"]
    assert (kind, parameters) == ("covey_status", [("const char *", "a"), ("int32_t", "b")])
    assert "ERROR_IO" in comment
