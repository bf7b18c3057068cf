#!/usr/bin/env python3
"""The documents as they are installed: README, docs/, the pages of examples, model and package.

    documents.py [--include FOLDER] [--only FILE]... [--without FILE]... FOLDER

puts them below FOLDER, in the folders that covey.h and the commands' --help name.  A link between
two pages leads to where the other one lies; one to the header into the folder that --include names;
of a link to what is not there the words stay.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
#: Of the checkout, and where they go.
PLACES = {
    "README.md": "README.md",
    "LICENSE": "LICENSE",
    "CHANGELOG.md": "CHANGELOG.md",
    "bindings/python/README.md": "python.md",
    "models/README.md": "covey-nano.md",
    "Examples": "examples/README.md",
    **{
        str(path.relative_to(TOP)): str(path.relative_to(TOP)).replace("Examples/", "examples/")
        for folder in ("Examples", "docs")
        for path in sorted((TOP / folder).rglob("*"))
        # Not what an editor or an interpreter leaves there.
        if path.suffix in {".c", ".cpp", ".gif", ".jpg", ".md", ".png", ".py", ".svg", ".webp"}
    },
}
#: Of Markdown: a picture's mark, the words, the target, the heading in it.
LINK = re.compile(r"(!?)\[((?:[^][]|\[[^]]*\])*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
#: Of HTML, for pictures of a chosen width: up to the target, the target, the rest.
HTML = re.compile(r'(<(?:img|a|source)\b[^>]*?\b(?:src|srcset|href)=")([^":#]+)((?:#[^"]*)?")')
FENCED = re.compile(r"(?ms)(^```.*?^```$)")


def with_links(text: str, page: str, places: dict[str, str]) -> str:
    """The text of a page of the checkout as it is in its place."""
    here = os.path.dirname(places[page])

    def place(target: str) -> str | None:
        source = os.path.normpath(os.path.join(os.path.dirname(page), target))
        return os.path.relpath(places[source], here) if source in places else None

    def link(found: re.Match[str]) -> str:
        mark, words, target, heading = found.groups("")
        if not target or ":" in target:
            return found[0]
        there = place(target)
        return words if there is None else f"{mark}[{words}]({there}{heading})"

    def html(found: re.Match[str]) -> str:
        return found[1] + (place(found[2]) or "") + found[3]

    parts = FENCED.split(text)
    parts[::2] = [HTML.sub(html, LINK.sub(link, part)) for part in parts[::2]]
    return "".join(parts)


def install(folder: Path, include: Path | None, only: list[str], without: list[str]) -> None:
    places = {
        source: os.path.abspath(folder / target)
        for source, target in PLACES.items()
        if source not in without and (source in only or not only)
    }
    put = [source for source in places if (TOP / source).is_file()]
    if include is not None:
        for header in ("covey.h", "covey.hpp"):
            places[f"Include/{header}"] = os.path.abspath(include / header)
    for source in put:
        to = Path(places[source])
        to.parent.mkdir(parents=True, exist_ok=True)
        if to.suffix == ".md":
            text = (TOP / source).read_text(encoding="utf-8")
            to.write_text(with_links(text, source, places), encoding="utf-8")
        else:
            shutil.copyfile(TOP / source, to)
        to.chmod(0o644)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--include", type=Path)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--without", action="append", default=[])
    install(**vars(parser.parse_args()))
