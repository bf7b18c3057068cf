"""Readers of datasets on small copies of their layouts, and ``covey evaluate`` on them."""

from __future__ import annotations

import csv
import json
import struct

import numpy as np
import pytest
from PIL import Image

from covey import evaluation
from covey.checkpoints.convert import Settings, convert
from covey.commands.main import main
from covey.writing import coco, images

SIZE = (32, 48)
FRAMES = 4


def scene(seed, objects=2):
    """frames [T, H, W, 3] and ids [T, H, W]: squares that drift over a gradient."""
    random = np.random.default_rng(seed)
    ids = np.zeros((FRAMES, *SIZE), np.uint16)
    for number in range(1, objects + 1):
        y, x = 2 + 14 * (number - 1), 4 + 8 * number
        for t in range(FRAMES):
            ids[t, y : y + 10, x + t : x + t + 12] = number
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    base = np.stack([y * 3, x * 2, 0 * x + 90], axis=2)
    colours = random.integers(0, 255, (objects + 1, 3))
    shown = np.where((ids > 0)[..., None], colours[ids], base[None])
    return shown.astype(np.uint8), ids


def write_frames(folder, frames, suffix="jpg"):
    folder.mkdir(parents=True)
    for t, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{t:05d}.{suffix}")


def write_masks(folder, ids):
    folder.mkdir(parents=True)
    for t, each in enumerate(ids):
        images.write_labels(folder / f"{t:05d}.png", each)


def davis2017(root):
    truth = {}
    for seed, name in enumerate(("bear", "dogs-jump")):
        frames, ids = scene(seed, objects=1 + seed)
        ids[:, :2] = 255
        write_frames(root / "JPEGImages/480p" / name, frames)
        write_masks(root / "Annotations_unsupervised/480p" / name, ids)
        truth[name] = ids
    (root / "ImageSets/2017").mkdir(parents=True)
    (root / "ImageSets/2017/val.txt").write_text("bear\ndogs-jump\n")
    return truth


def davis2016(root):
    frames, ids = scene(3)
    write_frames(root / "JPEGImages/480p/bear", frames)
    (root / "Annotations/480p/bear").mkdir(parents=True)
    for t, each in enumerate(ids):
        # As some of the release are: gray levels in three channels.
        white = np.repeat(((each > 0) * 255).astype(np.uint8)[..., None], 3, axis=2)
        Image.fromarray(white).save(root / f"Annotations/480p/bear/{t:05d}.png")
    (root / "ImageSets/480p").mkdir(parents=True)
    lines = [
        f"/JPEGImages/480p/bear/{t:05d}.jpg /Annotations/480p/bear/{t:05d}.png"
        for t in range(FRAMES)
    ]
    (root / "ImageSets/480p/val.txt").write_text("\n".join(lines) + "\n")
    return {"bear": np.where(ids > 0, 255, 0)}


def ytvis(root):
    truth, videos, annotations = {}, [], []
    for seed, name in enumerate(("0a1b", "ffee")):
        frames, ids = scene(seed)
        ids[1][ids[1] == 2] = 0
        write_frames(root / "train/JPEGImages" / name, frames)
        height, width = SIZE
        videos.append(
            {"id": 11 + seed, "height": height, "width": width, "length": FRAMES,
             "file_names": [f"{name}/{t:05d}.jpg" for t in range(FRAMES)]}
        )
        for number in (1, 2):
            masks = [coco.encode(each == number) if (each == number).any() else None
                     for each in ids]
            if number == 1:
                # The release's form: not compressed.
                masks = [uncompressed(each == number) for each in ids]
            annotations.append(
                {"id": len(annotations) + 1, "video_id": 11 + seed, "category_id": 5,
                 "iscrowd": 0, "segmentations": masks}
            )
        truth[name] = ids
    told = {"videos": videos, "annotations": annotations, "categories": []}
    (root / "train.json").write_text(json.dumps(told))
    return truth


