"""Cuts and fades: made-up scenes with a random model, real films with the default one."""

import json

import davis
import numpy as np
import pytest

import covey

HEIGHT, WIDTH = 60, 80


def scene(seed, count):
    """``count`` frames of blocks of random colours, with a square that moves over them
    and a little noise."""
    random = np.random.default_rng(seed)
    blocks = np.kron(random.integers(0, 256, (6, 8, 3)), np.ones((10, 10, 1)))
    frames = np.repeat(blocks[None], count, axis=0)
    for index, frame in enumerate(frames):
        left = 5 + 2 * index % 50
        frame[20:40, left : left + 20] = 255 - blocks[0, 0]
    return np.clip(frames + random.integers(-3, 4, frames.shape), 0, 255).astype(np.uint8)


def run(model, frames, **options):
    with model.session(output="clusters", **options) as session:
        return list(session.segment(frames))


def shots(results):
    """Where shots begin."""
    found = [each.shot for each in results]
    assert found[0] == 0 and set(np.diff(found)) <= {0, 1}
    return [index for index in range(1, len(found)) if found[index] != found[index - 1]]


SHOTS = [(1, 7), (2, 8), (3, 6)]
FILM = np.concatenate([scene(*each) for each in SHOTS])
STARTS = [7, 15]
FINE = {"tau": 0.02, "query_pool": 1}


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("streaming", [False, True])
def test_each_shot_is_as_if_alone(model, streaming, threads):
    """To the pixel, but for ids, which go on counting; keys start anew."""
    options = {**FINE, "streaming": streaming, "threads": threads, "key_stride": 3}
    results = run(model, FILM, **options)
    assert [each.index for each in results] == list(range(len(FILM)))
    assert shots(results) == STARTS
    last = 0
    for first, end in zip([0, *STARTS], [*STARTS, len(FILM)], strict=True):
        alone = run(model, FILM[first:end], **options)
        for found, expected in zip(results[first:end], alone, strict=True):
            np.testing.assert_array_equal(
                found.labels, np.where(expected.labels > 0, expected.labels + last, 0)
            )
            np.testing.assert_array_equal(found.confidence, expected.confidence)
            for one, other in zip(found.objects, expected.objects, strict=True):
                assert (one.id, one.area) == (other.id + last, other.area)
                assert one.first_frame == other.first_frame + first
        assert alone[0].total_objects > 1
        last += alone[-1].total_objects
    assert results[-1].total_objects == last
    if not streaming:
        assert {each.total_objects for each in results} == {last}


def test_kept_as_one(model):
    for options in ({"keep_shots": True}, {"keep_shots": True, "streaming": True}):
        assert not shots(run(model, FILM, **FINE, **options))
    assert not shots(run(model, FILM, mode="reference", tau=0.02))


@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_a_stream_is_late_by_a_window_and_the_frame_that_tells(model, window):
    with model.session(output="clusters", streaming=True, window=window, **FINE) as session:
        next_one, last = 0, {}
        for index, frame in enumerate(FILM):
            session.push(frame, index)
            for result in session.results():
                assert result.index == result.timestamp == next_one
                next_one += 1
                ids = set(np.unique(result.labels))
                for shot, others in last.items():
                    assert shot == result.shot or not ids & others
                last[result.shot] = last.get(result.shot, set()) | ids
            # Nothing settled waits longer than until its window is full.
            assert index + 1 - next_one <= window
        session.finish()
        assert len(list(session.results())) == len(FILM) - next_one
    assert set(last) <= {0, 1, 2} and len(last) >= 2


def test_what_is_no_cut(model):
    film = scene(1, 20)
    flash = film.copy()
    flash[9] = scene(2, 1)
    black = film.copy()
    black[9:13] = 0
    for frames in (film, flash, black, np.repeat(film, 3, axis=0), film[:1], scene(4, 1)[[0] * 9]):
        for streaming in (False, True):
            assert not shots(run(model, frames, streaming=streaming, **FINE))
    # The damaged frame takes a key, or none, as any other.
    with_keys = run(model, flash, key_stride=4, **FINE)
    plain = run(model, flash, key_stride=4, keep_shots=True, **FINE)
    for one, other in zip(with_keys, plain, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)


def test_tree_and_recut(model):
    with model.session(output="clusters", **FINE) as session:
        before = list(session.segment(FILM))
        with pytest.raises(covey.UnsupportedError, match="3 shots.*keep_shots"):
            _ = session.tree
        session.recut(target_clusters=2)
        fewer = list(session.results())
        assert shots(fewer) == STARTS
        assert 3 <= fewer[0].total_clusters <= 6 < before[0].total_clusters
        assert len({each.tau for each in fewer}) == 3
        session.recut()
        for one, other in zip(session.results(), before, strict=True):
            np.testing.assert_array_equal(one.labels, other.labels)
        session.reset()
        assert not shots(list(session.segment(FILM[:7])))


