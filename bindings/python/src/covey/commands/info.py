"""``covey info``: what a weight file holds."""

from __future__ import annotations

import argparse
import dataclasses
import json

from ..checkpoints.tensors import as_text, described, print_tensors, summarize
from ..interface.model import Model
from ..mirror.options import MODE_DEFAULTS
from ..segmenting.output import knobs_as_text
from ..system.terminal import say


def add(command: argparse.ArgumentParser) -> None:
    """The arguments."""
    command.description = "What a weight file holds."
    command.add_argument("model", metavar="MODEL", nargs="?", help="default: as of segment")
    command.add_argument("--tensors", action="store_true", help="also every tensor")
    command.add_argument("--json", action="store_true", help="one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Returns 0, or raises."""
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
        return 0
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
    return 0
