"""Links of README, docs and Examples lead somewhere: in the checkout, and as installed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import links
import pytest

from covey.commands.main import build_parser

TOP = Path(__file__).resolve().parents[2]
KEPT = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True)
FILES = [TOP / name for name in KEPT.stdout.split("\0") if name]
PAGES = [path for path in FILES if path.suffix == ".md"]
#: What a reader without the checkout can have in hand.
NAMED = re.compile(r"\b(docs/[A-Za-z0-9_/-]+\.(?:md|png)|Examples/\w+\.\w+)")


def test_no_link_of_the_checkout_is_dead():
    assert len(PAGES) > 15
    assert links.dead(PAGES) == []


def test_pictures_are_small():
    large = [path.name for path in FILES
             if path.is_relative_to(TOP / "docs/pictures") and path.stat().st_size >= 150_000]
    assert large == []


def test_documents_that_sources_name_are_there():
    """In the header, where a name may be broken over two lines, in --help, in comments."""
    sources = [path for path in FILES
               if path.suffix in {".h", ".c", ".cpp", ".hpp", ".swift", ".py", ".sh", ".in"}
               and not path.is_relative_to(TOP / "Tests")]
    gone = []
    for path in sources:
        text = re.sub(r"docs/\s*\*\s+(?=[A-Z])", "docs/", path.read_text(encoding="utf-8"))
        gone += [f"{path}: {name}" for name in NAMED.findall(text) if not (TOP / name).is_file()]
    assert gone == []


@pytest.fixture(scope="module", params=["with the header", "alone"])
def installed(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("installed")
    folder, include = root / "share/doc/covey", root / "include"
    more = []
    if request.param != "alone":
        include.mkdir()
        for header in (TOP / "Include").glob("covey.h*"):
            (include / header.name).write_bytes(header.read_bytes())
        more = ["--include", str(include)]
    subprocess.run([sys.executable, TOP / "packaging/documents.py", *more, folder], check=True)
    return folder, bool(more)


def test_no_link_of_what_is_installed_is_dead(installed):
    folder, with_header = installed
    pages = sorted(folder.rglob("*.md"))
    assert links.dead(pages) == []
    # Nor does one lead out of it, but to the headers.
    out = {target for page in pages for target in links.targets(page.read_text("utf-8"))
           if not links.OUTSIDE.match(target)
           and not (page.parent / target.partition("#")[0]).resolve().is_relative_to(folder)}
    headers = ("/include/covey.h", "/include/covey.hpp")
    assert [target for target in out if not target.endswith(headers)] == []
    assert bool(out) == with_header


def test_links_are_those_of_the_new_place():
    spec = importlib.util.spec_from_file_location("documents", TOP / "packaging/documents.py")
    documents = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(documents)
    text = ("[a](../Examples/a.c#b) ![c](d.png) [e](../tools/f.md) [g](#h) [i](https://j.org)\n"
            "<img width='9' src=\"d.png\"><a href=\"k.md#l\">\n```\n[m](d.png)\n```\n")
    places = {"docs/n.md": "/x/n.md", "docs/d.png": "/x/p/d.png", "Examples/a.c": "/y/a.c",
              "docs/k.md": "/x/k.md"}
    assert documents.with_links(text, "docs/n.md", places) == (
        "[a](../y/a.c#b) ![c](p/d.png) e [g](#h) [i](https://j.org)\n"
        "<img width='9' src=\"p/d.png\"><a href=\"k.md#l\">\n```\n[m](d.png)\n```\n")


def test_what_the_header_cites_is_installed(installed):
    folder, _ = installed
    header = re.sub(r"docs/\s*\*\s+(?=[A-Z])", "docs/", (TOP / "Include/covey.h").read_text())
    cited = set(NAMED.findall(header))
    assert len(cited) > 1
    assert [name for name in cited if not (folder / name).is_file()] == []


def test_what_a_link_is():
    text = "[a](b.md) `[c](d.md)` ![e [f]](g.png#h)\n```\n[i](j.md)\n```\n<img src='k.png'>\n"
    assert links.targets(text) == ["b.md", "g.png#h", "k.png"]
    text = "# A `b`, (c)\n## D_e\n```\n# f\n```\n## D_e\n"
    assert links.headings(text) == {"a-b-c", "d_e", "d_e-1"}


def test_a_dead_one_is_found(tmp_path):
    page = "# One\n[x](#one) [y](b.md) [z](#two) [w](https://example.org)\n"
    (tmp_path / "a.md").write_text(page)
    assert links.dead([tmp_path / "a.md"]) == [f"{tmp_path}/a.md: b.md", f"{tmp_path}/a.md: #two"]


def test_every_example_has_its_place_in_the_readme():
    page = (TOP / "Examples/README.md").read_text()
    names = [path.name for path in FILES if path.parent == TOP / "Examples"]
    told = re.findall(r"(?m)^## (\S+):", page)
    assert sorted(told) == sorted(name for name in names if name != "README.md")


def options(parser):
    """Of a parser and its commands."""
    found = set()
    for action in parser._actions:
        found.update(action.option_strings)
        for one in action.choices.values() if isinstance(action.choices, dict) else ():
            found |= options(one)
    return found


def test_options_that_pages_name_are_there():
    """Of the command; or of a program of the checkout, or one that its files call."""
    known = options(build_parser()) | {"--resolution"}  # the authors' own
    sources = "\n".join(path.read_text("utf-8", errors="ignore") for path in FILES
                        if path.suffix != ".md" and path.is_file())
    known |= set(re.findall(r"--[a-z][a-z0-9-]+", sources))
    named = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")
    gone = [f"{page.relative_to(TOP)}: {option}" for page in PAGES
            for option in set(named.findall(page.read_text("utf-8"))) - known]
    assert gone == []
