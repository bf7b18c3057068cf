#!/usr/bin/env python3
"""Writes positions.txt: position embeddings resized by PyTorch as DINO and others do.

    python3 Tests/golden/make_positions.py > Tests/golden/positions.txt

Needs numpy and torch (written with 2.x, on the CPU); in float64.

A case is a line `case G C rows columns`, of other ways of resizing with the way's
name behind it, and a line with the [1 + rows * columns, C]
values.  Element i of the trained embedding [1 + G * G, C] is (noise(G, i) - 128) / 64.
"""
import numpy as np
import torch
import torch.nn.functional as F

CASES = [  # G, C, rows, columns
    (1, 2, 1, 1), (1, 2, 2, 3), (2, 3, 2, 2), (2, 3, 1, 5), (4, 2, 4, 4), (4, 2, 4, 6),
    (4, 2, 3, 2), (7, 3, 6, 12), (8, 1, 3, 20), (14, 1, 1, 1), (28, 1, 12, 24), (28, 1, 24, 12),
    (14, 1, 20, 27), (37, 1, 13, 9),
]


def noise(seed, count):
    """The integers mod 2^32 mixed by shifts and odd factors."""
    x = (np.arange(count, dtype=np.uint64) + seed * 1000003) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint64(shift)
        x = (x * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    return (x >> np.uint64(24)).astype(np.uint8)


OTHER_CASES = [
    (4, 2, 4, 6), (4, 2, 3, 2), (7, 3, 6, 12), (8, 1, 3, 20), (14, 1, 1, 1), (28, 1, 12, 24),
    (37, 1, 13, 9), (1, 2, 2, 3), (37, 1, 40, 39),
]


def resized(trained, rows, columns, way="bicubic_offset"):
    grid, channels = round((len(trained) - 1) ** 0.5), trained.shape[1]
    if (rows, columns) == (grid, grid):
        return trained
    patches = trained[1:].reshape(1, grid, grid, channels).permute(0, 3, 1, 2)
    if way == "bicubic_offset":
        scale = ((rows + 0.1) / grid, (columns + 0.1) / grid)
        patches = F.interpolate(patches, scale_factor=scale, mode="bicubic")
    else:
        antialias = way == "bicubic_antialias"
        patches = F.interpolate(
            patches, size=(rows, columns), mode="bicubic", antialias=antialias
        )
    assert patches.shape[2:] == (rows, columns)
    return torch.cat((trained[:1], patches[0].permute(1, 2, 0).reshape(-1, channels)))


if __name__ == "__main__":
    print("# PyTorch's bicubic F.interpolate: see make_positions.py")
    cases = [(*case, "") for case in CASES]
    cases += [(*c, way) for way in ("bicubic", "bicubic_antialias") for c in OTHER_CASES]
    for grid, channels, rows, columns, way in cases:
        values = (noise(grid, (1 + grid * grid) * channels).astype(np.float64) - 128) / 64
        trained = torch.from_numpy(values).reshape(-1, channels)
        print("case", *filter(None, (grid, channels, rows, columns, way)))
        found = resized(trained, rows, columns, way or "bicubic_offset")
        print(*(f"{v:.8f}" for v in found.numpy().ravel()))
