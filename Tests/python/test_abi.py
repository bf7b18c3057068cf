"""covey/mirror/abi.py against Include/covey.h, as the C compiler understands it."""

import ctypes
import inspect
import re
import shutil
import subprocess

import pytest
from conftest import HEADER, ROOT

from covey.mirror import abi

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def header():
    """The header without comments."""
    return re.sub(r"/\*.*?\*/", " ", HEADER.read_text(), flags=re.DOTALL)


def structs():
    """{struct: [fields]} of the header."""
    found = {}
    for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", header(), flags=re.DOTALL):
        fields = []
        for declaration in body.split(";"):
            # "int32_t x, y" declares two; arrays and stars are not of the name.
            for part in declaration.split(","):
                words = re.findall(r"\w+", re.sub(r"\[.*?\]", "", part))
                if words:
                    fields.append(words[-1])
        found[name] = fields
    return found


def enums():
    """{enum: [enumerators]} of the header."""
    return {
        name: re.findall(r"(COVEY_\w+)\s*=", body)
        for name, body in re.findall(r"typedef enum (\w+) \{(.*?)\} \1;", header(), flags=re.DOTALL)
    }


def functions():
    """{function: (result, [arguments])} of the header, as C text."""
    found = {}
    for result, name, arguments in re.findall(
        r"COVEY_API\s+(?:COVEY_CHECK\s+)?([\w\s*]+?)\b(covey_\w+)\s*\(([^)]*)\)\s*;", header()
    ):
        listed = [" ".join(each.split()) for each in arguments.split(",")]
        found[name] = (" ".join(result.split()), [] if listed == ["void"] else listed)
    return found


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """{expression: value} of every size, offset and enumerator, from C."""
    if COMPILER is None:
        pytest.skip("no C compiler")
    expressions = []
    for struct, fields in structs().items():
        expressions.append(f"sizeof({struct})")
        for field in fields:
            expressions.append(f"offsetof({struct}, {field})")
            expressions.append(f"sizeof((({struct} *)0)->{field})")
    for name, members in enums().items():
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
    # Lower bounds of what the header had when this was written: an expression
    # that matches nothing would make every other test here pass.
    assert len(structs()) >= 9
    assert len(enums()) >= 7
    assert len(functions()) >= 30
    assert len(re.findall(r"^COVEY_API", header(), flags=re.MULTILINE)) == len(functions())


def test_every_struct_is_declared():
    assert {each.__name__: [field[0] for field in each._fields_] for each in abi.STRUCTS} == (
        structs()
    )


@pytest.mark.parametrize("struct", abi.STRUCTS, ids=lambda each: each.__name__)
def test_layout(struct, compiled):
    name = struct.__name__
    assert ctypes.sizeof(struct) == compiled[f"sizeof({name})"]
    for field, *_ in struct._fields_:
        described = getattr(struct, field)
        assert described.offset == compiled[f"offsetof({name}, {field})"], field
        assert described.size == compiled[f"sizeof((({name} *)0)->{field})"], field


def test_enumerators(compiled):
    assert set(abi.ENUMS) == set(enums())
    for name, members in enums().items():
        kind, prefix = abi.ENUMS[name]
        assert compiled[f"sizeof({name})"] == ctypes.sizeof(ctypes.c_int)
        assert {prefix + each.name: each.value for each in kind} == {
            member: compiled[member] for member in members
        }


def test_version(compiled):
    assert abi.HEADER_VERSION == tuple(
        compiled[f"COVEY_VERSION_{part}"] for part in ("MAJOR", "MINOR", "PATCH")
    )


def test_every_function_is_declared_with_its_arguments():
    assert {name: len(arguments) for name, (_, arguments) in abi.FUNCTIONS.items()} == {
        name: len(arguments) for name, (_, arguments) in functions().items()
    }


SCALARS = {
    "void": None,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "size_t": ctypes.c_size_t,
    "uint64_t": ctypes.c_uint64,
    "float": ctypes.c_float,
}


def expected_type(text):
    """The ctypes type of a C declaration: "const char *path" too."""
    if "*" in text:
        return "pointer"
    words = [word for word in text.split() if word != "const"]
    if words[0] in enums():
        return ctypes.c_int
    if words[0] == "covey_log_fn":
        return abi.covey_log_fn
    return SCALARS[words[0]]


def declared_type(kind):
    if kind in (ctypes.c_void_p, ctypes.c_char_p) or hasattr(kind, "contents"):
        return "pointer"
    return kind


def test_types_of_results_and_arguments():
    for name, (result, arguments) in functions().items():
        ours, ours_arguments = abi.FUNCTIONS[name]
        assert declared_type(ours) == expected_type(result), name
        assert [declared_type(each) for each in ours_arguments] == [
            expected_type(each) for each in arguments
        ], name


def test_declarations_quoted_in_the_mirror_are_those_of_the_header():
    quoted = " ".join(
        line.strip().lstrip("#").strip()
        for line in inspect.getsource(abi).splitlines()
        if line.strip().startswith("#")
    )
    squeezed = re.sub(r"\s+", "", quoted)
    for name, (result, arguments) in functions().items():
        text = f"{result} {name}({', '.join(arguments) or 'void'});"
        assert re.sub(r"\s+", "", text) in squeezed, text


def test_the_library_has_every_function():
    from covey.mirror.library import lib

    for name in functions():
        assert hasattr(lib(), name), name
