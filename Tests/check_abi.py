#!/usr/bin/env python3
"""The interface against the one that was published: Tests/abi/covey-0.txt.

    check_abi.py [LIBRARY...] [--cc COMPILER]... [--header covey.h] [--record]

Every struct's size, every field's place and type, every enumerator's value and every
function's type, of Include/covey.h as each COMPILER (default: cc) sees it; and every LIBRARY
exports what is published.  What is there may not change; what is not there must be added on
purpose, with --record, which adds lines and changes none.  Only 64-bit machines are checked; nothing is run, so a compiler for
another machine will do.  Lines of the file:

    struct NAME SIZE VERSION            once for every size it had, oldest first, and
    field STRUCT NAME OFFSET SIZE TYPE  behind it the fields that came with it
    enum TYPE NAME VALUE
    type NAME TYPE                      of callbacks
    function NAME TYPE VERSION          "experimental" in place of a version: may change
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = ROOT / "Include" / "covey.h"
TABLE = ROOT / "Tests" / "abi" / "covey-0.txt"

# The Python package reads the same header by the same file.
sys.path.insert(0, str(ROOT / "bindings" / "python" / "src" / "covey" / "mirror"))
from header import read  # noqa: E402

GROWN = f"""
Programs built against an earlier version must go on running.  Where the interface
grows on purpose: append fields at the end of a struct and behind its old size (not in
its padding), give enumerators new numbers, add functions; raise COVEY_VERSION_MINOR; then
    python3 Tests/check_abi.py --record
and commit {TABLE.relative_to(ROOT)}.  What is published is neither removed nor changed
while the library is libcovey.so.0, unless it is marked experimental: then edit the file
by hand, and say so in CHANGELOG.md."""


# ---- The table --------------------------------------------------------------------


class Table:
    """The lines of the file, by what they are about."""

    def __init__(self, lines):
        self.structs, self.fields, self.enums, self.types, self.functions = {}, {}, {}, {}, {}
        self.earlier, self.experimental = {}, set()
        for line in lines:
            kind, *rest = line.split()
            if kind == "struct":
                self.structs.setdefault(rest[0], []).append(int(rest[1]))
            elif kind == "field":
                key = (rest[0], rest[1])
                self.fields[key] = (int(rest[2]), int(rest[3]), " ".join(rest[4:]))
                # Where a struct ended before: fields that came later lie behind it.
                sizes = self.structs[rest[0]]
                self.earlier[key] = sizes[-2] if len(sizes) > 1 else 0
            elif kind == "enum":
                self.enums[rest[1]] = (rest[0], int(rest[2]))
            elif kind == "type":
                self.types[rest[0]] = " ".join(rest[1:])
            elif kind == "function":
                self.functions[rest[0]] = " ".join(rest[1:-1])
            else:
                raise ValueError(f"{TABLE}: what is {line!r}?")
            if rest[-1] == "experimental":
                self.experimental.add(rest[0])


def read_table(path):
    if not path.exists():
        return Table([])
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return Table([line for line in lines if line])


def differences(table, found):
    """(lost, new): names that only one of table and header has."""
    known = {
        "struct": (set(table.structs), set(found.structs)),
        "field": (set(table.fields), {(s, f) for s, all_of in found.structs.items() for f in all_of}),
        "enumerator": (set(table.enums), {each for names in found.enums.values() for each in names}),
        "callback": (set(table.types), set(found.callbacks)),
        "function": (set(table.functions), set(found.functions)),
    }
    lost, new = [], []
    for kind, (published, present) in known.items():
        for into, names in ((lost, published - present), (new, present - published)):
            into += [(kind, ".".join(n) if isinstance(n, tuple) else n) for n in sorted(names)]
    return lost, new


def misplaced(table):
    """Fields in what was padding at the end of an earlier struct: a program of then has
    anything there, and struct_size does not tell."""
    for (struct, name), (place, _, _) in table.fields.items():
        end = table.earlier[struct, name]
        if place < end:
            yield f"{struct}.{name}: at byte {place}, within the {end} that {struct} had before"


# ---- C ---------------------------------------------------------------------------


def assertions(table):
    """C that compiles where the header's layout is the table's."""
    lines = [
        "#include <covey.h>", "#include <stddef.h>",
        "#define SAME(a, ...) __builtin_types_compatible_p(a, __VA_ARGS__)",
    ]

    def claim(what, text):
        lines.append(f'_Static_assert({what}, "{text}");')

    claim("sizeof(void *) == 8", "a 64-bit machine")
    for struct, sizes in table.structs.items():
        claim(f"sizeof({struct}) == {sizes[-1]}", f"{struct} had {sizes[-1]} bytes")
    for (struct, name), (place, size, kind) in table.fields.items():
        member = f"((({struct} *)0)->{name})"
        claim(f"offsetof({struct}, {name}) == {place}", f"{struct}.{name} was at byte {place}")
        claim(f"sizeof{member} == {size}", f"{struct}.{name} had {size} bytes")
        claim(f"SAME(__typeof__{member}, {kind})", f"{struct}.{name} was of type {kind}")
    for name, (kind, value) in table.enums.items():
        claim(f"{name} == {value} && sizeof({kind}) == 4", f"{name} was {value}")
    for name, kind in (*table.types.items(), *table.functions.items()):
        claim(f"SAME(__typeof__({name}), {kind})", f"{name} was of type {kind}")
    return "\n".join(lines) + "\n"


def compiled(compiler, table, header):
    """What the compiler says against the table: [line]."""
    with tempfile.TemporaryDirectory() as folder:
        source = pathlib.Path(folder) / "abi.c"
        source.write_text(assertions(table))
        done = subprocess.run(
            [*compiler.split(), "-std=gnu11", f"-I{header.parent}", "-c", str(source), "-o",
             f"{folder}/abi.o"],
            check=False, capture_output=True, text=True,
        )
    if done.returncode == 0:
        return []
    claims = re.findall(r'static assertion failed[^"]*"(.*)"', done.stderr)
    claims += re.findall(r"error: (.*has no member named.*|.*undeclared.*)", done.stderr)
    return [f"{compiler}: {claim}" for claim in claims] or [f"{compiler}: {done.stderr}"]


def values(expressions, header):
    """Numbers, by this machine's compiler."""
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/values"
        body = "".join(f'printf("%lld\\n", (long long)({each}));' for each in expressions)
        text = f"#include <covey.h>\n#include <stdio.h>\nint main(void) {{ {body} return 0; }}\n"
        subprocess.run(
            ["cc", "-x", "c", "-", f"-I{header.parent}", "-o", program],
            input=text, check=True, text=True,
        )
        done = subprocess.run([program], check=True, capture_output=True, text=True)
    return [int(line) for line in done.stdout.split()]


