#!/usr/bin/env python3
"""Writes rle.txt: run lengths of masks by pycocotools.

    python3 Tests/golden/make_rle.py > Tests/golden/rle.txt

Needs numpy and pycocotools (written with 2.0).  It hands out its run lengths
as a string of 5-bit groups (from the third on as a difference to the one two
before), which is taken apart here.

A case is a line `case width height id`, the labels of each row as digits, and a
line with the counts of the mask label == id.
"""
import numpy as np
from pycocotools import mask as coco


def counts(mask):
    text = coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    result, value, shift = [], 0, 0
    for byte in text:
        group = byte - 48
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        if len(result) > 2:
            value += result[-2]
        result.append(value)
        value = shift = 0
    assert sum(result) == mask.size
    return result


def case(labels, which):
    labels = np.asarray(labels)
    print("case", labels.shape[1], labels.shape[0], which)
    for row in labels:
        print("".join(map(str, row)))
    print(*counts(labels == which))


rng = np.random.default_rng(5)
disc = np.hypot(*(np.mgrid[:30, :40] - np.array([14, 22])[:, None, None])) < 11

print("# Run lengths of masks by pycocotools: see make_rle.py")
case([[0]], 1)
case([[1]], 1)
case([[0, 0, 0], [0, 0, 0]], 1)
case([[2, 2, 2], [2, 2, 2]], 2)
case([[0, 1, 0, 1]], 1)                         # one row
case([[1], [1], [0], [1]], 1)                   # one column
case([[0, 1], [0, 1], [1, 0]], 1)               # a run over the end of a column
case([[1, 0, 0], [0, 0, 0], [0, 0, 1]], 1)      # first and last pixel
case(np.indices((5, 4)).sum(0) % 2, 1)          # every pixel changes
case(rng.integers(0, 3, (7, 5)), 0)
case(rng.integers(0, 3, (7, 5)), 2)
case(rng.integers(0, 2, (9, 13)), 1)
case(disc * 3, 3)
case(disc * 3, 0)
