"""The pictures scenes are made of, read once and held at several sizes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
#: One picture at falling sizes, so that shrinking it strongly does not alias.
Pyramid = list[Picture]

CUTOUT_SIDES = (200, 100, 50)
PHOTOGRAPH_SIDES = (900, 450)
#: One picture in so many is held out for validation.
HELD_OUT = 5


class Pictures(NamedTuple):
    cutouts: list[Pyramid]  # RGBA, colours multiplied by alpha
    backgrounds: list[Pyramid]  # RGB, places and surfaces
    textures: list[Pyramid]  # RGB, everything a shape may be filled with


def read_pictures(folder: Path, held_out: bool = False) -> Pictures:
    """Reads what material.py gathered: the pictures to train on, or those held out.

    A picture is held out by its name alone, so that adding others moves none of them
    from one side to the other.
    """

    def select(kind: str) -> list[Path]:
        return [p for p in sorted((folder / kind).iterdir()) if is_held_out(p.name) == held_out]

    cutouts = [pyramid for path in select("cutouts") if (pyramid := read_cutout(path))]
    backgrounds = [read_photograph(path) for path in select("backgrounds")]
    textures = backgrounds + [read_photograph(path) for path in select("textures")]
    if not cutouts or not backgrounds:
        raise SystemExit(f"{folder}: no cut-outs or no backgrounds; fill it with material.py")
    return Pictures(cutouts, backgrounds, textures)


def is_held_out(name: str) -> bool:
    return int(hashlib.md5(name.encode()).hexdigest(), 16) % HELD_OUT == 0


def read_cutout(path: Path) -> Pyramid | None:
    """A cut-out cropped to what can be seen of it; None where that is next to nothing."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    rows, columns = np.nonzero(picture[..., 3] > 20)
    if len(rows) < 200:
        return None
    crop = picture[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    crop = cv2.cvtColor(crop, cv2.COLOR_BGRA2RGBA).astype(np.float32)
    crop[..., :3] *= crop[..., 3:] / 255
    return [np.round(fit(crop, side)).clip(0, 255).astype(np.uint8) for side in CUTOUT_SIDES]


def read_photograph(path: Path) -> Pyramid:
    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    return [fit(picture, side) for side in PHOTOGRAPH_SIDES]


def fit(picture: np.ndarray, side: int) -> np.ndarray:
    """The picture shrunk to a longest side; smaller ones stay as they are."""
    scale = side / max(picture.shape[:2])
    if scale >= 1:
        return picture
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
