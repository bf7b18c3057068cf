"""One clustering in a process of its own: see clustering.py.

Answers as the peers of peers.py do, but "peak" is the memory of the runs alone:
what VmHWM grew by since inputs and libraries are there and have been used once.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np


def authors(heads, options):
    import torch

    import authors

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)

    def run(queries, keys):
        return authors.cluster(
            torch.from_numpy(queries.reshape(len(queries), -1, queries.shape[-1])),
            torch.from_numpy(keys.reshape(-1, keys.shape[-1])), heads, **options
        ).numpy()

    return run


def covey(heads, options):
    import covey

    size = options.pop("key_pool", 1)

    def run(queries, keys):
        return covey.cluster(queries, pooled(keys, size), heads, threads=1, **options).labels

    return run


def pooled(keys, size):
    """[K, rows, columns, C] averaged over size x size patches, which divide them."""
    frames, rows, columns, channels = keys.shape
    blocks = keys.reshape(frames, rows // size, size, columns // size, size, channels)
    return blocks.mean(axis=(2, 4))


def memory_mb(name):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError(f"/proc/self/status has no {name}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--heads", type=int, required=True)
    parser.add_argument("--options", type=json.loads, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    options = parser.parse_args()
    make = authors if options.peer == "authors" else covey
    run = make(options.heads, options.options)
    queries = np.load(options.folder / "queries.npy")
    keys = np.load(options.folder / "keys.npy")
    # Libraries load and make what they keep.
    run(queries[:2, :4], keys[:1, :4])
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM is what VmRSS is now
    before = memory_mb("VmRSS")
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "peak":
            print(f"{memory_mb('VmHWM') - before:.3f}", flush=True)
            continue
        start = time.perf_counter()
        labels = run(queries, keys)
        seconds = time.perf_counter() - start
        np.save(options.labels, labels)  # before the answer: then they are read
        print(f"{seconds:.9f}", flush=True)


if __name__ == "__main__":
    main()