def uncompressed(mask):
    """COCO's counts by a plain loop: column by column, zeros first."""
    counts, value = [0], False
    for pixel in mask.ravel(order="F"):
        if pixel != value:
            counts.append(0)
            value = not value
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def movi_pictures(root, apart):
    truth = {}
    for number in range(2):
        frames, ids = scene(number)
        name = f"{number:08d}"
        base = root / "validation"
        shown, masks = (
            (base / "images" / name, base / "masks" / name) if apart else (base / name, base / name)
        )
        for folder in {shown, masks}:
            folder.mkdir(parents=True)
        for t in range(FRAMES):
            Image.fromarray(frames[t]).save(shown / f"{t:08d}_image.png")
            for layer in range(4):
                white = np.repeat(((ids[t] == layer) * 255).astype(np.uint8)[..., None], 3, axis=2)
                Image.fromarray(white).save(masks / f"{t:08d}_mask_{layer:02d}.png")
        truth[name] = ids
    return truth


def movi_records(root):
    import io

    from tfrecord.example_pb2 import Example

    def png(array):
        file = io.BytesIO()
        Image.fromarray(array).save(file, "PNG")
        return file.getvalue()

    truth = {}
    for shard in range(2):
        with open(root / f"movi_e-validation.tfrecord-{shard:05d}-of-00002", "wb") as file:
            for number in range(2 - shard):
                frames, ids = scene(10 * shard + number)
                record = Example()
                features = record.features.feature
                features["video"].bytes_list.value.extend(png(each) for each in frames)
                features["segmentations"].bytes_list.value.extend(
                    png(each.astype(np.uint8)) for each in ids)
                features["metadata/num_frames"].int64_list.value.append(FRAMES)
                data = record.SerializeToString()
                file.write(struct.pack("<Q", len(data)) + b"\0" * 4 + data + b"\0" * 4)
                truth[f"movi_e-validation-{shard:05d}-of-00002-{number:04d}"] = ids
    return truth


def plain_folders(root):
    frames, ids = scene(5)
    write_frames(root / "street/frames", frames)
    write_masks(root / "street/masks", ids)
    # No mask of the last one: it is not judged.
    (root / f"street/masks/{FRAMES - 1:05d}.png").unlink()
    return {"street": ids[:-1]}


LAYOUTS = {
    "davis2017": davis2017,
    "davis2016": davis2016,
    "ytvis2019": ytvis,
    "movi": movi_records,
    "movi in folders": lambda root: movi_pictures(root, apart=False),
    "movi in two folders": lambda root: movi_pictures(root, apart=True),
    "folders": plain_folders,
}


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


# ---- The command ------------------------------------------------------------


def test_predictions_that_are_the_truth(tmp_path, capsys):
    truth = davis2017(tmp_path / "data")
    for name, ids in truth.items():
        write_masks(tmp_path / "found" / name, np.where(ids == 255, 9, ids))
    command = ["evaluate", "davis2017", str(tmp_path / "data"), "--predictions",
               str(tmp_path / "found"), "-o", str(tmp_path / "out")]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "mean of 3 objects" in shown and "1.000" in shown
    told = json.loads((tmp_path / "out/results.json").read_text())
    assert told["protocol"] == "davis" and told["rows"] == 3
    assert told["means"]["J&F"] == 1 and told["intervals"]["J"] == [1, 1]
    rows = list(csv.DictReader((tmp_path / "out/results.csv").open()))
    assert [(row["video"], row["object"], row["J"]) for row in rows] == [
        ("bear", "1", "1.0"), ("dogs-jump", "1", "1.0"), ("dogs-jump", "2", "1.0")]
    assert "| dogs-jump | 1.000 |" in (tmp_path / "out/results.md").read_text()


@pytest.mark.parametrize("protocol", ["davis", "ba", "best", "instances", "tracking"])
def test_saved_labels_give_the_same_figures(tmp_path, model_path, protocol):
    davis2017(tmp_path / "data")
    command = ["evaluate", "davis2017", str(tmp_path / "data"), "--protocol", protocol]
    assert main([*command, "--model", str(model_path), "--save", "--json",
                 "-o", str(tmp_path / "one")]) == 0
    assert main([*command, "--predictions", str(tmp_path / "one/masks"), "--json",
                 "-o", str(tmp_path / "two")]) == 0
    one, two = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two"))
    assert one["means"] == two["means"]
    for each, other in zip(one["figures"], two["figures"], strict=True):
        assert {**each, "seconds": 0} == {**other, "seconds": 0}


