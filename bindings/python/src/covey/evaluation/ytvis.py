"""YouTube-VIS 2019: folders of pictures, and one file of run lengths."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..coco import decode
from ..video import read_image
from .labelled import DatasetError, Ids, Image, LabelledVideo

__all__ = ["ytvis"]

def ytvis(root: Path, split: str = "train") -> list[LabelledVideo]:
    """YouTube-VIS 2019: ROOT/SPLIT/JPEGImages/VIDEO/*.jpg, and the objects of
    ROOT/SPLIT.json, ROOT/SPLIT/instances.json or ROOT/annotations/instances_SPLIT.json.

    Where objects overlap the one that the file has later is seen; crowds are void.
    """
    places = [
        root / f"{split}.json",
        root / split / "instances.json",
        root / "annotations" / f"instances_{split}.json",
    ]
    listed = next((each for each in places if each.is_file()), None)
    if listed is None:
        raise DatasetError(f"{places[0]}: no such file, nor {places[1]}, nor {places[2]}")
    try:
        told = json.loads(listed.read_text())
        videos, annotations = told["videos"], told["annotations"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise DatasetError(f"{listed}: not a file of YouTube-VIS: {error!r}") from None
    if annotations is None:
        raise DatasetError(f"{listed}: has no annotations; only the training split's are public")
    objects: dict[int, list[dict[str, Any]]] = {}
    for each in annotations:
        objects.setdefault(each["video_id"], []).append(each)
    images = root / split / "JPEGImages"
    return [
        LabelledVideo(
            str(Path(video["file_names"][0]).parent),
            tuple(Path(name).stem for name in video["file_names"]),
            partial(_ytvis_frame, images, video["file_names"]),
            partial(_ytvis_truth, video, objects.get(video["id"], [])),
            _YTVIS_VOID,
            video["id"],
        )
        for video in videos
    ]


_YTVIS_VOID = 65535


def _ytvis_frame(images: Path, names: list[str], index: int) -> Image:
    return read_image(images / names[index])


def _ytvis_truth(video: dict[str, Any], objects: list[dict[str, Any]], index: int) -> Ids:
    height, width = video["height"], video["width"]
    ids = np.zeros((height, width), np.uint16)
    for number, each in enumerate(objects, start=1):
        run_lengths = each["segmentations"][index]
        if run_lengths is None:
            continue
        mask = decode(run_lengths)
        if mask.shape != ids.shape:
            raise DatasetError(
                f"annotation {each.get('id')}, frame {index}: expected a mask of {height}x{width}, "
                f"found {mask.shape[0]}x{mask.shape[1]}"
            )
        ids[mask] = _YTVIS_VOID if each.get("iscrowd") else number
    return ids
