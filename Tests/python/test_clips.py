"""Clips for training: which frames, read in any order, by threads."""

import contextlib
import itertools
import re
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
from covey.writing import images


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
