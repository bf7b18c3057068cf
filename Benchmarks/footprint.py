"""What covey takes: bytes of the library, milliseconds of a load, memory.

    make footprint
    python Benchmarks/footprint.py [--frames 120] [--into docs/BOARDS.md]

Libraries for x86-64, with and without OpenBLAS, and for AArch64, as far as they are
built; the default model, which is int8, the same weights as fp32, and a random ViT-S/8 as
int8.  Times and memory are those that Examples/covey_bench.c measures, every case in a
process of its own, on this machine.  For AArch64 only the estimate is asked for, in an
emulator: what an emulated process takes is the emulator's.

Writes build/footprint.json, and Markdown to standard output or into the page.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import machine

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
sys.path[:0] = [str(ROOT / "bindings" / "python" / "src")]

QEMU = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu", "-cpu", "cortex-a72", "-E"]
#: (name, folder of libcovey.so, what runs its programs)
LIBRARIES = (
    ("x86-64, OpenBLAS", BUILD, []),
    ("x86-64, no BLAS", BUILD / "no-blas", []),
    ("AArch64, no BLAS", BUILD / "aarch64",
     [*QEMU, f"LD_LIBRARY_PATH={BUILD / 'aarch64'}"]),
)
SIZES = "192x384,320x480"
LOADS = 101
#: Frames of a stream: its memory does not grow.
STREAM_FRAMES = 30
BEGIN, END = "<!-- footprint: begin -->", "<!-- footprint: end -->"


def output_of(*command):
    return subprocess.run(
        [str(each) for each in command], check=True, capture_output=True, text=True,
        env={**os.environ, "LC_ALL": "C"},
    ).stdout


# ---- Measuring -------------------------------------------------------------------


def library(name, path):
    """What binutils say of a stripped library."""
    dynamic = output_of("readelf", "-dW", path)
    sections = output_of("readelf", "-SW", path)
    versions = re.findall(r"GLIBC_(2\.\d+)", output_of("readelf", "-VW", path))
    symbols = output_of("nm", "-D", "--defined-only", "--extern-only", path).splitlines()
    text = re.search(r" \.text +PROGBITS +\w+ +\w+ +(\w+)", sections).group(1)
    return {
        "name": name, "bytes": path.stat().st_size, "text": int(text, 16),
        "needed": re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic),
        "glibc": max(versions, key=lambda version: int(version[2:]), default=""),
        "functions": len(symbols),
    }


def dependencies(path):
    """Bytes of the libraries that come with OpenBLAS: all but those of glibc and GCC."""
    total = 0
    for line in output_of("ldd", path).splitlines():
        found = re.search(r"lib(openblas|gfortran|quadmath)\S* => (\S+)", line)
        total += Path(found.group(2)).resolve().stat().st_size if found else 0
    return total


def models():
    """[(name, file)]; the ViT-S/8 is made where it is missing."""
    os.environ.setdefault("COVEY_LIBRARY", str(BUILD / "libcovey.so"))
    import covey
    from weights import random_vit, write_weight_file

    nano, folder = ROOT / "models" / "covey-nano.gguf", BUILD / "footprint"
    folder.mkdir(parents=True, exist_ok=True)
    floats, small = folder / "covey-nano-f32.gguf", folder / "vit-s8-int8.gguf"
    with covey.Model(nano) as model:
        model.save(floats, dtype="f32")
    if not small.exists():
        write_weight_file(random_vit(), small, "q8")
    return [("covey-nano, fp32", floats), ("covey-nano, int8", nano), ("ViT-S/8, int8", small)]


def bench(folder, runner, model, *arguments):
    program = folder / "c" / "covey_bench"
    return json.loads(output_of(*runner, program, model, "--json", *arguments))


def loads(files, folder):
    """Milliseconds, the three ways by turns."""
    rows = []
    for name, path in files:
        found = bench(folder, [], path, "--sizes", "64x64", "--frames", "1", "--threads", "1",
                      "--mode", "stream", "--loads", str(LOADS))
        rows.append({"model": name, "bytes": path.stat().st_size, **found["load_ms"]})
    return rows


def memory(files, frames, threads):
    """Bytes, for every model, size and mode; measured where it runs natively."""
    rows = []
    for model, path in files:
        for mode, count in (("stream", STREAM_FRAMES), ("whole", frames)):
            cases = {}
            common = ("--sizes", SIZES, "--mode", mode, "--frames", str(count))
            for name, folder, runner in LIBRARIES:
                if not (folder / "c" / "covey_bench").exists():
                    continue
                # Minutes each, and what OpenBLAS adds shows in the streams.
                if mode == "whole" and folder == BUILD:
                    continue
                if runner and not shutil.which(runner[0]):
                    continue
                print(f"  {model}, {mode}, {name}", file=sys.stderr)
                if not runner:
                    found = bench(
                        folder, runner, path, *common, "--threads", str(threads), "--loads", "1")
                else:
                    # As on a board of four cores.
                    found = bench(folder, runner, path, *common, "--threads", "4", "--estimate")
                for case in found["cases"]:
                    key = f"{case['height']}x{case['width']}"
                    cases.setdefault(key, {})[name] = case
            rows += [
                {"model": model, "mode": mode, "frames": count, "size": size, "of": of}
                for size, of in cases.items()
            ]
    return rows


# ---- Markdown ------------------------------------------------------------------


def table(headings, rows):
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def mega(count):
    return f"{count / 1e6:.1f}"


def render(found):
    libraries = table(
        ["library, stripped", "bytes", "of it code", "needs", "glibc", "functions"],
        [[row["name"], f"{row['bytes']:,}", f"{row['text']:,}",
          ", ".join(name for name in row["needed"] if not name.startswith("ld-"))
          + (f" ({mega(row['dependencies'])} MB)" if row.get("dependencies") else ""),
          row["glibc"], str(row["functions"])] for row in found["libraries"]])
    load = table(
        ["model", "bytes", "mapped ms", "mapped, unchecked ms", "copied ms"],
        [[row["model"], f"{row['bytes']:,}",
          *("{median:.1f} ({least:.1f})".format(**row[way])
            for way in ("mapped", "mapped_unchecked", "copied"))] for row in found["loads"]])
    names = [name for name, _, _ in LIBRARIES]
    body = []
    for row in found["memory"]:
        cells = [f"{row['model']}, {row['size']}, "
                 + ("stream" if row["mode"] == "stream" else f"{row['frames']} frames whole")]
        for name in names[:2]:
            case = row["of"].get(name)
            cells += [mega(case["process_peak"]), mega(case["session_peak"])] if case else 2 * ["-"]
        for name in names[1:]:
            case = row["of"].get(name)
            cells.append(mega(case["estimate"]["weights"] + case["estimate"]["peak"])
                         if case else "-")
        body.append(cells)
    peak = table(
        ["MB", "process, OpenBLAS", "session", "process, no BLAS", "session",
         "estimate, weights included", "on AArch64, 4 threads"], body)
    context = found["context"]
    return "\n\n".join([
        f"{context['cpu']}, {context['cores']} cores, {found['threads']} threads;"
        f" covey {context['covey']}, {context['date']}.",
        libraries,
        f"Loading, the file being in the page cache: medians (and the least) of {LOADS}.", load,
        "Memory at its most (whole videos in the build without OpenBLAS alone):", peak,
    ])


def replaced(page, text):
    """``page`` with ``text`` between its marks.  Raises ValueError without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def main():
    parser = argparse.ArgumentParser(description="bytes, loads, memory")
    parser.add_argument("--frames", type=int, default=120, help="of a video taken whole")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--into", type=Path, metavar="PAGE")
    parser.add_argument("--again", action="store_true", help="render build/footprint.json again")
    options = parser.parse_args()
    path = BUILD / "footprint.json"
    if options.again:
        found = json.loads(path.read_text())
    else:
        files = models()
        rows = [
            library(name, folder / "libcovey.so") for name, folder, _ in LIBRARIES
            if (folder / "libcovey.so").exists()
        ]
        rows[0]["dependencies"] = dependencies(BUILD / "libcovey.so")
        found = {
            "context": machine.describe(ROOT), "threads": options.threads, "libraries": rows,
            "loads": loads(files, BUILD),
            "memory": memory(files, options.frames, options.threads),
        }
        path.write_text(json.dumps(found, indent=1) + "\n")
    text = render(found)
    if options.into:
        options.into.write_text(replaced(options.into.read_text(), text))
    else:
        print(text)


if __name__ == "__main__":
    main()
