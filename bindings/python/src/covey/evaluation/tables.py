"""Figures as tables: for the terminal, Markdown, CSV, JSON."""

from __future__ import annotations

import csv
import html
import io
from dataclasses import asdict
from typing import Any

from ..system.terminal import shown
from .evaluate import Evaluation

__all__ = ["as_csv", "as_dict", "as_markdown", "print_tables"]


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _escaped(name: str) -> str:
    """Text of a cell, whatever Markdown and HTML would make of it."""
    return html.escape(" ".join(name.split()), quote=False).replace("|", "\\|")


def _mean(found: Evaluation, column: str) -> str:
    interval = found.interval(column)
    around = "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"
    return _shown(found.mean(column)) + around


def _about(found: Evaluation) -> str:
    rows = sum(len(video.rows) for video in found.videos)
    unit = found.protocol.unit
    videos = _counted(len(found.videos), "video")
    return f"mean of {videos if unit == 'video' else f'{_counted(rows, unit)} in {videos}'}"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def as_dict(found: Evaluation) -> dict[str, Any]:
    """Everything, for JSON."""
    columns = found.protocol.columns
    return {
        "protocol": found.protocol.name,
        "rules": found.protocol.title,
        "videos": len(found.videos),
        "rows": sum(len(video.rows) for video in found.videos),
        "row": found.protocol.unit,
        "means": {column: found.mean(column) for column in columns},
        "intervals": {column: found.interval(column) for column in columns},
        "worst": [video.video for video in found.worst()],
        "figures": [asdict(video) for video in found.videos],
    }


def as_csv(found: Evaluation) -> str:
    """A line for every row: video, its number, figures."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = found.protocol.columns
    writer.writerow(["video", found.protocol.unit, "frames", "segments", *columns])
    for video in found.videos:
        for number, row in enumerate(video.rows, start=1):
            figures = ["" if row[column] is None else row[column] for column in columns]
            writer.writerow([video.video, number, video.frames, video.segments, *figures])
    return text.getvalue()


def as_markdown(found: Evaluation) -> str:
    """The means, then every video."""
    columns = found.protocol.columns
    lines = [
        f"{found.protocol.title}; {_about(found)}; in brackets 95 % of a bootstrap over videos.",
        "",
        "| | " + " | ".join(columns) + " |",
        "|---" + "|---:" * len(columns) + "|",
        "| mean | " + " | ".join(_mean(found, column) for column in columns) + " |",
    ]
    lines += [
        f"| {_escaped(video.video)} | "
        + " | ".join(_shown(video.mean(column)) for column in columns)
        + " |"
        for video in found.videos
    ]
    return "\n".join(lines) + "\n"


def print_tables(found: Evaluation) -> None:
    """The means and the worst videos, on standard output."""
    from rich.console import Console
    from rich.table import Table

    columns = found.protocol.columns
    table = Table(title=found.protocol.title, title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column, justify="right")
    table.add_row("mean", *(_shown(found.mean(column)) for column in columns))
    intervals = [found.interval(column) for column in columns]
    if any(intervals):
        table.add_row(
            "95 %",
            *("-" if each is None else f"{each[0]:.3f}-{each[1]:.3f}" for each in intervals),
            end_section=True,
        )
    if len(found.videos) > 1:
        for video in found.worst():
            table.add_row(
                f"worst: {shown(video.video)}", *(_shown(video.mean(column)) for column in columns)
            )
    # Names in brackets are names.
    console = Console(markup=False)
    console.print(table)
    console.print(shown(f"{_about(found)}; 95 %: of a bootstrap over videos"), highlight=False)
