"""Pages are wrapped, and files short enough to be read in one go."""

from __future__ import annotations

import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tools"))

import wrap  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
         ROOT / "bindings/python/README.md", ROOT / "models/README.md",
         *sorted((ROOT / "docs").glob("*.md"))]  # fmt: skip


def test_pages_are_wrapped(capsys):
    assert wrap.main(["--check", *map(str, PAGES)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("folder, pattern", [
    ("Sources/Covey", "*.swift"), ("bindings/python/src/covey", "*.py"),
    ("Sources/CCoveyKernels", "*.[ci]*"), ("Sources/CCoveyPlatform", "*.c"), ("tools", "*.py"),
])  # fmt: skip
def test_files_are_short(folder, pattern):
    files = list((ROOT / folder).rglob(pattern))
    assert files
    lines = {str(each): len(each.read_text().splitlines()) for each in files if each.is_file()}
    assert {name: count for name, count in lines.items() if count > 400} == {}


LONG = "word " * 30 + "end"
TEXT = f"""# Title {LONG}

{LONG} `code {LONG[:80]} of words` [a link](page.md#place) and
more - of it.

* item {LONG}
  goes on
  * inner {LONG}

| table | {LONG} |
|---|---|

    code {LONG}

```
{LONG}
```
1. numbered {LONG}
"""


def test_only_text_is_wrapped():
    made = wrap.wrap(TEXT)
    assert made.split() == TEXT.split()
    kept = [line for line in made.split("\n") if len(line) > wrap.WIDTH]
    assert [line.split()[0] for line in kept] == ["#", "|", "code", "word"]
    lines = made.split("\n")
    assert [line for line in lines if line.startswith("  ") and not line.startswith("    ")]
    at = next(index for index, line in enumerate(lines) if line.startswith("  * inner"))
    assert lines[at + 1].startswith("    word")
    # What would begin an item stays behind its word.
    assert "more - of it." in made.replace("\n", " ")
    assert wrap.wrap(made) == made


def test_short_text_is_left_alone():
    text = "a\nb\n\n* c\n  d\n"
    assert wrap.wrap(text) == text
