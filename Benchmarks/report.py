"""build/bench.json and build/kernels.json as Markdown, for docs/BENCHMARKS.md.

    python Benchmarks/report.py [build/bench.json] [--kernels build/kernels.json]
                                [--into docs/BENCHMARKS.md]

--into replaces what stands between the two marks in the page.  Needs nothing but
Python.  Ratios are of medians of one run; seconds are of the machine that the first
lines describe and mean nothing elsewhere.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def table(headings, rows):
    """Markdown: the first column to the left, the others to the right."""
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figure(value, form):
    return "-" if value is None else format(value, form)


def machine_section(context):
    packages = ", ".join(
        f"{name} {version}" for name, version in context["packages"].items() if version
    )
    family = f" ({context['family']})" if context.get("family") else ""
    rows = [
        ["CPU", f"{context['cpu']}{family}, {context['cores']} cores"],
        ["instruction sets", " ".join(context["features"])],
        ["memory", f"{context['memory_gb']} GB"],
        ["covey", context["covey"]],
        ["peers", f"{packages}; Python {context['python']}"],
        ["weights", f"random ViT-S/8, tails {context['tails']}"],
        ["rounds", f"{context['rounds']} timed frames, {context['warm_up']} untimed before each"],
        ["limited to", context["isa"] or "nothing"],
        ["load before", f"{context['load_before']:.2f}"],
        ["command", f"`{context['command']}`"],
        ["date", context["date"]],
    ]
    return "\n".join(["| | |", "|---|---|", *[f"| {name} | {value} |" for name, value in rows]])


def bench_section(rows, size, threads):
    own = [row for row in rows if (row["size"], row["threads"]) == (size, threads)]
    base = next((row["ratio_to"] for row in own if "ratio_to" in row), None)
    plural = "" if threads == 1 else "s"
    body = [
        [
            row["peer"], figure(row["median_s"], ".3f"), figure(row["min_s"], ".3f"),
            figure(row.get("ratio"), ".2f"), figure(row["peak_mb"], ".0f"),
            figure(row.get("error"), ".1e"), figure(row.get("error_centred"), ".1e"),
        ]
        for row in own
        if row["median_s"] is not None
    ]
    text = [f"### {size}, {threads} thread{plural}", "", table(
        ["", "median s", "least s", f"of {base}" if base else "ratio", "peak MB",
         "error of keys", "centred"], body
    )]
    notes = [f"* {row['peer']}: {row['note']}" for row in own if "note" in row]
    return "\n".join([*text, *(["", *notes] if notes else [])])


def kernel_section(kernels):
    body = [
        [
            f"{row['kernel']}, {row['size']}, {row['shape']}",
            "{count} x {m} x {n} x {k}".format(**row) if row["count"] > 1
            else "{m} x {n} x {k}".format(**row),
            f"{row['gops']:.0f}", f"{100 * row['gops'] / row['peak_gops']:.0f} %",
            f"{row['peak_gops']:.0f} ({row['peak']})",
        ]
        for row in kernels
    ]
    return table(["", "M x N x K", "GOP/s", "of peak", "peak GOP/s"], body)


def render(rows, context=None, kernels=None):
    """All of it, as one text."""
    sections = [machine_section(context)] if context else []
    groups = dict.fromkeys((row["size"], row["threads"]) for row in rows)
    sections += [bench_section(rows, *group) for group in groups]
    if kernels:
        sections += ["### Products, one thread", kernel_section(kernels)]
    return "\n\n".join(sections) + "\n"


BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def replaced(page, text):
    """``page`` with ``text`` between its marks.  Raises ValueError without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"expected {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{text}\n{END}{after}"


def main():
    parser = argparse.ArgumentParser(description="a benchmark's JSON as Markdown")
    parser.add_argument("bench", nargs="?", type=Path, default=ROOT / "build" / "bench.json")
    parser.add_argument("--kernels", type=Path, default=ROOT / "build" / "kernels.json")
    parser.add_argument("--into", type=Path, metavar="PAGE")
    options = parser.parse_args()

    def read(path):
        return json.loads(path.read_text()) if path.exists() else None

    context = read(options.bench.with_name(options.bench.stem + "-context.json"))
    text = render(json.loads(options.bench.read_text()), context, read(options.kernels))
    if options.into:
        options.into.write_text(replaced(options.into.read_text(), text))
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
