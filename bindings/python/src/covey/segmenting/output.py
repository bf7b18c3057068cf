"""Where ``covey segment`` writes, and what it refuses to write over."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..reading.video import Video
from ..writing import coco, images
from ..writing.whole_files import made_folder, refuse_link
from .run_result import RESULT

#: Masks of films, and of pictures whose own names would clash.
_NUMBERED = re.compile(r"[0-9]{5,}")


def unique_names(names: Sequence[str]) -> list[str]:
    """``names``, or numbers where two are the same (a.jpg beside a.png): their
    masks would overwrite each other."""
    if len(set(names)) == len(names):
        return list(names)
    return [f"{index:05d}" for index in range(len(names))]


def knobs_as_text(knobs: Mapping[str, Any]) -> str:
    """ "tau 1, window 3, key_stride 10, ..."; None: no bound."""
    parts = []
    for name, value in knobs.items():
        shown = f"{value:.4g}" if isinstance(value, float) else "all" if value is None else value
        parts.append(f"{name} {shown}")
    return ", ".join(parts)


class Kind(NamedTuple):
    """file: in OUT.  told: of it, by --help.  require: ImportError where it cannot be written."""

    file: str
    told: str = ""
    require: Callable[[], None] = images.require_pictures


#: What may be written beside the masks, each with an option of its name.
KINDS = {
    "overlay": Kind("overlay.mp4", require=images.require_films),
    "sheet": Kind("sheet.png", ": frames beside their overlays"),
    "report": Kind(
        "report.html", ": frames, when objects are seen, settings and times in one file"
    ),
    "coco": Kind(
        "coco.json", ": images, and run lengths of the objects with their track_id", coco.require
    ),
    "ytvis": Kind("ytvis.json", ": the objects as YouTube-VIS has results", coco.require),
    "npz": Kind("labels.npz", ": labels [T, H, W] and names [T]"),
}


class Output:
    """OUT/masks/NAME.png, and ``files``, those of KINDS that are wanted, by kind."""

    def __init__(self, folder: str | os.PathLike[str], kinds: Iterable[str]) -> None:
        self.folder = Path(folder)
        self.masks = self.folder / "masks"
        self.files = {kind: self.folder / KINDS[kind].file for kind in kinds}
        refuse_link(self.masks)
        for each in (self.folder, self.masks):
            if each.exists() and not each.is_dir():
                raise NotADirectoryError(f"{each}: not a folder")
        images.require_pictures()
        for kind in self.files:
            KINDS[kind].require()

    def check(self, video: Video) -> None:
        """Raises ValueError where a file that is read would be written over, or
        the folder of the masks holds pictures of another source."""
        if _is_same(video.path, self.masks):
            raise ValueError(
                f"{self.masks}: the masks would overwrite the frames; name another folder"
            )
        for written in [*self._masks_there(), *self.files.values()]:
            if any(_is_same(written, each) for each in video.files):
                raise ValueError(
                    f"{written}: would be overwritten, and is read; name another folder"
                )
        stems = {each.stem for each in video.files}
        foreign = [
            each.name
            for each in self._masks_there()
            if each.stem not in stems and not _NUMBERED.fullmatch(each.stem)
        ]
        if foreign:
            more = f" and {len(foreign) - 1} more" if foreign[1:] else ""
            raise ValueError(
                f"{self.masks}: holds {foreign[0]}{more}, of another source; "
                "empty it or name another folder"
            )

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Makes the folders, which go again after a failure that leaves them empty; ValueError
        where another process writes there."""
        with (
            made_folder(self.folder, "another covey segment is writing there"),
            made_folder(self.masks, "another covey segment is writing there"),
        ):
            yield

    def try_out(self) -> None:
        """OSError where the folders, or the files, cannot be written."""
        for folder in (self.masks, self.folder) if self.files else (self.masks,):
            try:
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                # Its own message names a file that nobody asked for.
                raise OSError(error.errno, f"cannot write: {error.strerror}", folder) from None
        for file in self.files.values():
            if file.exists() and not (file.is_file() and os.access(file, os.W_OK)):
                raise PermissionError(f"{file}: is there, and cannot be written")

    def remove_masks(self) -> set[str]:
        """Those of an earlier run, which check() has seen, and what a killed one left half
        written.  Returns the names of the masks."""
        for name in (*(each.file for each in KINDS.values()), RESULT):
            for each in self.folder.glob(f".{name}.*"):
                each.unlink()
        there = self._masks_there()
        for each in there:
            each.unlink()
        return {each.stem for each in there}

    def _masks_there(self) -> list[Path]:
        if not self.masks.is_dir():
            return []
        return sorted(
            each
            for each in self.masks.iterdir()
            if each.suffix == ".png"
            and not each.name.startswith(".")
            and (each.is_file() or each.is_symlink())
        )


def _is_same(one: Path, other: Path) -> bool:
    """Whatever their names: links, and both spellings of a path, are the same."""
    try:
        return one.samefile(other)
    except OSError:
        return False
