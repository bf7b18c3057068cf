"""Writes short films of scenes made up, with the truth:

    python films.py MATERIAL FOLDER [--clips 24] [--frames 24] [--held-out]

FOLDER/NAME/frames/*.jpg and FOLDER/NAME/masks/*.png, whose values are the things' numbers
(0 is background): what `covey train` takes (the frames) and `covey evaluate folders` reads.
Those of held-out pictures are for judging, the others for training.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from compositing import compose
from pictures import read_pictures

HEIGHT, WIDTH = 192, 384


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("material", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--held-out", action="store_true", help="of pictures never trained on")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    pictures = read_pictures(arguments.material, arguments.held_out)
    for number in range(arguments.clips):
        rng = np.random.default_rng([arguments.seed, number])
        scene = compose(rng, pictures, HEIGHT, WIDTH, arguments.frames, motion=True)
        clip = arguments.folder / f"composite{number:03}"
        for kind in ("frames", "masks"):
            (clip / kind).mkdir(parents=True, exist_ok=True)
        for frame, (image, owners) in enumerate(zip(scene.images, scene.owners, strict=True)):
            colours = image.astype(np.uint8)[..., ::-1]
            cv2.imwrite(str(clip / f"frames/{frame:05}.jpg"), colours)
            cv2.imwrite(str(clip / f"masks/{frame:05}.png"), owners.argmax(0).astype(np.uint8))


if __name__ == "__main__":
    main()
