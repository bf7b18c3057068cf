"""Every function of covey.h, and every error that the header documents for it.

The functions, their parameters and errors are read from the header.  A function, or an
error of one, that is not in the tables here fails, as does one of the tables that the
header does not have.
"""

from __future__ import annotations

import ctypes
import re
import struct
from ctypes import byref, c_char_p, c_double, c_float, c_int32, c_size_t, c_void_p, sizeof
from pathlib import Path

import gguf
import numpy as np
import pytest
from conftest import HEADER

from covey import _abi
from covey._library import lib

OK, AGAIN = 0, 1
ERRORS = {
    "ARGUMENT": -1, "MEMORY": -2, "IO": -3, "FORMAT": -4, "VERSION": -5, "UNSUPPORTED": -6,
    "CAPACITY": -7, "CANCELLED": -8, "STATE": -10,
}  # fmt: skip


# ---- The header ---------------------------------------------------------------------


def parse(text: str) -> dict[str, tuple[str, list[tuple[str, str]], str]]:
    """Function: what it returns, types and names of its parameters, and the comment that
    stands before it, or before those that it stands behind."""
    found, comment = {}, ""
    # Comments within structs and between declarations; the former end before a brace.
    for match in re.finditer(
        r"/\*(.*?)\*/|COVEY_API\s+(?:COVEY_CHECK\s+)?([\w\s*]*?)(covey_\w+)\(([^)]*)\);"
        r"|^(?:typedef|\}|#)[^\n]*", text, re.S | re.M,
    ):  # fmt: skip
        if match[1] is not None:
            comment = match[1]
        elif match[3] is None:
            comment = ""
        else:
            parameters = []
            for each in match[4].split(",") if match[4].strip() != "void" else []:
                kind, name = re.fullmatch(r"\s*(.*?)(\w+)\s*", each, re.S).groups()
                parameters.append((" ".join(kind.split()), name))
            found[match[3]] = (" ".join(match[2].split()), parameters, comment)
    return found


FUNCTIONS = parse(HEADER.read_text())
WITH_STATUS = {name for name, (kind, *_) in FUNCTIONS.items() if kind == "covey_status"}

#: Those that cannot fail; here NULL is no error.
OTHERS = {
    "covey_version", "covey_build_info", "covey_status_string", "covey_last_error",
    "covey_set_log", "covey_model_metadata_count", "covey_model_tensor_count",
    "covey_model_free", "covey_session_options_init", "covey_session_free",
    "covey_session_cancel", "covey_result_labels", "covey_result_get_confidence",
    "covey_result_get_motion",
    "covey_result_free", "covey_trainer_options_init", "covey_trainer_cancel",
    "covey_trainer_free",
}  # fmt: skip


# ---- Calls that work -------------------------------------------------------------------


