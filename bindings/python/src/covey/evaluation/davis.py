"""DAVIS, and folders like it: pictures beside masks of the same names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..writing.images import read_labels
from .labelled import DatasetError, LabelledVideo, names_in, of_pictures, pictures

__all__ = ["davis", "folders"]


def folders(root: Path, split: str = "masks") -> list[LabelledVideo]:
    """ROOT/NAME/frames and ROOT/NAME/SPLIT, pictures of the same names.

    Masks are ids, or one object in white (255): of several ids, 255 is void."""
    found = []
    for each in sorted(path for path in root.iterdir() if (path / split).is_dir()):
        masks = pictures(each / split)
        values = np.unique(np.concatenate([np.unique(read_labels(path)) for path in masks]))
        # Beyond 255 there are ids of 16 bits, of which 255 is one.
        void = 255 if values.max() == 255 and ((values > 0) & (values < 255)).any() else None
        found.append(of_pictures(each.name, pictures(each / "frames"), masks, void))
    if not found:
        raise DatasetError(f"{root}: no folder NAME/frames beside NAME/{split}")
    return found


def davis(root: Path, split: str = "val", year: int = 2017) -> list[LabelledVideo]:
    """DAVIS as published: ROOT/JPEGImages/480p, Annotations/480p (2016) or
    Annotations_unsupervised/480p (2017), and the sequences of ImageSets/YEAR/SPLIT.txt
    (of 2016, also ImageSets/480p/SPLIT.txt)."""
    lists = [root / "ImageSets" / str(year) / f"{split}.txt"]
    lists += [root / "ImageSets" / "480p" / f"{split}.txt"] * (year == 2016)
    listed = next((each for each in lists if each.is_file()), None)
    if listed is None:
        raise DatasetError(f"{lists[0]}: no such file")
    # One sequence a line, or, in the release of 2016, a frame and its mask.
    lines = [line.split()[0] for line in names_in(listed)]
    names = dict.fromkeys(Path(line).parent.name if "/" in line else line for line in lines)
    folder = "Annotations" if year == 2016 else "Annotations_unsupervised"
    return [
        of_pictures(
            name,
            pictures(root / "JPEGImages" / "480p" / name),
            pictures(root / folder / "480p" / name),
            None if year == 2016 else 255,
        )
        for name in names
    ]
