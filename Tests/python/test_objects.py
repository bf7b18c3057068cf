"""What is told of objects besides their masks: how they move, their kinds, how many."""

import numpy as np
import pytest
from films_of_things import VOID, film

import covey


def scene(shift, size=(216, 432), frames=12, seed=3):
    """A textured ground, and a textured square that moves by ``shift`` pixels a frame, before
    a camera that moves by (2, 1); the square's corners."""
    random = np.random.default_rng(seed)
    height, width = size
    ground = random.integers(0, 255, (height // 4 + 40, width // 4 + 40, 3), np.uint8)
    ground = ground.repeat(4, 0).repeat(4, 1)
    thing = random.integers(0, 255, (16, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    pictures, corners = [], []
    for t in range(frames):
        picture = ground[20 - t : 20 - t + height, 40 - 2 * t : 40 - 2 * t + width].copy()
        y, x = 60 + (shift[1] + 1) * t, 120 + (shift[0] + 2) * t
        picture[y : y + 64, x : x + 64] = thing
        pictures.append(picture)
        corners.append((y, x))
    return pictures, corners


@pytest.mark.parametrize("shift", [(4, 0), (-3, 2), (0, -3)])
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_motion_of_patches_is_that_of_the_scene(nano, shift, streaming):
    """Less the camera's.  Inside things, to a quarter of a pixel of the working size; the
    working size is 192x384."""
    pictures, corners = scene(shift)
    with nano.session(streaming=streaming) as session:
        results = list(session.segment(pictures))
    assert not results[0].motion.any()
    rows, columns = results[0].motion.shape[:2]
    for result, (y, x) in list(zip(results, corners, strict=True))[2:]:
        assert result.motion.shape == (rows, columns, 2)
        top, left = -(-(y + 8) * rows // 216) + 1, -(-(x + 8) * columns // 432) + 1
        bottom, right = (y + 56) * rows // 216 - 1, (x + 56) * columns // 432 - 1
        inside = result.motion[top:bottom, left:right].reshape(-1, 2)
        # Observed: medians within .15.
        assert np.abs(np.median(inside, axis=0) - shift).max() < 0.3, (result.index, inside)
        ground = result.motion[:, : (x - 16) * columns // 432 - 1].reshape(-1, 2)
        assert np.abs(np.median(ground, axis=0)).max() < 0.3
        for each in result.objects:
            assert np.isfinite([each.motion_x, each.motion_y]).all()
    with pytest.raises(ValueError, match="read-only"):
        results[1].motion[0, 0, 0] = 1


def test_motion_of_an_object(nano):
    frames, truth = film("pan", seed=1)
    with nano.session() as session:
        results = list(session.segment(list(frames)))
    checked = 0
    for result, before, after in zip(results[1:], truth, truth[1:], strict=False):
        for each in result.objects:
            on = np.bincount(after[result.labels == each.id], minlength=VOID + 1)
            thing = int(on[:VOID].argmax())
            if thing == 0 or on[thing] < 0.9 * on.sum():
                continue
            # Relative to the camera: that of the ground is not known here, so its size
            # only: what stands would be still.
            assert np.hypot(each.motion_x, each.motion_y) < 20
            checked += (before == thing).any()
    assert checked > 20


def segmented(nano, frames, **options):
    with nano.session(**options) as session:
        return [(each.labels.copy(), each) for each in session.segment(list(frames))]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_kinds(nano, streaming):
    """Twins have one id together; where objects are, kinds are."""
    frames, _ = film("pass", seed=1)
    objects = segmented(nano, frames, streaming=streaming)
    kinds = segmented(nano, frames, streaming=streaming, output="kinds")
    assert objects[-1][1].total_objects == 2 and kinds[-1][1].total_objects == 1
    for (own, _), (shared, _) in zip(objects, kinds, strict=True):
        # Where two objects of a kind meet, the pixels between may be either's or none's.
        assert ((own > 0) == (shared > 0)).mean() > 0.999
    (kind,) = kinds[-1][1].objects
    assert kind.objectness == pytest.approx(
        np.mean([each.objectness for each in objects[-1][1].objects]), abs=0.05)


@pytest.mark.parametrize("kind", ["cross", "arrivals", "replaced"])
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
def test_kinds_are_objects_together(nano, kind, streaming):
    """Every object is of one kind."""
    frames, _ = film(kind, seed=1)
    objects = segmented(nano, frames, streaming=streaming)
    kinds = segmented(nano, frames, streaming=streaming, output="kinds")
    assert kinds[-1][1].total_objects <= objects[-1][1].total_objects
    for number in range(1, objects[-1][1].total_objects + 1):
        worn = sum(
            np.bincount(shared[own == number], minlength=64)
            for (own, _), (shared, _) in zip(objects, kinds, strict=True)
        )
        # Beside the others of its kind a small one may be a speck, which masks dissolve.
        specks = worn[0] if worn.sum() < 0.002 * sum(each.size for each, _ in objects) else 0
        assert worn[1:].max() > 0.98 * (worn.sum() - specks)


def test_less_of_an_object(nano):
    """A lower bound finds all that a higher one does, and more; a high one less."""
    frames, _ = film("decoys", seed=1)
    found = {
        least: np.stack([labels for labels, _ in segmented(nano, frames, least_objectness=least)])
        for least in (0.05, 0.3, 0.9)
    }
    areas = {least: (labels > 0).mean() for least, labels in found.items()}
    assert areas[0.05] > areas[0.3] > areas[0.9], areas
    both = (found[0.05] > 0) & (found[0.3] > 0)
    # What it finds more may join with a thing, and go with it.  Observed: .94.
    assert both.sum() > 0.9 * (found[0.3] > 0).sum()
    assert np.array_equal(
        found[0.3], np.stack([labels for labels, _ in segmented(nano, frames)])
    )
    for wrong in (-0.1, 1.0, float("nan")):
        with pytest.raises(covey.ArgumentError, match="least_objectness"):
            nano.session(least_objectness=wrong)


@pytest.mark.parametrize("kind", ["pan", "decoys"])
def test_a_number_asked_for_later(nano, kind):
    """What the cut for objects does by itself is not left in one by number."""
    frames = list(film(kind, seed=1)[0][:16])
    with nano.session() as session:
        list(session.segment(frames))
        session.recut(target_clusters=16)
        later = [each.labels.copy() for each in session.results()]
    at_once = segmented(nano, frames, target_clusters=16)
    assert all(np.array_equal(a, b) for a, (b, _) in zip(later, at_once, strict=True))
