"""What is judged: labels of a video, from a model, from files, or from no model at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..writing.images import read_labels
from .labelled import DatasetError, LabelledVideo, stacked

if TYPE_CHECKING:
    from ..interface.model import Model
    from ..mirror.options import Options

__all__ = ["Prediction", "Predictor", "colour_and_position", "of_folder", "of_model"]


@dataclass(frozen=True)
class Prediction:
    """labels: [T, H, W] ids, of the size of the frames.  scores: objectness of ids, where
    it is known."""

    labels: NDArray[np.uint16]
    scores: dict[int, float] = field(default_factory=dict)


Predictor = Callable[[LabelledVideo], Prediction]


def of_model(model: Model, options: Mapping[str, Any]) -> Predictor:
    """Labels of sessions with these options."""

    def predict(video: LabelledVideo) -> Prediction:
        labels: list[NDArray[np.uint16]] = []
        scores: dict[int, float] = {}
        with model.session(**cast("Options", dict(options))) as session:
            for result in session.segment(video.frames()):
                labels.append(result.labels)
                scores.update((each.id, each.objectness) for each in result.objects)
        return Prediction(np.stack(labels), scores)

    return predict


def of_folder(root: Path) -> Predictor:
    """Labels that were computed before: ROOT/VIDEO/FRAME.png, ids as of ``covey segment``
    and of other systems that write as DAVIS does."""

    def predict(video: LabelledVideo) -> Prediction:
        paths = [root / video.name / f"{name}.png" for name in video.frame_names]
        missing = [each for each in paths if not each.is_file()]
        if missing:
            raise DatasetError(f"{missing[0]}: no such file")
        return Prediction(stacked(map(read_labels, paths), [*map(str, paths)]))

    return predict


#: Of the longest side, in pixels: a picture that is clustered by colour.
_SMALL = 96


def colour_and_position(clusters: int = 8, seed: int = 0) -> Predictor:
    """k-means of the video's pixels by colour (YCbCr) and place, of frames reduced to 96
    pixels: what no learning at all gives."""

    def predict(video: LabelledVideo) -> Prediction:
        from PIL import Image
        from sklearn.cluster import MiniBatchKMeans

        points = []
        for frame in video.frames():
            height, width = frame.shape[:2]
            scale = _SMALL / max(height, width)
            size = max(1, round(width * scale)), max(1, round(height * scale))
            small = np.asarray(Image.fromarray(frame).resize(size).convert("YCbCr"), np.float64)
            y, x = np.mgrid[: size[1], : size[0]] / _SMALL
            points.append(np.concatenate([small / 255, y[..., None], x[..., None]], axis=2))
        grid = np.stack(points)
        found = MiniBatchKMeans(clusters, random_state=seed, n_init=3).fit_predict(
            grid.reshape(-1, 5)
        )
        labels = found.reshape(grid.shape[:3]).astype(np.uint16) + 1
        shown = [Image.fromarray(each).resize((width, height), 0) for each in labels]
        return Prediction(np.stack([np.asarray(each) for each in shown]))

    return predict
