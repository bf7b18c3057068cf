"""``covey evaluate``: a dataset to OUT/results.{json,csv,md}."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from ..arguments.method import add_method, add_running, check_mode, check_size, session_options
from ..arguments.values import UsageError, whole
from ..evaluation.datasets import DATASETS, open_dataset
from ..evaluation.evaluate import Evaluation, evaluate
from ..evaluation.folder import EvaluationFolder
from ..evaluation.labelled import LabelledVideo, names_in
from ..evaluation.predictors import (
    Prediction,
    Predictor,
    colour_and_position,
    of_folder,
    of_model,
)
from ..evaluation.protocols import PROTOCOLS, Protocol
from ..evaluation.tables import as_dict, print_tables
from ..interface.model import Model
from ..mirror.abi import VERSION
from ..segmenting.run_result import model_identity
from ..system.display import Display
from ..system.terminal import say
from ..writing.whole_files import made_folder


def add(command: argparse.ArgumentParser) -> None:
    """The arguments."""
    command.description = (
        "Segments the videos of a dataset, judges the labels by a protocol, and "
        "writes OUT/results.json, .csv and .md. What protocols measure, and how datasets are "
        "laid out: docs/EVALUATION.md."
    )
    command.add_argument(
        "dataset", metavar="DATASET", choices=tuple(DATASETS), help=", ".join(DATASETS)
    )
    command.add_argument("root", metavar="FOLDER", help="of the dataset")
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="folder to write to")
    command.add_argument(
        "--split", help="default: val, train of YouTube-VIS, validation of MOVi, masks of folders"
    )
    command.add_argument(
        "--protocol", choices=tuple(PROTOCOLS), help="default: the one usual for the dataset"
    )
    command.add_argument("--only", nargs="+", metavar="VIDEO", help="these videos only")
    command.add_argument(
        "--list", metavar="FILE", help="the videos named in this file only, one a line"
    )
    command.add_argument(
        "--resume",
        action="store_true",
        help="keep the figures that an earlier run of the same settings left in OUT",
    )
    command.add_argument(
        "--save",
        action="store_true",
        help="also the labels: OUT/masks/VIDEO/FRAME.png, of YouTube-VIS OUT/ytvis.json",
    )
    command.add_argument(
        "--json", action="store_true", help="one JSON object on standard output, no progress"
    )
    judged = command.add_argument_group("what is judged").add_mutually_exclusive_group()
    judged.add_argument("--model", metavar="FILE", help="weight file; default: as of segment")
    judged.add_argument(
        "--predictions",
        metavar="FOLDER",
        help="labels computed before, of covey or another system: FOLDER/VIDEO/FRAME.png",
    )
    judged.add_argument(
        "--colour-and-position",
        type=whole(300),
        metavar="K",
        help="k-means of pixels by colour and place, a baseline",
    )
    command.add_argument("--stream", action="store_true", help="as of segment")
    add_method(command)
    add_running(command)


@contextlib.contextmanager
def _predictor(arguments: argparse.Namespace, protocol: Protocol) -> Iterator[Predictor]:
    if arguments.predictions is not None:
        root = Path(arguments.predictions)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder")
        yield of_folder(root)
    elif arguments.colour_and_position is not None:
        yield colour_and_position(arguments.colour_and_position)
    else:
        check_mode(arguments)
        with Model(arguments.model) as model:
            check_size(arguments.working_size, model)
            yield of_model(model, {**protocol.options, **session_options(arguments)})


def _named(arguments: argparse.Namespace) -> list[str] | None:
    only: list[str] | None = arguments.only
    if arguments.list is None:
        return only
    if only is not None:
        raise UsageError("argument --list: not with --only")
    return names_in(Path(arguments.list))


#: Arguments that change no figure.
_NOT_SETTINGS = ("command", "output", "resume", "save", "json", "only", "list", "threads")


def run(arguments: argparse.Namespace) -> int:
    """Returns 0, or raises."""
    dataset = DATASETS[arguments.dataset]
    name = arguments.protocol or dataset.protocols[0]
    if name not in dataset.protocols:
        raise UsageError(
            f"argument --protocol: expected one of {', '.join(dataset.protocols)} for "
            f"{dataset.name}, found {name}"
        )
    protocol = PROTOCOLS[name]
    videos = open_dataset(dataset.name, arguments.root, arguments.split, _named(arguments))
    settings = {
        key: value
        for key, value in sorted(vars(arguments).items())
        if key not in _NOT_SETTINGS and value not in (None, False)
    }
    settings |= {"covey": VERSION, "protocol": name, "root": os.path.realpath(arguments.root)}
    if arguments.predictions is not None:
        settings["predictions"] = os.path.realpath(arguments.predictions)
    elif arguments.colour_and_position is None:
        settings["model"] = model_identity(arguments.model)
    folder = EvaluationFolder(Path(arguments.output), settings, arguments.resume)
    if arguments.save and settings.get("predictions") == os.path.realpath(folder.path / "masks"):
        raise UsageError("argument --save: would write over --predictions; name another folder")

    def kept(video: LabelledVideo, found: Prediction) -> None:
        if arguments.save:
            folder.save(video, found)

    with (
        _predictor(arguments, protocol) as predictor,
        Display(arguments.json) as display,
        made_folder(folder.path, "another covey evaluate is writing there"),
    ):
        left = folder.begin(videos, arguments.save)
        display.update("evaluate", len(videos) - len(left), len(videos), "videos")
        for done, figures in enumerate(evaluate(left, predictor, protocol, kept), start=1):
            folder.add(figures)
            display.update("evaluate", len(videos) - len(left) + done, len(videos), "videos")
        found = Evaluation(protocol, [folder.known[video.name] for video in videos])
        folder.write(found)
        if arguments.save:
            folder.join_tracks(videos)
    if arguments.json:
        say(json.dumps({**as_dict(found), "settings": settings}, ensure_ascii=False))
    else:
        print_tables(found)
        say(f"results: {folder.path / 'results.md'}, .csv, .json")
    return 0