class World:
    """Handles and buffers; all is freed by `close`."""

    def __init__(self, model_path: Path, folder: Path):
        self.library, self.path, self.folder = lib(), str(model_path).encode(), folder
        self.kept, self.frees = [], []
        self.pixels = np.random.default_rng(1).integers(0, 256, (32, 48, 3), np.uint8)
        self.buffer = np.zeros(1 << 16, np.float32)
        self.model = self.load(self.path)

    def close(self):
        for free, handle in reversed(self.frees):
            free(handle)

    def call(self, name, *arguments):
        return getattr(self.library, name)(*arguments)

    def make(self, kind, name, *arguments):
        handle = c_void_p()
        assert self.call(name, *arguments, byref(handle)) == OK, self.call("covey_last_error")
        self.frees.append((getattr(self.library, f"covey_{kind}_free"), handle))
        return handle

    def load(self, path, skip=0):
        options = _abi.sized(_abi.covey_model_options)
        options.skip_checksum = skip
        return self.make("model", "covey_model_load", path, byref(options))

    def options(self, **settings):
        return self.struct(
            _abi.covey_session_options, threads=1, working_height=32, working_width=48,
            output=1, query_pool=1, tau=0.01, **settings)

    def struct(self, kind, **fields):
        value = _abi.sized(kind)
        for key, item in fields.items():
            setattr(value, key, item)
        self.kept.append((value, fields))
        return value

    def frame(self):
        return self.struct(
            _abi.covey_frame, format=1, width=48, height=32,
            planes=(c_void_p * 3)(self.pixels.ctypes.data))

    def frames(self, count):
        array = (_abi.covey_frame * count)(*[self.frame() for _ in range(count)])
        self.kept.append(array)
        return ctypes.cast(array, ctypes.POINTER(_abi.covey_frame))

    def session(self, pushed=0, finished=False, **settings):
        session = self.make(
            "session", "covey_session_create", self.model, self.options(**settings))
        for _ in range(pushed):
            assert self.call("covey_session_push", session, self.frame()) == OK
        if finished:
            assert self.call("covey_session_finish", session) == OK
        return session

    def result(self):
        return self.make("result", "covey_session_next", self.session(2, True))

    def trainer(self, model=None, **settings):
        options = self.struct(
            _abi.covey_trainer_options, threads=1, clip_length=2, positions=3,
            working_height=32, working_width=48, **settings)
        return self.make("trainer", "covey_trainer_create", model or self.model, options)

    def feature_count(self, trainer):
        info = _abi.sized(_abi.covey_trainer_info)
        assert self.call("covey_trainer_get_info", trainer, byref(info)) == OK
        return info.feature_count

    def state(self):
        path = str(self.folder / "state.gguf").encode()
        assert self.call("covey_trainer_save", self.trainer(), path) == OK
        return path

    def bytes(self):
        data = np.fromfile(self.path.decode(), np.uint8)
        self.kept.append(data)
        return c_void_p(data.ctypes.data), data.size

    def floats(self, first=0):
        return c_void_p(self.buffer.ctypes.data + 4 * first)

    def out(self, kind=c_void_p):
        value = kind()
        self.kept.append(value)
        return ctypes.pointer(value)

    def train(self):
        """Arguments of the numerical core: 2 frames of 6 patches, 8 channels."""
        count = 8 + 8 + 192 + 64 + 8 + 8 + 8 + 128 + 16 + 128 + 8
        self.buffer[:4096] = np.random.default_rng(2).standard_normal(4096) / 8
        shape = {"channels": 8, "heads": 2, "hidden": 16}
        clip = self.struct(
            _abi.covey_train_clip, frames=2, patches=6, position_count=3,
            features=self.floats(), **shape)
        options = self.struct(
            _abi.covey_train_options, threads=1, positives=2, negatives=2, motion_positives=2,
            motion_negatives=2)
        losses = self.struct(_abi.covey_train_losses)
        update = self.struct(_abi.covey_train_update, learning_rate=1e-3, **shape)
        return clip, options, losses, update, count


def cluster_arguments(w):
    w.buffer[:4096] = np.random.default_rng(3).standard_normal(4096)
    maps = w.struct(
        _abi.covey_maps, frames=2, patches=24, channels=8, heads=2, key_count=48, rows=4,
        columns=6, queries=w.floats(), keys=w.floats(1024))
    return [maps, w.options(), w.floats(8192), w.floats(9000), w.out(c_int32)]


def gradient_arguments(w):
    clip, options, losses, _, count = w.train()
    return [clip, options, w.floats(2048), count, w.floats(8192), losses]


def apply_arguments(w):
    *_, update, count = w.train()
    return [update, w.floats(), w.floats(4096), w.floats(8192), w.floats(12288), count,
            w.out(c_double)]


def features_arguments(w):
    trainer = w.trainer()
    w.buffer[:] = np.random.default_rng(4).standard_normal(w.buffer.size)
    return [trainer, w.floats(), w.feature_count(trainer), w.struct(_abi.covey_train_metrics)]


def encode_clip_arguments(w):
    trainer = w.trainer()
    return [trainer, w.frames(2), 2, 0, w.floats(), w.feature_count(trainer)]


