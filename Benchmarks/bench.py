"""covey's backbone and its peers, side by side: seconds, memory, error of the keys.

    make bench                       all rows
    make bench QUICK=1               the headline rows
    python Benchmarks/bench.py --help

Every peer runs in a process of its own, with its number of threads.  The
processes of one size and number of threads are kept alive together, and this one
asks them in turn for one timed frame each, round after round: only one works at
a time, and whatever drifts (clock, neighbours, heat) hits all of them equally.
What counts is the ratio of medians within such a group.

Writes build/bench.json, one object per row, and build/bench-context.json, what
the figures depend on; Benchmarks/report.py renders both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import artefacts
import machine
from peers import BASE, PEERS, command, environment, keys_command
from weights import ROOT

BUILD = ROOT / "build" / "bench"
SIZES = ("192x384", "320x480")
#: Above this an fp32 peer computes another network.
EXACT = 1e-3
#: Seconds between two peers' turns, for the threads of the last to fall asleep.
PAUSE = 0.1

console = Console()


class PeerError(Exception):
    """A peer that cannot be measured, and why, in one line."""


class Process:
    """A peer's process, alive and waiting."""

    def __init__(self, arguments, variables, log):
        self.log = log
        with open(log, "wb") as errors:
            self.process = subprocess.Popen(
                arguments, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True,
            )
        # Whatever a framework has to say comes before.
        while (line := self._line()) != "ready":
            console.log(line)

    def _line(self):
        line = self.process.stdout.readline()
        if not line:
            self.close()
            raise PeerError(last_line(self.log.read_text(errors="replace")))
        return line.strip()

    def ask(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self):
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except BrokenPipeError:
                pass
        self.process.wait()


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "ended without a word"


def prepare(folder, size, peers, tails):
    """Makes what the peers load; returns {peer's name: why not}."""
    failed, refused = {}, {}
    for what in dict.fromkeys(
        name for peer in peers for need in ("frame", "reference", *peer.needs)
        for name in artefacts.missing(folder, size, need)
    ):
        if any(need in failed for need in artefacts.ARTEFACTS[what][2]):
            failed[what] = "what it is made of is missing"
            continue
        console.print(f"  making {what} for {size}", style="dim")
        log = folder / size / f"{what}.log"
        with open(log, "wb") as output:
            done = subprocess.run(
                [sys.executable, str(ROOT / "Benchmarks" / "artefacts.py"), what, "--folder",
                 str(folder), "--size", size, "--tails", tails],
                stdout=output, stderr=output,
            )
        if done.returncode:
            failed[what] = last_line(log.read_text(errors="replace"))
    for peer in peers:
        for need in peer.needs:
            if need in failed:
                refused[peer.name] = failed[need]
    return refused


def errors(keys, reference):
    """Relative L2, as they are, and with the mean over the patches taken off both,
    which a constant would flatter."""
    def relative(a, b):
        return float(np.linalg.norm(a - b) / np.linalg.norm(b))

    if keys.size != reference.size:
        raise PeerError(f"keys: expected {reference.size} numbers, found {keys.size}")
    keys = keys.reshape(reference.shape).astype(np.float64)
    return (
        relative(keys, reference),
        relative(keys - keys.mean(axis=0), reference - reference.mean(axis=0)),
    )


def start(peer, folder, size, threads, options):
    """(process, its row so far).  Raises PeerError."""
    slug = "".join(c if c.isalnum() else "-" for c in peer.name)
    keys = folder / size / f"{slug}.keys"
    log = folder / size / f"{slug}.log"
    variables = environment(threads, options.isa)
    if options.isa == "avx2" and "bf16" in peer.name:
        raise PeerError("no bf16 in AVX2")
    if separate := keys_command(peer, folder, size, threads, keys, BUILD):
        done = subprocess.run(separate, env=variables, capture_output=True, text=True)
        if done.returncode:
            raise PeerError(last_line(done.stderr))
    process = Process(
        command(peer, folder, size, threads, options.warm_up, keys, BUILD), variables, log
    )
    row = {}
    try:
        row["error"], row["error_centred"] = errors(
            np.fromfile(keys, np.float32), np.load(folder / size / "reference.npy")
        )
        keys.unlink()
    except (OSError, ValueError) as error:
        process.close()
        raise PeerError(f"its keys: {error}") from error
    if peer.exact and not row["error"] < EXACT:
        row["note"] = f"WRONG: error above {EXACT:g}"
    return process, row


