"""The datasets that are known, by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .davis import davis, folders
from .labelled import DatasetError, LabelledVideo
from .movi import movi
from .ytvis import ytvis

__all__ = ["DATASETS", "Dataset", "open_dataset"]


@dataclass(frozen=True)
class Dataset:
    """read: videos of a folder and a split.  protocols: first the usual one."""

    name: str
    split: str
    protocols: tuple[str, ...]
    read: Callable[[Path, str], list[LabelledVideo]]


DATASETS = {
    each.name: each
    for each in (
        Dataset("davis2016", "val", ("davis16", "best"), partial(davis, year=2016)),
        Dataset("davis2017", "val", ("davis", "ba", "best", "instances", "tracking"), davis),
        Dataset("ytvis2019", "train", ("instances", "best", "tracking"), ytvis),
        Dataset("movi", "validation", ("instances", "best", "tracking"), movi),
        Dataset(
            "folders",
            "masks",
            ("best", "davis16", "davis", "ba", "instances", "tracking"),
            folders,
        ),
    )
}


def open_dataset(
    name: str,
    root: str | os.PathLike[str],
    split: str | None = None,
    only: list[str] | None = None,
) -> list[LabelledVideo]:
    """The videos of a dataset, those named ``only`` where given, in that order.

    Raises DatasetError, ValueError for a name that is not known."""
    if name not in DATASETS:
        raise ValueError(f"dataset: expected one of {', '.join(DATASETS)}, found {name}")
    folder = Path(root)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder")
    dataset = DATASETS[name]
    videos = dataset.read(folder, dataset.split if split is None else split)
    named = {each.name: each for each in videos}
    if len(named) < len(videos):
        twice = next(each.name for each in videos if named[each.name] is not each)
        raise DatasetError(f"{folder}: two videos are named {twice}")
    if not (named if only is None else only):
        raise DatasetError(f"{folder}: expected videos, found none")
    if only is None:
        return videos
    missing = [each for each in only if each not in named]
    if missing:
        raise DatasetError(f"{folder}: no video {missing[0]}; there are {', '.join(named)}")
    return [named[each] for each in dict.fromkeys(only)]
