"""Made-up films of things that move, with exact masks and ids: twins, crossings, leaving
and coming back.

    frames, truth = film("touch", seed=1)                  # things and ground drawn
    frames, truth = film("touch", seed=1, pictures=photographs(data_folder()))

frames: [T, H, W, 3] uint8 RGB.  truth: [T, H, W] uint8: 0 ground, 1... ids, VOID where less
than a fifth of a thing is seen.  Everything follows from kind, seed, sizes and pictures.

    side by side  twins drive beside each other, a gap between them
    pass          twins pass each other on two rows
    touch         twins meet, touch for a while, and part again
    cross         two unlike things cross, one before the other
    replaced      one leaves; later another of the same look enters elsewhere: another id
    behind        one passes behind a pillar; another is in sight all along
    back          one leaves over a border and soon comes back over it: the same id
    stop          one drives, stands still, and drives on, beside a thing that never moves
    decoys        one drives between things of its look that never move: they are ground
    arrivals      nothing at first; then three, one after the other, the last like the first
    exposure      two unlike things, while the exposure falls to a half and comes back
    parts         a thing of two halves of unlike looks, which move as one
    pan           two unlike things, and a camera that moves
    pan twins     twins that pass each other, and a camera that moves

The camera stands still but in the last two.  Things are 2 to 6 % of the frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

#: What is too little of a thing to be found.
VOID, LEAST_SEEN = 255, 0.2
#: Of the frames, in grey levels: what a camera adds.
NOISE = 2.0


class Pictures(NamedTuple):
    """things: [H, W, 4] float32 0..1 with alpha.  grounds: [H, W, 3]."""

    things: list[np.ndarray]
    grounds: list[np.ndarray]


def photographs(folder):
    """Pictures of ../shared/data (docs/TESTING.md), None where they are absent: things that
    fill much of their box, so that they have no gaps and no thin parts."""
    from PIL import Image

    files = [sorted(Path(folder, *each).glob("*")) for each in
             (("sprites_tuxpaint", "png"), ("backgrounds", "jpg"))]
    if not all(files):
        return None
    things = []
    for path in files[0]:
        picture = Image.open(path).convert("RGBA")
        picture = picture.crop(picture.getchannel("A").getbbox())
        solid = np.mean(np.asarray(picture)[..., 3] > 128)
        if 0.45 < picture.width / picture.height < 2.2 and solid > 0.6:
            picture.thumbnail((128, 128))
            things.append(np.asarray(picture, np.float32) / 255)
    grounds = []
    for path in files[1]:
        picture = Image.open(path).convert("RGB")
        picture.thumbnail((800, 800))
        grounds.append(np.asarray(picture, np.float32) / 255)
    return Pictures(things, grounds)


def texture(random, height, width, slope=1.2, channels=3):
    """[H, W, 3], mean 0, deviation 1: its spectrum falls with the frequency as that of
    photographs; mostly gray."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    fall = 1 / np.maximum(np.hypot(y, x), 1 / max(height, width)) ** slope
    fall[0, 0] = 0
    planes = []
    for _ in range(channels + 1):
        spectrum = fall * np.exp(2j * np.pi * random.random(fall.shape))
        plane = np.fft.irfft2(spectrum, (height, width))
        planes.append(plane / plane.std())
    mixed = [0.9 * planes[0] + 0.44 * plane for plane in planes[1:]]
    return np.stack(mixed, axis=2).astype(np.float32)


def drawn_ground(random, height, width):
    """Two grounds of unlike textures and colours that meet at a slanted line."""
    colours = random.uniform(0.25, 0.65, (2, 1)) + random.uniform(-0.08, 0.08, (2, 3))
    parts = [
        colour + random.uniform(0.03, 0.08) * texture(random, height, width)
        for colour in colours
    ]
    y, x = np.mgrid[:height, :width]
    line = random.uniform(0.2, 0.45) * height + random.uniform(-0.15, 0.15) * (x - width / 2)
    return np.where((y < line)[..., None], *parts).clip(0, 1).astype(np.float32)


