"""Made-up scenes with known truth: blobs that move over a ground of regions.

    queries, keys, truth = maps_scene("cluttered", seed=1, frames=12)
    frames, truth = film("return", seed=1, frames=40, height=120, width=240)

One description (`Scene`) serves both: as features, for the clustering alone, and
as pixels, for the whole.  Everything follows from kind, seed and the sizes.

    easy       two blobs with features of their own on a plain ground
    medium     four blobs on a ground of two regions, features less far apart
    cluttered  eight blobs on four regions, much alike
    return     one blob passes behind a pillar and comes back, another is in sight all along
    pan        the camera moves over a ground of several regions

Coordinates: y in [0, 1) downwards, x in [0, width / height) to the right; time in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

KINDS = ("easy", "medium", "cluttered", "return", "pan")


class Style(NamedTuple):
    """alike: cosine between the features of two regions.  noise: smooth variation
    inside a region, of the length of its feature.  pan: how far the camera goes, in
    widths of the frame."""

    blobs: int
    grounds: int
    alike: float
    noise: float
    pan: float = 0.0


STYLES = {
    "easy": Style(blobs=2, grounds=1, alike=0.0, noise=0.25),
    "medium": Style(blobs=4, grounds=2, alike=0.2, noise=0.6),
    "cluttered": Style(blobs=8, grounds=4, alike=0.3, noise=0.69),
    "return": Style(blobs=2, grounds=1, alike=0.1, noise=0.4),
    "pan": Style(blobs=3, grounds=3, alike=0.1, noise=0.45, pan=0.8),
}


class Scene:
    """Who is where: regions 0 .. count - 1, the ground's first, then the pillar of
    "return", then the blobs, later ones in front (but behind the pillar)."""

    def __init__(self, kind, seed, aspect):
        if kind not in STYLES:
            raise ValueError(f"kind: expected one of {', '.join(KINDS)}, found {kind!r}")
        self.kind, self.style, self.aspect = kind, STYLES[kind], aspect
        self.random = random = np.random.default_rng([KINDS.index(kind), seed])
        span = aspect * (1 + self.style.pan)  # of the world
        # Regions of the ground: nearest of some points, evenly spread along x.
        count = self.style.grounds
        self.ground = np.stack([
            random.uniform(0.2, 0.8, count),
            (np.arange(count) + random.uniform(0.3, 0.7, count)) / count * span,
        ], axis=1)
        self.pillar = count if kind == "return" else None
        self.first_blob = count + (kind == "return")
        self.count = self.first_blob + self.style.blobs
        blobs = self.style.blobs
        self.size = random.uniform(0.11, 0.19, blobs)
        self.start = np.stack([
            random.uniform(0.15, 0.85, blobs),
            (np.arange(blobs) + random.uniform(0.2, 0.8, blobs)) / blobs * span,
        ], axis=1)
        self.velocity = random.uniform(0.2, 0.6, (blobs, 2)) * random.choice([-1, 1], (blobs, 2))
        self.wobble = random.uniform(0, 0.25, (blobs, 2))
        self.phase = random.uniform(0, 2 * np.pi, (blobs, 2))
        if kind == "return":
            # Blob 0 goes from left to right at one height, the pillar in its way; the
            # other stays on the left of it.
            self.size[:] = 0.12
            self.wobble[:] = np.minimum(self.wobble, 0.1)
            self.start[0] = 0.3 + 0.1 * random.uniform(), 0.2 * aspect
            self.velocity[0] = 0, 0.6 * aspect
            self.start[1] = 0.75, 0.15 * aspect
            self.velocity[1] = 0, 0.1 * aspect

    def camera(self, time):
        return self.style.pan * self.aspect * time

    def centre(self, blob, time):
        """Of a blob in the world; it turns round at the world's borders."""
        limits = np.array([1, self.aspect * (1 + self.style.pan)])
        return limits - abs((self.start[blob] + self.velocity[blob] * time) % (2 * limits) - limits)

    def regions(self, time, rows, columns):
        """Region at the centres of a grid: [rows, columns]."""
        y, x = self.grid(time, rows, columns)
        distance = [(y - a) ** 2 + (x - b) ** 2 for a, b in self.ground]
        regions = np.argmin(distance, axis=0)
        for blob in range(self.style.blobs):
            centre = self.centre(blob, time)
            dy, dx = y - centre[0], x - centre[1]
            angle = np.arctan2(dy, dx)
            radius = self.size[blob] * (
                1 + self.wobble[blob, 0] * np.sin(2 * angle + self.phase[blob, 0])
                + self.wobble[blob, 1] * np.sin(3 * angle + self.phase[blob, 1])
            )
            regions[dy**2 + dx**2 < radius**2] = self.first_blob + blob
        if self.pillar is not None:
            regions[abs(x - self.aspect / 2) < 0.125 * self.aspect] = self.pillar
        return regions

    def grid(self, time, rows, columns):
        """World coordinates of the centres of a grid's cells: two of [rows, columns]."""
        y = (np.arange(rows) + 0.5) / rows
        x = (np.arange(columns) + 0.5) / columns * self.aspect + self.camera(time)
        return np.meshgrid(y, x, indexing="ij")


