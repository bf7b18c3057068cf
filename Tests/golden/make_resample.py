#!/usr/bin/env python3
"""Writes resample.txt: frames resized and normalised by PyTorch.

    python3 Tests/golden/make_resample.py > Tests/golden/resample.txt

Needs numpy and torch (written with 2.x, on the CPU).  Torch computes in float64
here, because in float32 it rounds its source coordinates; how far that takes
it from these values stands in the comment after each case.

A case is a line `case frame_width frame_height out_width out_height seed step`
and a line with every step-th value of [3, out_height, out_width], from 0 on.
The frame is RGB8: byte i of it is noise(seed, i).
"""
import numpy as np
import torch
import torch.nn.functional as F

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# frame width and height, out width and height, step
CASES = [
    (1, 1, 3, 2, 1),
    (2, 1, 5, 3, 1),
    (7, 5, 4, 6, 1),
    (5, 3, 12, 7, 1),
    (9, 6, 3, 2, 1),        # whole factor: the weights are 0
    (8, 8, 4, 4, 1),        # the weights are 1/2
    (16, 11, 16, 11, 5),    # the same size
    (101, 67, 48, 32, 37),
    (320, 240, 384, 192, 1499),
    (854, 480, 384, 192, 499),
    (480, 854, 192, 384, 1499),
    (1920, 1080, 480, 320, 2999),
]


def noise(seed, count):
    """The integers mod 2^32 mixed by shifts and odd factors."""
    x = (np.arange(count, dtype=np.uint64) + seed * 1000003) & 0xFFFFFFFF
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint64(shift)
        x = (x * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    return (x >> np.uint64(24)).astype(np.uint8)


def resample(frame, height, width, dtype):
    x = torch.from_numpy(frame).permute(2, 0, 1)[None].to(dtype) / 255
    x = F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False)[0]
    mean = torch.tensor(MEAN, dtype=dtype)[:, None, None]
    std = torch.tensor(STD, dtype=dtype)[:, None, None]
    return ((x - mean) / std).numpy()


print("# PyTorch's bilinear F.interpolate, (x / 255 - mean) / std: see make_resample.py")
print("mean", *MEAN)
print("std", *STD)
for seed, (fw, fh, ow, oh, step) in enumerate(CASES, 1):
    frame = noise(seed, fw * fh * 3).reshape(fh, fw, 3)
    exact = resample(frame, oh, ow, torch.float64)
    single = resample(frame, oh, ow, torch.float32)
    print("case", fw, fh, ow, oh, seed, step)
    print(*(f"{v:.8f}" for v in exact.ravel()[::step]))
    print(f"# float32 is off by up to {np.abs(single - exact).max():.1e}")
