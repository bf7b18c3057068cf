"""Tests/check_rooms.py: the sources keep the rules of docs/ARCHITECTURE.md, and a planted arrow is
found, with its line."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "Tests"))

import check_rooms  # noqa: E402

SWIFT, PYTHON = check_rooms.SWIFT, check_rooms.PYTHON


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """What is checked, to plant in."""
    root = tmp_path_factory.mktemp("rooms")
    for folder in (SWIFT, PYTHON):
        kept = shutil.ignore_patterns("*.so*", "*.gguf")
        shutil.copytree(ROOT / folder, root / folder, ignore=kept)
    (root / "docs").mkdir()
    shutil.copy(ROOT / check_rooms.PAGE, root / check_rooms.PAGE)
    return root


@pytest.fixture
def plant(copied):
    """Lines at the end of files, or new files; what is found, by their lines."""
    before = {}

    def planted(file, text):
        path = copied / file
        before[path] = path.read_text() if path.exists() else None
        path.write_text((before[path] or "") + text)
        return check_rooms.check(copied), len((before[path] or "").splitlines()) + 1

    yield planted
    for path, text in before.items():
        path.unlink() if text is None else path.write_text(text)


def test_the_sources():
    assert check_rooms.check(ROOT) == []


def test_it_sees_all_rooms():
    page = (ROOT / check_rooms.PAGE).read_text()
    for folder, room, end in ((SWIFT, "Interface", "swift"), (PYTHON, "mirror", "py")):
        there = {each.parent.name for each in (ROOT / folder).glob(f"*/*.{end}")}
        assert there <= set(check_rooms.order_of(page, room))
        assert len(there) >= 9


@pytest.mark.parametrize("file, line, says", [
    ("Tensor/Buffer.swift", "let planted: Half? = nil", "Tensor knows Model: Half"),
    ("Model/Weights.swift", "let planted: [Session]", "Model knows Segmentation: Session"),
    ("Clustering/Linkage.swift", "f(SoftLabels.depth)", "Clustering knows Masks: SoftLabels"),
    ("Masks/Outline.swift", "import CCovey", "Masks sees C: import CCovey"),
    ("Training/AdamW.swift", "let planted: covey_frame", "Training sees C: covey_frame"),
])  # fmt: skip
def test_an_arrow_planted_in_swift(plant, file, line, says):
    found, number = plant(f"{SWIFT}/{file}", line + "\n")
    assert found == [f"{SWIFT}/{file}:{number}: {says}"]


@pytest.mark.parametrize("line", [
    "// VisionTransformer", "/* a\n VisionTransformer */", 'let planted = "VisionTransformer"',
    "struct VisionTransformer {}\nlet planted: VisionTransformer",
    "func planted<VisionTransformer>(_ a: VisionTransformer) {}", "let planted = a.Correlator",
])  # fmt: skip
def test_what_is_no_arrow_in_swift(plant, line):
    found, _ = plant(f"{SWIFT}/Tensor/Budget.swift", line + "\n")
    # A type of the same name is at home there from now on: others may not know Tensor's.
    assert not [each for each in found if "Tensor/Budget.swift" in each]


@pytest.mark.parametrize("file, line, says", [
    ("mirror/calls.py", "from ..interface.model import Model", "mirror knows interface: Model"),
    ("reading/films.py", "if 0:\n    from ..writing import coco", "reading knows writing: coco"),
    ("batch/task.py", "if 0:\n    from ..commands.main import main", "batch knows commands: main"),
    ("plots/grid.py", "import covey.batch.task", "plots knows batch: batch.task"),
    ("writing/coco.py", "from covey.batch import work", "writing knows batch: work"),
    ("training/stop.py", "from .. import Model", "training knows covey itself, which is above it"),
    ("system/display.py", "from ..mirror.abi import STRUCTS", "system sees C: STRUCTS"),
    ("reading/clips.py", "from .video import _hidden", "_hidden is private to reading.video"),
])  # fmt: skip
def test_an_arrow_planted_in_python(plant, file, line, says):
    found, number = plant(f"{PYTHON}/{file}", line + "\n")
    assert f"{PYTHON}/{file}:{number + line.count(chr(10))}: {says}" in found


def test_a_circle_is_told(plant):
    found, _ = plant(f"{PYTHON}/reading/films.py", "def f():\n    from .clips import Clips\n")
    way = "reading/films.py -> reading/clips.py -> reading/films.py"
    assert found == [f"{PYTHON}/reading/films.py:1: a circle: {way}"]


def test_rooms_that_are_not_on_the_page(plant, copied):
    (copied / PYTHON / "planted").mkdir(exist_ok=True)
    found, _ = plant(f"{PYTHON}/planted/__init__.py", '"""A room."""\n')
    place = f"{PYTHON}/planted/__init__.py:1:"
    assert found == [f"{place} does not say which rooms it knows",
                     f"{place} planted is in no line of docs/ARCHITECTURE.md"]  # fmt: skip


def test_what_a_room_says_too_much(plant):
    found, _ = plant(f"{PYTHON}/system/_hidden.py", "")
    assert found == [f"{PYTHON}/system/_hidden.py:1: a room is private or public as a whole"]
