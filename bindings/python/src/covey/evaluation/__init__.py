"""Figures on labelled video: datasets, protocols, measures, tables.

    from covey import Model, evaluation

    videos = evaluation.open_dataset("davis2017", "DAVIS")
    with Model() as model:
        protocol = evaluation.PROTOCOLS["davis"]
        predictor = evaluation.of_model(model, protocol.options)
        found = evaluation.Evaluation(
            protocol, list(evaluation.evaluate(videos, predictor, protocol)))
    print(found.mean("J&F"))

Needs SciPy, Pillow; of YouTube-VIS pycocotools, of MOVi's records tfrecord.

What enters: what reads truth, or measures against it.  Public.  Knows: mirror, interface, system,
reading, writing.
"""

from .datasets import DATASETS, Dataset, open_dataset
from .evaluate import Evaluation, VideoFigures, evaluate, judge
from .labelled import DatasetError, LabelledVideo
from .predictors import Prediction, Predictor, colour_and_position, of_folder, of_model
from .protocols import PROTOCOLS, Protocol
from .tables import as_csv, as_dict, as_markdown, print_tables

__all__ = [
    "DATASETS",
    "PROTOCOLS",
    "Dataset",
    "DatasetError",
    "Evaluation",
    "LabelledVideo",
    "Prediction",
    "Predictor",
    "Protocol",
    "VideoFigures",
    "as_csv",
    "as_dict",
    "as_markdown",
    "colour_and_position",
    "evaluate",
    "judge",
    "of_folder",
    "of_model",
    "open_dataset",
    "print_tables",
]
