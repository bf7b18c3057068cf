"""Frames per second from a video file to masks, and where the time goes.

    make bench-throughput
    python Benchmarks/throughput.py [VIDEO] [--size 854x480] [--frames 120] [--threads 2]

The file (or a made-up film, written as H.264 first) is decoded, scaled to the size by the
decoder's library, pushed, clustered, and its masks drawn at that size: the default model,
which is int8, at its working size.  Offline and streamed, refined and nearest masks;
the cases take turns, and medians of the rounds are told.  Decoding is part of the time.

Writes build/throughput.json; Benchmarks/report.py renders it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import av
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bindings" / "python" / "src"), str(ROOT / "Tests" / "python")]

import covey  # noqa: E402
import scenes  # noqa: E402

CASES = {
    "whole video, refined masks": {},
    "whole video, nearest masks": {"mask": "nearest"},
    "stream, refined masks": {"streaming": True},
}
PARTS = ("decode", "network", "clustering", "masks")


def written(path, frames, width, height):
    """A made-up film as a video file."""
    film, _ = scenes.film("pan", 1, frames, height, width)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for image in film:
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def decoded(path, count, width, height):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for index, frame in enumerate(container.decode(stream)):
            if index == count:
                return
            yield frame.reformat(width, height, "rgb24").to_ndarray()


def run(model, path, count, size, options):
    """Seconds of each part, and frames."""
    spent = dict.fromkeys(PARTS, 0.0)
    last = time.perf_counter()

    def note(part):
        nonlocal last
        now = time.perf_counter()
        spent[part] += now - last
        last = now

    done = 0
    with model.session(**options) as session:
        for image in decoded(path, count, *size):
            note("decode")
            session.push(image)
            note("network")
            # Of a stream: the window's clustering is in the push that fills it.
            done += sum(1 for _ in session.results()) if options.get("streaming") else 0
            note("masks")
        session.finish()
        note("clustering")
        done += sum(1 for _ in session.results())
        note("masks")
    return spent, done


def main():
    parser = argparse.ArgumentParser(description="frames per second, from file to masks")
    parser.add_argument("video", nargs="?", type=Path)
    parser.add_argument("--size", default="854x480", help="width x height of the frames")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "throughput.json")
    options = parser.parse_args()
    size = tuple(int(each) for each in options.size.split("x"))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        video = options.video or Path(folder) / "film.mp4"
        if options.video is None:
            written(video, options.frames, *size)
        with covey.Model() as model:
            working = f"{model.info.working_height}x{model.info.working_width}"
            found = {case: [] for case in CASES}
            for _ in range(options.rounds + 1):
                for case, settings in CASES.items():
                    settings = {**settings, "threads": options.threads}
                    found[case].append(run(model, video, options.frames, size, settings))
        for case, runs in found.items():
            runs = runs[1:]  # the first one warms up
            frames = runs[0][1]
            row = {
                "case": case, "size": options.size, "working": working,
                "threads": options.threads, "frames": frames,
                "fps": statistics.median(frames / sum(spent.values()) for spent, _ in runs),
            }
            for part in PARTS:
                row[part] = statistics.median(spent[part] / frames for spent, _ in runs)
            rows.append(row)
    table = Table(
        title=f"{options.size}, worked on at {working}, int8, {options.threads} threads",
        title_justify="left")
    for heading in ("", "frames/s", *(f"{part} ms" for part in PARTS)):
        table.add_column(heading, justify="right" if heading else "left")
    for row in rows:
        table.add_row(
            row["case"], f"{row['fps']:.1f}", *(f"{1000 * row[part]:.1f}" for part in PARTS))
    Console().print(table)
    options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
