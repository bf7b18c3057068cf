"""The arguments of ``covey train``."""

from __future__ import annotations

from typing import Any

from ._arguments import (
    above_zero,
    above_zero_or_none,
    fraction_or_none,
    height_by_width_of_a_model,
    positive,
    seed,
    size_in_bytes,
    threshold,
    whole,
)


def add_train(commands: Any) -> None:
    """Adds the command.  Nothing has a default here: what is left out is, in a run
    that goes on, what it was."""
    command = commands.add_parser(
        "train",
        help="adapt a model to your videos, without labels",
        description="Adapts the spatio-temporal block of a model to videos, without labels, and "
        "writes the model OUT. Checkpoints, a log and a plot of the losses go to the folder of "
        "the run. Ctrl-C ends the run after the step in progress; --resume goes on with it as "
        "if nothing had been.",
    )
    command.add_argument(
        "videos",
        metavar="VIDEO",
        nargs="*",
        help="video files, folders of them and folders of pictures; one shot each; with --resume "
        "none",
    )
    command.add_argument(
        "-m", "--model", metavar="FILE", help="weight file; default: as of segment"
    )
    command.add_argument("-o", "--output", metavar="OUT", help="weight file to write")
    command.add_argument("--steps", type=positive, metavar="N", help="in all; default: 2000")
    command.add_argument(
        "--tau",
        type=threshold,
        metavar="auto|keep|NATS",
        help="clustering threshold of the written model; auto: as many clusters in clips of the "
        "videos as before training; keep: the model's; default: auto",
    )
    command.add_argument(
        "--dtype",
        choices=("q8", "f16", "f32"),
        help="of the written matrices; default: the model's",
    )
    command.add_argument(
        "--json", action="store_true", help="one JSON object on standard output, no progress"
    )
    run = command.add_argument_group("the run")
    run.add_argument(
        "--run", metavar="FOLDER", help="of the run; default: OUT without suffix, with -run"
    )
    run.add_argument("--resume", metavar="RUN", help="go on with the run in this folder")
    run.add_argument("--checkpoint-every", type=positive, metavar="N", help="steps; default: 100")
    run.add_argument(
        "--tensorboard",
        action="store_true",
        default=None,
        help="also files for TensorBoard in the run's folder; needs tensorboardX or PyTorch",
    )
    data = command.add_argument_group("data")
    data.add_argument(
        "--gap",
        type=whole(10000),
        metavar="N",
        help="the frames of a clip are 1 to N frames apart; default: 4",
    )
    data.add_argument(
        "--cache-features",
        type=whole(1000000),
        metavar="N",
        help="compute the features of N clips once, keep them in the run's folder, and train on "
        "them: steps without the backbone; default: fresh clips in every step",
    )
    data.add_argument(
        "--no-augmentation", action="store_true", default=None, help="clips as they are"
    )
    data.add_argument(
        "--working-size",
        type=height_by_width_of_a_model,
        metavar="HxW",
        help="height and width in pixels that frames are resized to; default: the model's",
    )
    data.add_argument("--seed", type=seed, metavar="N", help="of all random numbers; default: 0")
    method = command.add_argument_group("method")
    method.add_argument(
        "--start",
        choices=("model", "identity", "random"),
        help="the block to begin with: the model's, one that compares the features themselves, "
        "or random numbers; default: model",
    )
    method.add_argument(
        "--clips-per-step",
        type=whole(1024),
        metavar="N",
        help="whose gradients are averaged; default: 1",
    )
    method.add_argument(
        "--learning-rate",
        type=above_zero(1),
        metavar="RATE",
        help="at the start; falls to 1e-6 along a cosine; default: 1e-4",
    )
    method.add_argument(
        "--weight-decay",
        type=above_zero_or_none(1),
        metavar="RATE",
        help="of matrices; 0: none; default: 0.1",
    )
    method.add_argument(
        "--clip-norm",
        type=above_zero(1e9),
        metavar="NORM",
        help="gradients are scaled down to this norm; default: never",
    )
    method.add_argument(
        "--attention-dropout",
        type=fraction_or_none,
        metavar="FRACTION",
        help="0: none; default: 0.4",
    )
    method.add_argument(
        "--dropout", type=fraction_or_none, metavar="FRACTION", help="0: none; default: 0.1"
    )
    method.add_argument(
        "--positions",
        type=positive,
        metavar="N",
        help="patches of each frame that the losses look at; default: 8",
    )
    method.add_argument(
        "--weigh-both",
        action="store_true",
        default=None,
        help="weigh both losses by the sharpness of the maps, not the motion's alone",
    )
    running = command.add_argument_group("running")
    running.add_argument(
        "--threads", type=whole(256), metavar="N", help="default: one per usable core"
    )
    running.add_argument(
        "--memory-limit",
        type=size_in_bytes,
        metavar="SIZE",
        help="for all but the model and the frames: 500M, 2G; where more would be taken, the run "
        "fails",
    )
