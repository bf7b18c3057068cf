"""Sources of all kinds, ranges of frames, and the files of ``covey segment --coco ...``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest
from conftest import moving_square
from pycocotools import mask as pycocotools
from pycocotools.coco import COCO

import covey
from covey.commands.main import main
from covey.writing import coco, images
from covey.writing.sinks import Masks, Spread

FRAMES = 6


@pytest.fixture(scope="module")
def shots(tmp_path_factory):
    """The same frames as numbered pictures, and as a YUV4MPEG2 file."""
    folder = tmp_path_factory.mktemp("shots")
    frames = moving_square(FRAMES)
    for index, frame in enumerate(frames):
        images.write_image(folder / f"f_{index:03d}.png", frame)
    with av.open(str(folder / "film.y4m"), "w", format="yuv4mpegpipe") as film:
        stream = film.add_stream("wrapped_avframe", rate=10)
        height, width = frames[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv444p")
            film.mux(stream.encode(picture))
    return folder, frames


@pytest.mark.parametrize("name", ["*.png", "f_%03d.png", "f_*[0-9].png", ""])
def test_patterns_of_pictures(shots, name):
    folder, frames = shots
    source = folder / name
    if not name:
        source = folder
    found = list(covey.Video(source).frames())
    assert [each.name for each in found] == [f"f_{i:03d}" for i in range(FRAMES)]
    np.testing.assert_array_equal(np.stack([each.image for each in found]), np.stack(frames))


def test_a_file_comes_before_a_pattern(tmp_path):
    images.write_image(tmp_path / "a[1].png", moving_square(1)[0])
    images.write_image(tmp_path / "a1.png", moving_square(1)[0] // 2)
    (found,) = covey.Video(tmp_path / "a[1].png").frames()
    assert found.name == "a[1]"


@pytest.mark.parametrize(
    "chosen, indices",
    [
        ({"first": 2}, [2, 3, 4, 5]),
        ({"last": 3}, [0, 1, 2, 3]),
        ({"first": 1, "last": 4, "every": 2}, [1, 3]),
        ({"first": 1, "last": 5, "every": 2, "max_frames": 2}, [1, 3]),
        ({"first": 5, "last": 99}, [5]),
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["pictures", "film"])
def test_ranges(shots, chosen, indices, kind):
    video = covey.Video(shots[0] / ("film.y4m" if kind == "film" else ""), **chosen)
    found = list(video.frames())
    assert [each.index for each in found] == indices
    if kind == "pictures":
        assert video.frame_count == len(indices)
        assert [each.name for each in found] == [f"f_{index:03d}" for index in indices]


def test_a_range_beyond_the_end(shots):
    with pytest.raises(ValueError, match="no frames so late"):
        list(covey.Video(shots[0], first=FRAMES))
    with pytest.raises(ValueError, match="last: expected at least 3, the first, found 2"):
        covey.Video(shots[0], first=3, last=2)


@pytest.mark.parametrize(
    "name, message",
    [("none/*.png", "no pictures of such names"), ("none_%04d.png", "no pictures of such names"),
     ("none:1.mp4", "no such file or folder")],
)
def test_what_is_not_there(tmp_path, name, message):
    with pytest.raises(FileNotFoundError, match=message):
        covey.Video(tmp_path / name)


def test_an_input_that_is_not_built_in():
    if "v4l2" in av.formats_available:
        pytest.skip("this PyAV can read cameras")
    video = covey.Video("/dev/video7")
    assert video.is_live and video.frame_count is None
    with pytest.raises(ImportError, match=r"no input v4l2.*ffmpeg -f v4l2 -i /dev/video7"):
        next(video.frames())


def test_standard_input(shots, model_path, tmp_path, environment):
    folder, _ = shots
    command = [sys.executable, "-m", "covey", "segment", "--model", str(model_path), "--json",
               "--tau", "0.05", "--min-area", "0"]
    with open(folder / "film.y4m", "rb") as film:
        done = subprocess.run(
            [*command, "-", "-o", str(tmp_path / "pipe"), "--overlay"], stdin=film,
            env=environment, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["streaming"] and told["source"] == "-" and told["frames"] == FRAMES
    assert (tmp_path / "pipe/overlay.mp4").stat().st_size > 0
    subprocess.run(
        [*command, str(folder / "film.y4m"), "--stream", "-o", str(tmp_path / "file")],
        env=environment, capture_output=True, check=True)
    for index in range(FRAMES):
        name = f"masks/{index:05d}.png"
        np.testing.assert_array_equal(
            images.read_labels(tmp_path / "pipe" / name),
            images.read_labels(tmp_path / "file" / name))


def test_an_endless_source_ends_with_ctrl_c(model_path, tmp_path, environment):
    """A device of FFmpeg's in the place of a camera."""
    if "lavfi" not in av.formats_available:
        pytest.skip("this PyAV has no lavfi")
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "covey", "segment", "lavfi:testsrc=size=64x48:rate=25",
         "--model", str(model_path), "-o", str(out), "--coco", "--overlay", "--json"],
        env=environment, stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while len(list(out.glob("masks/*.png"))) < 10 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        shown = process.communicate(timeout=60)[0]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    told = json.loads(shown)
    count = told["frames"]
    assert count >= 10 and len(list(out.glob("masks/*.png"))) == count
    assert len(json.loads((out / "coco.json").read_text())["images"]) == count
    assert len(list(covey.Video(out / "overlay.mp4"))) == count