def additions(table, found, header):
    """The lines that the file lacks, in the header's order."""
    since = "{}.{}".format(*found.version)
    asked, lines = [], []

    def add(line, *expressions):
        lines.append((line, len(expressions)))
        asked.extend(expressions)

    def age(name):
        return "experimental" if name in found.experimental else since

    for enum, names in found.enums.items():
        for name in names:
            if name not in table.enums:
                add(f"enum {enum} {name} {{}}", name)
    for name, signature in found.callbacks.items():
        if name not in table.types:
            add(f"type {name} {signature.text('(*)')}")
    for struct, all_of in found.structs.items():
        new = [(name, kind) for name, kind in all_of.items() if (struct, name) not in table.fields]
        if new:
            add(f"struct {struct} {{}} {age(struct)}", f"sizeof({struct})")
        for name, kind in new:
            add(f"field {struct} {name} {{}} {{}} {kind}",
                f"offsetof({struct}, {name})", f"sizeof((({struct} *)0)->{name})")
    for name, signature in found.functions.items():
        if name not in table.functions:
            add(f"function {name} {signature.text()} {age(name)}")
    numbers = iter(values(asked, header) if asked else [])
    return [line.format(*(next(numbers) for _ in range(count))) for line, count in lines]


# ---- Libraries -------------------------------------------------------------------------


def exported(library):
    done = subprocess.run(
        ["nm", "-D", "--defined-only", "--extern-only", library],
        check=True, capture_output=True, text=True,
    )
    return {line.split()[-1].split("@")[0] for line in done.stdout.splitlines()}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs="*", metavar="LIBRARY")
    parser.add_argument("--cc", action="append", metavar="COMPILER")
    parser.add_argument("--header", type=pathlib.Path, default=HEADER, help="named covey.h")
    parser.add_argument("--table", type=pathlib.Path, default=TABLE)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    header, compilers = options.header, options.cc or ["cc"]
    for compiler in compilers:
        if not shutil.which(compiler.split()[0]):
            sys.exit(f"{compiler}: no such compiler")
    found = read(header.read_text())
    if not all((found.structs, found.enums, found.callbacks, found.functions)):
        sys.exit(f"{header}: not understood")
    table = read_table(options.table)
    lost, new = differences(table, found)
    if options.record and not lost:
        lines = additions(table, found, header)
        with open(options.table, "a") as file:
            file.writelines(line + "\n" for line in lines)
        print(f"{options.table}: {len(lines)} lines added")
        table, new = read_table(options.table), []
    findings = [f"{kind} {name}: published, but no longer in covey.h" for kind, name in lost]
    findings += [f"{kind} {name}: in covey.h, but not published yet" for kind, name in new]
    findings += misplaced(table)
    # Where something is missing, C would only say so once more, and worse.
    if not lost:
        for compiler in compilers:
            findings += compiled(compiler, table, header)
    for library in options.libraries:
        names = exported(library)
        findings += [f"{library}: {name}: published, but not exported"
                     for name in sorted(set(table.functions) - names)]
        findings += [f"{library}: {name}: exported, but not published yet"
                     for name in sorted(names - set(table.functions))]
    for line in findings:
        experimental = table.experimental & set(re.findall(r"\w+", line))
        print(line + (" (experimental)" if experimental else ""))
    if findings:
        sys.exit(f"the interface: {len(findings)} findings\n{GROWN}")
    print(
        f"interface of {'.'.join(map(str, found.version))}: {len(table.structs)} structs, {len(table.fields)} fields,"
        f" {len(table.enums)} enumerators, {len(table.functions)} functions, as published"
        f" ({', '.join([*compilers, *options.libraries])})"
    )


if __name__ == "__main__":
    main()
