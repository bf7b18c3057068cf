"""Pictures of what a model gets wrong, for its card:

    python failures.py MODEL PICTURE

Films of simple shapes filled with scikit-image's photographs (CC0, public domain), each
with one difficulty: a row of frame, truth and clusters for each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from compositing import Thing, paste
from pictures import Picture

import covey
from covey.plots.grid import save_grid
from covey.writing.palette import colours

HEIGHT, WIDTH, FRAMES, SHOWN = 192, 384, 12, 6
SIDE = 160  # of a thing's picture


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("picture", type=Path)
    arguments = parser.parse_args()
    rows, titles = [], []
    with covey.Model(arguments.model) as model:
        for title, (ground, things) in difficulties().items():
            frames, truth = film(ground, things)
            clusters = model.segment(frames, output="clusters")
            rows.append([frames[SHOWN], colours(truth[SHOWN]), colours(clusters[SHOWN])])
            titles.append(title)
    save_grid(arguments.picture, rows, titles, ["frame", "truth", "clusters"])


def difficulties() -> dict[str, tuple[Picture, list[Thing]]]:
    """What is hard: a background, and things over it."""
    grass, brick, gravel = (
        np.repeat(getattr(skimage.data, name)()[..., None], 3, axis=2)
        for name in ("grass", "brick", "gravel")
    )
    cat, cup = skimage.data.chelsea()[20:260, 100:340], skimage.data.coffee()[60:340, 150:430]
    disc, bar = outline(ellipse(0.5, 0.5)), outline(ellipse(0.5, 0.03))
    return {
        "easy: unlike things": (grass, [thing(cat, disc, 110, 80), thing(cup, disc, 280, 100)]),
        "twins that touch": (grass, [thing(cat, disc, 150, 96), thing(cat, disc, 235, 96)]),
        "thin": (brick, [thing(cup, bar, 120, 90, 150), thing(cat, bar, 270, 100, 150)]),
        "like its background": (gravel, [thing(gravel, disc, 190, 96, 100)]),
        "small": (brick, [thing(cat, disc, 100, 60, 22), thing(cup, disc, 290, 130, 22)]),
    }


def ellipse(across: float, down: float) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda x, y: (x / across) ** 2 + (y / down) ** 2 < 1


def outline(inside: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """SIDE x SIDE alpha of what is `inside`, of coordinates -0.5...0.5."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    return cv2.GaussianBlur(inside(x, y).astype(np.float32), (0, 0), 0.7)[..., None]


def thing(
    texture: Picture, alpha: np.ndarray, x: float, y: float, size: float = 90
) -> Thing:
    colour = cv2.resize(texture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    picture = np.concatenate([colour * alpha, 255 * alpha], axis=2).astype(np.uint8)
    return Thing(
        picture=[picture], size=size, x=x, y=y, angle=0, mirrored=False, aspect=1,
        brightness=1, contrast=1, saturation=1, tint=np.ones(3, np.float32), blur=0,
        shadow=None, camouflage=0, velocity=np.array([3.0, 1.0]), turning=1, growing=0,
    )


def film(ground: Picture, things: list[Thing]) -> tuple[np.ndarray, np.ndarray]:
    """frames [T, H, W, 3] and truth [T, H, W]; the camera stands still."""
    ground = cv2.resize(ground, (WIDTH, WIDTH), interpolation=cv2.INTER_AREA)[:HEIGHT]
    frames, truth = [], []
    for t in range(FRAMES):
        image = ground.astype(np.float32)
        owners = [np.ones((HEIGHT, WIDTH), np.float32)]
        for each in things:
            x, y = each.velocity * (t - FRAMES / 2)
            paste(image, owners, each, each.x + x, each.y + y, each.turning * t, 1)
        frames.append(image.clip(0, 255).astype(np.uint8))
        truth.append(np.argmax(owners, axis=0))
    return np.stack(frames), np.stack(truth)


if __name__ == "__main__":
    main()
