"""Links of documents, and those of them that lead nowhere."""

from __future__ import annotations

import re
from pathlib import Path

LINK = re.compile(r"!?\[(?:[^][]|\[[^]]*\])*\]\(([^)\s]+)\)")
CODE = re.compile(r"(?ms)^```.*?^```$|(?<!`)`[^`]+`(?!`)")
#: <img src="...">
HTML = re.compile(r"""<(?:img|a|source)\b[^>]*?\b(?:src|href|srcset)=["']([^"']+)["']""")
OUTSIDE = re.compile(r"[a-z]+:")


def headings(text: str) -> set[str]:
    """Names of headings as GitHub gives them, in links."""
    found: set[str] = set()
    without = re.sub(r"(?ms)^```.*?^```$", "", text)
    for heading in re.findall(r"(?m)^#{1,6} +(.*?)\s*#*$", without):
        words = re.sub(r"[*`]|\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = sum(re.fullmatch(rf"{re.escape(name)}(-\d+)?", each) is not None for each in found)
        found.add(f"{name}-{number}" if number else name)
    return found


def targets(text: str) -> list[str]:
    bare = CODE.sub(lambda code: "`" * code[0].count("`"), text)
    return [*LINK.findall(bare), *HTML.findall(bare)]


def dead(pages: list[Path]) -> list[str]:
    """"PAGE: TARGET" of every link to a file or a heading that is not there."""
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for target in targets(text):
            if OUTSIDE.match(target):
                continue
            path, _, heading = target.partition("#")
            other = page.parent / path if path else page
            if not other.exists() or (
                heading
                and (other.suffix != ".md" or heading not in headings(other.read_text("utf-8")))
            ):
                found.append(f"{page}: {target}")
    return found