def test_results_for_youtube_vis(tmp_path, model_path):
    ytvis(tmp_path / "data")
    assert main(["evaluate", "ytvis2019", str(tmp_path / "data"), "--model", str(model_path),
                 "--save", "--json", "-o", str(tmp_path / "out")]) == 0
    entries = json.loads((tmp_path / "out/ytvis.json").read_text())
    assert {entry["video_id"] for entry in entries} == {11, 12}
    covered = np.zeros((FRAMES, *SIZE), int)
    for entry in entries:
        assert 0 <= entry["score"] <= 1 and len(entry["segmentations"]) == FRAMES
        if entry["video_id"] == 11:
            for t, mask in enumerate(entry["segmentations"]):
                covered[t] += 0 if mask is None else coco.decode(mask)
    # Clusters: every pixel is in one.
    assert (covered == 1).all()


def test_a_broken_run_goes_on(tmp_path, model_path, capsys):
    davis2017(tmp_path / "data")
    out = tmp_path / "out"
    command = ["evaluate", "davis2017", str(tmp_path / "data"), "--model", str(model_path),
               "--json", "-o", str(out)]
    damaged = tmp_path / "data/JPEGImages/480p/dogs-jump/00002.jpg"
    whole = damaged.read_bytes()
    damaged.write_bytes(b"no picture")
    assert main(command) == 1
    assert "00002.jpg" in capsys.readouterr().err
    lines = (out / "videos.jsonl").read_text().splitlines()
    assert [json.loads(line)["video"] for line in lines] == ["bear"]
    marked = {**json.loads(lines[0]), "seconds": 123.0}
    # Its second half is what a crash would leave.
    (out / "videos.jsonl").write_text(json.dumps(marked) + "\n" + lines[0][:40])
    damaged.write_bytes(whole)
    assert main([*command, "--resume"]) == 0
    figures = json.loads((out / "results.json").read_text())["figures"]
    assert [each["video"] for each in figures] == ["bear", "dogs-jump"]
    assert figures[0]["seconds"] == 123.0 and figures[1]["seconds"] != 123.0
    capsys.readouterr()
    assert main([*command, "--resume", "--tau", "0.5"]) == 1
    assert "was run with tau None, now 0.5: not the same" in capsys.readouterr().err
    assert main(command) == 0
    assert json.loads((out / "results.json").read_text())["figures"][0]["seconds"] != 123.0


def test_what_a_run_goes_on_with(tmp_path, model_path, make_checkpoint, capsys):
    """The same settings, whatever JSON makes of them; not those of another model, nor what a
    crash left, nor labels that were not saved."""
    davis2017(tmp_path / "data")
    out, model = tmp_path / "out", tmp_path / "a.gguf"
    model.write_bytes(model_path.read_bytes())
    command = ["evaluate", "davis2017", str(tmp_path / "data"), "--model", str(model),
               "--working-size", "32x48", "--json", "-o", str(out)]

    def seconds():
        told = json.loads((out / "results.json").read_text())
        return [each["seconds"] for each in told["figures"]]

    assert main(command) == 0
    first = seconds()
    assert main([*command, "--resume"]) == 0
    assert seconds() == first
    assert main([*command, "--resume", "--threads", "1"]) == 0
    assert seconds() == first
    # Where a name is cut in the middle of a character; and without the file.
    whole = (out / "videos.jsonl").read_bytes()
    (out / "videos.jsonl").write_bytes(whole + b'{"video": "caf\xc3')
    assert main([*command, "--resume"]) == 0
    assert seconds() == first
    (out / "videos.jsonl").unlink()
    assert main([*command, "--resume"]) == 0
    assert seconds()[0] != first[0]
    # Labels are wanted now: they are made.
    first = seconds()
    assert main([*command, "--resume", "--save"]) == 0
    assert seconds()[0] != first[0]
    assert len(list((out / "masks").rglob("*.png"))) == 2 * FRAMES
    first = seconds()
    assert main([*command, "--resume", "--save"]) == 0
    assert seconds() == first
    # A frame fewer.
    (tmp_path / "data/JPEGImages/480p/bear/00003.jpg").unlink()
    assert main([*command, "--resume"]) == 0
    assert seconds()[0] != first[0] and seconds()[1] == first[1]
    capsys.readouterr()
    # Another model of the same name; what is there stays.
    left = (out / "videos.jsonl").read_bytes()
    convert(make_checkpoint(seed=5), model, settings=Settings(heads=2, correlator_heads=3))
    assert main([*command, "--resume"]) == 1
    assert "was run with model" in capsys.readouterr().err
    model.unlink()
    assert main(command) == 1
    assert (out / "videos.jsonl").read_bytes() == left


