"""Rules of the Swift sources that the compiler does not know (docs/ARCHITECTURE.md)."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "Sources/Covey"
TYPES = re.compile(r"\b(class|struct|enum|extension|protocol)\s+(\w+)[^{;]*\{")
INITIALISERS = re.compile(r"((?:[@\w()]+\s+)*)\binit\b([?!]?)\s*(<[^>]*>)?\s*\(")


def code(text: str) -> str:
    """Without comments and the contents of strings, line by line as it was."""
    text = re.sub(r'"""(.*?)"""', lambda m: '"' + "\n" * m[0].count("\n") + '"', text, flags=re.S)
    text = re.sub(r'"(?:\\.|[^"\\\n])*"', '""', text)
    return re.sub(r"//[^\n]*", "", text)


def end_of(text: str, start: int, opening: str, closing: str) -> int:
    """Behind the bracket that closes the one at `start`."""
    depth = 0
    for index in range(start, len(text)):
        depth += (text[index] == opening) - (text[index] == closing)
        if depth == 0:
            return index + 1
    raise AssertionError("a bracket is not closed")


def bodies(text: str):
    """Kind, name, start and end of the body of every type."""
    for match in TYPES.finditer(text):
        kind, name = match[1], match[2]
        if kind == "class" and name in ("func", "var", "let"):
            continue
        yield kind, name, match.end() - 1, end_of(text, match.end() - 1, "{", "}")


def designated_that_fail(sources: dict[str, str]) -> list[str]:
    """Designated initialisers of classes that throw or return nil."""
    texts = {name: code(text) for name, text in sources.items()}
    classes = {
        name for text in texts.values() for kind, name, *_ in bodies(text) if kind == "class"}
    found = []
    for path, text in texts.items():
        places = list(bodies(text))
        for match in INITIALISERS.finditer(text):
            around = [each for each in places if each[2] < match.start() < each[3]]
            if not around:
                continue
            kind, name, *_ = max(around, key=lambda each: each[2])  # the innermost
            # A body of a function is none of a type: `self.init(` and `.init(` are calls.
            if text[: match.start(0) + len(match[1])].rstrip().endswith("."):
                continue
            behind = text[end_of(text, match.end() - 1, "(", ")"):].split("{")[0]
            fails = match[2] == "?" or re.search(r"\bthrows\b", behind)
            if name in classes and kind in ("class", "extension") and fails:
                if "convenience" not in match[1].split():
                    line = text[: match.start(0)].count("\n") + 1
                    found.append(f"{path}:{line}: {name}")
    return found


def test_no_designated_initialiser_fails():
    """Embedded Swift 6.3 never frees the memory of an object whose designated initialiser
    throws before all properties are set."""
    sources = {str(path): path.read_text() for path in SOURCES.rglob("*.swift")}
    classes = sum(
        kind == "class" for text in sources.values() for kind, *_ in bodies(code(text)))
    assert classes >= 10
    assert designated_that_fail(sources) == []


@pytest.mark.parametrize(
    "text, count",
    [
        ("final class A { init(_ x: Int) throws(E) { y = try B(x) } }", 1),
        ("class A<T: P>: Q {\n  private init?(x: Int) { return nil } }", 1),
        ("class A {\n  init(\n    x: (Int) -> Int = { $0 }\n  ) throws(E) {} }", 1),
        ("class A { struct B { let c: Int }\n @inline(never) init() throws {} }", 1),
        ("class A {}\nextension A { init(x: Int) throws {} }", 1),
        ("class A { convenience init(x: Int) throws { self.init() }\n init() {} }", 0),
        ("class A { @inline(never) convenience init(x: Int) throws { self.init() } }", 0),
        ("struct A { init() throws {} }", 0),
        ("class A { struct B { init() throws {} } }", 0),
        ('class A { init() {}\n // init() throws {}\n let x = "init() throws {" }', 0),
        ("class A { func f() throws { let a = try A.init(x: 1) } }", 0),
    ],
)
def test_that_it_is_noticed(text, count):
    assert len(designated_that_fail({"A.swift": text})) == count


#: Globals that are made under the process's lock, or in the parent of a fork only.
UNDER_THE_LOCK = {"buildInfo", "mostThreads", "isConcurrent", "productsAtOnce", "bufferBytes"}


def test_no_global_is_made_lazily():
    """Embedded Swift's swift_once spins until the thread that makes a global has done so: in
    the child of a fork, which has no such thread, for ever."""
    scratch = "-no-blas" if "no-blas" in os.environ.get("COVEY_LIBRARY", "") else ""
    library = SOURCES.parents[1] / f".build-embedded{scratch}/release/libcovey.so"
    if not library.exists():
        pytest.skip("the library was not built here")
    symbols = subprocess.run(["nm", library], check=True, capture_output=True, text=True).stdout
    tokens = re.findall(r"\$e5Covey(\w+)_Wz$", symbols, re.M)  # of swift_once
    assert len(tokens) >= 1
    lazy = {token for token in tokens if not any(name in token for name in UNDER_THE_LOCK)}
    assert not lazy
