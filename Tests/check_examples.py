#!/usr/bin/env python3
"""Runs the programs built from Examples/.

    check_examples.py build/c Tests/golden/tiny-f32.gguf

All kinds of PNG that hold the same picture must give the same masks, and so
must the same picture as YUV4MPEG2 of either name; the masks must be 8-bit
indexed PNGs in the palette of PASCAL VOC; and what cannot be done must be said,
with the exit status for it.  Needs nothing beyond Python.
"""

import json
import pathlib
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib

WIDTH, HEIGHT, FRAMES = 67, 49, 3
checks = failures = 0


def check(condition, *what):
    global checks, failures
    checks += 1
    if not condition:
        failures += 1
        print("failed:", *what)


# ---- PNG, as little of it as is needed ---------------------------------------


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(rows, width, depth, colour, extra=b""):
    """rows: the bytes of each."""
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra
        + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def read_mask(path):
    """(rows, palette) of an 8-bit indexed PNG."""
    data = path.read_bytes()
    at, chunks = 8, {}
    while at < len(data):
        (size,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        chunks[kind] = chunks.get(kind, b"") + data[at + 8 : at + 8 + size]
        at += size + 12
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    form = (width, height, depth, colour)
    check(form == (WIDTH, HEIGHT, 8, 3), path.name, form)
    lines = zlib.decompress(chunks[b"IDAT"])
    rows, above = [], bytes(width)
    for y in range(height):
        line = lines[y * (width + 1) : (y + 1) * (width + 1)]
        row = bytearray(line[1:])
        for x in range(width):
            left = row[x - 1] if x else 0
            corner = above[x - 1] if x else 0
            estimate = left + above[x] - corner
            nearest = min((left, above[x], corner), key=lambda value: abs(estimate - value))
            row[x] = (row[x] + (0, left, above[x], (left + above[x]) // 2, nearest)[line[0]]) % 256
        rows.append(bytes(row))
        above = bytes(row)
    palette = chunks[b"PLTE"]
    return rows, [tuple(palette[i : i + 3]) for i in range(0, len(palette), 3)]


# ---- The picture -----------------------------------------------------------------


def gray(frame):
    """Rows of a bright square that moves over a dark, grainy ground."""
    grain = random.Random(frame)
    left = 8 + 12 * frame
    return [
        bytes(
            (200 if left <= x < left + 24 and 12 <= y < 36 else 40) + grain.randrange(12)
            for x in range(WIDTH)
        )
        for y in range(HEIGHT)
    ]


def spread(row, count, alpha=None):
    return b"".join(bytes([v] * count) + (bytes([alpha(v)]) if alpha else b"") for v in row)


def wide(data):
    return b"".join(bytes([v, v]) for v in data)


ODD_ALPHA = (lambda v: (v * 7) % 256)
GRAYS = chunk(b"PLTE", bytes(v for i in range(256) for v in (i, i, i)))
CLEAR = GRAYS + chunk(b"tRNS", bytes(range(256)))
KINDS = {
    "gray": lambda rows: png(rows, WIDTH, 8, 0),
    "rgb": lambda rows: png([spread(r, 3) for r in rows], WIDTH, 8, 2),
    "palette": lambda rows: png(rows, WIDTH, 8, 3, GRAYS),
    "palette-transparent": lambda rows: png(rows, WIDTH, 8, 3, CLEAR),
    "gray-alpha": lambda rows: png([spread(r, 1, ODD_ALPHA) for r in rows], WIDTH, 8, 4),
    "rgba": lambda rows: png([spread(r, 3, ODD_ALPHA) for r in rows], WIDTH, 8, 6),
    "gray-16": lambda rows: png([wide(r) for r in rows], WIDTH, 16, 0),
    "rgba-16": lambda rows: png([wide(spread(r, 3, ODD_ALPHA)) for r in rows], WIDTH, 16, 6),
}


def y4m(header, chroma=True, frames=FRAMES):
    plane = bytes([128]) * (((WIDTH + 1) // 2) * ((HEIGHT + 1) // 2))
    stream = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F30:1 Ip{header}\n".encode()
    for frame in range(frames):
        stream += b"FRAME\n" + b"".join(gray(frame)) + (2 * plane if chroma else b"")
    return stream


# ---- Compiling -----------------------------------------------------------------------


def check_compile_lines(build, folder):
    """The line in the head of each example is what the README says, and works
    where the README says: in a folder with Examples, Include and build."""
    root = pathlib.Path(__file__).resolve().parent.parent
    readme = (root / "Examples" / "README.md").read_text().splitlines()
    known = {" ".join(line.split()) for line in readme}
    top = folder / "top"
    top.mkdir()
    for name, target in (
        ("Examples", root / "Examples"), ("Include", root / "Include"), ("build", build),
    ):
        (top / name).symlink_to(target.resolve())
    for source, program in (
        ("segment.c", "segment"), ("adapt.c", "adapt"), ("stream.cpp", "stream"),
        ("objects.cpp", "objects"), ("covey_bench.c", "covey_bench"),
    ):
        text = (root / "Examples" / source).read_text()
        text = re.sub(r" *\\\n(?: \*|//) +", " ", text)  # lines that go on
        lines = re.findall(r"^(?: \*|//) +(c(?:c|\+\+) -std.*)$", text, flags=re.MULTILINE)
        check(len(lines) == 1 and lines[0] in known, source, "has", lines)
        done = subprocess.run(["sh", "-c", lines[0]], cwd=top, capture_output=True, text=True)
        check(done.returncode == 0, lines, done.stderr)
        done = subprocess.run([top / program, "--help"], cwd="/", capture_output=True, text=True)
        said = done.stdout + done.stderr
        check(done.returncode in (0, 2) and "usage: " in said, program, done.returncode, said)


# ---- segment -----------------------------------------------------------------------


def check_segment(program, weights, folder):
    options = ["--working-size", "48x64", "--clusters", "--tau", "0.002", "--reference"]
    out = folder / "masks"

    def run(source, *more, stdin=b"", options=options, output=out, model=weights):
        command = [program, model, source, output, *options, *more]
        return subprocess.run(command, input=stdin, capture_output=True)

    def masks(*arguments, **others):
        for old in out.glob("*") if out.exists() else []:
            old.unlink()
        done = run(*arguments, **others)
        check(done.returncode == 0, arguments, done.stderr)
        return {path.name: read_mask(path) for path in sorted(out.glob("*"))}

    def refused(part, *arguments, status=1, **others):
        done = run(*arguments, **others)
        text = done.stderr.decode(errors="replace")
        check(done.returncode == status, arguments, "exit status", done.returncode, text)
        check(part in text, arguments, "expected", repr(part), "in", repr(text))

    expected = None
    for kind, write in KINDS.items():
        frames = folder / kind
        frames.mkdir()
        for frame in range(FRAMES):
            (frames / f"{frame:05d}.png").write_bytes(write(gray(frame)))
        (frames / "notes.txt").write_text("not a frame")
        found = masks(frames)
        check(list(found) == ["00000.png", "00001.png", "00002.png"], kind, list(found))
        expected = expected or found
        check(found == expected, kind, "gives other masks")
    ids = {value for rows, _ in expected.values() for row in rows for value in row}
    check(len(ids) >= 2 and 0 not in ids, "clusters", ids)
    palette = expected["00000.png"][1]
    known = {  # as published with the data sets
        0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 7: (128, 128, 128), 20: (0, 64, 128),
        255: (224, 224, 192),
    }
    for index, colour in known.items():
        check(palette[index] == colour, "palette", index, palette[index])

    mono = masks("-", stdin=y4m(" Cmono", chroma=False))
    check(mono == expected, "Cmono gives other masks than PNG")
    plain = masks("-", stdin=y4m(""))
    for name in (" C420jpeg", " C420mpeg2", " C420paldv XYSCSS=420"):
        check(masks("-", stdin=y4m(name)) == plain, name)
    check(len(plain) == FRAMES, "frames of a stream", list(plain))

    # Height first: one row of patches of 8 x 8 pixels, so all rows of a mask are one.
    flat = masks("-", stdin=y4m(""), options=[*options[2:], "--nearest", "--working-size", "8x64"])
    for name, (rows, _) in flat.items():
        check(len(set(rows)) == 1 and len(set(rows[0])) > 1, "8x64", name)
    default = masks("-", stdin=y4m(""), options=options[2:])
    zero = masks("-", stdin=y4m(""), options=[*options[2:], "--working-size", "0x0"])
    check(zero == default, "0x0 is not the model's")

    for name in (" C422", " C444", " C420p10", " Cmono16"):
        refused("-pix_fmt yuv420p", "-", stdin=y4m(name))
    refused("middle of frame 2", "-", stdin=y4m("")[:-1])
    refused("not YUV4MPEG2", "-", stdin=b"")
    refused("not YUV4MPEG2", "-", stdin=KINDS["gray"](gray(0)) * 20)
    refused("no frames", "-", stdin=y4m("", frames=0))
    refused("1 to 32768", "-", stdin=y4m("").replace(b"W67", b"W4294967363"))

    good, odd = folder / "rgb", folder / "rgb" / "00009.png"
    odd.write_bytes(png(gray(0)[1:], WIDTH, 8, 0))
    refused("67x48", good)
    odd.write_bytes(b"plain text")
    refused("00009.png: not a PNG", good)
    whole = KINDS["rgb"](gray(0))
    odd.write_bytes(whole[: len(whole) // 2])
    refused("00009.png", good)
    odd.write_bytes(whole[:50] + bytes([whole[50] ^ 255]) + whole[51:])
    refused("00009.png", good)
    odd.unlink()
    (folder / "empty").mkdir()
    refused("no PNG", folder / "empty")
    refused("nothing-there", folder / "nothing-there")
    refused("overwrite", good, output=good)
    refused("not a folder", good, output=weights)
    refused("nothing-there", good, model=folder / "nothing-there")
    refused("multiples", good, options=["--working-size", "48x63"])
    refused("limit is 1000", good, "--memory-limit", "1000")
    fine = ["--clusters", "--reference", "--tau", "1e-9", "--working-size", "160x160"]
    refused("8-bit mask", good, options=fine)
    for wrong in (
        ["--tau", "x"], ["--tau", "0"], ["--tau", "-1"], ["--tau", "nan"], ["--tau", "1001"],
        ["--threads", "-1"], ["--threads", "257"], ["--threads", "two"],
        ["--memory-limit", "5Q"], ["--memory-limit", "-5"],
        ["--working-size", "64"], ["--working-size", "64x-8"], ["--working-size", "-8x64"],
        ["--working-size", "x64"], ["--working-size", "64x8a"], ["--working-size", "8x8200"],
        ["--no-such-option"], ["--tau"], ["more"],
    ):
        refused("usage:", good, options=wrong, status=2)


# ---- adapt ---------------------------------------------------------------------------


def check_adapt(program, weights, folder):
    out, adapted = folder / "adapted", folder / "adapted.gguf"
    film = y4m("", frames=6)

    def run(*more, stdin=film, model=weights, output=out):
        return subprocess.run([program, model, output, *more], input=stdin, capture_output=True)

    def refused(part, *arguments, status=1, **others):
        done = run(*arguments, **others)
        text = done.stderr.decode(errors="replace")
        check(done.returncode == status, arguments, "exit status", done.returncode, text)
        check(part in text, arguments, "expected", repr(part), "in", repr(text))

    texts = []
    for threads in ("1", "2"):
        done = run("-n", "4", "-o", adapted, "--rate", "1e-3", "--threads", threads)
        check(done.returncode == 0, done.stderr)
        lines = done.stdout.decode().splitlines()
        check(len(lines) == 5 and lines[-1].startswith("6 frames"), lines)
        for step, line in enumerate(lines[:-1], 1):
            found = re.fullmatch(
                rf"step {step} of 4: semantic (\d\.\d+), motion (\d\.\d+)", line
            )
            check(found and 0 < float(found[1]) < 2 and 0 < float(found[2]) < 5, line)
        masks = [read_mask(path) for path in sorted(out.glob("*.png"))]
        check(len(masks) == 6, "masks", len(masks))
        texts.append((lines, masks, adapted.read_bytes()))
    check(texts[0] == texts[1], "one thread and two differ")
    check(texts[0][2] != weights.read_bytes(), "nothing was learned")
    # What was written is a model, and training goes on from it; other starts differ.
    again = run("-n", "1", "--frames", "2", model=adapted)
    check(again.returncode == 0 and b"2 frames" in again.stdout, again.stderr)
    other = run("-n", "4", "--identity", "--seed", "3", "--rate", "1e-3")
    check(other.returncode == 0 and other.stdout.splitlines() != texts[0][0], other.stderr)
    one = run("-n", "1", stdin=y4m("", frames=1))
    check(one.returncode == 0, one.stderr)

    refused("not YUV4MPEG2", stdin=b"")
    refused("not YUV4MPEG2", stdin=b"text\n")
    refused("colour format", stdin=y4m(" C444"))
    refused("middle of frame 2", stdin=y4m("")[:-1])
    refused("no frames", stdin=y4m("", frames=0))
    refused("nothing-there", model=folder / "nothing-there")
    refused("nothing-there", "-n", "1", "-o", folder / "nothing-there" / "model")
    for wrong in (
        ["-n", "0"], ["-n", "x"], ["-n"], ["--rate", "nan"], ["--rate", "2"], ["--threads", "257"],
        ["--frames", "-1"], ["--no-such", "1"], ["more"],
    ):
        refused("usage:", *wrong, status=2)
    done = subprocess.run([program, weights], capture_output=True)
    check(done.returncode == 2 and b"usage:" in done.stderr, done.stderr)


# ---- stream -----------------------------------------------------------------------------


def check_stream(program, weights):
    done = subprocess.run([program, weights, "3"], capture_output=True, text=True)
    check(done.returncode == 0, done.stderr)
    check("at most" in done.stdout and done.stdout.count("\nframe ") == 3, done.stdout)
    done = subprocess.run([program, weights, "9", "-"], input=y4m(""), capture_output=True)
    check(done.returncode == 0, done.stderr)
    check(done.stdout.count(b"\nframe ") == FRAMES, done.stdout)
    for wrong in ([], [weights], [weights, "0"], [weights, "3", "x"]):
        done = subprocess.run([program, *wrong], capture_output=True)
        check(done.returncode == 2 and b"usage:" in done.stderr, wrong, done.stderr)
    for stdin in (b"", b"text", y4m(" C444"), y4m("")[:-1]):
        done = subprocess.run([program, weights, "9", "-"], input=stdin, capture_output=True)
        check(done.returncode == 1 and done.stderr.startswith(b"stream: "), stdin[:40], done.stderr)
    # Long enough that the signal comes while something is computed.
    running = subprocess.Popen(
        [program, weights, "1000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    time.sleep(0.7)
    running.send_signal(signal.SIGINT)
    _, text = running.communicate(timeout=30)
    check(running.returncode == 130 and b"cancelled" in text, running.returncode, text)


# ---- objects ----------------------------------------------------------------------------


def check_objects(program, weights):
    """A red square on its way over a texture, by the default model."""
    model = pathlib.Path(__file__).resolve().parent.parent / "models" / "covey-nano.gguf"
    width, height, frames = 192, 96, 12
    film = b"".join(
        bytes((220, 30, 30))
        if 20 + 8 * time <= x < 60 + 8 * time and 30 <= y < 66
        else bytes((90 + (7 * x + 13 * y) % 60,) * 3)
        for time in range(frames) for y in range(height) for x in range(width)
    )

    def run(*arguments, stdin=film):
        return subprocess.run([program, *map(str, arguments)], input=stdin, capture_output=True)

    done = run(model, width, height)
    check(done.returncode == 0, done.stderr)
    last = re.findall(rb"^11: (\d+) at (\d+),(\d+), (\d+)x(\d+)$", done.stdout, re.MULTILINE)
    check(len(last) == 1, done.stdout)
    for found, right in zip(map(int, last[0][1:] if last else ()), (108, 30, 40, 36)):
        check(abs(found - right) <= 8, last)  # a patch of the working size is 4 x 4
    for wrong in ([], [weights], [weights, 0, 64], [weights, 64, "x"]):
        done = run(*wrong)
        check(done.returncode == 2 and b"objects: " in done.stderr or b"usage:" in done.stderr, wrong)
    # Nothing, and less than a frame.
    for stdin in (b"", b"text"):
        done = run(weights, 64, 64, stdin=stdin)
        check(done.returncode == 1 and done.stderr.startswith(b"objects: "), stdin, done.stderr)
    check(run("absent", 64, 64).stderr.startswith(b"objects: absent"), "a model that is absent")


# ---- covey_bench -------------------------------------------------------------------------


def check_bench(program, weights):
    small = ["--sizes", "48x64,64x48", "--threads", "1,2", "--frames", "5", "--loads", "3"]

    def run(*arguments):
        return subprocess.run(
            [program, weights, *arguments], capture_output=True, text=True, check=False)

    done = run(*small, "--frame", "96x100", "--json")
    check(done.returncode == 0, done.stderr)
    found = json.loads(done.stdout)
    check(found["build"].startswith("covey "), found["build"])
    machine, model, load = found["machine"], found["model"], found["load_ms"]
    check(1 <= machine["usable"] and 1 <= machine["cores"] and machine["system"], machine)
    check(model["bytes"] == weights.stat().st_size and model["dtype"] == "f32", model)
    check(model["parameters"] > 0 and model["patch"] == 8 and load["times"] == 3, model, load)
    check(load["first"] > 0, load)
    for way in ("mapped", "mapped_unchecked", "copied"):
        check(0 < load[way]["least"] <= load[way]["median"] <= load[way]["most"], way, load)
    cases = [
        (row["height"], row["width"], row["threads"], row["mode"]) for row in found["cases"]]
    check(cases == [
        (height, width, threads, mode)
        for height, width in ((48, 64), (64, 48)) for threads in (1, 2)
        for mode in ("whole", "stream")], cases)
    for row in found["cases"]:
        push, memory = row["push_ms"], row["estimate"]
        check((row["frame_height"], row["frame_width"], row["frames"]) == (96, 100, 5), row)
        check(0 < push["least"] <= push["median"] <= push["p90"] <= push["most"], row)
        check(row["frames_per_s"] > 0 and row["objects"] >= 0, row)
        if row["mode"] == "whole":
            check(0 < row["mask_ms"]["median"] <= row["mask_ms"]["most"], row)
            check(row["finish_ms"] > 0 and row["frames_late"] == 0, row)
        else:
            # A window is three frames.
            check(row["frames_late"] == 2, row)
        # Three of five take the median or more.
        check(5e3 / row["frames_per_s"] >= 2.9 * push["median"], row)
        # A few hundred kB of a session, a few MB of a process; the estimate is a bound.
        check(1e4 < row["session_peak"] <= memory["peak"], row)
        check(memory["features"] + memory["workspace"] == memory["peak"], row)
        check(0 < memory["weights"] < 1e6, row)
        check(1e5 < row["process_before"] <= row["process_peak"] < 1e9, row)

    done = run(*small, "--mode", "stream", "--nearest")
    lines = done.stdout.splitlines()
    check(done.returncode == 0 and len(lines) == 11, done.stdout, done.stderr)
    check(all(line.split()[1] == "stream" for line in lines[-4:]), lines)
    # Nothing is run: as many frames as you like.
    done = run("--sizes", "64x96", "--frames", "100000", "--estimate", "--json")
    rows = json.loads(done.stdout)["cases"]
    check(done.returncode == 0 and "push_ms" not in rows[0], done.stderr)
    check(rows[0]["estimate"]["peak"] > 100 * rows[1]["estimate"]["peak"] > 0, rows)
    done = run("--sizes", "64x96", "--estimate")
    check(done.returncode == 0 and "estimates for 30 frames" in done.stdout, done.stdout)

    for part, *arguments in (
        ("multiples", "--sizes", "50x64"), ("multiples", "--sizes", "50x64", "--estimate")):
        done = run(*arguments)
        check(done.returncode == 1 and part in done.stderr, arguments, done.stderr)
    for model in ("/nothing-there", __file__):
        done = subprocess.run(
            [program, model], capture_output=True, text=True, check=False)
        check(done.returncode == 1 and model in done.stderr, done.returncode, done.stderr)
    for wrong in (
        ["--sizes", "64"], ["--sizes", "64x"], ["--sizes", "64x64,"], ["--sizes", "0x64"],
        ["--sizes", ",".join(17 * ["8x8"])], ["--frame", "8x8,8x8"], ["--threads", "257"],
        ["--threads", "1;2"], ["--threads", "-1"], ["--threads", ",".join(17 * ["1"])],
        ["--frames", "0"], ["--frames", "100001"], ["--loads", "x"], ["--mode", "all"],
        ["--json", "--sizes"], ["--no-such", "1"], ["more"],
    ):
        done = run(*wrong)
        check(done.returncode == 2 and "usage:" in done.stderr, wrong, done.stderr)
    done = subprocess.run([program], capture_output=True, text=True, check=False)
    check(done.returncode == 2 and "usage:" in done.stderr, done.stderr)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    programs, weights = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        check_compile_lines(programs.parent, pathlib.Path(folder))
        check_segment(programs / "segment", weights, pathlib.Path(folder))
        check_adapt(programs / "adapt", weights, pathlib.Path(folder))
    check_stream(programs / "stream", weights)
    check_objects(programs / "objects", weights)
    check_bench(programs / "covey_bench", weights)
    print(f"examples: {checks - failures} passed, {failures} failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
