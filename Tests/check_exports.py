#!/usr/bin/env python3
"""What the shared library shows to the world, against what the header says.

    check_exports.py build/libcovey.so [Include/covey.h]

The symbols it exports are the functions declared COVEY_API, both ways; its
SONAME is libcovey.so.0; it needs nothing but libc, libm, OpenBLAS and the
loader; and no segment is writable and executable.  Needs nm and readelf.
"""

import os
import pathlib
import re
import subprocess
import sys

SONAME = "libcovey.so.0"
NEEDED = re.compile(r"(libc|libm|libopenblas)\.so\.\d+|ld-linux[\w-]*\.so\.\d+")


def output_of(*command):
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    ).stdout


def declared(header):
    text = re.sub(r"/\*.*?\*/", " ", header.read_text(), flags=re.S)
    text = re.sub(r"^\s*#.*(\\\n.*)*$", "", text, flags=re.M)
    declarations = re.findall(r"\bCOVEY_API\b([^;{]*);", text)
    names = [re.search(r"(\w+)\s*\(", declaration) for declaration in declarations]
    return {name.group(1) for name in names if name}


def exported(library):
    # --extern-only: a linker may leave local symbols in the table, which bind
    # to nothing outside.
    lines = output_of("nm", "-D", "--defined-only", "--extern-only", library).splitlines()
    return {line.split()[-1].split("@")[0] for line in lines}


def findings(library, header):
    expected, found = declared(header), exported(library)
    if not expected:
        yield f"{header}: no declaration found"
    for name in sorted(expected - found):
        yield f"{name}: declared, but not exported"
    for name in sorted(found - expected):
        yield f"{name}: exported, but not declared"

    dynamic = output_of("readelf", "-dW", library)
    soname = re.findall(r"\(SONAME\).*\[(.*)\]", dynamic)
    if soname != [SONAME]:
        yield f"SONAME: expected {SONAME}, found {', '.join(soname) or 'none'}"
    for name in re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic):
        if not NEEDED.fullmatch(name):
            yield f"NEEDED: {name} is none of libc, libm, libopenblas, ld-linux"
    for path in re.findall(r"\((?:RPATH|RUNPATH)\).*\[(.*)\]", dynamic):
        if not path.startswith("$ORIGIN"):
            yield f"RUNPATH: {path} is a folder of the machine it was built on"
    if "TEXTREL" in dynamic:
        yield "TEXTREL: code is written to when it is loaded"

    segments = output_of("readelf", "-lW", library)
    if "GNU_STACK" not in segments:
        yield "GNU_STACK: missing, which asks for an executable stack"
    for line in segments.splitlines():
        parts = re.match(r"\s+(LOAD|GNU_STACK|TLS|DYNAMIC)\s.*0x[0-9a-f]+\s+([RWE ]{3})\s", line)
        if parts and "W" in parts.group(2) and "E" in parts.group(2):
            yield f"{parts.group(1)}: writable and executable"


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    library = pathlib.Path(sys.argv[1])
    top = pathlib.Path(__file__).resolve().parent.parent
    header = pathlib.Path(sys.argv[2]) if len(sys.argv) == 3 else top / "Include" / "covey.h"
    found = list(findings(library, header))
    for line in found:
        print(line)
    if found:
        sys.exit(f"{library}: {len(found)} findings")
    versions = re.findall(r"GLIBC_(2\.\d+)", output_of("readelf", "-VW", library))
    newest = max(versions, key=lambda version: int(version[2:]), default="2.0")
    print(f"{library}: {len(exported(library))} functions, as declared; needs glibc {newest}")


if __name__ == "__main__":
    main()
