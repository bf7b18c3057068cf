"""Readers of datasets on small copies of their layouts."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from PIL import Image
from small_datasets import (
    LAYOUTS,
    SIZE,
    davis2017,
    movi_pictures,
    movi_records,
    scene,
    uncompressed,
    write_frames,
    write_masks,
    ytvis,
)

from covey import evaluation
from covey.commands.main import main
from covey.writing import coco, images


@pytest.mark.parametrize("layout", LAYOUTS)
def test_truth_as_it_was_written(tmp_path, layout):
    expected = LAYOUTS[layout](tmp_path)
    videos = evaluation.open_dataset(layout.split()[0], tmp_path)
    assert [each.name for each in videos] == list(expected)
    for video in videos:
        ids, void = video.truth()
        wanted = expected[video.name]
        if layout == "davis2017":
            assert void[:, :2].all() and not void[:, 2:].any()
            wanted = np.where(wanted == 255, 0, wanted)
        else:
            assert void is None
        np.testing.assert_array_equal(ids, wanted)
        frames = list(video.frames())
        assert len(frames) == len(video) == len(wanted)
        assert all(frame.shape == (*SIZE, 3) and frame.dtype == np.uint8 for frame in frames)


def test_run_lengths_are_pycocotools():
    random = np.random.default_rng(7)
    for _ in range(60):
        mask = random.random(tuple(random.integers(1, 70, 2))) < random.random()
        np.testing.assert_array_equal(coco.decode(coco.encode(mask)), mask)
        np.testing.assert_array_equal(coco.decode(uncompressed(mask)), mask)


def test_crowds_are_void(tmp_path):
    ytvis(tmp_path)
    told = json.loads((tmp_path / "train.json").read_text())
    told["annotations"][0]["iscrowd"] = 1
    (tmp_path / "train.json").write_text(json.dumps(told))
    ids, void = evaluation.open_dataset("ytvis2019", tmp_path)[0].truth()
    expected = scene(0)[1]
    np.testing.assert_array_equal(void, expected == 1)
    assert set(np.unique(ids)) == {0, 2}


@pytest.mark.parametrize(
    "place, value, message",
    [
        (("videos", 0, "file_names"), [], "video 11: expected file_names, found none"),
        (("videos", 0, "id"), "../../x", "not a file of YouTube-VIS"),
        (("videos", 0, "height"), "32", "not a file of YouTube-VIS"),
        (("videos", 0), 5, "not a file of YouTube-VIS"),
        (("annotations", 1, "video_id"), [], "not a file of YouTube-VIS"),
        (("annotations", 1, "segmentations"), [None],
         "annotation 2: expected 4 segmentations, as the video has frames, found 1"),
        (("annotations", 0, "segmentations", 2, "size"), [33, 48],
         r"annotation 1, frame 2: expected a mask of \[32, 48\], found \[33, 48\]"),
        (("annotations", 0, "segmentations", 2, "size"), None, "annotation 1, frame 2: "),
        (("annotations", 0, "segmentations", 2), "text", "annotation 1, frame 2: "),
        # A reader that does not count leaves the rest of the mask as memory had it.
        (("annotations", 0, "segmentations", 2, "counts"), [5], "found runs of 5"),
        (("annotations", 0, "segmentations", 2, "counts"), [5, -5, 1536], "below 0"),
        (("annotations", 1, "segmentations", 0, "counts"), "12", "found runs of 3"),
        (("annotations", 1, "segmentations", 0, "counts"), "Q", "middle of a run"),
        (("annotations", 1, "segmentations", 0, "counts"), "~~", "character '~'"),
        (("annotations", 1, "segmentations", 0, "counts"), 7, "not run lengths"),
    ],
    ids=str,
)
def test_a_damaged_file_of_youtube_vis(tmp_path, place, value, message):
    ytvis(tmp_path)
    told = json.loads((tmp_path / "train.json").read_text())
    found = told
    for key in place[:-1]:
        found = found[key]
    found[place[-1]] = value
    (tmp_path / "train.json").write_text(json.dumps(told))
    with pytest.raises(evaluation.DatasetError, match=message):
        evaluation.open_dataset("ytvis2019", tmp_path)[0].truth()


@pytest.mark.parametrize(
    "layout, damage, message",
    [
        ("davis2017", lambda root: (root / "ImageSets/2017/val.txt").unlink(), "no such file"),
        ("davis2017", lambda root: (root / "ImageSets/2017/val.txt").write_text("cat\n"),
         "JPEGImages/480p/cat: no such folder"),
        ("ytvis2019", lambda root: (root / "train.json").write_text("{"), "not a file of YouTube"),
        ("ytvis2019", lambda root: (root / "train.json").write_text(
            '{"videos": [], "annotations": null}'), "has no annotations"),
        ("movi in folders", lambda root: next(root.rglob("00000001_mask_01.png")).unlink(),
         "00000001_mask_01.png: no such file"),
        ("folders", lambda root: [path.unlink() for path in root.rglob("masks/*")],
         "masks: no pictures"),
    ],
    ids=str,
)
def test_what_is_missing_is_named(tmp_path, layout, damage, message):
    LAYOUTS[layout](tmp_path)
    damage(tmp_path)
    with pytest.raises(evaluation.DatasetError, match=message):
        evaluation.open_dataset(layout.split()[0], tmp_path)


def test_a_record_that_is_cut_short(tmp_path):
    movi_records(tmp_path)
    path = next(tmp_path.glob("*00000-of*"))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(evaluation.DatasetError, match="ends in the middle of record 1"):
        evaluation.open_dataset("movi", tmp_path)


def test_a_record_without_all_its_masks(tmp_path):
    movi_records(tmp_path)
    from tfrecord.example_pb2 import Example

    record = Example()
    record.features.feature["video"].bytes_list.value.extend([b"a", b"b"])
    record.features.feature["segmentations"].bytes_list.value.extend([b"a"])
    data = record.SerializeToString()
    path = next(tmp_path.glob("*00001-of*"))
    path.write_bytes(struct.pack("<Q", len(data)) + b"\0" * 4 + data + b"\0" * 4)
    message = "at byte 12: expected 2 segmentations, as there are frames, found 1"
    with pytest.raises(evaluation.DatasetError, match=message):
        evaluation.open_dataset("movi", tmp_path)


def test_a_record_whose_pictures_are_none(tmp_path):
    movi_records(tmp_path)
    for path in tmp_path.glob("*.tfrecord*"):
        path.write_bytes(path.read_bytes().replace(b"IHDR", b"IHDX"))
    video = evaluation.open_dataset("movi", tmp_path)[0]
    with pytest.raises(evaluation.DatasetError, match="at byte 12, frame 2: "):
        video.read_frame(2)
    with pytest.raises(ValueError, match="at byte 12, segmentation 1: "):
        video.read_truth(1)


def test_frames_in_the_order_of_their_numbers(tmp_path):
    truth = movi_pictures(tmp_path, apart=False)
    for path in tmp_path.rglob("*_*.png"):
        frame, _, rest = path.name.partition("_")
        # Eight digits to none: 8, 9, 10, 11; brackets mean nothing.
        path.rename(path.with_name(f"[{int(frame) + 8}]_{rest}"))
    video = evaluation.open_dataset("movi", tmp_path)[0]
    assert video.frame_names == ("[8]", "[9]", "[10]", "[11]")
    np.testing.assert_array_equal(video.truth()[0], truth[video.name])


def test_frames_that_are_not_of_one_size(tmp_path, model_path, capsys):
    davis2017(tmp_path)
    path = tmp_path / "JPEGImages/480p/bear/00002.jpg"
    Image.fromarray(np.zeros((5, 6, 3), np.uint8)).save(path)
    for judged in (["--colour-and-position", "2"], ["--model", str(model_path)]):
        assert main(["evaluate", "davis2017", str(tmp_path), *judged,
                     "-o", str(tmp_path / "out")]) == 1
        message = "bear: frame 00002: expected 32x48 pixels like the first one, found 5x6"
        assert message in capsys.readouterr().err


def test_lists_as_editors_write_them(tmp_path, capsys):
    davis2017(tmp_path)
    listed = tmp_path / "ImageSets/2017/val.txt"
    listed.write_bytes(b"\xef\xbb\xbfdogs-jump\r\n\r\nbear \r\n")
    videos = evaluation.open_dataset("davis2017", tmp_path)
    assert [each.name for each in videos] == ["dogs-jump", "bear"]
    (tmp_path / "list.txt").write_bytes(b"b\xe4r\n")
    assert main(["evaluate", "davis2017", str(tmp_path), "--list", str(tmp_path / "list.txt"),
                 "-o", str(tmp_path / "out")]) == 1
    assert "list.txt: 'utf-8' codec" in capsys.readouterr().err
    listed.write_bytes(b"b\xe4r\n")
    with pytest.raises(evaluation.DatasetError, match=r"val\.txt: 'utf-8' codec"):
        evaluation.open_dataset("davis2017", tmp_path)


def test_protocols_of_datasets_are_there():
    for each in evaluation.DATASETS.values():
        assert set(each.protocols) <= set(evaluation.PROTOCOLS)


def test_what_is_in_no_layer_is_background(tmp_path):
    truth = movi_pictures(tmp_path, apart=False)
    for path in tmp_path.rglob("*_mask_00.png"):
        path.unlink()
    for video in evaluation.open_dataset("movi", tmp_path):
        np.testing.assert_array_equal(video.truth()[0], truth[video.name])


def test_masks_that_are_not_of_one_size(tmp_path, capsys):
    davis2017(tmp_path)
    path = tmp_path / "Annotations_unsupervised/480p/bear/00002.png"
    images.write_labels(path, np.ones((5, 6), int))
    assert main(["evaluate", "davis2017", str(tmp_path), "--colour-and-position", "2",
                 "-o", str(tmp_path / "out")]) == 1
    message = "bear: 00002: expected 32x48 pixels like the first one, found 5x6"
    assert message in capsys.readouterr().err


def test_void_is_255_only_of_eight_bits(tmp_path):
    frames, ids = scene(5)
    ids[ids == 2] = 255
    ids[:, -2:, -2:] = 3
    for folder, top in (("a", 1), ("b", 300)):
        write_frames(tmp_path / folder / "frames", frames)
        write_masks(tmp_path / folder / "masks", np.where(ids == 1, top, ids))
    one, other = evaluation.open_dataset("folders", tmp_path)
    np.testing.assert_array_equal(one.truth()[1], ids == 255)
    assert other.truth()[1] is None and set(np.unique(other.truth()[0])) == {0, 3, 255, 300}


def test_one_video_of_many(tmp_path):
    davis2017(tmp_path)
    videos = evaluation.open_dataset("davis2017", tmp_path, only=["dogs-jump"])
    assert [each.name for each in videos] == ["dogs-jump"]
    with pytest.raises(evaluation.DatasetError, match="no video cat; there are bear, dogs-jump"):
        evaluation.open_dataset("davis2017", tmp_path, only=["cat"])
