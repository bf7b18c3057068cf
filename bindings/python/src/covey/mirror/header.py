"""covey.h, read: what it declares, as data.

The interface is written down once, in the header, which is inside the package.  Tests/check_abi.py
reads it by this file, too, which so knows nothing but the standard library; whether all of it is
understood a C compiler tells (Tests/python/test_abi.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

#: Where the part of the header begins that is not promised to stay.
EXPERIMENTAL = "/* Experimental, all of it to the end of this file."


@dataclass(frozen=True)
class Signature:
    """Types as C writes them, without names: "const covey_model *"."""

    result: str
    arguments: tuple[str, ...]

    def text(self, between: str = "") -> str:
        return f"{self.result} {between}({', '.join(self.arguments) or 'void'})"


@dataclass
class Header:
    """By C name: structs with the types of their fields, in order ("const uint8_t *[3]"), enums
    with the numbers of their enumerators, callbacks, functions; and which of all these are
    experimental."""

    version: tuple[int, int, int]
    structs: dict[str, dict[str, str]] = field(default_factory=dict)
    enums: dict[str, dict[str, int]] = field(default_factory=dict)
    callbacks: dict[str, Signature] = field(default_factory=dict)
    functions: dict[str, Signature] = field(default_factory=dict)
    experimental: set[str] = field(default_factory=set)


def path() -> Path:
    """Inside the package, or in the checkout that it is used from."""
    here = Path(__file__).resolve()
    places = [here.parents[1] / "covey.h"]
    places += [each / "Include" / "covey.h" for each in here.parents[5:6]]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(f"covey.h: not in the package; looked at {', '.join(map(str, places))}")


def read(text: str) -> Header:
    """What the text of a header declares."""
    numbers = [
        int(re.findall(rf"#define COVEY_VERSION_{part} (\d+)", text)[0])
        for part in ("MAJOR", "MINOR", "PATCH")
    ]
    found = Header((numbers[0], numbers[1], numbers[2]))
    early, _, late = text.partition(EXPERIMENTAL)
    _read_into(found, _plain(early))
    promised = {*found.structs, *found.enums, *found.callbacks, *found.functions}
    # The comment was cut in the middle: the rest of it ends at the next "*/".
    _read_into(found, _plain(late.partition("*/")[2]))
    found.experimental = {*found.structs, *found.enums, *found.callbacks, *found.functions}
    found.experimental -= promised
    return found


def _plain(text: str) -> str:
    """Without comments and directives, blanks and breaks as one blank."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.DOTALL)
    text = re.sub(r"^\s*#.*(\\\n.*)*$", "", text, flags=re.MULTILINE)
    return " ".join(text.split())


def _read_into(found: Header, text: str) -> None:
    for name, body in re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", text):
        found.structs[name] = _fields(body)
    for name, body in re.findall(r"typedef enum (\w+) \{(.*?)\} \1;", text):
        members = re.findall(r"(COVEY_\w+)\s*=\s*(-?\d+)", body)
        found.enums[name] = {each: int(number) for each, number in members}
    for result, name, given in re.findall(r"typedef ([^;{]*?)\(\*(\w+)\)\(([^)]*)\);", text):
        found.callbacks[name] = Signature(result.strip(), _arguments(given))
    for result, name, given in re.findall(
        r"COVEY_API (?:COVEY_CHECK )?([\w\s*]+?)\b(covey_\w+)\s*\(([^)]*)\);", text
    ):
        found.functions[name] = Signature(result.strip(), _arguments(given))


def _unnamed(declaration: str) -> tuple[str, str]:
    """Name and type of "const uint8_t *planes[3]": planes, "const uint8_t *[3]"."""
    head, bracket, sizes = declaration.partition("[")
    name = re.findall(r"\w+", head)[-1]
    start = head.rindex(name)
    kind = f"{head[:start]} {head[start + len(name) :]} {bracket}{sizes}"
    return name, " ".join(kind.split())


def _fields(body: str) -> dict[str, str]:
    found = {}
    for declaration in filter(None, (each.strip() for each in body.split(";"))):
        # "int32_t x, y" declares two.
        first, *more = declaration.split(",")
        base = first[: first.rindex(_unnamed(first)[0])].rstrip("* ")
        for each in (first, *(f"{base} {other}" for other in more)):
            name, kind = _unnamed(each)
            found[name] = kind
    return found


def _arguments(text: str) -> tuple[str, ...]:
    if text.strip() == "void":
        return ()
    return tuple(_unnamed(each)[1] for each in text.split(","))
