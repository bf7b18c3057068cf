"""``covey quantize``: a weight file to a smaller one."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..checkpoints.tensors import as_text, described, print_losses, summarize
from ..interface.model import Model
from ..mirror.abi import Dtype
from ..system.terminal import say


def add(command: argparse.ArgumentParser) -> None:
    """The arguments."""
    command.description = (
        "Writes the model INPUT to OUTPUT with its matrices as int8, with a scale for "
        "every row, and shows the relative error that each of them gets by it."
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


def run(arguments: argparse.Namespace) -> int:
    """Returns 0, or raises."""
    source, output = Path(arguments.input), Path(arguments.output)
    with Model(source) as model:
        if output.exists() and output.samefile(source):
            raise ValueError(f"{output}: would be overwritten, and is read; name another file")
        model.save(output, arguments.dtype)
    with Model(output) as written:
        tensors, name = written.tensors, written.info.name
    before, after = source.stat().st_size, output.stat().st_size
    summary = summarize(tensors)
    matrices = [each for each in tensors if each.dtype is Dtype.Q8]
    if arguments.json:
        say(
            json.dumps(
                {
                    "input": str(source),
                    "output": str(output),
                    "name": name,
                    "dtype": arguments.dtype,
                    "bytes_before": before,
                    "bytes_after": after,
                    "int8": summary,
                    "tensors": described(matrices),
                },
                ensure_ascii=False,
            )
        )
        return 0
    if matrices:
        print_losses(matrices)
    say(
        f"{output}: {name}, {arguments.dtype}, {before:,} -> {after:,} bytes ({after / before:.0%})"
    )
    if summary is not None:
        say(as_text(summary))
    return 0
