#!/usr/bin/env python3
"""Wraps Markdown at 100 columns:

    wrap.py [--check] FILE...

Only paragraphs and items of lists that have a longer line are touched.  Code, tables, headings and
HTML stay as they are, as does a line of one word.  --check changes nothing, names the lines, and
fails where there are some.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

WIDTH = 100
#: What begins a line that is not running text.
_OTHER = re.compile(r"\s*(\||#|<|>|\[[^]]+\]:|-{3,}|={3,}|!\[)|    |\t")
_ITEM = re.compile(r"(\s*)([*+-]|[0-9]+[.)])(\s+)")
#: What would be something else at the begin of a line.
_MARK = re.compile(r"([*+-]|[0-9]+[.)]|#+|>|={2,}|\|)$")


def blocks(lines: list[str]) -> list[tuple[int, int, bool]]:
    """From and to of each run of lines, and whether it may be wrapped."""
    found: list[tuple[int, int, bool]] = []
    fence, start, index = "", 0, 0

    def end(at: int, text: bool) -> None:
        nonlocal start
        if at > start:
            found.append((start, at, text))
        start = at

    while index < len(lines):
        line = lines[index]
        mark = re.match(r"\s*(```|~~~)", line)
        if fence or mark:
            end(index, True)
            if mark:
                fence = mark[1] if not fence else "" if mark[1] == fence else fence
            end(index + 1, False)
        elif not line.strip():
            end(index, True)
            end(index + 1, False)
        elif _ITEM.match(line):
            end(index, True)
        elif _OTHER.match(line) and (index == start or not line.startswith("    ")):
            end(index, True)
            end(index + 1, False)
        index += 1
    end(len(lines), not fence)
    return found


def words_of(text: str) -> list[str]:
    """A span of code and the text of a link are not broken."""
    found: list[str] = []
    open_code = False
    for word in text.split():
        if open_code:
            found[-1] += " " + word
        else:
            found.append(word)
        if word.count("`") % 2:
            open_code = not open_code
    return found


def wrapped(lines: list[str]) -> list[str]:
    """One paragraph or item."""
    item = _ITEM.match(lines[0])
    first = item[0] if item else re.match(r"\s*", lines[0])[0]  # type: ignore[index]
    rest = " " * len(first)
    if len(lines) > 1:
        rest = re.match(r"\s*", lines[1])[0]  # type: ignore[index]
    if any(line.endswith(("  ", "\\")) for line in lines[:-1]):
        return lines
    text = " ".join([lines[0][len(first):], *lines[1:]])
    made, now = [], first
    for word in words_of(text):
        fresh = now in (first, rest)
        if not fresh and len(now) + 1 + len(word) > WIDTH and not _MARK.match(word):
            made.append(now)
            now = rest + word
        else:
            now += word if fresh else " " + word
    return [*made, now]


def wrap(text: str) -> str:
    lines = text.split("\n")
    made: list[str] = []
    for begin, end, is_text in blocks(lines):
        part = lines[begin:end]
        is_long = any(len(line) > WIDTH for line in part)
        made += wrapped(part) if is_text and is_long and part[0].strip() else part
    return "\n".join(made)


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    wrong = 0
    for name in arguments:
        if name == "--check":
            continue
        path = Path(name)
        text = path.read_text(encoding="utf-8")
        made = wrap(text)
        if check and made != text:
            pairs = enumerate(text.split("\n"), 1)
            line = next((n for n, each in pairs if len(each) > WIDTH), 1)
            print(f"{path}:{line}: longer than {WIDTH} columns; python3 tools/wrap.py {path}")
            wrong += 1
        elif made != text:
            path.write_text(made, encoding="utf-8")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