def test_folders_of_other_commands_are_left_alone(tmp_path, capsys):
    truth = davis2017(tmp_path / "data")
    out = tmp_path / "out"
    for name, ids in truth.items():
        write_masks(out / "masks" / name, ids)
    command = ["evaluate", "davis2017", str(tmp_path / "data"), "-o", str(out),
               "--predictions", str(out / "masks")]
    assert main([*command, "--save"]) == 2
    assert "--save: would write over --predictions" in capsys.readouterr().err
    for text, message in (('{"steps": 5}', "run.json: not of an evaluation"), ("{", "run.json: E")):
        (out / "run.json").write_text(text)
        for more in ([], ["--resume"]):
            assert main([*command, *more]) == 1
            assert message in capsys.readouterr().err
        assert (out / "run.json").read_text() == text


def test_tracks_of_an_earlier_run_are_not_in_the_results(tmp_path, model_path):
    ytvis(tmp_path / "data")
    command = ["evaluate", "ytvis2019", str(tmp_path / "data"), "--model", str(model_path),
               "--save", "--json", "-o", str(tmp_path / "out")]
    assert main(command) == 0
    assert main([*command, "--only", "ffee", "ffee"]) == 0
    entries = json.loads((tmp_path / "out/ytvis.json").read_text())
    assert {entry["video_id"] for entry in entries} == {12}
    assert json.loads((tmp_path / "out/results.json").read_text())["videos"] == 1


def test_no_videos_or_two_of_a_name(tmp_path):
    ytvis(tmp_path)
    told = json.loads((tmp_path / "train.json").read_text())
    told["videos"].append({**told["videos"][0], "id": 99})
    (tmp_path / "train.json").write_text(json.dumps(told))
    with pytest.raises(evaluation.DatasetError, match="two videos are named 0a1b"):
        evaluation.open_dataset("ytvis2019", tmp_path)
    (tmp_path / "train.json").write_text(json.dumps({**told, "videos": []}))
    with pytest.raises(evaluation.DatasetError, match="expected videos, found none"):
        evaluation.open_dataset("ytvis2019", tmp_path)


def test_colour_and_position(tmp_path):
    plain_folders(tmp_path / "data")
    assert main(["evaluate", "folders", str(tmp_path / "data"), "--colour-and-position", "6",
                 "--json", "-o", str(tmp_path / "out")]) == 0
    told = json.loads((tmp_path / "out/results.json").read_text())
    (video,) = evaluation.open_dataset("folders", tmp_path / "data")
    labels = evaluation.colour_and_position(6)(video).labels
    # Every pixel is in a cluster: none is background.
    assert labels.shape == (FRAMES - 1, *SIZE) and set(np.unique(labels)) <= {*range(1, 7)}
    # Squares of one colour: k-means finds at least one of the two.
    assert 0.4 < told["means"]["J"] <= 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--protocol", "davis16"], "expected one of davis, ba, best, instances, tracking"),
        (["--predictions", "nowhere"], "nowhere: no such folder"),
        (["--split", "test"], "test.txt: no such file"),
        (["--only", "cat"], "no video cat"),
        (["--working-size", "33x48"], "expected multiples of the model's patch size"),
        (["--mode", "reference", "--stream"], "argument --stream: not with --mode reference"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_bad_arguments(tmp_path, model_path, capsys, arguments, message):
    davis2017(tmp_path / "data")
    model = [] if "--predictions" in arguments else ["--model", str(model_path)]
    assert main(["evaluate", "davis2017", str(tmp_path / "data"), "-o", str(tmp_path / "out"),
                 *model, *arguments]) in (1, 2)
    assert message in capsys.readouterr().err


def test_a_mask_of_another_size(tmp_path, capsys):
    truth = davis2017(tmp_path / "data")
    for name, ids in truth.items():
        write_masks(tmp_path / "found" / name, ids[:, :-1])
    assert main(["evaluate", "davis2017", str(tmp_path / "data"), "--predictions",
                 str(tmp_path / "found"), "-o", str(tmp_path / "out")]) == 1
    message = "bear: labels: expected [4, 32, 48] as the truth's, found [4, 31, 48]"
    assert message in capsys.readouterr().err
