"""``covey convert``: a training checkpoint to a weight file."""

from __future__ import annotations

import argparse
import json

from ..arguments.values import (
    above_zero,
    height_by_width_of_a_model,
    positive,
    three_numbers,
    whole,
)
from ..checkpoints.convert import Settings, convert
from ..checkpoints.formats import POSITION_RESIZES
from ..system.terminal import say


def add(command: argparse.ArgumentParser) -> None:
    """The arguments."""
    command.description = (
        "Makes a weight file from .safetensors, .pt or .pth, or a folder of "
        "transformers or timm: the authors' checkpoint, DINO, DINOv2 (docs/CONVERTING.md). What "
        "is not given comes from the checkpoint's config, its format and the shapes of its "
        "tensors. A backbone without a block is compared as it is, until one is trained."
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


def run(arguments: argparse.Namespace) -> int:
    """Returns 0, or raises."""
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
        return 0
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
    return 0
