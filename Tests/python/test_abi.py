"""covey.mirror.abi against Include/covey.h, as the C compiler understands it."""

import ctypes
import re
import shutil
import subprocess
from ctypes import c_char_p, c_void_p

import pytest
from conftest import HEADER, ROOT

from covey.mirror import abi
from covey.mirror.options import Options, TrainerOptions

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def header():
    """The header without comments."""
    return re.sub(r"/\*.*?\*/", " ", HEADER.read_text(), flags=re.DOTALL)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """{expression: value} of every size, offset and enumerator, from C."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    expressions = []
    for struct, fields in abi.HEADER.structs.items():
        expressions.append(f"sizeof({struct})")
        for field in fields:
            expressions.append(f"offsetof({struct}, {field})")
            expressions.append(f"sizeof((({struct} *)0)->{field})")
    for name, members in abi.HEADER.enums.items():
        expressions.append(f"sizeof({name})")
        expressions += members
    expressions += ["COVEY_VERSION_MAJOR", "COVEY_VERSION_MINOR", "COVEY_VERSION_PATCH"]
    folder = tmp_path_factory.mktemp("abi")
    source = folder / "layout.c"
    lines = "\n".join(f'  printf("%lld\\n", (long long)({each}));' for each in expressions)
    source.write_text(
        '#include "covey.h"\n#include <stddef.h>\n#include <stdio.h>\n'
        f"int main(void) {{\n{lines}\n  return 0;\n}}\n"
    )
    program = folder / "layout"
    subprocess.run(
        [COMPILER, "-std=c99", "-I", str(ROOT / "Include"), str(source), "-o", str(program)],
        check=True,
    )
    output = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return dict(zip(expressions, map(int, output.split()), strict=True))


def test_the_header_was_understood():
    """Nothing is passed over: what the header has by simpler looks at it is there."""
    found = abi.HEADER
    for word, known in (("struct", found.structs), ("enum", found.enums)):
        assert set(re.findall(rf"typedef {word} (\w+) \{{", header())) == set(known)
    assert set(re.findall(r"\(\*(\w+)\)\(", header())) == set(found.callbacks)
    assert len(re.findall(r"^COVEY_API", header(), flags=re.MULTILINE)) == len(found.functions)
    members = [each for body in found.enums.values() for each in body]
    assert sorted(members) == sorted(re.findall(r"\b(COVEY_\w+)\s*=", header()))
    # Of what had been there when this was written.
    assert len(found.structs) >= 18 and len(found.enums) >= 11 and len(found.functions) >= 52
    assert found.experimental >= {"covey_encode", "covey_maps", "covey_trainer_options"}
    assert not found.experimental & {"covey_segment", "covey_frame", "covey_output"}


def test_the_header_is_this_one():
    from covey.mirror.header import path

    assert path().read_bytes() == HEADER.read_bytes()


@pytest.mark.parametrize("name", abi.STRUCTS)
def test_layout(name, compiled):
    struct = abi.STRUCTS[name]
    assert struct.__name__ == name
    assert ctypes.sizeof(struct) == compiled[f"sizeof({name})"]
    for field, *_ in struct._fields_:
        described = getattr(struct, field)
        assert described.offset == compiled[f"offsetof({name}, {field})"], field
        assert described.size == compiled[f"sizeof((({name} *)0)->{field})"], field


def test_enumerators(compiled):
    assert set(abi.ENUMS) == set(abi.HEADER.enums)
    for name, members in abi.HEADER.enums.items():
        kind, prefix = abi.ENUMS[name]
        assert compiled[f"sizeof({name})"] == ctypes.sizeof(ctypes.c_int)
        assert {each: compiled[each] for each in members} == members
        assert {prefix + each.name: each.value for each in kind} == members


def test_version(compiled):
    assert abi.HEADER.version == tuple(
        compiled[f"COVEY_VERSION_{part}"] for part in ("MAJOR", "MINOR", "PATCH")
    )


@pytest.mark.parametrize("struct, options", [
    ("covey_session_options", Options), ("covey_trainer_options", TrainerOptions),
])  # fmt: skip
def test_options_are_the_fields(struct, options):
    """All of them, each with what it means."""
    fields = {*abi.HEADER.structs[struct]} - {"struct_size", "user_data"}
    assert set(options.__annotations__) == fields
    assert {name for name in fields if not re.search(rf"\b{name}\b", options.__doc__)} == set()


def test_the_command_has_all_options():
    from covey.commands.main import build_parser

    arguments = vars(build_parser().parse_args(["segment", "a", "-o", "b"]))
    # Told by --working-size, --stream, and what is asked to be written.
    otherwise = {"working_height", "working_width", "streaming", "output", "progress"}
    assert set(Options.__annotations__) - set(arguments) == otherwise - {"output"}


@pytest.mark.parametrize("text, kind", [
    ("void", None), ("const char *", ctypes.c_char_p), ("const char **", ctypes.POINTER(c_char_p)),
    ("covey_model *", ctypes.c_void_p), ("covey_model **", ctypes.POINTER(ctypes.c_void_p)),
    ("const covey_frame *", ctypes.POINTER(abi.STRUCTS["covey_frame"])), ("float *", c_void_p),
    ("covey_log_fn", abi.CALLBACKS["covey_log_fn"]), ("covey_dtype", ctypes.c_int),
    ("int64_t [4]", ctypes.c_int64 * 4), ("const uint8_t * [3]", ctypes.c_void_p * 3),
])  # fmt: skip
def test_types(text, kind):
    assert abi._type(text) is kind


def test_a_function():
    result, arguments = abi.FUNCTIONS["covey_estimate_memory"]
    pointer = ctypes.POINTER
    assert result is ctypes.c_int
    assert arguments == [
        c_void_p, pointer(abi.STRUCTS["covey_session_options"]), ctypes.c_int32, ctypes.c_int32,
        ctypes.c_int64, pointer(abi.STRUCTS["covey_memory"]),
    ]


def test_the_library_has_every_function():
    from covey.mirror.library import lib

    for name in abi.FUNCTIONS:
        assert hasattr(lib(), name), name
