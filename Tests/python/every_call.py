"""Each function of covey.h, parsed from it, with arguments that it takes."""

from __future__ import annotations

import ctypes
import re
from ctypes import byref, c_char_p, c_double, c_float, c_int32, c_size_t, c_void_p
from pathlib import Path

import numpy as np
import pytest
from conftest import HEADER

from covey.mirror import abi
from covey.mirror.library import lib

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
    "covey_log_level_string", "covey_dtype_string", "covey_pixel_format_string",
    "covey_stage_string", "covey_mode_string", "covey_frame_init", "covey_object_init",
    "covey_result_info_init",
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
        options = abi.sized("covey_model_options")
        options.skip_checksum = skip
        return self.make("model", "covey_model_load", path, byref(options))

    def options(self, **settings):
        return self.struct(
            "covey_session_options", threads=1, working_height=32, working_width=48,
            output=1, query_pool=1, tau=0.01, **settings)

    def structs(self, kind, count):
        """Of the first the size is the stride."""
        many = (abi.STRUCTS[kind] * count)(self.struct(kind))
        self.kept.append(many)
        return ctypes.cast(many, ctypes.POINTER(abi.STRUCTS[kind]))

    def struct(self, kind, **fields):
        value = abi.sized(kind)
        for key, item in fields.items():
            setattr(value, key, item)
        self.kept.append((value, fields))
        return value

    def frame(self):
        return self.struct(
            "covey_frame", format=1, width=48, height=32,
            planes=(c_void_p * 3)(self.pixels.ctypes.data))

    def frames(self, count):
        array = (abi.STRUCTS["covey_frame"] * count)(*[self.frame() for _ in range(count)])
        self.kept.append(array)
        return ctypes.cast(array, ctypes.POINTER(abi.STRUCTS["covey_frame"]))

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
            "covey_trainer_options", threads=1, clip_length=2, positions=3,
            working_height=32, working_width=48, **settings)
        return self.make("trainer", "covey_trainer_create", model or self.model, options)

    def feature_count(self, trainer):
        info = abi.sized("covey_trainer_info")
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
            "covey_train_clip", frames=2, patches=6, position_count=3,
            features=self.floats(), **shape)
        options = self.struct(
            "covey_train_options", threads=1, positives=2, negatives=2, motion_positives=2,
            motion_negatives=2)
        losses = self.struct("covey_train_losses")
        update = self.struct("covey_train_update", learning_rate=1e-3, **shape)
        return clip, options, losses, update, count


def cluster_arguments(w):
    w.buffer[:4096] = np.random.default_rng(3).standard_normal(4096)
    maps = w.struct(
        "covey_maps", frames=2, patches=24, channels=8, heads=2, key_count=48, rows=4,
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
    return [trainer, w.floats(), w.feature_count(trainer), w.struct("covey_train_metrics")]


def encode_clip_arguments(w):
    trainer = w.trainer()
    return [trainer, w.frames(2), 2, 0, w.floats(), w.feature_count(trainer)]


#: For every function that can fail: arguments with which it does not.
CALLS = {
    "covey_model_load": lambda w: [
        w.path, w.struct("covey_model_options"), w.out()],
    "covey_model_load_memory": lambda w: [
        *w.bytes(), w.struct("covey_model_options", read_into_memory=1), w.out()],
    "covey_model_get_info": lambda w: [w.model, w.struct("covey_model_info")],
    "covey_model_metadata_at": lambda w: [w.model, 0, w.out(c_char_p), w.out(c_char_p)],
    "covey_model_tensor_at": lambda w: [w.model, 0, w.struct("covey_tensor_info")],
    "covey_model_save": lambda w: [w.model, str(w.folder / "saved.gguf").encode(), 1],
    "covey_session_create": lambda w: [w.model, w.options(), w.out()],
    "covey_session_push": lambda w: [w.session(), w.frame()],
    "covey_session_finish": lambda w: [w.session(2)],
    "covey_session_next": lambda w: [w.session(2, True), w.out()],
    "covey_session_reset": lambda w: [w.session(2, True)],
    "covey_session_get_tree": lambda w: [w.session(2, True), w.out(c_int32), w.out(c_int32)],
    "covey_session_get_merge": lambda w: [w.session(2, True), 0, w.struct("covey_merge")],
    "covey_session_recut": lambda w: [w.session(2, True), c_float(0), 2],
    "covey_segment": lambda w: [
        w.model, w.options(), w.frames(1), 1, w.floats(), 1 << 17, w.out(c_int32)],
    "covey_estimate_memory": lambda w: [
        w.model, w.options(), 48, 32, 5, w.struct("covey_memory")],
    "covey_session_get_memory": lambda w: [w.session(1), w.struct("covey_memory")],
    "covey_result_get_info": lambda w: [w.result(), w.struct("covey_result_info")],
    "covey_result_get_object": lambda w: [w.result(), 0, w.struct("covey_object")],
    "covey_result_get_objects": lambda w: [
        w.result(), w.structs("covey_object", 64), 64, w.out(c_size_t)],
    "covey_result_get_rle": lambda w: [w.result(), 1, w.floats(), 1 << 16, w.out(c_size_t)],
    "covey_result_get_polygons": lambda w: [
        w.result(), 1, c_float(0), w.floats(), 1 << 14, w.out(c_size_t), w.floats(1 << 15),
        1 << 15, w.out(c_size_t)],
    "covey_encode": lambda w: [
        w.model, w.options(), w.frame(), w.floats(), 1 << 16, None, w.struct("covey_grid")],
    "covey_correlate": lambda w: [
        w.model, w.options(), w.floats(), 24, w.floats(8192), w.floats(16384)],
    "covey_cluster": cluster_arguments,
    "covey_trainer_create": lambda w: [
        w.model, w.struct("covey_trainer_options", threads=1), w.out()],
    "covey_trainer_get_info": lambda w: [w.trainer(), w.struct("covey_trainer_info")],
    "covey_trainer_encode": encode_clip_arguments,
    "covey_trainer_step_features": features_arguments,
    "covey_trainer_step": lambda w: [
        w.trainer(), w.frames(2), 2, w.struct("covey_train_metrics")],
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
    return match and abi.STRUCTS.get(match[1])


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
