"""covey's clustering beside the paper's code (authors.py), on the same queries and keys.

    make bench-clustering
    python Benchmarks/clustering.py --help

Scenes are made up and their truth is known (Tests/python/scenes.py): every kind, and
several seeds of 12 frames of 24 x 48 patches; with --full one of 69 frames too, where the
paper's code takes minutes.  384 channels, 8 heads, tau 1, windows of 3 frames, a key
frame every 10; one thread.  Every peer is a process of its own; those of one scene are
asked in turn.  What counts are ratios within a scene.

Writes build/clustering.json; Benchmarks/report.py renders it.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import bench
from peers import PEERS, environment
from weights import ROOT

BUILD = ROOT / "build" / "bench" / "clustering"
AUTHORS = "authors"
KEY_STRIDE = 10
#: Runs of covey for one of the authors' code, which takes so much longer.
REPEATS = 3
CHANNELS, HEADS = 384, 8
#: The backbone that a mode's time per frame is compared with.
BACKBONE, BACKBONE_SIZE = "covey int8", "320x480"

console = Console()


@dataclass(frozen=True)
class Mode:
    """options: keyword arguments of covey.cluster.  per_frame: its time per frame is
    compared with the backbone's."""

    name: str
    options: dict = field(default_factory=dict)
    per_frame: bool = False


#: As sessions have it: edge averages the keys over 4 x 4 patches (within its time).
MODES = (
    Mode("reference", {"mode": "reference"}),
    Mode("edge", {"mode": "edge", "key_pool": 4}, per_frame=True),
)


@dataclass(frozen=True)
class Size:
    frames: int
    rows: int
    columns: int

    def __str__(self):
        return f"{self.frames}x{self.rows}x{self.columns}"


SMALL, LARGE = Size(12, 24, 48), Size(69, 24, 48)
#: 320x480 pixels in patches of 8.
PER_FRAME = Size(70, 40, 60)


