#!/usr/bin/env python3
"""Who may know whom, checked from the sources:

    check_rooms.py [ROOT]

Prints a line for every arrow that is not allowed, FILE:LINE: what it is, and fails where there is
one.  Allowed is what docs/ARCHITECTURE.md has in its two lines "a, b <- c <- d": a room knows those
to the left of it, never one beside it.  In Python each room says in its __init__.py which of them
it does know; a room that it names and does not know is told too.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE, SWIFT, PYTHON = "docs/ARCHITECTURE.md", "Sources/Covey", "bindings/python/src/covey"
#: The one folder, and the two rooms, that see the structs of covey.h.
SWIFT_SEES_C, PYTHON_SEES_C = {"Interface"}, {"mirror", "interface"}
#: The files above all rooms: what is public, and python -m.
ABOVE = {"__init__.py", "__main__.py"}


def orders(text: str) -> list[list[set[str]]]:
    """The lines of arrows on a page, each as its places from the left."""
    found = []
    for block in re.findall(r"(?:^    .*\n)+", text, re.M):
        places = [set(re.findall(r"\w+", place)) for place in block.split("<-")]
        if len(places) > 2:
            found.append(places)
    return found


def order_of(text: str, room: str) -> dict[str, set[str]]:
    """Of the line that has ``room``: each room, and those to the left of it."""
    (places,) = [each for each in orders(text) if any(room in place for place in each)]
    return {
        name: set().union(*places[:index]) for index, place in enumerate(places) for name in place
    }


# ---- Swift -----------------------------------------------------------------

#: What others may have of mirror.abi: its enumerations, and the version.
_ENUMERATION = re.compile(r"VERSION|[A-Z][a-z]\w*")
_DECLARED = re.compile(
    r"\b(?:struct|class|enum|protocol|typealias|actor)\s+(?!func\b|var\b|let\b)(\w+)"
)


def bare(text: str) -> str:
    """Swift without comments and the contents of strings, line by line as it was."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    strings = r'"""(?:.|\n)*?"""|"(?:\\.|[^"\\\n])*"'
    return re.sub(rf"{strings}|//[^\n]*|/\*(?:.|\n)*?\*/", blank, text)


def declared(text: str) -> set[str]:
    """The types at the top of a bare file: those inside others are named with them."""
    found, depth = set(), 0
    for line in text.splitlines():
        if depth == 0:
            found |= set(_DECLARED.findall(line.split("{")[0]))
        depth += line.count("{") - line.count("}")
    return found


def swift(sources: dict[str, str], allowed: dict[str, set[str]]) -> list[str]:
    """sources: text by path, FOLDER/NAME.swift."""
    texts = {path: bare(text) for path, text in sources.items()}
    home: dict[str, str] = {}
    for path, text in texts.items():
        for name in declared(text):
            home[name] = path.split("/")[0]
    wrong = []
    for path, text in sorted(texts.items()):
        folder = path.split("/")[0]
        if folder not in allowed:
            wrong.append(f"{SWIFT}/{path}:1: {folder} is in no line of {PAGE}")
            continue
        # Names of its own, nested types and parameters of generics, hide those of others.
        own = set(_DECLARED.findall(text))
        for generics in re.findall(r"\b(?:func|struct|class|enum)\s+\w+\s*<([^(]*)>", text):
            own |= set(re.findall(r"\w+", generics))

        def place(match: re.Match[str]) -> str:
            return f"{SWIFT}/{path}:{text.count(chr(10), 0, match.start()) + 1}"

        for match in re.finditer(r"(?<![.\w])[A-Z]\w*", text):
            other = home.get(match[0], folder)
            if other != folder and other not in allowed[folder] and match[0] not in own:
                wrong.append(f"{place(match)}: {folder} knows {other}: {match[0]}")
        if folder not in SWIFT_SEES_C:
            for match in re.finditer(r"\bimport\s+CCovey\b|\bcovey_\w+", text):
                wrong.append(f"{place(match)}: {folder} sees C: {match[0]}")
    return wrong


# ---- Python ----------------------------------------------------------------


def said(text: str) -> set[str] | None:
    """The rooms that an __init__.py says its room knows; None where it does not say."""
    told = re.search(r"\bKnows:? ([^.]*)\.|\bknows (no other room)\.", " ".join(text.split()))
    if not told:
        return None
    rooms: str = told[1] or told[2]
    if rooms.startswith("every room"):
        return {"*"}
    return set() if rooms == "no other room" else set(re.findall(r"\w+", rooms.split(", for")[0]))


def imports(path: str, text: str) -> list[tuple[int, str, str]]:
    """Line, module below covey, and name, of all imports of the package."""
    package = path.split("/")[:-1]
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
            elif node.module and node.module.split(".")[0] == "covey":
                base = []
            else:
                continue
            module = (node.module or "").split(".") if node.module else []
            module = module if node.level else module[1:]
            found += [(node.lineno, ".".join([*base, *module]), each.name) for each in node.names]
        elif isinstance(node, ast.Import):
            found += [
                (node.lineno, each.name[len("covey."):], "")
                for each in node.names
                if each.name.startswith("covey.")
            ]
    return sorted(found)


def circle(edges: dict[str, set[str]]) -> list[str] | None:
    """Files that come back to the first, where there are some."""
    done: set[str] = set()

    def walk(file: str, way: list[str]) -> list[str] | None:
        if file in way:
            return [*way[way.index(file):], file]
        if file in done:
            return None
        for other in sorted(edges.get(file, ())):
            if found := walk(other, [*way, file]):
                return found
        done.add(file)
        return None

    return next((found for file in sorted(edges) if (found := walk(file, []))), None)


def python(sources: dict[str, str], allowed: dict[str, set[str]]) -> list[str]:
    """sources: text by path below the package."""
    wrong, edges = [], {}
    used: dict[str, set[str]] = {}
    knows: dict[str, set[str]] = {}
    for room in sorted({path.split("/")[0] for path in sources if "/" in path}):
        place, text = f"{PYTHON}/{room}/__init__.py:1", sources.get(f"{room}/__init__.py", "")
        told = said(ast.get_docstring(ast.parse(text)) or "")
        if told is None:
            wrong.append(f"{place}: does not say which rooms it knows")
        if room not in allowed:
            wrong.append(f"{place}: {room} is in no line of {PAGE}")
            continue
        knows[room] = allowed[room] if told == {"*"} else told or set()
        for other in sorted(knows[room] - allowed[room]):
            wrong.append(f"{place}: {room} is to know {other}, which is not left of it in {PAGE}")
    for path, text in sorted(sources.items()):
        room, file = (path.split("/")[0] if "/" in path else None), path.split("/")[-1]
        if file.startswith("_") and file not in ABOVE:
            wrong.append(f"{PYTHON}/{path}:1: a room is private or public as a whole")
        for number, module, name in imports(path, text):
            place = f"{PYTHON}/{path}:{number}"
            other = (module or name).split(".")[0]
            target = f"{module}.{name}" if module else name
            for each in (target, module):
                for end in (".py", "/__init__.py"):
                    if (found := each.replace(".", "/") + end) in sources:
                        edges.setdefault(path, set()).add(found)
                        break
                else:
                    continue
                break
            if name.startswith("_") and name != "__version__":
                wrong.append(f"{place}: {name} is private to {module}")
            if room is None:
                continue
            if f"{other}/__init__.py" not in sources:
                wrong.append(f"{place}: {room} knows covey itself, which is above it")
                continue
            used.setdefault(room, set()).add(other)
            if other != room and other not in knows.get(room, set()):
                wrong.append(f"{place}: {room} knows {other}: {name or module}")
            if room not in PYTHON_SEES_C and other == "mirror":
                if name == "abi" or (module == "mirror.abi" and not _ENUMERATION.fullmatch(name)):
                    wrong.append(f"{place}: {room} sees C: {name}")
    for room, told in knows.items():
        if room in allowed and told != allowed[room]:
            for other in sorted(told - used.get(room, set())):
                wrong.append(f"{PYTHON}/{room}/__init__.py:1: {room} says it knows {other}, and "
                             "does not")
    if way := circle(edges):
        wrong.append(f"{PYTHON}/{way[0]}:1: a circle: {' -> '.join(way)}")
    return wrong


def check(root: Path) -> list[str]:
    """All that is wrong below ``root``."""
    page = (root / PAGE).read_text(encoding="utf-8")

    def read(folder: str, pattern: str) -> dict[str, str]:
        base = root / folder
        return {str(each.relative_to(base)): each.read_text(encoding="utf-8")
                for each in base.rglob(pattern)}  # fmt: skip

    return [
        *swift(read(SWIFT, "*.swift"), order_of(page, "Interface")),
        *python(read(PYTHON, "*.py"), order_of(page, "mirror")),
    ]


if __name__ == "__main__":
    found = check(Path(sys.argv[1]) if sys.argv[1:] else ROOT)
    print("\n".join(found) or "who knows whom is as docs/ARCHITECTURE.md has it")
    sys.exit(bool(found))
