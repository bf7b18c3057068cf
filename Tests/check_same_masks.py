#!/usr/bin/env python3
"""Whether the example `segment` draws the same masks wherever it runs.

    check_same_masks.py FILM WORKING_SIZE REFERENCE COMMAND...

The latter are command lines of the example, in quotes, for instance under an emulator.
Each segments the first frames of the film with the default model, which is int8, and with
the same weights in fp32, every cluster, patch by patch.  At least 999 of 1,000 pixels must
have the same label as the reference gives.  What is allowed to differ: products of floats,
whose sums OpenBLAS makes in another order on every CPU.  Needs covey's package, PyAV and
Pillow.
"""

import itertools
import pathlib
import shlex
import subprocess
import sys
import tempfile

import av
import covey
import numpy as np
from PIL import Image

MODEL = pathlib.Path(__file__).resolve().parent.parent / "models" / "covey-nano.gguf"
FRAMES = 4
LEAST = 0.999


def yuv4mpeg2(clip):
    with av.open(clip) as film:
        decoded = itertools.islice(film.decode(video=0), FRAMES)
        frames = [frame.reformat(format="yuv420p") for frame in decoded]
    header = f"YUV4MPEG2 W{frames[0].width} H{frames[0].height} F30:1 Ip A1:1 C420jpeg\n".encode()
    return header + b"".join(b"FRAME\n" + frame.to_ndarray().tobytes() for frame in frames)


def labels(command, model, size, film):
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*shlex.split(command), str(model), "-", folder, "--clusters", "--nearest",
             "--tau", "0.3", "--working-size", size],
            input=film, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )
        if done.returncode:
            sys.exit(f"{command}: {done.stderr.decode()}")
        paths = sorted(pathlib.Path(folder).glob("*.png"))
        masks = [np.asarray(Image.open(path)) for path in paths]
    assert len(masks) == FRAMES, f"{command}: expected {FRAMES} masks, found {len(masks)}"
    return np.stack(masks)


def are_same(model, size, film, reference, commands):
    expected = labels(reference, model, size, film)
    print(f"{model.stem}: masks of {FRAMES} frames at {size}, {len(np.unique(expected))} clusters")
    assert len(np.unique(expected)) > 1, "one cluster only: nothing to compare"
    same = True
    for command in commands:
        share = np.mean(labels(command, model, size, film) == expected)
        same = same and share >= LEAST
        words = shlex.split(command)
        name = words[words.index("-cpu") + 1] if "-cpu" in words else words[0]
        print(f"{name}: {share:.2%} of the pixels as the reference has them")
    return same


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    clip, size, reference, *commands = sys.argv[1:]
    film = yuv4mpeg2(clip)
    with tempfile.TemporaryDirectory() as folder:
        floats = pathlib.Path(folder) / "fp32.gguf"
        with covey.Model(MODEL) as model:
            model.save(floats, "f32")
        same = [are_same(each, size, film, reference, commands) for each in (MODEL, floats)]
    sys.exit(0 if all(same) else 1)


if __name__ == "__main__":
    main()