def measure(group, folder, size, threads, refused, options):
    """The rows of one size and number of threads."""
    rows, processes = [], {}
    for peer in group:
        row = {
            "name": f"{peer.name}, {size}, {threads}", "peer": peer.name, "size": size,
            "threads": threads, "median_s": None, "min_s": None, "peak_mb": None,
        }
        rows.append(row)
        try:
            if peer.name in refused:
                raise PeerError(refused[peer.name])
            processes[peer.name], found = start(peer, folder, size, threads, options)
            row |= found
        except PeerError as error:
            row["note"] = str(error)
    seconds = {name: [] for name in processes}
    names = list(processes)
    try:
        for turn in range(options.rounds):
            # Each round starts with another, so that nobody always follows the same.
            for name in names[turn % len(names):] + names[: turn % len(names)]:
                time.sleep(PAUSE)
                seconds[name].append(processes[name].ask("time"))
        for row in rows:
            if own := seconds.get(row["peer"]):
                row["median_s"] = statistics.median(own)
                row["min_s"] = min(own)
                row["peak_mb"] = processes[row["peer"]].ask("peak")
                row["seconds"] = own
    finally:
        for process in processes.values():
            process.close()
    add_ratios(rows)
    return rows


def add_ratios(rows):
    """Of medians, to covey int8, or to covey fp32 where that is not there."""
    medians = {row["peer"]: row["median_s"] for row in rows if row["median_s"]}
    base = next((name for name in (BASE, "covey fp32") if name in medians), None)
    for row in rows:
        if base and row["median_s"]:
            row["ratio"] = row["median_s"] / medians[base]
            row["ratio_to"] = base


def show(rows, size, threads):
    base = next((row["ratio_to"] for row in rows if "ratio_to" in row), BASE)
    plural = "" if threads == 1 else "s"
    table = Table(title=f"{size}, {threads} thread{plural}", title_justify="left")
    table.add_column("", no_wrap=True)
    for heading in ("median s", "least s", f"of {base}", "peak MB", "error"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        if row["median_s"] is not None:
            table.add_row(
                row["peer"], f"{row['median_s']:.3f}", f"{row['min_s']:.3f}",
                f"{row['ratio']:.2f}" if "ratio" in row else "-", f"{row['peak_mb']:.0f}",
                f"{row['error']:.1e}", style="bold" if row["peer"] == BASE else None,
            )
    console.print(table)
    for row in rows:
        if "note" in row:
            console.print(f"  {row['peer']}: {row['note']}", soft_wrap=True)


def arguments():
    parser = argparse.ArgumentParser(description="covey and its peers, side by side")
    parser.add_argument("--quick", action="store_true", help="the headline rows")
    parser.add_argument("--sizes", nargs="+", help="HxW (192x384 320x480)")
    parser.add_argument("--threads", nargs="+", type=int, help="(1 2)")
    parser.add_argument("--rounds", type=int, help="timed frames of each (9; quick: 5)")
    parser.add_argument("--warm-up", type=int,
                        help="untimed frames before each timed one (1; quick: 0)")
    parser.add_argument("--peers", nargs="+", metavar="WORD",
                        help="only those whose name contains one of these")
    parser.add_argument("--isa", choices=["avx2"],
                        help="limit all to AVX2 that can be; see docs/BENCHMARKS.md")
    parser.add_argument("--tails", choices=["normal", "heavy"], default="normal",
                        help="how the random weights are spread (normal)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "bench.json")
    options = parser.parse_args()
    quick = options.quick
    options.sizes = options.sizes or (SIZES[1:] if quick else SIZES)
    options.threads = options.threads or [1, 2]
    options.rounds = options.rounds or (5 if quick else 9)
    if options.warm_up is None:
        options.warm_up = 0 if quick else 1
    return options


def main():
    options = arguments()
    group = [
        peer for peer in PEERS
        if (peer.quick or not options.quick)
        and (not options.peers or any(word in peer.name for word in options.peers))
    ]
    os.environ["PYTHONPATH"] = str(ROOT / "bindings" / "python" / "src")
    os.environ["COVEY_LIBRARY"] = str(ROOT / "build" / "libcovey.so")
    folder = BUILD / options.tails
    context = machine.describe(ROOT) | {
        "rounds": options.rounds, "warm_up": options.warm_up, "isa": options.isa,
        "tails": options.tails, "load_before": os.getloadavg()[0],
    }
    if context["load_before"] > 0.5:
        console.print(f"The machine is not quiet: load {context['load_before']:.1f}", style="red")
    folder.mkdir(parents=True, exist_ok=True)
    # The library may have learnt since.
    (folder / "covey-q8.gguf").unlink(missing_ok=True)
    rows = []
    for size in options.sizes:
        (folder / size).mkdir(exist_ok=True)
        refused = prepare(folder, size, group, options.tails)
        for threads in options.threads:
            rows += measure(group, folder, size, threads, refused, options)
            show(rows[-len(group):], size, threads)
    options.output.write_text(json.dumps(rows, indent=1) + "\n")
    context_file = options.output.with_name(options.output.stem + "-context.json")
    context_file.write_text(json.dumps(context, indent=1) + "\n")
    console.print(f"{options.output}: {len(rows)} rows; Benchmarks/report.py renders them",
                  soft_wrap=True)
    if any("WRONG" in row.get("note", "") for row in rows):
        sys.exit("the keys of a peer in fp32 are wrong: a bug")


if __name__ == "__main__":
    main()