def times(frames):
    return np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)


class Waves:
    """Smooth random fields [..., channels] of places in the world: a few waves."""

    def __init__(self, random, channels, longest=1.0, shortest=0.25, count=12):
        frequency = 2 * np.pi / np.exp(random.uniform(np.log(shortest), np.log(longest), count))
        angle = random.uniform(0, 2 * np.pi, count)
        self.y, self.x = frequency * np.sin(angle), frequency * np.cos(angle)
        self.phase = random.uniform(0, 2 * np.pi, count)
        self.weights = random.standard_normal((count, channels)) * np.sqrt(2 / count)

    def __call__(self, y, x):
        return np.sin(np.multiply.outer(y, self.y) + np.multiply.outer(x, self.x)
                      + self.phase) @ self.weights


# ---- Features -------------------------------------------------------------------

#: Samples a side in a patch: patches at borders are mixtures.
SAMPLES = 4
#: The product of two features of one region, in every head, before exp.
GAIN = 6.0
#: Noise of each patch by itself, of the length of a feature.
GRAIN = 0.1


def maps_scene(kind, seed, frames, rows=24, columns=48, channels=384, heads=8):
    """queries, keys [T, N, C] float32 of all frames, and truth [T, N]: the region
    that most of a patch belongs to, the smallest on ties."""
    scene = Scene(kind, seed, columns / rows)
    style, random = scene.style, scene.random
    common = random.standard_normal(channels)
    own = random.standard_normal((scene.count, channels))
    features = np.sqrt(style.alike) * common + np.sqrt(1 - style.alike) * own
    # Inside a region features vary with the place in it: a blob carries its own along.
    waves = [Waves(random, channels) for _ in range(scene.count)]
    all_features = np.empty((frames, rows * columns, channels))
    truth = np.empty((frames, rows * columns), np.int64)
    for index, time in enumerate(times(frames)):
        fine = scene.regions(time, rows * SAMPLES, columns * SAMPLES)
        fine = fine.reshape(rows, SAMPLES, columns, SAMPLES).swapaxes(1, 2)
        fine = fine.reshape(rows * columns, SAMPLES**2)
        share = (fine[..., None] == np.arange(scene.count)).mean(axis=1)  # [N, regions]
        truth[index] = share.argmax(axis=1)
        y, x = (each.ravel() for each in scene.grid(time, rows, columns))
        total = share @ features
        for region in np.flatnonzero(share.any(axis=0)):
            here = share[:, region] > 0
            origin = (0, 0)
            if region >= scene.first_blob:
                origin = scene.centre(region - scene.first_blob, time)
            inside = style.noise * waves[region](y[here] - origin[0], x[here] - origin[1])
            total[here] += share[here, region, None] * inside
        all_features[index] = total + GRAIN * random.standard_normal(total.shape)
    scale = np.sqrt(GAIN / np.sqrt(channels / heads))
    queries = (scale * all_features).astype(np.float32)
    # As the spatio-temporal block's, keys are not just queries.
    keys = scale * (all_features + 0.1 * all_features.mean(axis=(0, 1)))
    return queries, keys.astype(np.float32), truth


# ---- Pixels ---------------------------------------------------------------------


def film(kind, seed, frames, height, width):
    """RGB frames [T, H, W, 3] uint8, and truth [T, H, W]: the region of each pixel."""
    scene = Scene(kind, seed, width / height)
    random = scene.random
    colours = random.uniform(40, 215, (scene.count, 3))
    # Coarse and fine texture, fixed to the ground and to each blob.
    waves = [
        (Waves(random, 3, 0.5, 0.15), Waves(random, 3, 0.08, 0.03)) for _ in range(scene.count)
    ]
    pictures = np.empty((frames, height, width, 3), np.uint8)
    truth = np.empty((frames, height, width), np.int64)
    for index, time in enumerate(times(frames)):
        truth[index] = regions = scene.regions(time, height, width)
        y, x = scene.grid(time, height, width)
        picture = colours[regions]
        for region in np.unique(regions):
            here = regions == region
            origin = (0, 0)
            if region >= scene.first_blob:
                origin = scene.centre(region - scene.first_blob, time)
            coarse, fine = (wave(y[here] - origin[0], x[here] - origin[1])
                            for wave in waves[region])
            picture[here] += 14 * coarse + 10 * fine
        picture += 3 * random.standard_normal(picture.shape)
        pictures[index] = picture.clip(0, 255).round()
    return pictures, truth
