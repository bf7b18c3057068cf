"""The four cars of car-detection.mp4: boxes made by hand, and what labels make of them.

    judgement = judge_cars(labels)      # [377, 432, 768], or the maps one by one
    judgement.right, judgement.ids, judgement.switches

A frame is right where
- every car in sight has one id, whose mask's box has an IoU of at least .5 with the car's;
- it is the id that the car has in most frames, and no other car's;
- nothing else of more than .5 % of the frame has an id.
A car is in sight where a third of it is, and what is seen of it fills 1 % of the frame.  Of a
car that is not (yet, or any more), the id may be there or not, if it is where the car is.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

#: Of the frame: what is seen of a car that must be found, and what else may have an id.
LEAST_CAR, LEAST_OTHER = 0.01, 0.005
LEAST_INSIDE = 1 / 3
LEAST_IOU = 0.5
#: Of a mask, inside a car's box: then it is of that car, in whole or in part.
MOSTLY = 0.5


@dataclass(frozen=True)
class Seen:
    """A car in a frame.  box: left, top, right, bottom.  inside: the share of the car."""

    box: tuple[float, float, float, float]
    inside: float

    @property
    def area(self):
        return (self.box[2] - self.box[0]) * (self.box[3] - self.box[1])


@dataclass(frozen=True)
class Film:
    """cars: of each name, what is seen of it in frames."""

    frames: int
    height: int
    width: int
    cars: dict[str, dict[int, Seen]]

    def in_sight(self, seen):
        return (
            seen.inside >= LEAST_INSIDE and seen.area >= LEAST_CAR * self.height * self.width
        )


def car_film():
    """The film as it was read by eye."""
    path = Path(__file__).with_name("car_detection.json")
    text = json.loads(path.read_text(encoding="utf-8"))
    cars = {}
    for car in text["cars"]:
        keys = np.array(car["boxes"], float)
        frames = np.arange(keys[0, 0], keys[-1, 0] + 1)
        boxes = np.stack([np.interp(frames, keys[:, 0], side) for side in keys.T[1:]], axis=1)
        # A car drives as far in every frame: the share that is inside grows evenly.
        inside = np.interp(frames, [*car["enters"], *car["leaves"]], [0, 1, 1, 0])
        cars[car["name"]] = {
            int(frame): Seen(tuple(box), share)
            for frame, box, share in zip(frames, boxes.tolist(), inside.tolist(), strict=True)
        }
    return Film(text["frames"], text["height"], text["width"], cars)


@dataclass(frozen=True)
class Judgement:
    """right: frames.  with_cars, right_with_cars: of those with a car in sight.  switches: how
    often a car's id was another than when it was last found.  ids: of each car, those that it
    had, and in how many frames, most first.  wrong: what is wrong with each frame that is."""

    right: int
    frames: int
    with_cars: int
    right_with_cars: int
    switches: int
    ids: dict[str, dict[int, int]]
    wrong: dict[int, list[str]] = field(repr=False)


def box_iou(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)


def _masks(labels):
    """id: (box, area) of a label map."""
    found = {}
    for number in np.unique(labels[labels > 0]).tolist():
        mask = labels == number
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        found[number] = tuple(map(int, box)), int(mask.sum())
    return found


def _inside(labels, number, box):
    """The pixels of an id in a box."""
    left, top, right, bottom = round(box[0]), round(box[1]), round(box[2]), round(box[3])
    return int((labels[top:bottom, left:right] == number).sum())


def judge_cars(labels, truth=None):
    """``labels``: [T, H, W] ids, or an iterable of [H, W], of all frames in order."""
    truth = truth or car_film()
    size = truth.height * truth.width
    names = list(truth.cars)
    wrong = {}
    worn = {name: {} for name in names}  # frame: id, where the car is in sight and found
    frames = 0
    for frame, ids in enumerate(labels):
        if ids.shape != (truth.height, truth.width):
            raise ValueError(
                f"frame {frame}: expected {truth.height}x{truth.width} labels, "
                f"found {'x'.join(map(str, ids.shape))}"
            )
        frames += 1
        faults = wrong.setdefault(frame, [])
        masks = _masks(ids)
        seen = {name: truth.cars[name][frame] for name in names if frame in truth.cars[name]}
        for name, car in seen.items():
            if not truth.in_sight(car):
                continue
            fits = {number: box_iou(car.box, box) for number, (box, _) in masks.items()}
            best = max(fits, key=fits.get, default=None)
            if best is not None and fits[best] >= LEAST_IOU:
                worn[name][frame] = best
            else:
                faults.append(f"{name}: no id")
        taken = {worn[name][frame] for name in seen if frame in worn[name]}
        for number, (_, area) in masks.items():
            if number in taken or area <= LEAST_OTHER * size:
                continue
            host = [
                name for name, car in seen.items()
                if _inside(ids, number, car.box) > MOSTLY * area
            ]
            if not host:
                faults.append(f"{number}: where no car is")
            elif truth.in_sight(seen[host[0]]):
                faults.append(f"{host[0]}: {number} too")
    if frames != truth.frames:
        raise ValueError(f"labels: expected {truth.frames} frames, found {frames}")
    counts = {
        name: {number: list(worn[name].values()).count(number) for number in worn[name].values()}
        for name in names
    }
    own = _own_ids(counts)
    for name in names:
        for frame, number in worn[name].items():
            if number != own[name]:
                wrong[frame].append(f"{name}: {number}, which is not its id")
    switches = 0
    for name in names:
        numbers = list(worn[name].values())
        switches += sum(a != b for a, b in itertools.pairwise(numbers))
    wrong = {frame: faults for frame, faults in wrong.items() if faults}
    shown = {t for car in truth.cars.values() for t, seen in car.items() if truth.in_sight(seen)}
    return Judgement(
        frames - len(wrong),
        frames,
        len(shown),
        len(shown - set(wrong)),
        switches,
        {
            name: dict(sorted(each.items(), key=lambda item: -item[1]))
            for name, each in counts.items()
        },
        wrong,
    )


def _own_ids(counts):
    """An id for each car, no two the same, that most frames agree with; None for no id."""
    numbers = sorted({number for each in counts.values() for number in each})
    table = np.array([[each.get(number, 0) for number in numbers] for each in counts.values()])
    own = dict.fromkeys(counts)
    if numbers:
        names = list(counts)
        for row, column in zip(*linear_sum_assignment(table, maximize=True), strict=True):
            if table[row, column]:
                own[names[row]] = numbers[column]
    return own
