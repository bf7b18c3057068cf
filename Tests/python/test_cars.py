"""What labels make of four cars: the judge, by labels made of the boxes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import covey
from cars import box_iou, car_film, judge_cars
from davis import data_folder

FILM = data_folder() / "films" / "car-detection.mp4"
CARS = ("white", "pale blue", "red", "second white")


@pytest.fixture(scope="module")
def truth():
    return car_film()


def drawn(truth, number=lambda name, frame: CARS.index(name) + 1, shown=lambda car: True):
    """Label maps one by one, every car its box."""
    for frame in range(truth.frames):
        labels = np.zeros((truth.height, truth.width), np.uint16)
        for name, seen in truth.cars.items():
            if frame in seen and shown(seen[frame]):
                left, top, right, bottom = map(round, seen[frame].box)
                labels[top:bottom, left:right] = number(name, frame)
        yield labels


def test_the_boxes(truth):
    assert tuple(truth.cars) == CARS
    for seen in truth.cars.values():
        frames = sorted(seen)
        assert frames == list(range(frames[0], frames[-1] + 1))
        for before, after in itertools.pairwise(frames):
            left, top, right, bottom = seen[after].box
            assert 0 <= left < right <= truth.width and 0 <= top < bottom <= truth.height
            if truth.in_sight(seen[before]) and truth.in_sight(seen[after]):
                assert box_iou(seen[before].box, seen[after].box) > 0.7
        inside = [seen[frame].inside for frame in frames]
        assert max(inside) == 1 and inside[0] < 0.1 and inside[-1] < 0.1
        assert sum(map(truth.in_sight, seen.values())) > 20


def test_boxes_lie_where_the_film_changes(truth):
    """Not how they were made: where a car is the film is not the road."""
    if not FILM.is_file():
        pytest.skip(f"{FILM}: not there")
    frames = [frame[::4, ::4].astype(float) for frame in covey.Video(FILM)]
    assert len(frames) == truth.frames
    road = np.median(frames[:54], axis=0)
    for name, seen in truth.cars.items():
        for t, car in seen.items():
            if not truth.in_sight(car):
                continue
            light = np.median(frames[t] / road, axis=(0, 1))
            differs = abs(frames[t] - road * light).max(axis=2) > 40
            left, top, right, bottom = (round(side / 4) for side in car.box)
            assert differs[top:bottom, left:right].mean() > 0.5, (name, t)
            grown = np.zeros_like(differs)
            for other in (each[t] for each in truth.cars.values() if t in each):
                left, top, right, bottom = (round(side / 4) for side in other.box)
                grown[max(top - 5, 0) : bottom + 5, max(left - 5, 0) : right + 5] = True
            assert (differs & ~grown).mean() < 0.01, (name, t)


def test_boxes_themselves_are_right(truth):
    found = judge_cars(drawn(truth))
    assert (found.right, found.frames, found.switches) == (377, 377, 0)
    assert found.right_with_cars == found.with_cars == 41 + 45 + 24
    assert [list(ids) for ids in found.ids.values()] == [[1], [2], [3], [4]]
    # A car that is hardly in sight need not be found.
    found = judge_cars(drawn(truth, shown=truth.in_sight))
    assert found.right == 377


def test_nothing_is_wrong_where_there_are_cars(truth):
    found = judge_cars(np.zeros((truth.frames, truth.height, truth.width), np.uint8))
    assert (found.right, found.right_with_cars, found.switches) == (377 - found.with_cars, 0, 0)
    assert not any(found.ids.values())


def test_cars_must_not_share_an_id(truth):
    """The one that wears it longer keeps it."""
    shared = judge_cars(drawn(truth, lambda name, frame: (1, 2, 3, 1)[CARS.index(name)]))
    last = sum(map(truth.in_sight, truth.cars["second white"].values()))
    assert shared.right == 377 - last and shared.switches == 0


def test_ids_must_hold(truth):
    found = judge_cars(drawn(truth, lambda name, frame: CARS.index(name) + 1 + 10 * (frame > 210)))
    assert found.switches == 2  # blue and red
    assert [len(ids) for ids in found.ids.values()] == [1, 2, 2, 1]
    lost = {frame for frame, faults in found.wrong.items() if "not its id" in faults[0]}
    assert lost == set(found.wrong) and 377 - found.right == len(lost)
    # Of each car the shorter part is wrong: after frame 210 blue, up to it red.
    assert min(lost) == 194 and max(lost) == 222


def test_nothing_else_may_have_an_id(truth):
    def with_road(area):
        for labels in drawn(truth):
            labels[300 : 300 + area // 50, 600:650] = 9
            yield labels

    assert judge_cars(with_road(1650)).right == 377  # .5 % of the frame is 1,658.9 pixels
    assert judge_cars(with_road(1700)).right == 0


def test_a_car_must_be_whole_and_of_one_id(truth):
    def halves():
        for labels in drawn(truth):
            for number in np.unique(labels[labels > 0]):
                columns = np.flatnonzero((labels == number).any(axis=0))
                right = labels[:, (columns[0] + columns[-1]) // 2 :]
                right[right == number] += 10
            yield labels

    found = judge_cars(halves())
    assert found.right_with_cars == 0
    bonnets = [labels * (np.cumsum(labels > 0, axis=0) < 60) for labels in drawn(truth)]
    assert 0 < judge_cars(bonnets).right_with_cars < 40  # right while little is in sight


def test_labels_must_be_of_the_film(truth):
    with pytest.raises(ValueError, match="expected 377 frames, found 2"):
        judge_cars(np.zeros((2, 432, 768), np.uint8))
    with pytest.raises(ValueError, match="frame 0: expected 432x768 labels, found 4x4"):
        judge_cars(np.zeros((377, 4, 4), np.uint8))