def test_ctrl_c_in_the_middle_of_a_frame(model_path, tmp_path, monkeypatch, capsys):
    """A result is in all files or in none, and those of the frames that were read come."""
    out, real = tmp_path / "out", Masks.write
    images.write_video(tmp_path / "film.mp4", [np.zeros((48, 64, 3), np.uint8)] * 60)

    def interrupted(self, result, name, frame):
        if result.index == 5:
            os.kill(os.getpid(), signal.SIGINT)
        real(self, result, name, frame)

    monkeypatch.setattr(Masks, "write", interrupted)
    # A URL is read only once, as a camera is.
    assert main(["segment", (tmp_path / "film.mp4").as_uri(), "--model", str(model_path),
                 "-o", str(out), "--coco", "--overlay", "--npz", "--json"]) == 0
    count = json.loads(capsys.readouterr().out)["frames"]
    assert 6 <= count < 20
    assert len(list(out.glob("masks/*.png"))) == count
    assert len(json.loads((out / "coco.json").read_text())["images"]) == count
    assert len(list(covey.Video(out / "overlay.mp4"))) == count
    with np.load(out / "labels.npz") as arrays:
        assert len(arrays["labels"]) == len(arrays["names"]) == count


def test_tracks_of_labels():
    labels = np.zeros((3, 4, 5), np.uint16)
    labels[0, :2], labels[2, 1:, 1], labels[1] = 7, 7, 9
    first, second = coco.video_tracks(labels, {9: 0.25}, 3)
    for entry, number, score in ((first, 7, 1.0), (second, 9, 0.25)):
        assert (entry["video_id"], entry["category_id"], entry["score"]) == (3, 1, score)
        for mask, run_lengths in zip(labels == number, entry["segmentations"], strict=True):
            if mask.any():
                np.testing.assert_array_equal(coco.decode(run_lengths), mask)
            else:
                assert run_lengths is None


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_files_of_results(shots, model_path, tmp_path, capsys, stream):
    folder, _ = shots
    out = tmp_path / "out"
    assert main(["segment", str(folder / "f_*.png"), "--model", str(model_path), "-o", str(out),
                 "--coco", "--ytvis", "--npz", "--clusters", "--tau", "0.01", "--json",
                 *["--stream"] * stream]) == 0
    masks = np.stack([images.read_labels(out / f"masks/f_{i:03d}.png") for i in range(FRAMES)])
    with np.load(out / "labels.npz") as arrays:
        np.testing.assert_array_equal(arrays["labels"], masks)
        assert arrays["names"].tolist() == [f"f_{i:03d}" for i in range(FRAMES)]
    kinds = np.unique(masks)
    assert len(kinds) > 1
    scores, last = {}, {}
    with covey.Model(model_path) as model, model.session(
            tau=0.01, output="clusters", streaming=stream) as session:
        for result in session.segment(covey.Video(folder / "f_*.png")):
            for found in result.objects:
                scores[result.index, found.id] = last[found.id] = found.objectness
    assert len(set(last.values())) > 1
    tracks = json.loads(capsys.readouterr().out)["tracks"]
    assert {each["id"]: each["objectness"] for each in tracks} == last

    entries = json.loads((out / "ytvis.json").read_text())
    assert len(entries) == len(kinds)
    for entry, number in zip(entries, kinds, strict=True):
        assert entry["score"] == last[number]
        for t, run_lengths in enumerate(entry["segmentations"]):
            found = np.zeros(masks[t].shape, bool)
            if run_lengths is not None:
                found = pycocotools.decode(run_lengths).astype(bool)
            np.testing.assert_array_equal(found, masks[t] == number)

    read = COCO(str(out / "coco.json"))
    assert [image["file_name"] for image in read.loadImgs(read.getImgIds())] == [
        f"f_{i:03d}.png" for i in range(FRAMES)]
    for annotation in read.loadAnns(read.getAnnIds()):
        t = read.loadImgs(annotation["image_id"])[0]["frame_index"]
        expected = masks[t] == annotation["track_id"]
        np.testing.assert_array_equal(read.annToMask(annotation).astype(bool), expected)
        assert annotation["area"] == expected.sum()
        rows, columns = np.flatnonzero(expected.any(axis=1)), np.flatnonzero(expected.any(axis=0))
        assert annotation["bbox"] == [
            columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        assert annotation["score"] == scores[t, annotation["track_id"]]


@pytest.mark.parametrize("length", [0, 1, 2, 7, 8, 9, 16, 17, 100, 1000])
def test_spreads(length):
    """At most 8, from the first on to near the last, about evenly."""
    spread, made = Spread(8), []
    for index in range(length):
        spread.offer(index, lambda index=index: made.append(index) or index)
    items = spread.items()
    assert len(items) == min(length, 8) and len(made) <= 8 * 8
    if length <= 8:
        assert items == list(range(length))
        return
    assert items[0] == 0 and items[-1] >= 7 / 8 * (length - 1)
    gaps = np.diff(items)
    assert gaps.min() > 0 and gaps.max() <= 2 * gaps.min()


def test_a_failure_leaves_the_files_of_before(shots, model_path, tmp_path, capsys):
    folder, _ = shots
    pictures = tmp_path / "in"
    pictures.mkdir()
    for each in sorted(folder.glob("*.png")):
        os.link(each, pictures / each.name)
    command = ["segment", str(pictures), "--model", str(model_path), "-o", str(tmp_path / "out"),
               "--coco", "--npz", "--json", "--stream"]
    assert main(command) == 0
    before = {name: (tmp_path / "out" / name).read_bytes() for name in ("coco.json", "labels.npz")}
    (pictures / f"f_{FRAMES - 1:03d}.png").unlink()
    (pictures / f"f_{FRAMES - 1:03d}.png").write_text("no picture")
    assert main(command) == 1
    assert "f_005.png" in capsys.readouterr().err
    for name, data in before.items():
        assert (tmp_path / "out" / name).read_bytes() == data
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        "coco.json", "labels.npz", "masks"]