def drawn_thing(random, side, away_from):
    """A closed shape, [side, side, 4], of a colour unlike that of the ground, in two tones."""
    y, x = np.mgrid[:side, :side] / (side - 1) * 2 - 1
    angle = np.arctan2(y, x)
    squareness = random.uniform(2, 5)
    aspect = random.uniform(0.6, 1)
    radius = (abs(x) ** squareness + abs(y / aspect) ** squareness) ** (1 / squareness)
    for wave in (2, 3, 5):
        radius *= 1 + random.uniform(0, 0.1) * np.sin(wave * angle + random.uniform(0, 6.3))
    alpha = ((0.85 - radius) * side / 4 + 0.5).clip(0, 1)
    colours = []
    while len(colours) < 2:
        colour = random.uniform(0.05, 0.95, 3)
        if np.linalg.norm(colour - away_from) > 0.4:
            colours.append(colour)
    turn = random.uniform(0, 6.3)
    tone = (np.sin(random.uniform(3, 8) * (x * np.cos(turn) + y * np.sin(turn))) > 0.3)[..., None]
    inside = np.where(tone, 0.7 * colours[0] + 0.3 * colours[1], colours[0])
    inside = inside + 0.07 * texture(random, side, side)
    rows, columns = (np.flatnonzero(alpha.any(axis=axis)) for axis in (1, 0))
    picture = np.dstack([inside.clip(0, 1), alpha]).astype(np.float32)
    return picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


class Thing(NamedTuple):
    """path: [T, 2] x, y of its centre, NaN where it is not.  number: 0 for ground."""

    picture: np.ndarray
    path: np.ndarray
    number: int


class Stage:
    """Where a film is made.  Later things stand before earlier ones."""

    def __init__(self, seed, frames, height, width, pictures):
        self.random = random = np.random.default_rng(seed)
        self.frames, self.height, self.width = frames, height, width
        self.pictures = pictures
        self.side = height / 3.5  # of a thing, about
        self.room = height + 10, 2 * width  # of the ground, for the camera
        self.camera = np.zeros((frames, 2))
        self.exposure = np.ones(frames)
        self.things = []
        if pictures is None:
            self.ground = drawn_ground(random, *self.room)
        else:
            self.ground = self._ground(pictures.grounds[random.integers(len(pictures.grounds))])

    def _ground(self, photograph):
        height, width = self.room
        scale = max(height / photograph.shape[0], width / photograph.shape[1])
        return ndimage.zoom(photograph, (scale + 0.01, scale + 0.01, 1), order=1)[:height, :width]

    def picture(self, size=1.0):
        """A thing of ``size`` sides, mirrored or not."""
        side = size * self.side
        if self.pictures is None:
            return drawn_thing(self.random, round(side * 1.35), self.ground.mean(axis=(0, 1)))
        choices = self.random.choice(len(self.pictures.things), 6, replace=False)
        behind = self.ground.mean(axis=(0, 1))

        def contrast(thing):
            return np.linalg.norm(thing[..., :3][thing[..., 3] > 0.5].mean(axis=0) - behind)

        best = max((self.pictures.things[choice] for choice in choices), key=contrast)
        scale = side / np.sqrt(best.shape[0] * best.shape[1])
        premultiplied = best.copy()
        premultiplied[..., :3] *= best[..., 3:]
        small = ndimage.zoom(premultiplied, (scale, scale, 1), order=1)
        small[..., :3] /= np.maximum(small[..., 3:], 1e-3)
        return small.clip(0, 1)

    def unlike(self, other, size=1.0):
        """A thing whose mean colour is not that of ``other``."""
        def mean(picture):
            return picture[..., :3][picture[..., 3] > 0.5].mean(axis=0)

        return max((self.picture(size) for _ in range(4)),
                   key=lambda each: np.linalg.norm(mean(each) - mean(other)))

    def add(self, picture, path, number):
        self.things.append(Thing(picture, np.broadcast_to(path, (self.frames, 2)), number))

    def path(self, *stops):
        """Straight between (time, x, y), of a film of time 0 to 1 and a frame of 1 x 1, with
        the thing nowhere before the first and after the last."""
        time, x, y = np.array(stops, float).T
        now = np.linspace(0, 1, self.frames)
        path = np.stack([np.interp(now, time, x) * self.width,
                         np.interp(now, time, y) * self.height], axis=1)
        path[(now < time[0]) | (now > time[-1])] = np.nan
        return path

    def of_width(self, picture):
        return picture.shape[1] / self.width

    def of_height(self, picture):
        return picture.shape[0] / self.height

    def _seen(self, x, y):
        """The ground from x, y on, anywhere between pixels."""
        left, top = int(np.floor(x)), int(np.floor(y))
        part = self.ground[top : top + self.height + 1, left : left + self.width + 1]
        part = part[:-1] + (y - top) * (part[1:] - part[:-1])
        return part[:, :-1] + (x - left) * (part[:, 1:] - part[:, :-1])

    def shoot(self):
        """frames, truth."""
        random = self.random
        frames = np.empty((self.frames, self.height, self.width, 3), np.uint8)
        truth = np.zeros((self.frames, self.height, self.width), np.uint8)
        for t in range(self.frames):
            image = self._seen(*self.camera[t])
            # Things of the ground go with it.
            owners = np.zeros((self.height, self.width), np.uint8)
            whole = {}
            for thing in self.things:
                if np.isnan(thing.path[t, 0]):
                    continue
                shift = self.camera[t] if thing.number == 0 else 0
                area = _paste(image, owners, thing, thing.path[t] - shift)
                if thing.number:
                    whole[thing.number] = whole.get(thing.number, 0) + area
            for number, area in whole.items():
                seen = owners == number
                truth[t][seen] = number if seen.sum() >= LEAST_SEEN * area else VOID
            image = image * np.float32(255 * self.exposure[t]) + NOISE * random.standard_normal(
                image.shape, np.float32
            )
            frames[t] = image.clip(0, 255).round()
        return frames, truth


