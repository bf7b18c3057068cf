"""What training on unlabelled video is worth: J on labelled video that it has not seen.

    make bench-adaptation [STEPS=200]
    python Benchmarks/adaptation.py [--steps 2000] [--starts model identity] [--resume]

Trained on: the clips without a truth of the data folder (videos_nogt, movi_nogt), fresh
clips in every step.  Judged on davis16_train: J of the best cluster of a video, as
Benchmarks/quality.py computes it, edge mode, every pixel labelled as its patch.

    shipped    the model's block
    features   the features themselves: --start identity, no step made
    random     a block of random numbers: --start random, no step made
    model      trained from the model's block
    identity   trained from the identity

tau of each but the first is chosen on clips of the training videos, not on labels: as
many clusters as the shipped block finds there (covey.training.choosing_tau).  J is measured at
it, and at .7 and 1.4 times it: whether tau was chosen well shows there.  It is measured
along the training too, at the tau of that moment.

Writes build/adaptation.json (Benchmarks/report.py renders it), and into
build/adaptation/ the log, losses, checkpoint and model of each run, curves.png of J and
tau, and sheet.png: frames, and clusters before and after.  Stopped, it goes on with
--resume from its last mark.  The folder of the data is that of the tests
(docs/TESTING.md).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from quality import ROOT, best_j, contingency, read  # puts covey on the path

import covey
from covey.reading.clips import Clips, Footage, read_ahead
from covey.system.display import Display
from covey.training.choosing_tau import choose_tau
from covey.training.run_folder import RunFolder, RunLog, plot_losses
from covey.writing import images

SCALES = (0.7, 1.0, 1.4)
#: When J is measured, as shares of the training.
MARKS = (0.1, 0.25, 0.5, 1.0)
#: Clips that tau is chosen on, as in covey train.
TAU_CLIPS = 16
#: On the sheet.
SHOWN = ("mallard-water", "stroller", "dance-jump", "car-turn")


class Bench:
    """The data, and the rows so far."""

    def __init__(self, options, shipped, display):
        self.options, self.shipped, self.display = options, shipped, display
        folders = [
            each / "frames"
            for name in ("videos_nogt", "movi_nogt")
            for each in sorted((options.data / name).iterdir())
        ]
        self.clips = Clips([Footage(folder) for folder in folders], 3, 4, options.seed)
        davis = sorted((options.data / "davis16_train").iterdir())
        self.judged = [clip for clip in davis if not options.only or clip.name in options.only]
        self.tau_clips = [self.clips.read(n, series=1).frames for n in range(TAU_CLIPS)]
        self.rows = []
        if options.resume and options.output.exists():
            self.rows = json.loads(options.output.read_text())

    def has(self, case, step):
        return any((row["case"], row["step"]) == (case, step) for row in self.rows)

    def judge(self, case, step, trainer=None, losses=(None, None)):
        """Measures what a trainer has, without one the shipped model, and writes a row."""
        if self.has(case, step):
            return
        tau, clusters = self.shipped.info.tau, None
        if trainer is not None:
            choice = choose_tau(self.shipped, trainer.export, self.tau_clips)
            tau, clusters = choice.tau, choice.clusters
        model = self.shipped if trainer is None else trainer.export(tau)
        scores = {scale: [] for scale in SCALES}
        for index, clip in enumerate(self.judged):
            pictures, truth = read(clip, "masks", self.options.frames)
            for scale in SCALES:
                labels = model.segment(
                    pictures, tau=tau * scale, output="clusters", mask="nearest")
                counts, ids = contingency(np.asarray(labels), truth)
                scores[scale].append((best_j(counts, ids), len(np.unique(labels))))
            self.display.update(f"J, {case} at {step}", index + 1, len(self.judged), "videos")
        quality = [
            {"scale": scale, "j": float(np.mean([j for j, _ in found])),
             "clusters": float(np.mean([count for _, count in found]))}
            for scale, found in scores.items()
        ]
        self.rows.append({
            "case": case, "step": step, "tau": float(tau), "clip_clusters": clusters,
            "quality": quality, "semantic": losses[0], "motion": losses[1],
        })
        self.options.output.parent.mkdir(parents=True, exist_ok=True)
        self.options.output.write_text(json.dumps(self.rows, indent=1) + "\n")
        shown = ", ".join(f"{each['j']:.3f}" for each in quality)
        self.display.note(f"{case} at step {step}: tau {tau:.3g}, J {shown}")


def train(bench, start):
    """From ``start``, with a row at every mark."""
    options, display = bench.options, bench.display
    folder = RunFolder(options.output.with_suffix("") / start)
    folder.path.mkdir(parents=True, exist_ok=True)
    marks = sorted({max(1, round(share * options.steps)) for share in MARKS})
    with covey.Trainer(
        bench.shipped, start=start, total_steps=options.steps, seed=options.seed,
        clips_per_step=options.clips_per_step, learning_rate=options.learning_rate,
    ) as trainer:
        if options.resume and folder.checkpoint.exists():
            trainer.restore(folder.checkpoint)
        first, each = trainer.step_count, options.clips_per_step
        reader = read_ahead(bench.clips.read, range(first * each, options.steps * each))
        with contextlib.closing(reader) as clips, RunLog(folder.log, first) as log:
            for metrics in trainer.train((clip.frames for clip in clips), options.steps - first):
                log.append(asdict(metrics))
                display.update(f"train from {start}", metrics.step, options.steps,
                               f"semantic {metrics.semantic_loss:.3f}, "
                               f"motion {metrics.motion_loss:.3f}")
                if metrics.step not in marks:
                    continue
                tenth = log.rows[-max(1, options.steps // 10):]
                losses = [float(np.mean([row[f"{name}_loss"] for row in tenth]))
                          for name in ("semantic", "motion")]
                bench.judge(start, metrics.step, trainer, losses)
                log.sync()
                trainer.save(folder.checkpoint)
                plot_losses(folder.plot, log.rows)
        tau = [row["tau"] for row in bench.rows if row["case"] == start][-1]
        with trainer.export(tau) as model:
            model.save(folder.path / "model.gguf")
    return folder


def curves(path, rows):
    """J and tau against steps, where matplotlib is installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return
    figure = Figure(figsize=(9, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    middle = SCALES.index(1.0)
    begins = {"model": "shipped", "identity": "features"}
    for start, before in begins.items():
        points = [row for row in rows if row["case"] in (start, before)]
        points.sort(key=lambda row: row["step"])
        steps = [row["step"] for row in points]
        js = np.array([[each["j"] for each in row["quality"]] for row in points])
        (line,) = left.plot(steps, js[:, middle], marker="o", label=f"from {before}")
        left.fill_between(steps, js.min(axis=1), js.max(axis=1), alpha=0.15,
                          color=line.get_color())
        right.plot(steps, [row["tau"] for row in points], marker="o", label=f"from {before}")
    left.set_ylabel("J (band: tau x 0.7 to 1.4)")
    right.set_ylabel("tau, as chosen")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=120)


def sheet(path, bench, folders):
    """The middle frame of some videos: as it is, and clusters: shipped, then trained."""
    pairs = []
    models = [bench.shipped]
    with contextlib.ExitStack() as stack:
        for folder in folders:
            models.append(stack.enter_context(covey.Model(folder.path / "model.gguf")))
        for clip in bench.judged:
            if clip.name not in SHOWN:
                continue
            pictures, _ = read(clip, "masks", bench.options.frames)
            middle = len(pictures) // 2
            tiles = [pictures[middle]]
            for model in models:
                labels = model.segment(pictures, output="clusters")
                tiles.append(images.overlay(pictures[middle], labels[middle]))
            tiles += tiles[:1] * (len(tiles) % 2)
            pairs += zip(tiles[::2], tiles[1::2], strict=True)
    if pairs:
        columns = (len(models) + 2) // 2
        images.write_image(path, images.contact_sheet(pairs, columns=columns, width=240))


def main():
    parser = argparse.ArgumentParser(description="J before and after training without labels")
    parser.add_argument("--data", type=Path, default=Path(
        os.environ.get("COVEY_DATA") or ROOT.parent / "shared" / "data"))
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--starts", nargs="+", choices=("model", "identity"),
                        default=["model", "identity"])
    parser.add_argument("--clips-per-step", type=int, default=1)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="judged on these videos only")
    parser.add_argument("--model", help="weight file (the one that comes with covey)")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "adaptation.json")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: no such folder; $COVEY_DATA names another")
    with covey.Model(options.model) as shipped, Display(silent=False) as display:
        bench = Bench(options, shipped, display)
        bench.judge("shipped", 0)
        for case, start in (("features", "identity"), ("random", "random")):
            with covey.Trainer(shipped, start=start, seed=options.seed) as trainer:
                bench.judge(case, 0, trainer)
        folders = [train(bench, start) for start in options.starts]
        folder = options.output.with_suffix("")
        curves(folder / "curves.png", bench.rows)
        sheet(folder / "sheet.png", bench, folders)


if __name__ == "__main__":
    main()
