"""Instructions of one frame, counted by callgrind: a figure without noise.

    make bench-instructions
    python Benchmarks/instructions.py [--record]

encode (encode.c) pushes frames of covey-nano, in int8 as it is and in fp32; what is
counted is the last push, on one thread and with AVX2, the widest that valgrind knows.
Prints the count by group of functions, writes build/instructions.json, and compares with
Benchmarks/instructions.json, which --record replaces.  It only tells: a compiler or an
OpenBLAS of another version counts differently.

Needs valgrind, and a library with symbols (Benchmarks/Makefile makes one).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
RECORD = ROOT / "Benchmarks" / "instructions.json"

NANO_INT8, NANO_F32 = ROOT / "models" / "covey-nano.gguf", BUILD / "covey-nano-f32.gguf"
#: (name, weight file, height, width).  Valgrind makes a call of every fp32
#: multiply-add: fp32 at the size that nano was trained for takes a quarter of an hour.
CASES = (
    ("nano f32, 64x128", NANO_F32, 64, 128),
    ("nano int8, 64x128", NANO_INT8, 64, 128),
    ("nano int8, 192x384", NANO_INT8, 192, 384),
)

#: Groups by what the function or its object is called; the first that fits.
GROUPS = (
    ("matrix products, fp32", r"sgemm|gemm_(beta|[io]?[nt]?copy|kernel)|libopenblas"),
    ("matrix products, int8", r"\blinear_"),
    ("attention, int8", r"\battend_"),
    ("softmax", r"softmax|exp_"),
    ("GELU", r"gelu"),
    ("layer norm", r"layer_norm|norm_quantise"),
    ("quantising and packing", r"\bquantise_|pack_values|cv_pack"),
    ("other rows", r"bias_add|accumulate|cv_first_not_finite|_rows_|rows_"),
    ("resampling", r"[Rr]esampl"),
    ("copies", r"mem(cpy|set|move)"),
)


def group_of(function, where):
    for name, pattern in GROUPS:
        if re.search(pattern, f"{function} {where}"):
            return name
    return "everything else"


def parse(lines):
    """Self cost by (function, object) of a callgrind file written without
    compression of names and positions."""
    costs, function, where, inclusive = Counter(), "", "", False
    for line in lines:
        if line.startswith("ob="):
            where = line[3:].strip()
        elif line.startswith("fn="):
            function = line[3:].strip()
        elif line.startswith("calls="):
            # The next line is what the callee cost: counted there.
            inclusive = True
        elif re.match(r"[-+*0-9]", line):
            if not inclusive:
                costs[function, where] += int(line.split()[1])
            inclusive = False
    return costs


def count(weights, height, width):
    """{group: instructions} of one push."""
    out = BUILD / "callgrind.out"
    subprocess.run(
        [
            "valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
            "--compress-strings=no", "--compress-pos=no", "--collect-atstart=no",
            "--toggle-collect=covey_session_push", "--zero-before=covey_session_push",
            str(BUILD / "encode"), str(weights), "--height", str(height), "--width", str(width),
            "--threads", "1", "--warm-up", "1", "--repetitions", "1",
        ],
        check=True, capture_output=True,
        env={**os.environ, "COVEY_ISA": "avx2", "OPENBLAS_CORETYPE": "Haswell",
             "OPENBLAS_NUM_THREADS": "1", "LD_LIBRARY_PATH": str(BUILD / "valgrind")},
    )
    groups = Counter()
    with open(out) as lines:
        for (function, where), cost in parse(lines).items():
            groups[group_of(function, where)] += cost
    return dict(groups.most_common())


def compare(found, recorded):
    """" (+1.23 %)" against what is recorded, or nothing."""
    return f" ({100 * (found / recorded - 1):+.2f} %)" if recorded else ""


def main():
    parser = argparse.ArgumentParser(description="instructions of one frame")
    parser.add_argument("--record", action="store_true", help=f"replace {RECORD.name}")
    parser.add_argument("--cases", default="", help="only those whose name contains this")
    options = parser.parse_args()
    recorded = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    subprocess.run([str(BUILD / "encode"), str(NANO_INT8), "--save-f32", str(NANO_F32)], check=True)
    found = {}
    for name, weights, height, width in CASES:
        if options.cases not in name:
            continue
        groups = count(weights, height, width)
        total, before = sum(groups.values()), recorded.get(name, {})
        found[name] = {"total": total, "groups": groups}
        print(f"{name}: {total / 1e6:,.1f} million{compare(total, before.get('total'))}")
        for group, cost in groups.items():
            change = compare(cost, before.get("groups", {}).get(group))
            print(f"  {group:24s} {cost / 1e6:12,.1f}  {100 * cost / total:5.1f} %{change}")
    text = json.dumps(found, indent=1) + "\n"
    (ROOT / "build" / "instructions.json").write_text(text)
    if options.record:
        RECORD.write_text(json.dumps(recorded | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
