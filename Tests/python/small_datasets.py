"""Small copies of every layout of datasets, with their truth."""

from __future__ import annotations

import json
import struct

import numpy as np
from PIL import Image

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
