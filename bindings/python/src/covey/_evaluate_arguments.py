"""The arguments of ``covey evaluate``."""

from __future__ import annotations

from typing import Any

from ._arguments import whole
from ._method_arguments import add_method, add_running

#: Names only: the modules that know them need packages that other commands do not.
DATASETS = ("davis2016", "davis2017", "ytvis2019", "movi", "folders")
PROTOCOLS = ("davis16", "best", "davis", "ba", "instances", "tracking")


def add_evaluate(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "evaluate",
        help="figures on labelled video: J, F, FG-ARI, mIoU",
        description="Segments the videos of a dataset, judges the labels by a protocol, and "
        "writes OUT/results.json, .csv and .md. What protocols measure, and how datasets are "
        "laid out: docs/EVALUATION.md.",
    )
    command.add_argument("dataset", metavar="DATASET", choices=DATASETS, help=", ".join(DATASETS))
    command.add_argument("root", metavar="FOLDER", help="of the dataset")
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="folder to write to")
    command.add_argument(
        "--split", help="default: val, train of YouTube-VIS, validation of MOVi, masks of folders"
    )
    command.add_argument(
        "--protocol", choices=PROTOCOLS, help="default: the one usual for the dataset"
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
