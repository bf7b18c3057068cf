"""The tensors of a weight file as tables, and what they lost by becoming int8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..interface.weights import TensorInfo
from ..mirror.abi import Dtype
from ..system.terminal import say, shown


def summarize(tensors: Sequence[TensorInfo]) -> dict[str, Any] | None:
    """How many int8 matrices there are, and their errors as far as the file has
    them; None where there are none."""
    matrices = [each for each in tensors if each.dtype is Dtype.Q8]
    if not matrices:
        return None
    known = [
        (each.quantization_error, each.name)
        for each in matrices
        if each.quantization_error is not None
    ]
    worst, worst_name = max(known, default=(None, None))
    return {
        "matrices": len(matrices),
        "mean_error": sum(error for error, _ in known) / len(known) if known else None,
        "worst_error": worst,
        "worst": worst_name,
    }


def as_text(summary: dict[str, Any]) -> str:
    """One line of summarize()."""
    count = summary["matrices"]
    if summary["worst_error"] is None:
        return f"{count} int8 matrices, their errors unknown"
    return (
        f"{count} int8 matrices, relative error mean {_percent(summary['mean_error'])}, "
        f"worst {_percent(summary['worst_error'])} ({summary['worst']})"
    )


def described(tensors: Sequence[TensorInfo]) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {
            "name": each.name,
            "dtype": each.dtype.name.lower(),
            "shape": list(each.shape),
            "bytes": each.bytes,
            "quantization_error": each.quantization_error,
        }
        for each in tensors
    ]


def print_tensors(tensors: Sequence[TensorInfo]) -> None:
    """A table of all of them."""
    _print_table(
        ("tensor", "type", "shape", "bytes", "relative error"),
        [
            (
                each.name,
                "int8" if each.dtype is Dtype.Q8 else each.dtype.name.lower(),
                _shape(each),
                f"{each.bytes:,}",
                _error(each),
            )
            for each in tensors
        ],
    )


def print_losses(matrices: Sequence[TensorInfo]) -> None:
    """A table of what each of these lost."""
    _print_table(
        ("layer", "shape", "relative error"),
        [(each.name.removesuffix(".weight"), _shape(each), _error(each)) for each in matrices],
    )


def _shape(tensor: TensorInfo) -> str:
    return "x".join(map(str, tensor.shape))


def _error(tensor: TensorInfo) -> str:
    if tensor.dtype is not Dtype.Q8:
        return ""
    error = tensor.quantization_error
    return "unknown" if error is None else _percent(error)


def _percent(error: float) -> str:
    return f"{error:.3%}"


def _print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """On standard output: names on the left, and never cut, figures on the right."""
    rows = [list(map(shown, row)) for row in rows]
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
        for row in (titles, *rows):
            cells = [
                cell.ljust(width) if index == 0 else cell.rjust(width)
                for index, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            say("  ".join(cells).rstrip())
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, title in enumerate(titles):
        table.add_column(title, justify="left" if index == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    # As wide as it needs to be, whatever the terminal is.
    wide = Console(width=10_000)
    Console(width=wide.measure(table).maximum).print(table)
