"""The figures of ``covey plot``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..writing import images
from .attention import Compared, attention_maps, encoded
from .grid import heat, save_grid

if TYPE_CHECKING:
    from ..interface.model import Model
    from ..mirror.options import Options

__all__ = ["plot_affinities", "plot_attention", "plot_comparison", "plot_hierarchy", "spread"]

Frames = Sequence[NDArray[np.uint8]]
StrPath = str | os.PathLike[str]


def spread(count: int, shown: int) -> list[int]:
    """At most ``shown`` indices below ``count``, evenly apart, first and last included."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, shown))})


def _titles(indices: Sequence[int]) -> list[str]:
    return [f"frame {index}" for index in indices]


def plot_attention(
    path: StrPath,
    model: Model,
    frames: Frames,
    points: Sequence[tuple[int, float, float]],
    shown: int = 6,
    compared: Compared = "correlator",
) -> None:
    """What patches attend to, over the frames: a row for every point (frame, x, y), in
    pixels; the frames themselves above.  Colours are of the square root of the map over
    its largest value, so that weak attention shows."""
    chosen = sorted({*spread(len(frames), shown), *(frame for frame, _, _ in points)})
    found = encoded(model, frames, compared)
    height, width = frames[0].shape[:2]
    rows: list[list[NDArray[np.uint8]]] = [[frames[index] for index in chosen]]
    titles, marks = ["frames"], {}
    for number, (frame, x, y) in enumerate(points, start=1):
        maps = attention_maps(found, frame, *found.patch_at(x, y, width, height))
        strength = np.sqrt(maps / maps.max())
        rows.append([heat(frames[index], strength[index]) for index in chosen])
        titles.append(f"of {x:g}, {y:g} in {frame}")
        marks[number, chosen.index(frame)] = (x, y)
        marks[0, chosen.index(frame)] = (x, y)
    save_grid(path, rows, titles, _titles(chosen), marks)


def _clusters(model: Model, frames: Frames, **options: Any) -> NDArray[np.uint16]:
    return model.segment(frames, **cast("Options", {**options, "output": "clusters"}))


#: What is compared, and how a row of it is called.
AFFINITIES = {
    "features": "features",
    "correlator": "attention",
    "attention": "backbone's",
}


def plot_affinities(
    path: StrPath,
    model: Model,
    frames: Frames,
    clusters: int = 8,
    shown: int = 6,
    compared: Sequence[str] = ("features", "correlator"),
    **options: Any,
) -> None:
    """Clusters of the features beside clusters of the attention of the trained block, or of what
    else is ``compared``: a row for each, with as many as the trees allow."""
    chosen = spread(len(frames), shown)
    rows, titles = [[frames[index] for index in chosen]], ["frames"]
    for affinity in compared:
        labels = _clusters(
            model, frames, **{**options, "affinity": affinity, "target_clusters": clusters}
        )
        rows.append([images.overlay(frames[i], labels[i], alpha=0.65) for i in chosen])
        titles.append(f"{AFFINITIES[affinity]}: {len(np.unique(labels))}")
    save_grid(path, rows, titles, _titles(chosen))


def plot_hierarchy(
    path: StrPath,
    model: Model,
    frames: Frames,
    taus: Sequence[float] = (),
    shown: int = 6,
    **options: Any,
) -> None:
    """The clusters at several tau, from one tree: a row for each; left out, the model's
    tau times .5, .7, 1, 1.4 and 2."""
    middle = options.pop("tau", None) or model.info.tau
    cuts = list(taus) or [scale * middle for scale in (0.5, 0.7, 1, 1.4, 2)]
    chosen = spread(len(frames), shown)
    rows, titles = [[frames[index] for index in chosen]], ["frames"]
    wanted = cast("Options", {**options, "output": "clusters", "tau": middle})
    with model.session(**wanted) as session:
        for frame in frames:
            session.push(frame)
        session.finish()
        for tau in cuts:
            session.recut(tau)
            row, count = [], 0
            for result in session.results():
                count = result.total_clusters
                if result.index in chosen:
                    blended = images.overlay(frames[result.index], result.labels, alpha=0.65)
                    row.append(blended)
            rows.append(row)
            titles.append(f"tau {tau:.3g}: {count}")
    save_grid(path, rows, titles, _titles(chosen))


def plot_comparison(
    path: StrPath,
    frames: Frames,
    names: Sequence[str],
    folders: dict[str, Path],
    shown: int = 6,
) -> None:
    """Masks of several systems, from folders of FOLDER/NAME.png with ids: a row for each.

    names: of the frames, without suffix."""
    chosen = spread(len(frames), shown)
    rows, titles = [[frames[index] for index in chosen]], ["frames"]
    for title, folder in folders.items():
        row = []
        for index in chosen:
            file = folder / f"{names[index]}.png"
            if not file.is_file():
                raise FileNotFoundError(f"{file}: no such file")
            labels = images.read_labels(file)
            if labels.shape != frames[index].shape[:2]:
                height, width = frames[index].shape[:2]
                raise ValueError(
                    f"{file}: expected {width}x{height} as the frame, found "
                    f"{labels.shape[1]}x{labels.shape[0]}"
                )
            row.append(images.overlay(frames[index], labels, alpha=0.65))
        rows.append(row)
        titles.append(title)
    save_grid(path, rows, titles, _titles(chosen))
