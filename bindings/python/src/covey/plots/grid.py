"""Pictures in rows and columns with titles: what all figures are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..writing.whole_files import written_whole

__all__ = ["figure_format", "heat", "save_grid"]


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError:
        raise ImportError("figures need matplotlib: pip install matplotlib") from None
    return matplotlib


def figure_format(path: str | os.PathLike[str]) -> str:
    """As the suffix says; ValueError for one that is none of them."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in ("png", "webp", "pdf", "svg"):
        raise ValueError(f"{os.fspath(path)}: expected a name ending in .png, .webp, .pdf or .svg")
    return suffix


def save_grid(
    path: str | os.PathLike[str],
    rows: Sequence[Sequence[NDArray[np.uint8]]],
    row_titles: Sequence[str],
    column_titles: Sequence[str] = (),
    marks: dict[tuple[int, int], tuple[float, float]] | None = None,
    width: float = 2.4,
) -> None:
    """Writes pictures [H, W, 3], ``width`` inches each, in the format of the suffix.

    marks: (row, column) of a picture, and the pixel (x, y) that a cross shows in it.
    """
    _matplotlib()
    figure_format(path)
    # Not pyplot: it is global, and looks for a screen.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    across = max(len(row) for row in rows)
    height = width * rows[0][0].shape[0] / rows[0][0].shape[1]
    figure = Figure(figsize=(width * across + 0.4, (height + 0.08) * len(rows) + 0.3))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), across, squeeze=False)
    for r, pictures in enumerate(rows):
        for c in range(across):
            place = axes[r][c]
            place.set_xticks([])
            place.set_yticks([])
            for side in place.spines.values():
                side.set_visible(False)
            if c >= len(pictures):
                continue
            place.imshow(pictures[c], interpolation="antialiased", aspect="auto")
            if c == 0:
                place.set_ylabel(row_titles[r], fontsize=9, parse_math=False)
            if r == 0 and c < len(column_titles):
                place.set_title(column_titles[c], fontsize=9, parse_math=False)
            if marks and (r, c) in marks:
                x, y = marks[r, c]
                place.plot(x, y, "+", color="white", markersize=13, markeredgewidth=3)
                place.plot(x, y, "+", color="red", markersize=12, markeredgewidth=1.5)
    with written_whole(Path(path)) as file:
        figure.savefig(file, format=figure_format(path), dpi=130)


def heat(frame: NDArray[np.uint8], values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """[H, W, 3]: the frame in gray, over it values [rows, columns] in 0..1 as colours,
    interpolated; the higher the less gray shows through."""
    from PIL import Image

    colour = _matplotlib().colormaps["inferno"]
    height, width = frame.shape[:2]
    small = Image.fromarray(np.asarray(values, np.float32))
    large = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)
    gray = frame.mean(axis=2, keepdims=True) / 255
    share = 0.35 + 0.6 * large[..., None]
    shown = (1 - share) * gray + share * colour(large)[..., :3]
    return np.asarray(shown * 255 + 0.5, np.uint8)
