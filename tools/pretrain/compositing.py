"""Scenes made up on the fly: things over backgrounds, and whose each pixel is.

A scene has several views.  As `motion` it is a short film: things drift, turn and grow
steadily, and the camera pans.  Otherwise each view after the first is a jump: things are
moved at random, the background is shifted or replaced.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from pictures import Pictures, Pyramid, fit

Image = NDArray[np.float32]  # height x width x 3, 0...255
Random = np.random.Generator
#: Contrast is changed around this grey.
GREY = 110.0


@dataclass
class Thing:
    """A thing of a scene.  Lengths are in pixels, angles in degrees."""

    picture: Pyramid
    size: float
    x: float
    y: float
    angle: float
    mirrored: bool
    aspect: float
    brightness: float
    contrast: float
    saturation: float
    tint: NDArray[np.float32]
    blur: float
    shadow: tuple[float, float, float] | None  # right, down, strength
    camouflage: float  # how far its mean colour is pulled to that of what it covers
    velocity: NDArray[np.float64]
    turning: float
    growing: float  # logarithm, a view


@dataclass
class Crop:
    """Which part of a photograph stands behind the things."""

    zoom: float  # of the photograph's extent, 0...1
    x: float  # of the room there is, 0...1
    y: float
    mirrored: bool
    aspect: float

    @staticmethod
    def draw(rng: Random) -> Crop:
        return Crop(
            rng.uniform(0.3, 1), rng.random(), rng.random(), rng.random() < 0.5, rng.uniform(0.8, 1.25)
        )

    def moved(self, zoom: float, x: float, y: float) -> Crop:
        return Crop(
            float(np.clip(self.zoom * zoom, 0.2, 1)),
            float(np.clip(self.x + x, 0, 1)),
            float(np.clip(self.y + y, 0, 1)),
            self.mirrored,
            self.aspect,
        )


@dataclass
class Backdrop:
    """One photograph, or two that meet at a slanted horizon."""

    photographs: list[Pyramid]
    crops: list[Crop]
    horizon: float
    slant: float

    @staticmethod
    def draw(rng: Random, pictures: Pictures) -> Backdrop:
        count = 2 if rng.random() < 0.4 else 1
        return Backdrop(
            [pick(rng, pictures.backgrounds) for _ in range(count)],
            [Crop.draw(rng) for _ in range(count)],
            rng.uniform(0.25, 0.75),
            rng.normal(0, 0.2),
        )

    def moved(self, zoom: float, x: float, y: float) -> Backdrop:
        crops = [crop.moved(zoom, x, y) for crop in self.crops]
        return Backdrop(self.photographs, crops, self.horizon, self.slant)

    def render(self, height: int, width: int) -> Image:
        parts = [
            render_crop(photograph, crop, height, width)
            for photograph, crop in zip(self.photographs, self.crops, strict=True)
        ]
        if len(parts) == 1:
            return parts[0]
        rows = np.arange(height)[:, None] / height - self.horizon
        below = rows - self.slant * (np.arange(width)[None] / width - 0.5)
        mix = 1 / (1 + np.exp(-np.clip(below * height / 2, -20, 20)))
        mix = mix.astype(np.float32)[..., None]
        return parts[0] * (1 - mix) + parts[1] * mix


@dataclass
class Camera:
    """What happens to a whole view: exposure, blur, noise, compression."""

    brightness: float
    contrast: float
    saturation: float
    blur: float
    noise: float
    quality: int  # JPEG's; 0: not compressed

    @staticmethod
    def draw(rng: Random) -> Camera:
        return Camera(
            rng.uniform(0.75, 1.25),
            rng.uniform(0.75, 1.25),
            0.0 if rng.random() < 0.08 else rng.uniform(0.6, 1.25),
            rng.uniform(0.3, 1.3) if rng.random() < 0.35 else 0.0,
            rng.uniform(0, 6) if rng.random() < 0.4 else 0.0,
            int(rng.integers(40, 95)) if rng.random() < 0.5 else 0,
        )

    def take(self, rng: Random, image: Image) -> Image:
        image = adjust(image, self.brightness, self.contrast, self.saturation)
        if self.blur:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        if self.noise:
            image = image + rng.normal(0, self.noise, image.shape)
        image = image.clip(0, 255).astype(np.float32)
        if self.quality:
            _, coded = cv2.imencode(
                ".jpg", image.astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, self.quality]
            )
            image = cv2.imdecode(coded, cv2.IMREAD_COLOR).astype(np.float32)
        return image


@dataclass
class Scene:
    images: list[Image] = field(default_factory=list)
    #: A view's segments x height x width: how much of a pixel is whose, background first.
    owners: list[NDArray[np.float32]] = field(default_factory=list)


def compose(
    rng: Random,
    pictures: Pictures,
    height: int,
    width: int,
    views: int,
    motion: bool = False,
    most_things: int = 6,
    shapes: float = 0.35,
) -> Scene:
    """Makes up a scene of 1...`most_things` things; `shapes` of them are random shapes."""
    count = int(rng.integers(1, most_things + 1))
    if count > 4 and rng.random() < 0.4:
        count -= 2
    things = [draw_thing(rng, pictures, height, width, shapes) for _ in range(count)]
    backdrop = Backdrop.draw(rng, pictures)
    camera = Camera.draw(rng)
    light = [rng.uniform(0.75, 1.25) for _ in range(3)]
    pan = (1 + rng.normal(0, 0.02), *rng.normal(0, 0.06, 2))
    scene = Scene()
    for view in range(views):
        if view:
            if motion:
                backdrop = backdrop.moved(*pan)
            elif rng.random() < 0.4:
                backdrop = Backdrop.draw(rng, pictures)
            else:
                backdrop = backdrop.moved(rng.uniform(0.85, 1.15), *rng.normal(0, 0.15, 2))
        image = adjust(backdrop.render(height, width), *light).copy()
        owners = [np.ones((height, width), np.float32)]
        for thing in things:
            x, y, angle, growth = place(rng, thing, view, motion, min(height, width))
            paste(image, owners, thing, x, y, angle, growth)
        scene.images.append(camera.take(rng, image))
        scene.owners.append(np.stack(owners))
    return scene


def draw_thing(rng: Random, pictures: Pictures, height: int, width: int, shapes: float) -> Thing:
    side = min(height, width)
    if rng.random() < shapes:
        picture = draw_shape(rng, pictures)
    else:
        picture = pick(rng, pictures.cutouts)
    return Thing(
        picture=picture,
        size=side * np.exp(rng.uniform(np.log(0.22), np.log(1.0))),
        x=rng.uniform(0.05, 0.95) * width,
        y=rng.uniform(0.08, 0.95) * height,
        angle=rng.normal(0, 15) if rng.random() < 0.8 else rng.uniform(0, 360),
        mirrored=rng.random() < 0.5,
        aspect=np.exp(rng.normal(0, 0.12)),
        brightness=rng.uniform(0.75, 1.25),
        contrast=rng.uniform(0.75, 1.25),
        saturation=rng.uniform(0.5, 1.3),
        tint=(1 + rng.uniform(-0.12, 0.12, 3)).astype(np.float32),
        blur=rng.uniform(0.2, 1.2) if rng.random() < 0.5 else 0.0,
        shadow=(rng.uniform(-6, 6), rng.uniform(0, 7), rng.uniform(0.1, 0.5))
        if rng.random() < 0.4
        else None,
        camouflage=rng.uniform(0.2, 0.9) if rng.random() < 0.35 else 0.0,
        velocity=rng.normal(0, 0.06, 2) * side,
        turning=rng.normal(0, 4),
        growing=rng.normal(0, 0.04),
    )


def draw_shape(rng: Random, pictures: Pictures) -> Pyramid:
    """A random closed shape, filled with one or two pieces of photograph or with plain colour."""
    side = 120

    def fill() -> Image:
        if rng.random() < 0.25:
            ramp = np.linspace(-40, 40, side, dtype=np.float32)[None, :, None]
            plain = rng.uniform(10, 245, 3).astype(np.float32) + ramp * rng.uniform(-1, 1)
            return np.broadcast_to(plain, (side, side, 3)).clip(0, 255)
        crop = Crop(rng.uniform(0.15, 0.6), rng.random(), rng.random(), False, 1.0)
        image = render_crop(pick(rng, pictures.textures), crop, side, side)
        return adjust(image, *rng.uniform(0.5, 1.5, 3))

    alpha = draw_outline(rng, side)[..., None]
    image = fill()
    if rng.random() < 0.5:
        part = draw_outline(rng, side)[..., None] / 255
        image = image * (1 - part) + fill() * part
    shape = np.concatenate([image * (alpha / 255), alpha], axis=2).clip(0, 255).astype(np.uint8)
    return [shape, fit(shape, side // 2), fit(shape, side // 4)]


def draw_outline(rng: Random, side: int) -> NDArray[np.float32]:
    """A closed outline, smooth or with corners, filled with 255."""
    corners = int(rng.integers(3, 14))
    if rng.random() < 0.5:
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    else:
        angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radii = rng.uniform(0.45, 1, corners)
    if rng.random() < 0.6:
        circle = np.linspace(0, 2 * np.pi, 90)
        radii = np.interp(circle, angles, radii, period=2 * np.pi)
        kernel = np.hanning(17) / np.hanning(17).sum()
        radii = np.convolve(np.r_[radii[-8:], radii, radii[:8]], kernel, "valid")
        angles = circle
    points = np.stack(
        [np.cos(angles) * radii, np.sin(angles) * radii * rng.uniform(0.35, 1)], axis=1
    )
    points = points / np.abs(points).max() * 0.48 + 0.5
    mask = np.zeros((side, side), np.uint8)
    fraction = 3  # bits behind the point
    cv2.fillPoly(mask, [(points * side * 2**fraction).astype(np.int32)], 255, cv2.LINE_AA, fraction)
    return mask.astype(np.float32)


def place(
    rng: Random, thing: Thing, view: int, motion: bool, side: int
) -> tuple[float, float, float, float]:
    """Where a thing is in a view: x, y, angle, and how much it has grown."""
    if motion:
        x, y = thing.velocity * view
        return thing.x + x, thing.y + y, thing.angle + thing.turning * view, np.exp(thing.growing * view)
    if view == 0:
        return thing.x, thing.y, thing.angle, 1.0
    return (
        thing.x + rng.normal(0, 0.15) * side,
        thing.y + rng.normal(0, 0.12) * side,
        thing.angle + rng.normal(0, 12),
        np.exp(rng.normal(0, 0.15)),
    )


def paste(
    image: Image,
    owners: list[NDArray[np.float32]],
    thing: Thing,
    x: float,
    y: float,
    angle: float,
    growth: float,
) -> None:
    """Draws a thing over the image and takes its pixels from their owners so far."""
    height, width = image.shape[:2]
    size = thing.size * growth
    level = 0
    while level + 1 < len(thing.picture) and max(thing.picture[level + 1].shape[:2]) >= size:
        level += 1
    picture = thing.picture[level]
    scale = size / max(picture.shape[:2])
    cosine = np.cos(np.radians(angle)) * scale
    sine = np.sin(np.radians(angle)) * scale
    flip = -1 if thing.mirrored else 1
    turn = np.array([[cosine * flip * thing.aspect, -sine], [sine * flip * thing.aspect, cosine]])
    shift = np.array([x, y]) - turn @ (np.array(picture.shape[1::-1]) / 2)
    warp = np.column_stack([turn, shift]).astype(np.float32)
    drawn = cv2.warpAffine(picture, warp, (width, height), flags=cv2.INTER_LINEAR)
    colour = drawn[..., :3].astype(np.float32)
    alpha = drawn[..., 3:].astype(np.float32) / 255
    # The colours are multiplied by alpha, and so is the grey that contrast is changed around.
    colour = colour * thing.brightness
    colour = (colour - GREY * alpha) * thing.contrast + GREY * alpha
    grey = colour.mean(axis=2, keepdims=True)
    colour = ((grey + (colour - grey) * thing.saturation) * thing.tint).clip(0, 255 * alpha)
    if thing.blur:
        alpha = cv2.GaussianBlur(alpha, (0, 0), thing.blur)[..., None]
        colour = cv2.GaussianBlur(colour, (0, 0), thing.blur)
    if thing.camouflage:
        covered = (image * alpha).sum(axis=(0, 1)) - colour.sum(axis=(0, 1))
        colour += thing.camouflage * covered / (alpha.sum() + 1) * alpha
        colour = colour.clip(0, 255 * alpha)
    if thing.shadow:
        right, down, strength = thing.shadow
        offset = np.array([[1, 0, right], [0, 1, down]], np.float32)
        shadow = cv2.GaussianBlur(cv2.warpAffine(alpha, offset, (width, height)), (0, 0), 3)
        image *= 1 - strength * shadow[..., None]
    image *= 1 - alpha
    image += colour
    alpha = alpha[..., 0]
    for owner in owners:
        owner *= 1 - alpha
    owners.append(alpha)


def render_crop(photograph: Pyramid, crop: Crop, height: int, width: int) -> Image:
    picture = photograph[0] if crop.zoom < 0.55 else photograph[-1]
    rows, columns = picture.shape[:2]
    part_rows = min(rows, columns * height / width * crop.aspect) * crop.zoom
    part_columns = min(columns, part_rows * width / height / crop.aspect)
    left, top = crop.x * (columns - part_columns), crop.y * (rows - part_rows)
    warp = np.array([[part_columns / width, 0, left], [0, part_rows / height, top]], np.float32)
    image = cv2.warpAffine(
        picture,
        warp,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return (image[:, ::-1] if crop.mirrored else image).astype(np.float32)


def adjust(image: Image, brightness: float, contrast: float, saturation: float) -> Image:
    image = (image * brightness - GREY) * contrast + GREY
    grey = image.mean(axis=2, keepdims=True)
    return (grey + (image - grey) * saturation).clip(0, 255).astype(np.float32)


def pick(rng: Random, pyramids: list[Pyramid]) -> Pyramid:
    return pyramids[rng.integers(len(pyramids))]
