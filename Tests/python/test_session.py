"""Sessions and their results."""

import gc

import numpy as np
import pytest

import covey


@pytest.fixture
def finished(model, video):
    """Results of a video with several ids in every frame."""
    with model.session(tau=0.05, output="clusters", mode="reference") as session:
        for index, frame in enumerate(video):
            session.push(frame, 1000 + index)
        session.finish()
        results = list(session)
    assert max(each.object_count for each in results) > 1
    return results


def test_results_in_order(finished, video):
    assert [each.index for each in finished] == list(range(len(video)))
    assert [each.timestamp for each in finished] == [1000 + i for i in range(len(video))]
    for result in finished:
        assert (result.height, result.width) == video.shape[1:3]
        assert result.labels.shape == video.shape[1:3]
        assert result.labels.dtype == np.uint16
    (total,) = {each.total_objects for each in finished}
    seen = {int(label) for each in finished for label in np.unique(each.labels)} - {0}
    # A cluster may be left without a pixel.
    assert len(seen) > 1
    assert seen <= set(range(1, total + 1))


def test_objects_describe_the_labels(finished):
    first = {}
    for result in finished:
        assert len(result.objects) == result.object_count
        areas = [each.area for each in result.objects]
        assert areas == sorted(areas, reverse=True)
        assert {each.id for each in result.objects} == set(np.unique(result.labels)) - {0}
        for found in result.objects:
            rows, columns = np.nonzero(result.labels == found.id)
            assert found.area == len(rows)
            assert (found.x, found.y) == (columns.min(), rows.min())
            assert (found.width, found.height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
            # Means as float32: 2^-24 of at most 60 pixels.
            assert found.centroid_x == pytest.approx(columns.mean(), abs=1e-5)
            assert found.centroid_y == pytest.approx(rows.mean(), abs=1e-5)
            assert 0 <= found.confidence <= 1
            assert 0 <= found.objectness <= 1
            assert found.first_frame == first.setdefault(found.id, result.index)


def decoded(lengths):
    """The mask of COCO run lengths, by their definition."""
    height, width = lengths["size"]
    flat = np.zeros(height * width, bool)
    start = 0
    for index, count in enumerate(lengths["counts"]):
        flat[start : start + count] = index % 2 == 1
        start += count
    assert start == flat.size
    return flat.reshape(width, height).T


def test_masks_and_run_lengths(finished):
    for result in finished:
        for number in [0, *(each.id for each in result.objects)]:
            mask = result.mask(number)
            np.testing.assert_array_equal(mask, result.labels == number)
            np.testing.assert_array_equal(decoded(result.rle(number)), mask)
        assert result.rle(60000) == {
            "size": [result.height, result.width],
            "counts": [result.height * result.width],
        }
        with pytest.raises(ValueError):
            result.rle(-1)


def test_labels_are_read_only_and_outlive_everything(model_path, video):
    model = covey.Model(model_path)
    session = model.session(output="clusters", tau=0.05)
    results = list(session.segment(video))
    copies = [each.labels.copy() for each in results]
    views = [each.labels[::2, 3:] for each in results]
    with pytest.raises(ValueError):
        results[0].labels[0, 0] = 1
    session.close()
    model.close()
    del session, model, results
    gc.collect()
    # Enough allocations to overwrite what had been freed too early.
    filler = [np.full(copies[0].shape, 0xFFFF, np.uint16) for _ in range(200)]
    for view, copy in zip(views, copies, strict=True):
        np.testing.assert_array_equal(view, copy[::2, 3:])
    del filler


def test_states(model, video):
    session = model.session()
    assert list(session) == []
    with pytest.raises(covey.StateError) as caught:
        session.finish()
    assert isinstance(caught.value, RuntimeError)
    session.push(video[0])
    assert list(session) == []
    session.finish()
    with pytest.raises(covey.StateError):
        session.push(video[0])
    assert len(list(session)) == 1
    assert list(session) == []
    session.reset()
    session.push(video[0][:20, :30])
    with pytest.raises(covey.ArgumentError):
        session.push(video[0])
    session.push(video[1][:20, :30])
    session.finish()
    assert [each.index for each in session] == [0, 1]


def test_use_after_close(model, video):
    with model.session() as session:
        session.push(video[0])
        session.finish()
        results = session.results()
    session.close()
    assert session.closed
    for use in (
        lambda: session.push(video[0]),
        session.finish,
        session.reset,
        session.cancel,
        lambda: session.memory,
        lambda: next(results),
        lambda: next(session.segment(video)),
        session.__enter__,
    ):
        with pytest.raises(ValueError, match="closed"):
            use()


def test_a_session_serves_video_after_video(model, video):
    with model.session(tau=0.05) as session:
        first = [each.labels for each in session.segment(video)]
        other = [each.labels for each in session.segment(video[:, :20])]
        again = [each.labels for each in session.segment(video)]
    assert other[0].shape == (20, 60)
    np.testing.assert_array_equal(first, again)


def test_results_of_frames_one_by_one(model, model_path, video, monkeypatch):
    expected = model.segment(video)
    given = covey.results((frame for frame in video), model)
    np.testing.assert_array_equal([each.labels for each in given], expected)
    monkeypatch.setenv("COVEY_MODEL", str(model_path))
    np.testing.assert_array_equal([each.labels for each in covey.results(video)], expected)


def test_progress(model, video):
    heard = []
    with model.session(progress=lambda *what: heard.append(what)) as session:
        session.push(video[0])
        pushed = len(heard)
        session.push(video[1])
        session.finish()
    assert {stage for stage, _ in heard[:pushed]} <= {covey.Stage.ENCODE}
    assert covey.Stage.CLUSTER in {stage for stage, _ in heard}
    assert all(0 <= fraction <= 1 for _, fraction in heard)


@pytest.mark.parametrize("value", [None, True, 0, 1, "yes"])
def test_only_false_cancels(model, video, value):
    # 0 == False, but a function that counts something must not cancel by it.
    assert model.segment(video, progress=lambda *_: value).shape == video.shape[:3]


def test_progress_cancels_and_the_session_works_on(model, video):
    expected = model.segment(video)
    stop = {covey.Stage.ENCODE, covey.Stage.CLUSTER}
    calls = []

    def progress(stage, fraction):
        calls.append(stage)
        return stage not in stop

    with model.session(progress=progress) as session:
        with pytest.raises(covey.CancelledError) as caught:
            session.push(video[0])
        assert caught.value.status is covey.Status.ERROR_CANCELLED
        stop.discard(covey.Stage.ENCODE)
        for frame in video:
            session.push(frame)
        with pytest.raises(covey.CancelledError):
            session.finish()
        stop.clear()
        session.finish()
        np.testing.assert_array_equal([each.labels for each in session], expected)
    with pytest.raises(covey.CancelledError):
        model.segment(video, progress=lambda *_: False)
    with pytest.raises(covey.CancelledError):
        model.encode(video[0], progress=lambda *_: False)


def test_exceptions_of_progress_come_out(model, video):
    class Odd(Exception):
        pass

    def progress(stage, fraction):
        raise Odd(stage)

    with model.session(progress=progress) as session:
        with pytest.raises(Odd):
            session.push(video[0])
        with pytest.raises(Odd):
            session.push(video[0])
    with pytest.raises(Odd):
        model.segment(video, progress=progress)
    with pytest.raises(Odd):
        covey.cluster(np.zeros((1, 2, 2, 4)), np.zeros((2, 4)), heads=1, progress=progress)


def test_progress_may_use_the_library(model, video):
    expected = model.encode(video[0])
    seen = []

    def progress(stage, fraction):
        seen.append(model.encode(video[0]))
        with pytest.raises(covey.StateError, match="callback"):
            session.push(video[0])

    with model.session(progress=progress) as session:
        session.push(video[0])
    np.testing.assert_array_equal(seen[0], expected)


def test_closing_in_the_callback(model, video):
    def progress(stage, fraction):
        session.close()

    session = model.session(progress=progress)
    session.push(video[0])
    with pytest.raises(ValueError, match="closed"):
        session.finish()


def test_cancel_before_the_call(model, video):
    with model.session() as session:
        session.cancel()
        with pytest.raises(covey.CancelledError):
            session.push(video[0])
        session.push(video[0])
        session.finish()