def _paste(image, owners, thing, centre):
    """Draws a thing with its centre anywhere between pixels; returns its whole area."""
    height, width = thing.picture.shape[:2]
    corner = np.array([centre[1] - height / 2, centre[0] - width / 2])
    whole = np.floor(corner).astype(int)
    picture = np.pad(thing.picture, ((0, 1), (0, 1), (0, 0)))
    picture[..., :3] *= picture[..., 3:]
    picture = ndimage.shift(picture, (*(corner - whole), 0), order=1)
    top, left = np.maximum(whole, 0)
    bottom, right = np.minimum(whole + picture.shape[:2], image.shape[:2])
    area = int((picture[..., 3] >= 0.5).sum())
    if top >= bottom or left >= right:
        return area
    part = picture[top - whole[0] : bottom - whole[0], left - whole[1] : right - whole[1]]
    place = np.s_[top:bottom, left:right]
    image[place] = image[place] * (1 - part[..., 3:]) + part[..., :3]
    owners[place][part[..., 3] >= 0.5] = thing.number
    return area


# ---- Kinds ----------------------------------------------------------------------


def _either_way(stage, *stops):
    """The path, or its mirror image."""
    if stage.random.random() < 0.5:
        stops = [(time, 1 - x, y) for time, x, y in stops]
    return stops


def side_by_side(stage):
    twin = stage.picture()
    gap = (1.3 + 0.3 * stage.random.random()) * stage.of_height(twin)
    y = 0.5 + stage.random.uniform(-0.08, 0.08)
    way = _either_way(stage, (0, 0.2, y), (1, 0.75, y))
    for number, row in enumerate((-gap / 2, gap / 2), start=1):
        stage.add(twin, stage.path(*((t, x, y + row) for t, x, y in way)), number)


def passing(stage):
    twin = stage.picture()
    gap = 1.3 * stage.of_height(twin)
    y = 0.5 + stage.random.uniform(-0.04, 0.04)
    stage.add(twin, stage.path((0, 0.15, y - gap / 2), (1, 0.85, y - gap / 2)), 1)
    stage.add(twin, stage.path((0, 0.82, y + gap / 2), (1, 0.18, y + gap / 2)), 2)


def touching(stage):
    twin = stage.picture()
    near = 0.46 * stage.of_width(twin)  # half of what is between their centres when they touch
    y = stage.random.uniform(0.35, 0.65)
    stage.add(twin, stage.path((0, 0.15, y), (0.45, 0.5 - near, y), (0.6, 0.5 - near, y),
                               (1, 0.18, y - 0.1)), 1)
    stage.add(twin, stage.path((0, 0.85, y), (0.45, 0.5 + near, y), (0.6, 0.5 + near, y),
                               (1, 0.82, y + 0.1)), 2)


def crossing(stage):
    one = stage.picture()
    other = stage.unlike(one)
    y = stage.random.uniform(0.4, 0.6)
    stage.add(one, stage.path((0, 0.12, y - 0.07), (1, 0.85, y - 0.07)), 1)
    stage.add(other, stage.path((0, 0.88, y + 0.07), (1, 0.15, y + 0.07)), 2)


def replaced(stage):
    twin = stage.picture()
    witness = stage.unlike(twin)
    out = 0.5 + stage.of_width(twin)
    stage.add(witness, stage.path((0, 0.3, 0.75), (1, 0.62, 0.8)), 3)
    stage.add(twin, stage.path((0, 0.3, 0.3), (0.4, 0.5 + out, 0.25)), 1)
    stage.add(twin, stage.path((0.6, 0.5 - out, 0.35), (1, 0.4, 0.3)), 2)


def behind(stage):
    thing = stage.picture()
    witness = stage.unlike(thing)
    y = stage.random.uniform(0.25, 0.4)
    pillar = np.ones((stage.height, round(1.35 * thing.shape[1]), 4), np.float32)
    colour = stage.random.uniform(0.1, 0.9, 3)
    pillar[..., :3] = (colour + 0.05 * texture(stage.random, *pillar.shape[:2])).clip(0, 1)
    stage.add(thing, stage.path((0, 0.15, y), (1, 0.88, y)), 1)
    stage.add(witness, stage.path((0, 0.15, 0.8), (1, 0.3, 0.78)), 2)
    stage.add(pillar, (0.52 * stage.width, 0.5 * stage.height), 0)


