"""Clips for training: which frames, read in any order, by threads; and the small files
of a run."""

import contextlib
import itertools
import json
import re
import sys
import threading
import time
import types
import weakref

import numpy as np
import pytest
from PIL import Image
from scenes import film
from test_images import rotated

import covey
from covey.reading import clips
from covey.reading.clips import Clips, Footage, read_ahead
from covey.training import choosing_tau
from covey.training.choosing_tau import pooled, tau_of
from covey.training.feature_cache import FeatureCache
from covey.training.run_folder import RunLog, plot_losses, read_log, smoothed
from covey.writing import images
from covey.writing.whole_files import written_whole


def with_short_groups(path, frames, codec="libx264", **options):
    """A film with key frames every 8, and B frames between."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.options = {"g": "8", "bf": "3", **options}
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def without_the_first(path, source, count):
    """A film that begins in the middle of a group of frames: those before are in the file, but
    not to be shown."""
    import av

    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        stream = read.streams.video[0]
        copy = written.add_stream_from_template(stream)
        shift = round(count / 25 / stream.time_base)
        for packet in read.demux(stream):
            if packet.size:
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copy
                written.mux(packet)


def made(path, kind):
    """A film of 30 frames in a file of that kind; its key frames, but in the last four, are 8
    apart."""
    frames = film("easy", 3, 30, 32, 48)[0]
    if kind == "folder":
        path.mkdir()
        for index, frame in enumerate(frames):
            Image.fromarray(frame).save(path / f"{index}.png")
    elif kind == "gif":
        pictures = [Image.fromarray(frame) for frame in frames]
        pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=40)
    elif kind == "long.mp4":
        images.write_video(path, frames)
    elif kind == "cut.mp4":
        more = film("easy", 3, 34, 32, 48)[0]
        with_short_groups(path.with_name("whole.mp4"), more)
        without_the_first(path, path.with_name("whole.mp4"), 4)
    elif kind == "mpg":
        with_short_groups(path, frames, "mpeg1video")
    elif kind == "plain.avi":
        with_short_groups(path, frames, bf="0")
    else:
        with_short_groups(path, frames)
        if kind == "turned.mp4":
            rotated(path, 1)
    return path


@pytest.mark.parametrize(
    "kind",
    ["mp4", "mkv", "ts", "mpg", "avi", "plain.avi", "long.mp4", "cut.mp4", "turned.mp4", "gif",
     "folder"],
)  # fmt: skip
def test_frames_in_any_order(tmp_path, kind):
    """They are those of reading from the start."""
    path = made(tmp_path / f"clip.{kind}", kind)
    expected = list(covey.Video(path))
    footage = Footage(path)
    assert footage.count == len(expected) == 30
    for indices in ([0, 1, 2], [27, 28, 29], [7, 8, 9], [3, 14, 25], [16, 17, 18], [29, 29, 29]):
        for found, index in zip(footage.read(indices), indices, strict=True):
            np.testing.assert_array_equal(found, expected[index])
    for indices in ([-1, 0, 1], [28, 29, 30]):
        with pytest.raises(ValueError, match="expected 0 to 29"):
            footage.read(indices)


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "plain.avi", "cut.mp4"])
def test_films_are_decoded_from_the_key_frame_before(tmp_path, monkeypatch, kind):
    """Not from the first on."""
    footage = Footage(made(tmp_path / f"clip.{kind}", kind))
    monkeypatch.setattr(Footage, "_counted", lambda footage, indices: None)
    assert len(footage.read([25, 27, 28])) == 3
    with pytest.raises(ValueError, match="frame 2 cannot be read"):
        footage.read([0, 1, 2])


def test_frames_after_a_seek_are_those_expected(tmp_path):
    """From a key frame that the index knows on, until a time is another: what follows cannot be
    told from its neighbours."""
    index = Footage(made(tmp_path / "clip.mp4", "mp4"))._index
    times = [int(time) for time in index._times]

    def numbers(*decoded):
        frames = [types.SimpleNamespace(key_frame=key, pts=time) for key, time in decoded]
        return [number for number, _ in index.numbered(frames)]

    key, plain = [(True, time) for time in times], [(False, time) for time in times]
    assert numbers(plain[7], key[8], plain[9], plain[10]) == [8, 9, 10]
    assert numbers(key[8], plain[9], plain[11]) == numbers(key[8], plain[9], plain[8]) == [8, 9]
    assert numbers((True, times[8] + 1), plain[9]) == numbers(plain[8], plain[9]) == []
    assert numbers(key[24], *plain[25:], (False, times[-1] + 1)) == [24, 25, 26, 27, 28, 29]


@pytest.mark.parametrize("fails", ["raises", "lands behind"])
def test_a_seek_that_fails(tmp_path, monkeypatch, fails):
    """Frames are counted from the first on then."""
    import av

    path = made(tmp_path / "clip.mp4", "mp4")
    footage = Footage(path)
    expected = footage.read([9, 12, 15])
    real = clips.open_film

    class Container:
        def __init__(self, path):
            self._real = real(path)

        def __getattr__(self, name):
            return getattr(self._real, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._real.close()

        def seek(self, time, stream):
            if fails == "raises":
                raise av.FFmpegError(1, "not permitted")
            self._real.seek(time + stream.duration // 2, stream=stream)

    monkeypatch.setattr(clips, "open_film", Container)
    np.testing.assert_array_equal(footage.read([9, 12, 15]), expected)


def test_packets_of_a_film_are_not_kept(tmp_path, monkeypatch):
    """While its frames are counted: films are larger than memory."""
    alive, most = weakref.WeakSet(), []

    class Packet:
        size, is_discard, is_keyframe = 1, False, False

        def __init__(self, time):
            self.pts = self.dts = time
            alive.add(self)
            most.append(len(alive))

    real = clips.open_film
    container = real(made(tmp_path / "clip.mp4", "mp4"))

    class Long:
        format, streams = container.format, container.streams

        def demux(self, stream):
            return (Packet(time) for time in range(100))

    monkeypatch.setattr(clips, "open_film", lambda path: contextlib.nullcontext(Long()))
    assert Footage(tmp_path / "clip.mp4").count == 100
    assert max(most) < 5


def test_a_film_without_times(tmp_path):
    """Raw H.264 has none: frames are counted."""
    path = tmp_path / "clip.h264"
    with_short_groups(path, film("easy", 3, 20, 32, 48)[0])
    expected = list(covey.Video(path))
    footage = Footage(path)
    assert footage.count == len(expected) == 20
    for found, index in zip(footage.read([4, 9, 14]), (4, 9, 14), strict=True):
        np.testing.assert_array_equal(found, expected[index])


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        Footage(tmp_path / "absent.mp4")
    (tmp_path / "text.mp4").write_text("no film")
    with pytest.raises(Exception, match=r"text\.mp4"):
        Footage(tmp_path / "text.mp4")
    with pytest.raises(ValueError, match="no pictures in this folder; films are named one by one"):
        Footage(tmp_path)
    folder = tmp_path / "sizes"
    folder.mkdir()
    for index, height in enumerate((8, 8, 9)):
        Image.fromarray(np.zeros((height, 8, 3), np.uint8)).save(folder / f"{index}.png")
    assert Footage(folder).count == 3
    with pytest.raises(ValueError, match="not of one size"):
        Footage(folder).read([0, 1, 2])


class Counted:
    """Footage that is nothing but long."""

    def __init__(self, path, count, broken=False):
        self.path, self.count, self.broken = path, count, broken

    def read(self, indices):
        if self.broken:
            raise ValueError(f"{self.path}: broken")
        return [np.full((2, 2, 3), index, np.uint8) for index in indices]


def test_places():
    footage = [Counted("long", 60), Counted("short", 4), Counted("two", 2), Counted("middle", 20)]
    clips = Clips(footage, 3, 4, 11)
    chosen = [clips.place(number) for number in range(4000)]
    assert chosen == [clips.place(number) for number in range(4000)]
    assert chosen[:50] != [clips.place(number, series=1) for number in range(50)]
    assert chosen[:50] != [Clips(footage, 3, 4, 12).place(number) for number in range(50)]
    gaps, starts = {}, {}
    for each, indices in chosen:
        first, middle, last = indices
        assert middle - first == last - middle
        assert first >= 0 and last < each.count
        gaps.setdefault(each.path, []).append(middle - first)
        starts.setdefault(each.path, set()).add(first)
    # Two frames are no clip; four only leave room for one gap.
    assert set(gaps) == {"long", "short", "middle"}
    assert set(gaps["short"]) == {1} and starts["short"] == {0, 1}
    assert set(gaps["long"]) == set(gaps["middle"]) == {1, 2, 3, 4}
    # As likely as long: 4,000 draws, four deviations of the largest are .03.
    for path, count in (("long", 60), ("short", 4), ("middle", 20)):
        assert len(gaps[path]) / 4000 == pytest.approx(count / 84, abs=0.03)
    for gap in (1, 2, 3, 4):
        assert gaps["long"].count(gap) / len(gaps["long"]) == pytest.approx(0.25, abs=0.04)
    # Every place of the longest that is nearest together.
    assert starts["long"] == set(range(58))
    with pytest.raises(ValueError, match="no video of 3 frames"):
        Clips([Counted("two", 2)])
    with pytest.raises(ValueError, match="gap"):
        Clips(footage, gap=0)


def test_a_clip_of_a_broken_video_is_replaced():
    """By the same one every time; all broken is an error, not a loop."""
    clips = Clips([Counted("good", 30), Counted("bad", 30, broken=True)], seed=3)
    read = [clips.read(number) for number in range(60)]
    assert {clip.path for clip in read} == {"good"}
    replaced = [clip for clip in read if clip.skipped]
    assert 15 < len(replaced) < 45
    path, text = replaced[0].skipped[0]
    assert path == "bad" and re.fullmatch("frames [0-9]+, [0-9]+, [0-9]+: bad: broken", text)
    assert [clip.indices for clip in read] == [clips.read(n).indices for n in range(60)]
    with pytest.raises(ValueError, match=r"no clip can be read.*bad: broken"):
        Clips([Counted("bad", 30, broken=True)]).read(0)


def test_reading_ahead():
    """In order, by several threads, never far ahead; an error where it belongs."""
    threads, started = set(), []

    def read(number):
        started.append(number)
        threads.add(threading.get_ident())
        time.sleep(0.02 if number % 3 == 0 else 0)
        if number == 12:
            raise LookupError("twelve")
        return number

    clips = read_ahead(read, range(1000), workers=2, ahead=3)
    assert started == []
    assert list(itertools.islice(clips, 10)) == list(range(10))
    assert len(started) <= 10 + 3 + 1
    assert len(threads) == 2 and threading.get_ident() not in threads
    assert [next(clips), next(clips)] == [10, 11]
    with pytest.raises(LookupError, match="twelve"):
        next(clips)
    assert not any(each.name.startswith("covey-clips") for each in threading.enumerate())
    clips = read_ahead(read, range(1000))
    next(clips)
    clips.close()
    assert len(started) < 40
    # What has not been begun is not done any more.
    started.clear()
    clips = read_ahead(lambda number: (started.append(number), time.sleep(0.05)), range(99), 1, 20)
    next(clips)
    clips.close()
    assert len(started) <= 3
    assert not any(each.name.startswith("covey-clips") for each in threading.enumerate())


def test_the_cache_of_features(tmp_path):
    random = np.random.default_rng(0)
    clips = random.standard_normal((7, 3, 4, 5)).astype(np.float32)
    cache = FeatureCache(tmp_path / "features.npy", 7, (3, 4, 5), seed=1)
    assert cache.bytes == clips.nbytes
    assert not cache.open()
    told = []
    cache.fill(iter(clips), told.append)
    assert told == [1, 2, 3, 4, 5, 6, 7]
    # NumPy reads it too.
    np.testing.assert_array_equal(np.load(tmp_path / "features.npy"), clips)
    again = FeatureCache(tmp_path / "features.npy", 7, (3, 4, 5), seed=1)
    assert again.open()
    found = [np.array(cache.clip(number)) for number in range(21)]
    np.testing.assert_array_equal(found, [again.clip(number) for number in range(21)])
    orders = [
        [int(np.flatnonzero((clips == each).all(axis=(1, 2, 3)))[0]) for each in found[i : i + 7]]
        for i in (0, 7, 14)
    ]
    assert all(sorted(order) == list(range(7)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    other = FeatureCache(tmp_path / "features.npy", 7, (3, 4, 5), seed=2)
    assert other.open()
    assert not np.array_equal(found[:7], [other.clip(number) for number in range(7)])
    np.testing.assert_array_equal(again.clip(3), found[3])  # backwards too
    # Other shapes, a file cut short: made anew.
    assert not FeatureCache(tmp_path / "features.npy", 8, (3, 4, 5), 1).open()
    data = (tmp_path / "features.npy").read_bytes()
    (tmp_path / "features.npy").write_bytes(data[:-10])
    assert not FeatureCache(tmp_path / "features.npy", 7, (3, 4, 5), 1).open()


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="full"), written_whole(path) as file:
        file.write(b"new, half of it")
        raise OSError("full")
    assert path.read_bytes() == b"old"
    with written_whole(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_the_log(tmp_path):
    path = tmp_path / "log.jsonl"
    with RunLog(path) as log:
        for step in range(1, 6):
            log.append({"step": step, "semantic_loss": 0.5})
            # On its way to the disk at once.
            assert len(path.read_text().splitlines()) == step
    with open(path, "a") as file:
        file.write('{"step": 6, "seman')
    assert [row["step"] for row in read_log(path)] == [1, 2, 3, 4, 5]
    with RunLog(path, 3) as log:
        assert [row["step"] for row in log.rows] == [1, 2, 3]
        log.append({"step": 4, "semantic_loss": 0.25})
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[3]["semantic_loss"] == 0.25


def rows(count):
    return [
        {"step": step, "semantic_loss": 1 / step, "motion_loss": 0.5, "learning_rate": 1e-4}
        for step in range(1, count + 1)
    ]


def test_the_plot(tmp_path, monkeypatch):
    assert not plot_losses(tmp_path / "loss.png", [])
    for count in (1, 30):
        assert plot_losses(tmp_path / "loss.png", rows(count))
        with Image.open(tmp_path / "loss.png") as picture:
            assert picture.size == (960, 600)
            # Both curves' colours, and more than them.
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 20
    for module in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.setitem(sys.modules, module, None)
    assert not plot_losses(tmp_path / "absent.png", rows(3))
    assert not (tmp_path / "absent.png").exists()


def test_smoothing():
    values = np.random.default_rng(1).standard_normal(40)
    for width in (1, 3, 50):
        expected = [values[max(0, i + 1 - width) : i + 1].mean() for i in range(40)]
        np.testing.assert_allclose(smoothed(values, width), expected, atol=1e-12)


def test_pooling_is_averaging():
    keys = np.random.default_rng(2).standard_normal((2, 5, 7, 3)).astype(np.float32)
    found = pooled(keys, 3)
    assert found.shape == (2, 2, 3, 3) and found.dtype == np.float32
    for row, column in itertools.product(range(2), range(3)):
        block = keys[:, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3].astype(float)
        # Sums of up to nine floats.
        np.testing.assert_allclose(found[:, row, column], block.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_array_equal(pooled(keys, 1), keys)


@pytest.mark.parametrize("target", [2.0, 5.5, 6.0, 19.0])
@pytest.mark.parametrize("start", [0.3, 1.0, 3.0])
def test_tau_for_a_number_of_clusters(target, start):
    """Of a count that falls in steps of a half: the middle of the step, to 2 %."""

    def count(tau):
        return max(1.0, np.floor(2 * 6 / tau) / 2)

    found = tau_of(count, target, start)
    if count(start) == target:
        assert found == start
        return
    assert count(found) == target
    # Steps end where 12 / tau is whole.
    low, high = 12 / (2 * target + 1), 12 / (2 * target)
    assert found == pytest.approx(np.sqrt(low * high), rel=0.02)


def test_tau_is_that_of_sessions(monkeypatch):
    """The clustering alone, which is quick, is only where to begin: here at 4."""

    class Fake:
        def __init__(self, tau):
            self.info = types.SimpleNamespace(tau=tau)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    by_sessions = []

    def count(model, *_):
        by_sessions.append(model.info.tau)
        return (0.002 if model.before else 12) / model.info.tau

    monkeypatch.setattr(choosing_tau, "_by_sessions", count)
    monkeypatch.setattr(choosing_tau, "_features", lambda *_: [])
    monkeypatch.setattr(
        choosing_tau, "_clusters", lambda m, *_: lambda tau: (0.001 if m.before else 4) / tau
    )
    before, tried = Fake(0.001), []
    before.before, Fake.before = True, False
    choice = choosing_tau.choose_tau(before, Fake, [], lambda *each: tried.append(each))
    # 2 clusters before.
    assert choice.tau == pytest.approx(6, rel=0.03)
    assert (choice.clusters, choice.clusters_before) == (12 / choice.tau, 2)
    assert tried[-1] == (choice.tau, choice.clusters)
    # To double tau from the first one alone would take twelve.
    assert len(by_sessions) < 12


def test_a_guess_is_made_with_the_keys_of_sessions(make_model):
    """Pooled as the model says."""
    random = np.random.default_rng(3)
    frames = random.integers(0, 255, (3, 32, 48, 3), np.uint8)
    with covey.Model(make_model(settings={"key_pool": 2})) as model:
        features = np.stack([model.encode(frame) for frame in frames])
        queries, keys = model.correlate(features)
        pooled_keys = keys.reshape(3, 2, 2, 3, 2, -1).mean(axis=(2, 4))
        taus = np.geomspace(1e-3, 1, 30)
        count = choosing_tau._clusters(model, [features], 1)

        def clusters(keys):
            return [covey.cluster(queries, keys, 3, tau=tau, window=3).count for tau in taus]

        assert [count(tau) for tau in taus] == clusters(pooled_keys) != clusters(keys)


def test_tau_where_there_is_no_such_number():
    # A jump across it.
    assert tau_of(lambda tau: 9 if tau < 0.7 else 2, 5, 1.0) == pytest.approx(0.7, rel=0.01)
    # Nothing but one number: at the end of what is looked at.
    assert tau_of(lambda tau: 3, 5, 1.0) == pytest.approx(2**-20)
    assert tau_of(lambda tau: 7, 5, 1.0) == pytest.approx(1000)
