"""Attention maps against the block's formula, figures, and the report of a run."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import covey
from covey import plots
from covey.commands.main import main
from covey.writing import images


@pytest.fixture
def folder(tmp_path, video):
    (tmp_path / "shot").mkdir()
    for index, frame in enumerate(video):
        images.write_image(tmp_path / "shot" / f"f{index}.png", frame)
    return tmp_path / "shot"


@pytest.mark.parametrize("compared", ["correlator", "features"])
def test_maps_are_those_of_the_formula(model, video, compared):
    found = plots.encoded(model, list(video), compared)
    frames, rows, columns, channels = found.queries.shape
    width = channels // found.heads
    for frame, row, column in [(0, 0, 0), (2, 1, 3), (frames - 1, rows - 1, columns - 1)]:
        maps = plots.attention_maps(found, frame, row, column)
        expected = np.zeros(frames * rows * columns)
        keys = found.keys.astype(np.float64).reshape(-1, channels)
        query = found.queries[frame, row, column].astype(np.float64)
        for head in range(found.heads):
            part = slice(head * width, (head + 1) * width)
            weights = np.exp(keys[:, part] @ query[part] / width**0.5)
            expected += weights / weights.sum() / found.heads
        # fp32 scores of size 1 in the exponent.
        np.testing.assert_allclose(maps.ravel(), expected, rtol=2e-5)
        assert maps.sum() == pytest.approx(1, abs=1e-5)


def test_features_are_what_sessions_compare(model, video):
    """The same clusters from these queries and keys as from a session of this affinity."""
    found = plots.encoded(model, list(video), "features")
    options = {"tau": 0.02, "key_pool": 1, "query_pool": 1}
    session = model.segment(
        video, affinity="features", output="clusters", mask="nearest", key_stride=1, **options)
    clusters = covey.cluster(found.queries, found.keys, found.heads, **options)
    assert len(np.unique(session)) == clusters.count


@pytest.mark.parametrize(
    "figure, arguments, rows",
    [
        ("attention", ["--at", "0:20,10", "--at", "4:50,30"], 3),
        ("affinities", ["--clusters", "3"], 3),
        ("affinities", ["--affinity", "attention", "features", "correlator"], 4),
        ("hierarchy", ["--tau", "0.01", "0.05", "0.5"], 4),
    ],
)
def test_figures(folder, tmp_path, model_path, capsys, figure, arguments, rows):
    path = tmp_path / "figure.png"
    assert main(["plot", figure, str(folder), "-m", str(model_path), "--shown", "3",
                 "-o", str(path), *arguments]) == 0
    assert f"{figure} of 5 frames" in capsys.readouterr().out
    with Image.open(path) as picture:
        width, height = picture.size
        pixels = np.asarray(picture.convert("RGB"))
    # Three frames of 60 x 40 beside each other, 2.4 inches of 130 dots each.
    assert width == pytest.approx(3 * 2.4 * 130, rel=0.1)
    assert height == pytest.approx(rows * 1.6 * 130, rel=0.15)
    # Something is drawn in every row.
    for part in np.array_split(pixels[40:], rows):
        assert part.std() > 5


def test_a_figure_in_webp(folder, tmp_path, model_path):
    for suffix in ("png", "webp"):
        assert main(["plot", "hierarchy", str(folder), "-m", str(model_path), "--shown", "3",
                     "-o", str(tmp_path / f"figure.{suffix}")]) == 0
    with Image.open(tmp_path / "figure.png") as one, Image.open(tmp_path / "figure.webp") as other:
        assert other.format == "WEBP" and other.size == one.size
        assert np.abs(np.asarray(one.convert("RGB"), float) - other.convert("RGB")).mean() < 8


def test_comparison_of_systems(folder, tmp_path, model_path, capsys):
    for name, tau in (("one", "0.05"), ("other", "0.5")):
        assert main(["segment", str(folder), "--model", str(model_path), "--tau", tau, "--clusters",
                     "-o", str(tmp_path / name), "--json"]) == 0
    command = ["plot", "compare", str(folder), "-o", str(tmp_path / "compare.svg"),
               f"DINO={tmp_path / 'one/masks'}", f"ours={tmp_path / 'other/masks'}"]
    assert main(command) == 0
    drawing = (tmp_path / "compare.svg").read_text()
    assert "DINO" in drawing and "ours" in drawing
    (tmp_path / "one/masks/f4.png").unlink()
    capsys.readouterr()
    assert main(command) == 1
    assert "one/masks/f4.png: no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["attention", "--at", "9:1,1"], 1, "--at: expected a frame from 0 to 4, found 9"),
        (["attention", "--at", "0:60,1"], 1, "expected a pixel of 60x40, found 60,1"),
        (["attention", "--at", "middle"], 2, "expected FRAME:X,Y, found 'middle'"),
    ],
)
def test_bad_points(folder, tmp_path, model_path, capsys, arguments, status, message):
    command = ["plot", arguments[0], str(folder), "-m", str(model_path),
               "-o", str(tmp_path / "a.png"), *arguments[1:]]
    try:
        found = main(command)
    except SystemExit as error:
        found = error.code
    assert found == status and message in capsys.readouterr().err


def test_figures_are_written_over_nothing_that_is_read(folder, tmp_path, capsys, monkeypatch):
    (tmp_path / "masks").mkdir()
    for index in range(5):
        images.write_labels(tmp_path / f"masks/f{index}.png", np.ones((40, 60), int))
    command = ["plot", "compare", str(folder), f"a$_$b={tmp_path / 'masks'}", "-o"]
    for path in (folder / "f1.png", tmp_path / "masks/f1.png"):
        before = path.read_bytes()
        assert main([*command, str(path)]) == 1
        assert f"{path}: is read, and would be overwritten" in capsys.readouterr().err
        assert path.read_bytes() == before
    # Dollars are no formula.
    assert main([*command, str(tmp_path / "a.svg")]) == 0
    assert "a$_$b" in (tmp_path / "a.svg").read_text()
    capsys.readouterr()
    assert main([*command[:-1], f"a$_$b={folder}", "-o", str(tmp_path / "a.svg")]) == 2
    assert "NAME=FOLDER: expected names that differ" in capsys.readouterr().err
    # Before anything is read.
    monkeypatch.setattr(covey.Video, "frames", None)
    for name, message in (
        ("a.xyz", "a.xyz: expected a name ending in .png, .webp, .pdf or .svg"),
        ("a", "a: expected a name ending in .png, .webp, .pdf or .svg"),
        ("nowhere/a.png", "nowhere: no such folder"),
    ):
        assert main([*command, str(tmp_path / name)]) == 1
        assert message in capsys.readouterr().err


class Page(HTMLParser):
    """Counts tags, gathers sources and text; every tag must be closed."""

    VOID = frozenset({"meta", "img", "input"})

    def __init__(self):
        super().__init__()
        self.count, self.sources, self.text, self.open = {}, [], [], []
        self.names = set()

    def handle_starttag(self, tag, attributes):
        self.count[tag] = self.count.get(tag, 0) + 1
        self.names |= {name for name, _ in attributes}
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_report(folder, tmp_path, model_path, capsys):
    renamed = folder.rename(tmp_path / "<shot> & co")
    (renamed / "f0.png").rename(renamed / 'f0" onload="alert(1)<i>.png')
    assert main(["segment", str(renamed), "--model", str(model_path), "--tau", "0.01", "--min-area",
                 "0", "--clusters", "--report", "--json", "-o", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    page = Page()
    page.feed((tmp_path / "out/report.html").read_text())
    assert not page.open
    # A frame and its masks for each of five; nothing from elsewhere.
    assert page.count["img"] == 10 and page.count["figure"] == 5
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)
    text = " ".join(page.text)
    assert 'f0" onload="alert(1)<i>' in text and "i" not in page.count
    assert not any(name.startswith("on") for name in page.names)
    assert "<shot> & co" in text and f"{told['frames']} frames" in text
    for track in told["tracks"]:
        assert f"{track['frames']} of 5" in text
    assert page.count["polygon"] >= len(told["tracks"])
    assert "clustering: tau" in text and "seconds encode" in text


def test_a_report_of_a_long_video_is_no_longer(tmp_path):
    """An object seen in all of 10,000 frames, and one at times."""
    from types import SimpleNamespace

    from covey.writing.report import Report

    def written(frames):
        report = Report(tmp_path / "report.html")
        for t in range(frames):
            objects = [SimpleNamespace(id=1, area=100 + t % 7)]
            if t % 1000 >= 900:
                objects.append(SimpleNamespace(id=2, area=50))
            report.write(
                SimpleNamespace(width=20, height=10, index=t, objects=objects), str(t), None)
        tracks = [
            {"id": number, "frames": frames, "first_frame": 0, "mean_area": 1.0,
             "mean_confidence": 1.0, "objectness": 1.0} for number in (1, 2)
        ]
        report.write_report(
            {"source": "a", "frames": frames, "objects": 2, "seconds": 1.0}, tracks)
        return (tmp_path / "report.html").read_text()

    page = written(10_000)
    assert "1: frames 0 to 9999<" in page
    # Of columns of 8 frames.
    shown = [tuple(map(int, each)) for each in re.findall("2: frames ([0-9]+) to ([0-9]+)<", page)]
    assert len(shown) == 10
    for index, (first, last) in enumerate(shown):
        assert 0 <= index * 1000 + 900 - first < 8 and 0 <= last - (index * 1000 + 999) < 8
    assert len(page) < 1.5 * len(written(1900))
    short = written(1900)
    assert "2: frames 900 to 999<" in short and "2: frames 1900" not in short
