"""MOVi A to F (Greff et al., "Kubric", CVPR 2022): records, or folders of pictures."""

from __future__ import annotations

import io
import struct
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from ..video import read_image
from .labelled import DatasetError, Ids, Image, LabelledVideo, read_ids

__all__ = ["movi"]


def movi(root: Path, split: str = "validation") -> list[LabelledVideo]:
    """MOVi, as published (ROOT/*-SPLIT.tfrecord-*, of TensorFlow Datasets) or as scripts
    of others lay it out: ROOT/SPLIT/VIDEO/FRAME_image.png with FRAME_mask_NN.png, NN 00
    the background, or ROOT/SPLIT/images/VIDEO with ROOT/SPLIT/masks/VIDEO."""
    records = sorted(root.glob(f"*-{split}.tfrecord*"))
    if records:
        return [video for path in records for video in _of_records(path)]
    base = root / split
    if not base.is_dir():
        raise DatasetError(f"{root}: neither *-{split}.tfrecord* nor a folder {split} in it")
    apart = (base / "images").is_dir()
    images = base / "images" if apart else base
    names = sorted(each.name for each in images.iterdir() if each.is_dir())
    if not names:
        raise DatasetError(f"{images}: no folders of videos")
    return [_of_folder(images / n, base / "masks" / n if apart else images / n) for n in names]


def _of_folder(images: Path, masks: Path) -> LabelledVideo:
    frames = sorted(images.glob("*_image.png"))
    if not frames:
        raise DatasetError(f"{images}: no *_image.png")
    names = [each.name.removesuffix("_image.png") for each in frames]
    missing = next((name for name in names if not (masks / f"{name}_mask_01.png").is_file()), None)
    if missing is not None:
        raise DatasetError(f"{masks / missing}_mask_01.png: no such file")

    def truth(index: int) -> Ids:
        layers = sorted(masks.glob(f"{names[index]}_mask_*.png"))
        shown = np.stack([read_ids(each) for each in layers])
        numbers = [int(each.stem.rsplit("_", 1)[1]) for each in layers]
        ids: Ids = np.array(numbers, np.uint16)[shown.argmax(axis=0)]
        ids[shown.max(axis=0) == 0] = 0
        return ids

    return LabelledVideo(
        images.name, tuple(names), lambda index: read_image(frames[index]), truth
    )


# ---- Records --------------------------------------------------------------------


def _of_records(path: Path) -> list[LabelledVideo]:
    """A TFRecord file holds, for each record, its length (8 bytes), the length's
    checksum (4), the record and its checksum (4)."""
    found: list[LabelledVideo] = []
    shard = path.name.replace(".tfrecord", "")
    with open(path, "rb") as file:
        size = file.seek(0, io.SEEK_END)
        place = 0
        while place < size:
            file.seek(place)
            header = file.read(12)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else size
            if length > size - place - 16:
                raise DatasetError(f"{path}: ends in the middle of record {len(found)}")
            pictures = partial(_pictures, path, place + 12, length)
            count = len(pictures("video"))
            found.append(
                LabelledVideo(
                    f"{shard}-{len(found):04d}",
                    tuple(f"{index:05d}" for index in range(count)),
                    partial(_frame, pictures),
                    partial(_truth, pictures),
                )
            )
            place += length + 16
    return found


def _frame(pictures: partial[list[bytes]], index: int) -> Image:
    from PIL import Image as Pictures

    with Pictures.open(io.BytesIO(pictures("video")[index])) as picture:
        return np.asarray(picture.convert("RGB"))


def _truth(pictures: partial[list[bytes]], index: int) -> Ids:
    return read_ids(io.BytesIO(pictures("segmentations")[index]))


def _pictures(path: Path, place: int, length: int, name: str) -> list[bytes]:
    """The PNG files of a feature, one a frame."""
    features = _parsed(path, place, length)
    if name not in features:
        raise DatasetError(f"{path}: a record without {name}; it has {', '.join(sorted(features))}")
    return features[name]


@lru_cache(maxsize=1)
def _parsed(path: Path, place: int, length: int) -> dict[str, list[bytes]]:
    """The pictures of a record: those of one at a time are held."""
    try:
        from google.protobuf.message import DecodeError
        from tfrecord.example_pb2 import Example
    except ImportError:
        raise ImportError("TFRecord files need tfrecord: pip install tfrecord") from None
    with open(path, "rb") as file:
        file.seek(place)
        try:
            record = Example.FromString(file.read(length))
        except DecodeError as error:
            raise DatasetError(f"{path}: byte {place}: not a record: {error}") from None
    return {
        name: list(feature.bytes_list.value)
        for name, feature in record.features.feature.items()
        if feature.bytes_list.value
    }
