"""Frames made up, so that the suite needs no film: smooth ground, discs, noise."""

from __future__ import annotations

import numpy as np

#: ImageNet's, of RGB in 0..1: what the weight file says too.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

#: Seed of the frame that is timed; those of calibration are others.
TIMED = 0
CALIBRATION = range(1, 9)


def frame(height, width, seed):
    """[H, W, 3] uint8."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / height
    image = np.full((height, width, 3), 118.0)
    # Waves whose height falls with their frequency, as in photographs.
    for _ in range(24):
        frequency = 0.5 * 2 ** random.uniform(0, 5)
        angle, phase = random.uniform(0, 2 * np.pi, 2)
        wave = np.sin(
            2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase
        )
        image += (40 / frequency**0.8) * wave[..., None] * random.uniform(0.5, 1, 3)
    for _ in range(5):
        centre, radius = random.random(2) * (1, width / height), random.uniform(0.06, 0.25)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        image[inside] = 0.3 * image[inside] + 0.7 * random.uniform(20, 235, 3)
    image += 4 * random.standard_normal(image.shape)
    return image.clip(0, 255).round().astype(np.uint8)


def planes(picture):
    """A frame as the networks take it: [1, 3, H, W] float32, normalised (in
    float64, so that the rounding is that of the last step)."""
    values = picture.astype(np.float64) / 255
    values = (values - MEAN) / STD
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], np.float32)
