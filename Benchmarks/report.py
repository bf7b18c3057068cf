"""The JSON that benchmarks leave in build/ as Markdown, for docs/BENCHMARKS.md.

    python Benchmarks/report.py [build/bench.json] [--kernels build/kernels.json]
                                [--clustering build/clustering.json]
                                [--quality build/quality.json]
                               [--throughput build/throughput.json]
                                [--training build/training.json]
                                [--adaptation build/adaptation.json]
                                [--into docs/BENCHMARKS.md]

--into replaces what stands between the two marks in the page.  Needs nothing but
Python.  Ratios are of medians of one run; seconds are of the machine that the first
lines describe and mean nothing elsewhere.
"""

from __future__ import annotations

import argparse
import json
import statistics
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


def clustering_section(rows):
    """One line for each size, mode and kind of scene: medians over seeds, and the
    worst; then what a frame costs beside the backbone."""
    body = []
    compared = [row for row in rows if "time_ratio" in row and row["time_ratio"] != 1]
    groups = dict.fromkeys((row["size"], row["peer"], row["kind"]) for row in compared)
    for group in groups:
        own = [row for row in compared if (row["size"], row["peer"], row["kind"]) == group]
        theirs = [
            row for row in rows
            if (row["size"], row["kind"]) == (group[0], group[2]) and row.get("time_ratio") == 1
        ]

        def median(key, of=own):
            return statistics.median(row[key] for row in of)

        def worst(key, pick, form, of=own):
            return f"{median(key):{form}} ({pick(row[key] for row in of):{form}})"

        body.append([
            f"{group[1]}, {group[0]}, {group[2]}", str(len(own)),
            worst("time_ratio", max, ".3f"), worst("memory_ratio", max, ".3f"),
            worst("ari_authors", min, ".4f"), f"{median('ari_truth'):.3f}",
            f"{median('ari_truth', theirs):.3f}" if theirs else "-",
        ])
    text = [table(
        ["", "seeds", "time (most)", "memory (most)", "ARI to authors (least)",
         "ARI to truth", "authors' to truth"], body
    )] if body else []
    frames = [
        [f"{row['peer']}, {row['size']}", f"{row['per_frame_s']:.4f}", f"{row['backbone_s']:.3f}",
         f"{100 * row['of_backbone']:.1f} %"]
        for row in rows if "of_backbone" in row
    ]
    if frames:
        text.append(table(["", "s per frame", "int8 backbone, 320x480", "of it"], frames))
    return "\n\n".join(text)


def quality_section(rows):
    return table(
        ["clips", "", "J", "FG-ARI", "clusters", "ARI to edge: median, p10"],
        [[row["clips"], row["case"], f"{row['j']:.3f}",
          "-" if row["fg_ari"] is None else f"{row['fg_ari']:.3f}", f"{row['clusters']:.1f}",
          f"{row['to_edge']:.2f}, {row['to_edge_p10']:.2f}"]
         for row in rows])


def throughput_section(rows):
    parts = ("decode", "network", "clustering", "masks")
    return table(
        ["", "frames/s", *(f"{part} ms" for part in parts)],
        [[f"{row['size']} at {row['working']}, {row['threads']} threads, {row['case']}",
          f"{row['fps']:.1f}", *(f"{1000 * row[part]:.1f}" for part in parts)] for row in rows])


def training_section(runs):
    """A step of covey and of PyTorch, by turns in one run."""
    body = []
    for run in runs:
        for row in run["rows"]:
            ratio = "1" if row["name"] == "torch" else (
                "{ratio:.2f} ({ratio_min:.2f} to {ratio_max:.2f})".format(**run)
            )
            body.append([
                f"{row['name']}, C {run['channels']}, {run['threads']} threads",
                f"{row['median_s']:.2f}", f"{row['min_s']:.2f}", ratio,
                f"{row['step_mb']:.0f}", f"{row['peak_mb']:.0f}",
            ])
    return table(
        ["", "median s", "least s", "of torch (least to most)", "MB of the step", "peak MB"], body
    )


def adaptation_section(rows):
    """J of the block as shipped, of the features alone, and along the training."""
    return table(
        ["", "step", "tau", "J at tau x 0.7 / 1 / 1.4", "clusters", "semantic", "motion"],
        [[row["case"], str(row["step"]), f"{row['tau']:.3g}",
          " / ".join(f"{each['j']:.3f}" for each in row["quality"]),
          " / ".join(f"{each['clusters']:.1f}" for each in row["quality"]),
          figure(row["semantic"], ".3f"), figure(row["motion"], ".3f")]
         for row in rows])


def render(
    rows, context=None, kernels=None, clustering=None, quality=None, throughput=None,
    training=None, adaptation=None,
):
    """All of it, as one text."""
    sections = [machine_section(context)] if context else []
    groups = dict.fromkeys((row["size"], row["threads"]) for row in rows)
    sections += [bench_section(rows, *group) for group in groups]
    if kernels:
        sections += ["### Products, one thread", kernel_section(kernels)]
    if clustering:
        sections += ["### Clustering, one thread, of the authors'", clustering_section(clustering)]
    if throughput:
        sections += ["### From video file to masks, int8", throughput_section(throughput)]
    if quality:
        sections += ["### Labelled video", quality_section(quality)]
    if training:
        sections += ["### A training step", training_section(training)]
    if adaptation:
        sections += ["### Adapted to unlabelled video", adaptation_section(adaptation)]
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
    parser.add_argument("--clustering", type=Path, default=ROOT / "build" / "clustering.json")
    parser.add_argument("--quality", type=Path, default=ROOT / "build" / "quality.json")
    parser.add_argument("--throughput", type=Path, default=ROOT / "build" / "throughput.json")
    parser.add_argument("--training", type=Path, default=ROOT / "build" / "training.json")
    parser.add_argument("--adaptation", type=Path, default=ROOT / "build" / "adaptation.json")
    parser.add_argument("--into", type=Path, metavar="PAGE")
    options = parser.parse_args()

    def read(path):
        return json.loads(path.read_text()) if path.exists() else None

    context = read(options.bench.with_name(options.bench.stem + "-context.json"))
    text = render(
        read(options.bench) or [], context, read(options.kernels), read(options.clustering),
        read(options.quality), read(options.throughput), read(options.training),
        read(options.adaptation),
    )
    if options.into:
        options.into.write_text(replaced(options.into.read_text(), text))
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