#: For every function that can fail: arguments with which it does not.
CALLS = {
    "covey_model_load": lambda w: [
        w.path, w.struct(_abi.covey_model_options), w.out()],
    "covey_model_load_memory": lambda w: [
        *w.bytes(), w.struct(_abi.covey_model_options, read_into_memory=1), w.out()],
    "covey_model_get_info": lambda w: [w.model, w.struct(_abi.covey_model_info)],
    "covey_model_metadata_at": lambda w: [w.model, 0, w.out(c_char_p), w.out(c_char_p)],
    "covey_model_tensor_at": lambda w: [w.model, 0, w.struct(_abi.covey_tensor_info)],
    "covey_model_save": lambda w: [w.model, str(w.folder / "saved.gguf").encode(), 1],
    "covey_session_create": lambda w: [w.model, w.options(), w.out()],
    "covey_session_push": lambda w: [w.session(), w.frame()],
    "covey_session_finish": lambda w: [w.session(2)],
    "covey_session_next": lambda w: [w.session(2, True), w.out()],
    "covey_session_reset": lambda w: [w.session(2, True)],
    "covey_session_get_tree": lambda w: [w.session(2, True), w.out(c_int32), w.out(c_int32)],
    "covey_session_get_merge": lambda w: [w.session(2, True), 0, w.struct(_abi.covey_merge)],
    "covey_session_recut": lambda w: [w.session(2, True), c_float(0), 2],
    "covey_segment": lambda w: [
        w.model, w.options(), w.frames(1), 1, w.floats(), 1 << 17, w.out(c_int32)],
    "covey_estimate_memory": lambda w: [
        w.model, w.options(), 48, 32, 5, w.struct(_abi.covey_memory)],
    "covey_session_get_memory": lambda w: [w.session(1), w.struct(_abi.covey_memory)],
    "covey_result_get_info": lambda w: [w.result(), w.struct(_abi.covey_result_info)],
    "covey_result_get_object": lambda w: [w.result(), 0, w.struct(_abi.covey_object)],
    "covey_result_get_rle": lambda w: [w.result(), 1, w.floats(), 1 << 16, w.out(c_size_t)],
    "covey_result_get_polygons": lambda w: [
        w.result(), 1, c_float(0), w.floats(), 1 << 14, w.out(c_size_t), w.floats(1 << 15),
        1 << 15, w.out(c_size_t)],
    "covey_encode": lambda w: [
        w.model, w.options(), w.frame(), w.floats(), 1 << 16, None, w.struct(_abi.covey_grid)],
    "covey_correlate": lambda w: [
        w.model, w.options(), w.floats(), 24, w.floats(8192), w.floats(16384)],
    "covey_cluster": cluster_arguments,
    "covey_trainer_create": lambda w: [
        w.model, w.struct(_abi.covey_trainer_options, threads=1), w.out()],
    "covey_trainer_get_info": lambda w: [w.trainer(), w.struct(_abi.covey_trainer_info)],
    "covey_trainer_encode": encode_clip_arguments,
    "covey_trainer_step_features": features_arguments,
    "covey_trainer_step": lambda w: [
        w.trainer(), w.frames(2), 2, w.struct(_abi.covey_train_metrics)],
    "covey_trainer_save": lambda w: [w.trainer(), str(w.folder / "s.gguf").encode()],
    "covey_trainer_restore": lambda w: [w.trainer(), w.state()],
    "covey_trainer_export": lambda w: [w.trainer(), c_float(0), w.out()],
    "covey_train_gradients": gradient_arguments,
    "covey_train_apply": apply_arguments,
}  # fmt: skip

#: Pointers that may be NULL, beside `options`.
MAY_BE_NULL = {
    ("covey_session_get_tree", "out_leaves"), ("covey_session_get_tree", "out_merges"),
    ("covey_segment", "out_object_count"), ("covey_encode", "saliency"),
    ("covey_correlate", "queries"), ("covey_correlate", "keys"),
    ("covey_cluster", "confidence"), ("covey_trainer_step_features", "metrics"),
    ("covey_trainer_step", "metrics"), ("covey_train_apply", "out_norm"),
}  # fmt: skip


def is_pointer(kind: str) -> bool:
    return "*" in kind


def struct_of(kind: str):
    """The mirror of a struct that starts with its size; None for others."""
    match = re.fullmatch(r"(?:const )?(covey_\w+) \*", kind)
    return match and getattr(_abi, match[1], None)


@pytest.fixture
def world(model_path, tmp_path):
    made = World(model_path, tmp_path)
    yield made
    made.close()


def run(w, name, arguments) -> int:
    """Whatever the call makes is freed with the world."""
    kinds = FUNCTIONS[name][1]
    status = w.call(name, *arguments)
    for (kind, parameter), value in zip(kinds, arguments, strict=True):
        handle = re.fullmatch(r"covey_(model|session|result|trainer) \*\*", kind)
        if handle and value is not None:
            if status == OK:
                w.frees.append((getattr(w.library, f"covey_{handle[1]}_free"), value[0]))
            else:
                assert not value[0], parameter
    return status


def message(w) -> str:
    return w.call("covey_last_error").decode()


# ---- By the signature -----------------------------------------------------------------


def test_the_tables_know_every_function():
    assert set(FUNCTIONS) == set(CALLS) | OTHERS
    assert set(CALLS) == WITH_STATUS and not set(CALLS) & OTHERS
    assert set(FUNCTIONS) == set(_abi.FUNCTIONS)
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
    # Of several frames the size is the stride.
    if parameter == "frames" and name != "covey_segment":
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
            _abi.covey_frame, format=1, width=8 * columns, height=8 * rows,
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

    @_abi.covey_progress_fn
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