def of_tests(name):
    """A module of Tests/python: there is a `scenes` here too."""
    path = ROOT / "Tests" / "python" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"tests_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_scene(kind, seed, size, folder):
    """Writes queries and keys for the peers; returns the truth."""
    queries, keys, truth = of_tests("scenes").maps_scene(
        kind, seed, size.frames, size.rows, size.columns, CHANNELS, HEADS
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in (("queries", queries), ("keys", keys[::KEY_STRIDE])):
        np.save(folder / f"{name}.npy", values.reshape(-1, size.rows, size.columns, CHANNELS))
    return truth.reshape(-1)


def start(name, options, folder):
    """The process of a peer, and where it writes its labels."""
    labels = folder / f"{name}.labels.npy"
    labels.unlink(missing_ok=True)
    command = [
        sys.executable, str(ROOT / "Benchmarks" / "clustering_child.py"), name,
        "--folder", str(folder), "--heads", str(HEADS), "--options", json.dumps(options),
        "--labels", str(labels),
    ]
    return bench.Process(command, environment(1, None), folder / f"{name}.log"), labels


def measure(kind, seed, size, modes, rounds, peers=True):
    """The rows of one scene: the authors' first."""
    folder = BUILD / f"{size}-{kind}-{seed}"
    truth = make_scene(kind, seed, size, folder)
    agreement = of_tests("reference").adjusted_rand_index
    wanted = [(AUTHORS, {})] if peers else []
    wanted += [(f"covey {mode.name}", mode.options) for mode in modes]
    rows, processes = {}, {}
    try:
        for name, options in wanted:
            processes[name] = start(name, options, folder)
        seconds = {name: [] for name in processes}
        names = list(processes)
        for turn in range(rounds):
            for name in names[turn % len(names):] + names[: turn % len(names)]:
                for _ in range(1 if name == AUTHORS else REPEATS):
                    time.sleep(bench.PAUSE)
                    seconds[name].append(processes[name][0].ask("time"))
        found = {name: np.load(labels) for name, (_, labels) in processes.items()}
        for name, (process, _) in processes.items():
            rows[name] = {
                "peer": name, "size": str(size), "kind": kind, "seed": seed,
                "seconds": seconds[name], "median_s": statistics.median(seconds[name]),
                "peak_mb": process.ask("peak"), "clusters": int(found[name].max()) + 1,
                "ari_truth": agreement(found[name].reshape(-1), truth),
            }
    finally:
        for process, _ in processes.values():
            process.close()
        for file in folder.glob("*.npy"):
            file.unlink()
    if base := rows.get(AUTHORS):
        for name, row in rows.items():
            row["time_ratio"] = row["median_s"] / base["median_s"]
            row["memory_ratio"] = row["peak_mb"] / base["peak_mb"]
            row["ari_authors"] = agreement(
                found[name].reshape(-1), found[AUTHORS].reshape(-1)
            )
    return list(rows.values())


def measure_per_frame(modes, rounds):
    """Time per frame beside the backbone's, at the size of PER_FRAME, in one run."""
    peer = next(each for each in PEERS if each.name == BACKBONE)
    folder = bench.BUILD / "normal"
    (folder / BACKBONE_SIZE).mkdir(parents=True, exist_ok=True)
    if refused := bench.prepare(folder, BACKBONE_SIZE, [peer], "normal"):
        raise bench.PeerError(refused[BACKBONE])
    options = argparse.Namespace(isa=None, warm_up=1)
    backbone, _ = bench.start(peer, folder, BACKBONE_SIZE, 1, options)
    try:
        before = [backbone.ask("time") for _ in range(5)]
        rows = measure("medium", 1, PER_FRAME, modes, rounds, peers=False)
        seconds = statistics.median(before + [backbone.ask("time") for _ in range(5)])
    finally:
        backbone.close()
    for row in rows:
        row["per_frame_s"] = row["median_s"] / PER_FRAME.frames
        row["backbone_s"] = seconds
        row["of_backbone"] = row["per_frame_s"] / seconds
    return rows


def show(rows):
    table = Table(title=f"{rows[0]['size']}, {rows[0]['kind']}, seed {rows[0]['seed']}",
                  title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("s", "MB", "time", "memory", "ARI", "to truth", "clusters"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        ratios = [
            format(row[key], form) if key in row else "-"
            for key, form in (("time_ratio", ".3f"), ("memory_ratio", ".3f"),
                              ("ari_authors", ".4f"))
        ]
        table.add_row(row["peer"], f"{row['median_s']:.2f}", f"{row['peak_mb']:.0f}", *ratios,
                      f"{row['ari_truth']:.3f}", str(row["clusters"]))
    console.print(table)


def arguments():
    kinds = of_tests("scenes").KINDS
    parser = argparse.ArgumentParser(description="covey's clustering beside the authors'")
    parser.add_argument("--quick", action="store_true", help="one seed")
    parser.add_argument("--full", action="store_true",
                        help=f"{LARGE} too (the authors' code: minutes, and 3 GB)")
    parser.add_argument("--seeds", nargs="+", type=int, help="(1 2 3 4 5; quick: 1)")
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=kinds)
    parser.add_argument("--modes", nargs="+", choices=[mode.name for mode in MODES],
                        default=[mode.name for mode in MODES])
    parser.add_argument("--rounds", type=int, default=1,
                        help=f"timed runs of the authors' code; covey's are {REPEATS} times "
                        "as many (1)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "clustering.json")
    options = parser.parse_args()
    options.seeds = options.seeds or ([1] if options.quick else [1, 2, 3, 4, 5])
    options.modes = [mode for mode in MODES if mode.name in options.modes]
    return options


def main():
    options = arguments()
    os.environ["PYTHONPATH"] = str(ROOT / "bindings" / "python" / "src")
    os.environ.setdefault("COVEY_LIBRARY", str(ROOT / "build" / "libcovey.so"))
    rows = []

    def add(found):
        rows.extend(found)
        show(found)
        options.output.write_text(json.dumps(rows, indent=1) + "\n")

    for kind in options.kinds:
        for seed in options.seeds:
            add(measure(kind, seed, SMALL, options.modes, options.rounds))
    if options.full:
        add(measure("medium", 1, LARGE, options.modes, rounds=1))
    if modes := [mode for mode in options.modes if mode.per_frame]:
        try:
            add(measure_per_frame(modes, options.rounds))
        except bench.PeerError as error:
            console.print(f"{BACKBONE}: {error}", soft_wrap=True)
    console.print(f"{options.output}: {len(rows)} rows; Benchmarks/report.py renders them",
                  soft_wrap=True)


if __name__ == "__main__":
    main()
