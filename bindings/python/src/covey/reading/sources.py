"""What a name stands for: films, pictures, what is read only once."""

from __future__ import annotations

import glob
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .films import film_error, pyav
from .pictures import Pictures, count_pages

#: What counts as a picture, in a folder or by itself.
IMAGE_SUFFIXES = frozenset(
    {
        *(".apng", ".bmp", ".gif", ".jpeg", ".jpg", ".mpo", ".pgm", ".png", ".ppm"),
        *(".tif", ".tiff", ".webp"),
    }
)
#: By itself read as a film, for its times.
_MOVING_SUFFIXES = frozenset({".gif"})
#: What counts as a film in a folder; by itself any file may be one.
FILM_SUFFIXES = frozenset(
    {
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
        *(".mts", ".mxf", ".ogv", ".ts", ".webm", ".wmv", ".y4m"),
    }
)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sorts 2.png before 10.png."""
    parts = re.split(r"([0-9]+)", name)
    return [(1, int(part), part) if part.isdecimal() else (0, 0, part) for part in parts]


def pictures_of(path: Path) -> Pictures | None:
    """Those that a path stands for; None for a video file."""
    if path.is_dir():
        found = [each for each in path.iterdir() if _is_picture(each)]
        if not found:
            raise ValueError(f"{path}: no pictures in this folder{_instead_of(path)}")
    elif path.exists():
        if path.suffix.lower() not in IMAGE_SUFFIXES - _MOVING_SUFFIXES:
            return None
        return Pictures([path], are_pages=count_pages(path) > 1)
    elif glob.has_magic(os.fspath(path)) or _NUMBER.search(path.name):
        pattern = _NUMBER.sub("[0-9]*", os.fspath(path))
        found = [each for each in map(Path, glob.glob(pattern)) if _is_picture(each)]
        if not found:
            raise FileNotFoundError(f"{path}: no pictures of such names")
    else:
        raise FileNotFoundError(f"{path}: no such file or folder")
    return Pictures(sorted(found, key=_by_name))


def _instead_of(folder: Path) -> str:
    """What can be asked for instead of a folder without pictures."""
    if films := _films_in(folder):
        return (
            f"; films are named one by one, as {films[0]}; covey batch and covey train take the "
            "folder"
        )
    inner = sorted((each for each in folder.iterdir() if each.is_dir()), key=_by_name)
    return f"; those in it are named one by one, as {inner[0]}" if inner else ""


def videos_in(source: str) -> list[str]:
    """What ``source`` stands for where there may be several videos: the films of a folder,
    anything else by itself.  ValueError for a folder of pictures beside films."""
    folder = Path(source)
    films = _films_in(folder) if folder.is_dir() else []
    if films and any(_is_picture(each) for each in folder.iterdir()):
        raise ValueError(
            f"{source}: holds films and pictures; name which: "
            f"{source.rstrip('/')}/*{films[0].suffix} is films"
        )
    return list(map(str, films)) or [source]


def is_picture_name(name: str) -> bool:
    """Whether a file of this name counts as a picture."""
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def _films_in(folder: Path) -> list[Path]:
    films = (each for each in folder.iterdir() if _is_one_of(FILM_SUFFIXES, each))
    return sorted(films, key=_by_name)


def _by_name(path: Path) -> list[tuple[int, int, str]]:
    return natural_key(path.name)


def _is_one_of(suffixes: frozenset[str], path: Path) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()


def _is_picture(path: Path) -> bool:
    return _is_one_of(IMAGE_SUFFIXES, path)


#: Inputs of FFmpeg that are no files.
_DEVICES = frozenset({"avfoundation", "dshow", "gdigrab", "kmsgrab", "lavfi", "v4l2", "x11grab"})
#: As in "frame_%05d.png".
_NUMBER = re.compile(r"%[0-9]*d")


@dataclass(frozen=True)
class Live:
    """file and format as PyAV's open() takes them."""

    file: Any
    format: str | None

    def open(self) -> Any:
        av = pyav()
        if self.format is not None and self.format not in av.formats_available:
            raise ImportError(
                f"PyAV as it is installed has no input {self.format}; as YUV4MPEG2 on standard "
                f"input it can be read: ffmpeg -f {self.format} -i {self.file} -f yuv4mpegpipe - "
                "| covey segment - ..."
            )
        try:
            return av.open(self.file, format=self.format)
        except film_error():
            if self.format == "yuv4mpegpipe":
                raise ValueError(
                    "standard input: expected YUV4MPEG2, as of ffmpeg ... -f yuv4mpegpipe -"
                ) from None
            raise


def is_live(name: str) -> bool:
    """Whether a source of this name can be read only once; no file need be there."""
    return live_source(name) is not None


def live_source(name: str) -> Live | None:
    """None for files and folders, whatever they are called but "-"."""
    if name == "-":
        return Live(sys.stdin.buffer, "yuv4mpegpipe")
    if os.path.isfile(name) or os.path.isdir(name):
        return None
    if re.fullmatch(r"/dev/video[0-9]+", name):
        return Live(name, "v4l2")
    if re.match(r"[a-z][a-z0-9+.-]*://", name):
        return Live(name, None)
    device, _, rest = name.partition(":")
    return Live(rest, device) if rest and device in _DEVICES else None
