"""OUT/report.html: a run in one file, which opens without a server or a network."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..interface.result import Result
from ..reading.video import SourceFrame
from ..system.display import counted, mebibytes
from . import images
from .palette import overlay_colours
from .sinks import Sink, Spread
from .whole_files import write_text

#: Pictures shown, and their width in pixels.
_PICTURES, _WIDTH = 12, 480
#: Rows of the timeline and of the table: the objects in the most frames.
_OBJECTS = 40
#: Columns of the timeline, of a frame each or, of a longer video, of several.
_COLUMNS = 1920


@dataclass(frozen=True)
class _Picture:
    name: str
    frame: str  # data URL
    overlay: str


class Report(Sink):
    """Gathers pictures, and the frames that show each id; write_report() ends it."""

    wants_pixels = True

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._pictures: Spread[_Picture] = Spread(_PICTURES)
        #: Of every id, by column: the largest share of a frame.
        self._areas: dict[int, dict[int, float]] = {}
        self._frames, self._step = 0, 1

    def write(self, result: Result, name: str, frame: SourceFrame | None) -> None:
        pixels = result.width * result.height
        if self._frames == _COLUMNS * self._step:
            self._step *= 2
            self._areas = {number: _halved(seen) for number, seen in self._areas.items()}
        column = self._frames // self._step
        for found in result.objects:
            seen = self._areas.setdefault(found.id, {})
            seen[column] = max(seen.get(column, 0.0), found.area / pixels)
        self._frames += 1
        if frame is not None:
            image = frame.image
            self._pictures.offer(result.index, lambda: _picture(name, image, result.labels))

    def write_report(self, figures: dict[str, Any], objects: list[dict[str, Any]]) -> None:
        """``figures`` and ``objects``: as ``covey segment --json`` tells them."""
        shown = sorted(objects, key=lambda each: (-each["frames"], each["id"]))[:_OBJECTS]
        shown.sort(key=lambda each: each["id"])
        left = len(objects) - len(shown)
        parts = [
            _frames(self._pictures.items()),
            "<h2>When objects are seen</h2>",
            _timeline([each["id"] for each in shown], self._areas, self._frames, self._step),
            "<h2>Objects</h2>",
            _objects(shown, self._frames),
            f"<p>and {left} more, in fewer frames</p>" if left > 0 else "",
            "<h2>Run</h2>",
            _run(figures),
        ]
        # Of a folder of pictures also its parent, which is often what tells them apart.
        title = html.escape("/".join(Path(figures["source"]).parts[-2:]))
        page = _PAGE.format(
            title=title,
            summary=f"{counted(figures['frames'], 'frame')}, "
            f"{counted(figures['objects'], 'object')}, {figures['seconds']:.1f} s",
            body="\n".join(parts),
        )
        write_text(self.path, page)


def _halved(seen: dict[int, float]) -> dict[int, float]:
    """Two columns become one."""
    found: dict[int, float] = {}
    for column, area in seen.items():
        found[column // 2] = max(found.get(column // 2, 0.0), area)
    return found


def _picture(name: str, frame: NDArray[np.uint8], labels: NDArray[np.uint16]) -> _Picture:
    image, ids = images.smaller(frame, labels, _WIDTH)
    return _Picture(name, _jpeg(image), _jpeg(images.overlay(image, ids)))


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _frames(pictures: list[_Picture]) -> str:
    figures = "\n".join(
        f'<figure><img class="masks" alt="objects in {name}" src="{each.overlay}">'
        f'<img class="plain" alt="{name}" src="{each.frame}">'
        f"<figcaption>{name}</figcaption></figure>"
        for each, name in ((each, html.escape(each.name)) for each in pictures)
    )
    return (
        '<input type="checkbox" id="plain"><label for="plain">without masks</label>'
        f'<div class="frames">{figures}</div>'
    )


def _colour(number: int) -> str:
    return "#" + bytes(overlay_colours(np.array([number]))[0]).hex()


def _runs(frames: list[int]) -> list[tuple[int, int]]:
    """First and last of the runs of neighbours."""
    runs: list[tuple[int, int]] = []
    for frame in frames:
        if runs and frame == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], frame)
        else:
            runs.append((frame, frame))
    return runs


def _timeline(
    ids: list[int], areas: dict[int, dict[int, float]], count: int, step: int
) -> str:
    """A row for every id; a bar where it is seen, and in it its area.  areas: by column,
    which are of ``step`` frames each."""
    left, width, height = 40, 960, 18
    scale = width / max(count, 1)

    def place(column: int) -> float:
        return left + min(column * step, count) * scale

    rows = []
    for row, number in enumerate(ids):
        top = row * (height + 4)
        seen = areas.get(number, {})
        largest = max(seen.values(), default=1.0)
        colour = _colour(number)
        rows.append(f'<text x="{left - 8}" y="{top + 13}" text-anchor="end">{number}</text>')
        for first, last in _runs(sorted(seen)):
            x, length = place(first), place(last + 1) - place(first)
            bottom = top + height
            points = [f"{x:.1f},{bottom}"]
            for column in range(first, last + 1):
                y = bottom - height * seen[column] / largest
                points += [f"{place(column):.1f},{y:.1f}", f"{place(column + 1):.1f},{y:.1f}"]
            points.append(f"{x + length:.1f},{bottom}")
            frames = f"{first * step} to {min((last + 1) * step, count) - 1}"
            rows.append(
                f'<rect x="{x:.1f}" y="{top}" width="{length:.1f}" height="{height}" '
                f'fill="{colour}" opacity=".25"><title>{number}: frames {frames}'
                f'</title></rect><polygon points="{" ".join(points)}" fill="{colour}" '
                'pointer-events="none"/>'
            )
    bottom = len(ids) * (height + 4)
    for index in sorted({0, count // 4, count // 2, 3 * count // 4, max(count - 1, 0)}):
        x = left + (index + 0.5) * scale
        rows.append(f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{index}</text>')
    return (
        f'<svg viewBox="0 0 {left + width + 20} {bottom + 20}" role="img" '
        f'aria-label="frames in which each object is seen">{"".join(rows)}</svg>'
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = "".join(f"<th>{each}</th>" for each in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{each}</td>" for each in row) + "</tr>" for row in rows
    )
    return f"<table>{f'<tr>{cells}</tr>' if head else ''}{lines}</table>"


def _objects(objects: list[dict[str, Any]], count: int) -> str:
    return _table(
        ["", "id", "first frame", "frames", "mean area, pixels", "confidence", "objectness"],
        [
            [
                f'<span class="swatch" style="background:{_colour(each["id"])}"></span>',
                str(each["id"]),
                str(each["first_frame"]),
                f"{each['frames']} of {count}",
                f"{each['mean_area']:,.0f}",
                f"{each['mean_confidence']:.2f}",
                f"{each['objectness']:.3f}",
            ]
            for each in objects
        ],
    )


def _run(figures: dict[str, Any]) -> str:
    def shown(value: Any) -> str:
        if isinstance(value, float):
            return f"{value:.4g}"
        return html.escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))

    rows = []
    for name, value in figures.items():
        if name.endswith("_bytes") and value is not None:
            rows.append([name.removesuffix("_bytes").replace("_", " "), mebibytes(value)])
        elif isinstance(value, dict):
            rows += [[f"{name}: {key}", shown(each)] for key, each in value.items()
                     if each is not None]
        elif value not in (None, []):
            rows.append([name.replace("_", " "), shown(value)])
    return _table([], rows)


_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} - covey</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; }}
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1080px;
  padding: 0 1rem; }}
h1 {{ margin: 0; font-size: 1.6rem; }} h2 {{ font-size: 1.15rem; margin: 2rem 0 .5rem; }}
.frames {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(240px, 1fr));
  gap: 8px; margin-top: .5rem; }}
figure {{ margin: 0; }} img {{ width: 100%; display: block; border-radius: 4px; }}
figcaption {{ font-size: .8rem; opacity: .7; }}
.plain, #plain:checked ~ .frames .masks {{ display: none; }}
#plain:checked ~ .frames .plain {{ display: block; }}
svg {{ width: 100%; }} svg text {{ font: 11px system-ui, sans-serif; fill: currentColor; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: 3px 12px 3px 0; text-align: left; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }}
th {{ font-weight: 600; }}
.swatch {{ display: inline-block; width: 1em; height: 1em; border-radius: 3px;
  vertical-align: -2px; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
{body}
</body>
</html>
"""
