"""MOVi A to F (Greff et al., "Kubric", CVPR 2022): records, or folders of pictures."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..reading.pictures import read_image
from ..reading.sources import natural_key
from ..writing.images import read_labels
from .labelled import DatasetError, Ids, Image, LabelledVideo, stacked

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
    frames = sorted(images.glob("*_image.png"), key=lambda each: natural_key(each.name))
    if not frames:
        raise DatasetError(f"{images}: no *_image.png")
    names = [each.name.removesuffix("_image.png") for each in frames]
    layers: dict[str, list[tuple[int, Path]]] = {name: [] for name in names}
    for path in sorted(masks.glob("*_mask_*.png")):
        name, _, number = path.stem.rpartition("_mask_")
        if name in layers and number.isdecimal():
            layers[name].append((int(number), path))
    missing = next((name for name in names if 1 not in dict(layers[name])), None)
    if missing is not None:
        raise DatasetError(f"{masks / missing}_mask_01.png: no such file")

    def truth(index: int) -> Ids:
        numbers, paths = zip(*layers[names[index]], strict=True)
        shown = stacked(map(read_labels, paths), [*map(str, paths)])
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
            record = _Record(path, place + 12, length)
            count = len(record.pictures("video"))
            if len(record.pictures("segmentations")) != count:
                raise DatasetError(
                    f"{record}: expected {count} segmentations, as there are frames, found "
                    f"{len(record.pictures('segmentations'))}"
                )
            found.append(
                LabelledVideo(
                    f"{shard}-{len(found):04d}",
                    tuple(f"{index:05d}" for index in range(count)),
                    record.frame,
                    record.truth,
                )
            )
            place += length + 16
    return found


@dataclass(frozen=True)
class _Record:
    """place, length: of it in the file, in bytes."""

    path: Path
    place: int
    length: int

    def __str__(self) -> str:
        return f"{self.path}, record at byte {self.place}"

    def frame(self, index: int) -> Image:
        from PIL import Image as Pictures

        try:
            with Pictures.open(io.BytesIO(self.pictures("video")[index])) as picture:
                return np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise DatasetError(f"{self}, frame {index}: {error}") from None

    def truth(self, index: int) -> Ids:
        file = io.BytesIO(self.pictures("segmentations")[index])
        return read_labels(file, f"{self}, segmentation {index}")

    def pictures(self, name: str) -> list[bytes]:
        """The PNG files of a feature, one a frame."""
        features = _parsed(self)
        if name not in features:
            raise DatasetError(f"{self}: without {name}; it has {', '.join(sorted(features))}")
        return features[name]


@lru_cache(maxsize=1)
def _parsed(record: _Record) -> dict[str, list[bytes]]:
    """The pictures of a record: those of one at a time are held."""
    try:
        from google.protobuf.message import DecodeError
        from tfrecord.example_pb2 import Example
    except ImportError:
        raise ImportError("TFRecord files need tfrecord: pip install tfrecord") from None
    with open(record.path, "rb") as file:
        file.seek(record.place)
        try:
            parsed = Example.FromString(file.read(record.length))
        except DecodeError as error:
            raise DatasetError(f"{record}: not a record: {error}") from None
    return {
        name: list(feature.bytes_list.value)
        for name, feature in parsed.features.feature.items()
        if feature.bytes_list.value
    }