def back(stage):
    thing = stage.picture()
    witness = stage.unlike(thing)
    out = 1 + 0.75 * stage.of_width(thing)
    y = stage.random.uniform(0.3, 0.4)
    stage.add(thing, stage.path((0, 0.5, y), (0.42, out, y), (0.52, out, y), (1, 0.45, y)), 1)
    stage.add(witness, stage.path((0, 0.25, 0.8), (1, 0.6, 0.77)), 2)


def stop(stage):
    thing = stage.picture()
    y = stage.random.uniform(0.35, 0.65)
    way = _either_way(stage, (0, 0.15, y), (0.35, 0.45, y), (0.7, 0.45, y), (1, 0.75, y))
    decoy = stage.unlike(thing)
    stage.add(decoy, ((1.45 - way[1][1] if way[1][1] > 0.5 else 0.85) * stage.width,
                      (0.2 if y > 0.5 else 0.8) * stage.height), 0)
    stage.add(thing, stage.path(*way), 1)


def decoys(stage):
    twin = stage.picture(0.9)
    for x, y in ((0.2, 0.22), (0.55, 0.2), (0.75, 0.82)):
        stage.add(twin, (x * stage.width, y * stage.height), 0)
    stage.add(twin, stage.path((0, 0.1, 0.56), (1, 0.9, 0.5)), 1)


def arrivals(stage):
    first = stage.picture(1.2)
    second = stage.unlike(first, 1.2)
    out = 1.0 + 0.6 * stage.of_height(first)
    stage.add(first, stage.path((0.12, 0.3, out), (0.45, 0.36, 1 - out)), 1)
    stage.add(second, stage.path((0.32, 0.65, 1 - out), (0.72, 0.6, out)), 2)
    stage.add(first, stage.path((0.62, 0.25, out), (0.95, 0.35, 1 - out)), 3)


def exposure(stage):
    one = stage.picture(1.1)
    now = np.linspace(0, 1, stage.frames)
    stage.exposure = np.interp(now, [0, 0.25, 0.45, 0.75, 1], [1, 1, 0.5, 0.95, 1])
    stage.add(one, stage.path((0, 0.1, 0.3), (1, 0.85, 0.35)), 1)
    stage.add(stage.unlike(one, 1.1), stage.path((0, 0.85, 0.72), (1, 0.15, 0.7)), 2)


def parts(stage):
    upper = stage.picture(0.85)
    lower = stage.unlike(upper, 0.85)
    width = min(upper.shape[1], lower.shape[1])

    def middle(picture):
        left = (picture.shape[1] - width) // 2
        return picture[:, left : left + width]

    upper, lower = middle(upper), middle(lower)
    # Overlapping, so that they hang together.
    overlap = round(0.3 * min(len(upper), len(lower)))
    joined = np.zeros((len(upper) + len(lower) - overlap, width, 4), np.float32)
    joined[: len(upper)] = upper
    below = joined[len(upper) - overlap :]
    solid = lower[..., 3:] >= 0.5
    below[:] = np.where(solid, lower, below)
    y = 0.5 + stage.random.uniform(-0.1, 0.1)
    stage.add(joined, stage.path(*_either_way(stage, (0, 0.15, y), (1, 0.8, y + 0.05))), 1)


def _pan(stage, share):
    stage.camera[:, 0] = np.linspace(0, share * stage.width, stage.frames)
    stage.camera[:, 1] = 3 + 3 * np.sin(np.linspace(0, 6, stage.frames))


def pan(stage):
    _pan(stage, 0.7)
    one = stage.picture(1.1)
    stage.add(one, stage.path((0, 0.35, 0.35), (1, 0.6, 0.3)), 1)
    stage.add(stage.unlike(one, 1.1), stage.path((0, 0.75, 0.7), (1, 0.35, 0.75)), 2)


def pan_twins(stage):
    _pan(stage, 0.5)
    passing(stage)


KINDS = {
    "side by side": side_by_side, "pass": passing, "touch": touching, "cross": crossing,
    "replaced": replaced, "behind": behind, "back": back, "stop": stop, "decoys": decoys,
    "arrivals": arrivals, "exposure": exposure, "parts": parts, "pan": pan,
    "pan twins": pan_twins,
}


def film(kind, seed, frames=48, height=216, width=432, pictures=None):
    """frames [T, H, W, 3] uint8, truth [T, H, W] uint8."""
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, found {kind!r}")
    # Numbers of kinds are of their names: those of others do not depend on the order.
    stage = Stage([seed, *kind.encode()], frames, height, width, pictures)
    KINDS[kind](stage)
    return stage.shoot()