def test_cancelled_where_a_shot_ends(model):
    """The frame has not been taken, and can be pushed again."""
    state = {"cancel": False}

    def progress(stage, fraction):
        return not (state["cancel"] and stage == covey.Stage.ASSIGN)

    options = {**FINE, "streaming": True, "window": 6}
    whole, found, cancelled = run(model, FILM, **options), [], 0
    with model.session(output="clusters", **options, progress=progress) as session:
        for index, frame in enumerate(FILM):
            state["cancel"] = True
            try:
                session.push(frame, index)
            except covey.CancelledError:
                cancelled += 1
                state["cancel"] = False
                session.push(frame, index)
            found += list(session.results())
        state["cancel"] = False
        session.finish()
        found += list(session.results())
    assert cancelled >= 3
    for one, other in zip(found, whole, strict=True):
        assert one.shot == other.shot
        np.testing.assert_array_equal(one.labels, other.labels)


@pytest.mark.parametrize("streaming", [False, True])
def test_memory(model, streaming):
    """Many shots, and never more than estimated; of a stream nothing that grows."""
    film = np.concatenate([scene(seed, 4) for seed in range(20)])
    options = {**FINE, "streaming": streaming, "key_stride": 4, "threads": 1}
    with model.session(output="clusters", **options) as session:
        results = list(session.segment(film))
        memory = session.memory
    assert len(shots(results)) >= 15
    estimate = model.estimate_memory(WIDTH, HEIGHT, len(film), output="clusters", **options)
    assert memory.peak <= estimate.peak
    if streaming:
        with model.session(output="clusters", **options) as session:
            for _ in session.segment(np.concatenate([film] * 4)):
                pass
            assert session.memory.peak <= 1.1 * memory.peak


def test_command(model_path, tmp_path, capsys):
    from PIL import Image

    from covey.commands.main import main

    (tmp_path / "film").mkdir()
    for index, frame in enumerate(FILM):
        Image.fromarray(frame).save(tmp_path / "film" / f"{index:03d}.png")
    arguments = [
        "segment", str(tmp_path / "film"), "-o", str(tmp_path / "out"), "--model", str(model_path),
    ]
    assert main(arguments) == 0
    assert "3 shots" in capsys.readouterr().out
    told = json.loads((tmp_path / "out" / "result.json").read_text())
    assert told["figures"]["shots"] == 3 if "figures" in told else told["shots"] == 3
    assert main([*arguments, "--keep-shots"]) == 0
    assert "shots" not in capsys.readouterr().out


# ---- Real films ------------------------------------------------------------------


def clip(folder, first=0, last=None):
    """Frames [T, 240, 428, 3] of a folder of the shared data."""
    from PIL import Image

    paths = sorted(folder.glob("*.jpg")) + sorted(folder.glob("*.png"))
    if not paths:
        pytest.skip(f"{folder}: not there")
    return np.stack(
        [
            np.asarray(Image.open(path).convert("RGB").resize((428, 240), Image.Resampling.BILINEAR))
            for path in paths[first:last]
        ]
    )


def boundaries(nano, frames):
    """Of a stream of large windows and coarse masks: the same as of a whole video."""
    return shots(
        run(nano, frames, streaming=True, window=8, mask="nearest", query_pool=8, key_budget=2)
    )


DATA = davis.data_folder()
PAIRS = [
    ("davis16_train/bear/frames", "davis16_train/elephant/frames"),
    ("davis16_train/boat/frames", "davis16_train/surf/frames"),
    ("xiph_chen_bus/frames", "davis16_train/bus/frames"),
    ("davis16_train/rhino/frames", "xiph_chen_garden/frames"),
    ("xiph_chen_paris/frames", "xiph_chen_salesman/frames"),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_joined_films(nano, one, other):
    joined = np.concatenate([clip(DATA / one, 0, 10), clip(DATA / other, 0, 10)])
    assert boundaries(nano, joined) == [10]


@pytest.mark.parametrize("length", [10, 16])
def test_a_fade_between_films(nano, length):
    one = clip(DATA / "davis16_train/bear/frames", 0, 14 + length).astype(np.float32)
    other = clip(DATA / "davis16_train/lucia/frames", 0, 14 + length).astype(np.float32)
    share = (np.arange(1, length + 1) / (length + 1))[:, None, None, None]
    fade = (1 - share) * one[14:] + share * other[:length]
    found = boundaries(nano, np.concatenate([one[:14], fade, other[length:]]).astype(np.uint8))
    assert len(found) == 1 and 14 < found[0] <= 14 + length + 4


@pytest.mark.parametrize("name", ["bmx-bumps", "mallard-fly", "soccerball"])
def test_fast_films_are_one_shot(nano, name):
    """Where most moves: what passes in front, a camera that swings."""
    assert not boundaries(nano, clip(DATA / "davis16_train" / name / "frames"))


def test_changes_of_exposure_are_none(nano):
    path = DATA / "films" / "car-detection.mp4"
    if not path.is_file():
        pytest.skip(f"{path}: not there")
    assert not boundaries(nano, list(covey.Video(path)))
