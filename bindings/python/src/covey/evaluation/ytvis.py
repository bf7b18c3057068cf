"""YouTube-VIS 2019: folders of pictures, and one file of run lengths."""

from __future__ import annotations

import operator
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..reading.pictures import read_image
from ..writing.coco import decode
from ..writing.whole_files import parsed_json
from .labelled import DatasetError, Ids, LabelledVideo

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
        told = parsed_json(listed.read_text(encoding="utf-8"))
        videos, annotations = told["videos"], told["annotations"]
        if annotations is None:
            raise DatasetError(
                f"{listed}: has no annotations; only the training split's are public"
            )
        objects: dict[int, list[dict[str, Any]]] = {}
        for each in annotations:
            objects.setdefault(each["video_id"], []).append(each)
        images = root / split / "JPEGImages"
        return [_video(each, objects.get(each["id"], []), images) for each in videos]
    except DatasetError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{listed}: not a file of YouTube-VIS: {error!r}") from None


def _video(told: dict[str, Any], objects: list[dict[str, Any]], images: Path) -> LabelledVideo:
    """KeyError, TypeError or ValueError for what is not as in the release."""
    identifier = operator.index(told["id"])
    names = [os.fspath(each) for each in told["file_names"]]
    if not names:
        raise ValueError(f"video {identifier}: expected file_names, found none")
    size = operator.index(told["height"]), operator.index(told["width"])
    for each in objects:
        if len(each["segmentations"]) != len(names):
            raise ValueError(
                f"annotation {each.get('id')}: expected {len(names)} segmentations, as the video "
                f"has frames, found {len(each['segmentations'])}"
            )
    return LabelledVideo(
        str(Path(names[0]).parent),
        tuple(Path(name).stem for name in names),
        lambda index: read_image(images / names[index]),
        lambda index: _truth(size, objects, index),
        _YTVIS_VOID,
        identifier,
    )


_YTVIS_VOID = 65535


def _truth(size: tuple[int, int], objects: list[dict[str, Any]], index: int) -> Ids:
    ids = np.zeros(size, np.uint16)
    for number, each in enumerate(objects, start=1):
        run_lengths = each["segmentations"][index]
        if run_lengths is None:
            continue
        try:
            if list(run_lengths["size"]) != [*size]:
                raise ValueError(f"expected a mask of {[*size]}, found {run_lengths['size']}")
            mask = decode(run_lengths)
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"annotation {each.get('id')}, frame {index}: {error}") from None
        ids[mask] = _YTVIS_VOID if each.get("iscrowd") else number
    return ids
