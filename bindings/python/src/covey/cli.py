"""The command ``covey``: segment, batch, train, evaluate, plot, info, quantize, convert."""

from __future__ import annotations

import argparse
import io
import json
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from . import __version__
from ._arguments import (
    Parser,
    UsageError,
    above_zero,
    height_by_width_of_a_model,
    positive,
    three_numbers,
    whole,
)
from ._batch_arguments import add_batch, split_off_options
from ._evaluate_arguments import add_evaluate
from ._plot_arguments import add_plot
from ._segment_arguments import add_segment
from ._train_arguments import add_train
from .checkpoint_formats import POSITION_RESIZES
from .errors import CoveyError
from .terminal import say
from .video import is_picture_name

#: Exit statuses: done, failed, wrong usage (argparse's), interrupted (a shell's
#: 128 + SIGINT).
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def build_parser() -> argparse.ArgumentParser:
    """The arguments of the command."""
    parser = Parser(
        prog="covey", description="Object segmentation of video, without supervision."
    )
    parser.add_argument("--version", action="version", version=f"covey {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_segment(commands)
    add_batch(commands)
    add_train(commands)
    add_evaluate(commands)
    add_plot(commands)
    _add_info(commands)
    _add_quantize(commands)
    _add_convert(commands)
    return parser


def _add_info(commands: Any) -> None:
    command = commands.add_parser(
        "info", help="what a weight file holds", description="What a weight file holds."
    )
    command.add_argument("model", metavar="MODEL", nargs="?", help="default: as of segment")
    command.add_argument("--tensors", action="store_true", help="also every tensor")
    command.add_argument("--json", action="store_true", help="one JSON object")


def _add_quantize(commands: Any) -> None:
    command = commands.add_parser(
        "quantize",
        help="a weight file to a smaller one",
        description="Writes the model INPUT to OUTPUT with its matrices as int8, with a scale for "
        "every row, and shows the relative error that each of them gets by it.",
    )
    command.add_argument("input", metavar="INPUT")
    command.add_argument("output", metavar="OUTPUT")
    command.add_argument(
        "--dtype",
        choices=("q8", "f16", "f32"),
        default="q8",
        help="of the matrices; default: q8, which is int8",
    )
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")


def _add_convert(commands: Any) -> None:
    command = commands.add_parser(
        "convert",
        help="a training checkpoint to a weight file",
        description="Makes a weight file from .safetensors, .pt or .pth, or a folder of "
        "transformers or timm: the authors' checkpoint, DINO, DINOv2 (docs/CONVERTING.md). What "
        "is not given comes from the checkpoint's config, its format and the shapes of its "
        "tensors. A backbone without a block is compared as it is, until one is trained.",
    )
    command.add_argument("checkpoint", metavar="CHECKPOINT")
    command.add_argument("-o", "--output", required=True, metavar="FILE")
    command.add_argument(
        "--dtype", choices=("f32", "f16", "q8"), default="f32", help="of the matrices; q8 is int8"
    )
    command.add_argument(
        "--block", metavar="CHECKPOINT", help="take the spatio-temporal block from this one"
    )
    command.add_argument(
        "--format", metavar="NAME", help="not the recognised one; docs/CONVERTING.md has them"
    )
    command.add_argument(
        "--drop-unused", action="store_true", help="leave out what inference never runs"
    )
    command.add_argument(
        "--ignore",
        action="append",
        default=[],
        metavar="PREFIX",
        help="leave out tensors whose names start so; may be repeated",
    )
    command.add_argument("--json", action="store_true", help="one JSON object on standard output")
    about = command.add_argument_group("about the model")
    about.add_argument("--name", help="else the config's, else the file's")
    about.add_argument("--license", "--licence", help="SPDX identifier or text; else unspecified")
    about.add_argument("--description")
    about.add_argument("--provenance", help="how the weights were made, and from what")
    network = command.add_argument_group("network")
    network.add_argument("--heads", type=positive, metavar="N", help="else C / 64")
    network.add_argument("--correlator-heads", type=positive, metavar="N", help="else C / 48")
    network.add_argument(
        "--layer-norm-eps", type=above_zero(1), metavar="EPS", help="else the format's"
    )
    network.add_argument(
        "--correlator-layer-norm-eps", type=above_zero(1), metavar="EPS", help="else 1e-5"
    )
    network.add_argument("--mean", type=three_numbers, metavar="R,G,B", help="else ImageNet's")
    network.add_argument("--std", type=three_numbers, metavar="R,G,B", help="else ImageNet's")
    network.add_argument(
        "--cls-saliency",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether the attention of the CLS token means something; else as the format has it",
    )
    network.add_argument(
        "--position-resize",
        choices=POSITION_RESIZES,
        help="of the position embedding; else as the format's library does",
    )
    defaults = command.add_argument_group("defaults of sessions")
    defaults.add_argument(
        "--working-size",
        type=height_by_width_of_a_model,
        metavar="HxW",
        help="height and width in pixels; else 320x480 for 384 channels and more, 192x384 below",
    )
    defaults.add_argument(
        "--tau", type=above_zero(1000), help="nats; else 1.0, or 0.3 without a block"
    )
    defaults.add_argument(
        "--reference-tau", type=above_zero(1000), help="of the reference mode; else as --tau"
    )
    defaults.add_argument("--window", type=whole(64), metavar="N", help="else 3")
    defaults.add_argument("--key-stride", type=whole(10000), metavar="N", help="else 10")
    defaults.add_argument(
        "--key-pool", type=whole(64), default=4, metavar="N",
        help="else 4; reference mode does not ask",
    )


def _info(arguments: argparse.Namespace) -> int:
    import dataclasses

    from ._options import MODE_DEFAULTS
    from .model import Model
    from .output import knobs_as_text
    from .quantizing import as_text, described, print_tensors, summarize

    with Model(arguments.model) as model:
        info = dataclasses.asdict(model.info)
        info["dtype"] = model.info.dtype.name.lower()
        metadata = model.metadata
        tensors = model.tensors
    summary = summarize(tensors)
    knobs = ("tau", "window", "key_stride", "key_pool")
    clustering = {
        mode: {**{name: info[name] for name in knobs}, **fixed}
        for mode, fixed in MODE_DEFAULTS.items()
    }
    clustering["reference"]["tau"] = info["reference_tau"]
    if arguments.json:
        told = {**info, "clustering": clustering, "int8": summary, "metadata": metadata}
        if arguments.tensors:
            told["tensors"] = described(tensors)
        say(json.dumps(told, ensure_ascii=False))
        return DONE
    say(
        f"{info['name']}: {info['parameter_count']:,} parameters, {info['dtype']}, "
        f"{info['weight_bytes']:,} bytes"
    )
    if summary is not None:
        say(as_text(summary))
    say("clustering where nothing else is asked for (edge is the default mode):")
    for mode, knobs_of_mode in clustering.items():
        say(f"  {mode:10} {knobs_as_text(knobs_of_mode)}")
    if arguments.tensors:
        print_tensors(tensors)
    width = max((len(key) for key in metadata), default=0)
    for key, value in metadata.items():
        say(f"  {key:{width}}  {value}")
    return DONE


def _convert(arguments: argparse.Namespace) -> int:
    from .convert import Settings, convert

    height, width = arguments.working_size or (None, None)
    named = {
        name: getattr(arguments, name)
        for name in Settings.__dataclass_fields__
        if hasattr(arguments, name)
    }
    settings = Settings(**{**named, "working_height": height, "working_width": width})
    done = convert(
        arguments.checkpoint,
        arguments.output,
        arguments.dtype,
        settings,
        arguments.drop_unused,
        tuple(arguments.ignore),
        arguments.format,
        arguments.block,
    )
    info = done.info
    if arguments.json:
        say(
            json.dumps(
                {
                    "output": str(done.path),
                    "name": info.name,
                    "dtype": info.dtype.name.lower(),
                    "tensors": done.tensors,
                    "parameters": info.parameter_count,
                    "dropped": done.dropped,
                    "format": done.format,
                    "folded": done.folded,
                    "has_block": done.has_block,
                    "further_blocks": done.further_blocks,
                    "tau": info.tau,
                },
                ensure_ascii=False,
            )
        )
        return DONE
    say(
        f"{done.path}: {info.name}, patch {info.patch_size}, {info.embed_dim} channels, "
        f"depth {info.depth}, {info.heads} heads, position grid {info.position_grid}, "
        f"block with {info.correlator_heads} heads"
    )
    say(f"read as {done.format}: {done.title}")
    say(
        f"{done.tensors} tensors, {info.parameter_count:,} parameters, "
        f"{info.dtype.name.lower()}, {info.weight_bytes:,} bytes"
    )
    if done.folded:
        say(f"folded into attn.proj and mlp.fc2: {len(done.folded)} layer scales")
    if done.dropped:
        say(f"left out: {', '.join(done.dropped)}")
    if done.further_blocks:
        say(
            f"{1 + done.further_blocks} spatio-temporal blocks in it: the first is taken, as the "
            "authors' evaluation does"
        )
    if not done.has_block:
        say(
            "no spatio-temporal block in it: features are compared as they are. tau "
            f"({info.tau:g}) needs choosing; `covey train --start identity -m {done.path}` trains "
            "a block (docs/CONVERTING.md)"
        )
    return DONE


def _quantize(arguments: argparse.Namespace) -> int:
    from .quantizing import quantize

    return quantize(arguments)


def _segment(arguments: argparse.Namespace) -> int:
    from .segmenting import segment

    return segment(arguments)


def _batch(arguments: argparse.Namespace) -> int:
    from .batch.command import run

    return run(arguments)


def _train(arguments: argparse.Namespace) -> int:
    from .training import train

    return train(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    from .evaluation.command import run

    return run(arguments)


def _plot(arguments: argparse.Namespace) -> int:
    from .plots.command import run

    return run(arguments)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, with what argparse leaves of them.  SystemExit for wrong usage."""
    words, behind = split_off_options(argv)
    parser = build_parser()
    arguments, left = parser.parse_known_args(words)
    if arguments.command == "batch":
        arguments.passed_on = [*arguments.passed_on, *behind]
    if wrong := _wrong_with(arguments, left):
        say(f"covey {arguments.command}: error: {wrong}", error=True)
        parser.exit(USAGE)
    return arguments


def _wrong_with(arguments: argparse.Namespace, left: list[str]) -> str | None:
    """In words; None where nothing is.  Takes up the videos that are ``left``: argparse does
    not join those behind an option with those before."""
    options = [each for each in left if each.startswith("-") and each != "-"]
    if options or (left and arguments.command not in ("segment", "batch", "train")):
        return f"unrecognized arguments: {' '.join(left)}"
    if arguments.command == "batch":
        arguments.sources += left
    elif arguments.command == "train":
        arguments.videos += left
    elif left and all(is_picture_name(each) for each in [arguments.source, *left]):
        return (
            f"one SOURCE, found {1 + len(left)} pictures; for those of one video name their "
            "folder, or their pattern in quotes, as 'shots/*.jpg'"
        )
    elif left:
        some = shlex.join([arguments.source, *left[:2]]) + (" ..." if left[2:] else "")
        return (
            f"one SOURCE at a time, found {1 + len(left)}; many, with the same options: "
            f"covey batch {some} -o {shlex.quote(arguments.output or 'OUT')}"
        )
    elif arguments.command == "segment" and arguments.output is None:
        return "the following arguments are required: -o/--output"
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    A failure is one line on standard error; with COVEY_TRACEBACK set it is
    raised instead.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed by who began it: nobody wants to read.
            setattr(sys, name, open(os.devnull, "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Of a file's name that is no text the escapes are printed, which are JSON's too.
        sys.stdout.reconfigure(errors="backslashreplace")
    # Large pictures are read, as is told where they are too large.
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb")
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    run = {
        "segment": _segment,
        "batch": _batch,
        "train": _train,
        "evaluate": _evaluate,
        "plot": _plot,
        "info": _info,
        "quantize": _quantize,
        "convert": _convert,
    }[arguments.command]
    try:
        status = run(arguments)
        sys.stdout.flush()
        return status
    except UsageError as error:
        say(f"covey {arguments.command}: error: {error}", error=True)
        return USAGE
    except KeyboardInterrupt:
        say("covey: interrupted", error=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on: neither does the interpreter's own flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if os.environ.get("COVEY_TRACEBACK"):
            raise
        say(f"covey: error: {_one_line(error)}", error=True)
        return FAILED


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    # Operating system's and FFmpeg's errors: without their numbers.
    reason, name = getattr(error, "strerror", None), getattr(error, "filename", None)
    # Of FFmpeg's some have the function that failed for a file.
    if reason and name and not os.fsdecode(name).endswith("()"):
        return f"{os.fsdecode(name)}: {reason}"
    expected = (CoveyError, OSError, ValueError, ImportError, MemoryError)
    if isinstance(error, expected) and text:
        return text
    return f"{type(error).__name__}: {text}"
