"""What the objects are worth that a session hands out: figures of whole videos and of
streams, all frames, on labelled and made-up video.

    make bench-objects
    COVEY_LIBRARY=other/libcovey.so python Benchmarks/objects.py --only cars --only films

davis16: J&F, J, F of all objects as one foreground, mean of the 27 sequences of DAVIS-2016 train,
and of every other one of them (odd, even), so that what is chosen on one half can be shown on the
other.  dogs: DAVIS-2017 dogs-jump, three dogs.  highway: CDnet-2014, nine cars.  cars: frames of
car-detection.mp4 that are right (Tests/python/cars.py), and what is wrong with the others.  films:
IDF1, switches of ids and mIoU of made-up films (Tests/python/films_of_things.py), and of each kind.
int8: adjusted Rand index of the objects' masks, background included, with the model's weights in int8
and the same in fp32, of the videos of davis16: of all pixels of every fourth row and column.
The protocols are those of docs/EVALUATION.md; "clusters" are judged by `instances`.

The data folder is that of the tests (docs/TESTING.md).  One thread.  Writes build/objects.json;
with --only its sections alone are replaced there.  --options sets options of sessions, as JSON.
"""

from __future__ import annotations

import os

# Before OpenBLAS is loaded: seconds are of one core.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "bindings" / "python" / "src"), str(ROOT / "Tests" / "python")]

import covey  # noqa: E402
from cars import judge_cars  # noqa: E402
from covey import evaluation  # noqa: E402
from films_of_things import KINDS, VOID, film, photographs  # noqa: E402
from machine import describe  # noqa: E402

MODES = {"whole": {}, "stream": {"streaming": True}}
FILM = Path("films", "car-detection.mp4")


class Subject:
    """The library and the model that are judged, and the time that they take."""

    def __init__(self, model, options, seed):
        self.model, self.options, self.seed = model, options, seed
        self.seconds, self.frames = 0.0, 0

    def predict(self, frames, options):
        """labels [T, H, W] of frames [H, W, 3]."""
        frames = list(frames)
        start = time.process_time()
        with self.model.session(threads=1, **{**options, **self.options}) as session:
            labels = [result.labels for result in session.segment(frames)]
        self.seconds += time.process_time() - start
        self.frames += len(frames)
        return np.stack(labels)

    def judge(self, protocol, video, mode):
        """Figures of a labelled video."""
        rules = evaluation.PROTOCOLS[protocol]
        return evaluation.judge(
            rules, video, self.predict(video.frames(), {**rules.options, **MODES[mode]})
        )


def davis16(subject, data, mode):
    videos = evaluation.open_dataset("folders", data / "davis16_train")
    found = [subject.judge("davis16", video, mode) for video in videos]
    columns = ("J&F", "J", "F")

    def mean(part):
        return {column: float(np.mean([each.mean(column) for each in part])) for column in columns}

    return {
        **mean(found),
        **{f"{name} {half}": value
           for half, part in (("odd", found[0::2]), ("even", found[1::2]))
           for name, value in mean(part).items()},
        "videos": {each.video: {name: each.mean(name) for name in columns} for each in found},
    }


def _several(subject, video, mode, protocols):
    """Figures of several objects in one video."""
    found = {name: subject.judge(name, video, mode) for name in protocols}
    figures = {}
    if "davis" in found:
        figures |= {name: found["davis"].mean(name) for name in ("J&F", "J", "F")}
    tracking = found["tracking"]
    figures |= {name: tracking.mean(name) for name in ("mIoU", "IDF1", "IDP", "IDR", "ID switches")}
    figures["ids"] = tracking.segments - 1
    figures["clusters: mIoU"] = found["instances"].mean("mIoU")
    return figures


def dogs(subject, data, mode):
    (video,) = evaluation.open_dataset("folders", data, only=["davis17_dogs_jump"])
    return _several(subject, video, mode, ("davis", "tracking", "instances"))


def highway(subject, data, mode):
    (video,) = evaluation.open_dataset("folders", data, "masks_instances", ["cdnet_highway"])
    return _several(subject, video, mode, ("tracking", "instances"))


def cars(subject, data, mode):
    labels = subject.predict(covey.Video(data / FILM), {"output": "objects", **MODES[mode]})
    found = judge_cars(labels)
    faults = Counter()
    for each in found.wrong.values():
        faults.update({fault.split(": ", 1)[1] for fault in each if not fault[0].isdigit()})
        faults.update({"where no car is" for fault in each if fault[0].isdigit()})
    return {
        "right frames": found.right, "of": found.frames,
        "right frames with cars": found.right_with_cars, "of these": found.with_cars,
        "switches": found.switches,
        "ids": int(np.count_nonzero(np.unique(labels))),
        **{name: ", ".join(f"{number} ({count})" for number, count in ids.items()) or "none"
           for name, ids in found.ids.items()},
        "faults": dict(faults.most_common()),
        "wrong": {str(frame): each for frame, each in found.wrong.items()},
    }


def made_up(data, seed):
    """(kind, look, labelled video) of every kind, with things drawn and photographed."""
    looks = {"drawn": None, "photographs": photographs(data)}
    if looks["photographs"] is None:
        sys.exit(f"{data}: no sprites_tuxpaint and backgrounds there")
    for kind in KINDS:
        for look, pictures in looks.items():
            frames, truth = film(kind, seed, pictures=pictures)
            names = tuple(f"{t:05d}" for t in range(len(frames)))
            yield kind, look, evaluation.LabelledVideo(
                f"{kind}, {look}", names, frames.__getitem__, truth.astype(np.uint16).__getitem__,
                VOID)


def films(subject, data, mode):
    columns = evaluation.PROTOCOLS["tracking"].columns
    found = [(kind, look, subject.judge("tracking", video, mode))
             for kind, look, video in made_up(data, subject.seed)]

    def mean(column, *names):
        return float(np.mean([each.mean(column) for kind, look, each in found
                              if not names or kind in names or look in names]))

    figures = {column: mean(column) for column in columns}
    figures |= {f"IDF1, {look}": mean("IDF1", look) for look in ("drawn", "photographs")}
    figures |= {f"IDF1, {kind}": mean("IDF1", kind) for kind in KINDS}
    return figures | {"videos": {
        each.video: {**each.rows[0], "ids": each.segments - 1} for _, _, each in found}}


def int8(subject, data, mode):
    from sklearn.metrics import adjusted_rand_score

    videos = evaluation.open_dataset("folders", data / "davis16_train")
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for dtype in ("q8", "f32"):
            subject.model.save(Path(folder, f"{dtype}.gguf"), dtype)
            models.append(covey.Model(Path(folder, f"{dtype}.gguf")))
        found = {}
        for video in videos:
            frames = list(video.frames())
            labels = []
            for model in models:
                one = Subject(model, subject.options, subject.seed)
                labels.append(one.predict(frames, {"output": "objects", **MODES[mode]})[:, ::4, ::4])
                subject.seconds += one.seconds
                subject.frames += one.frames
            found[video.name] = float(adjusted_rand_score(*(each.ravel() for each in labels)))
        for model in models:
            model.close()
    values = list(found.values())
    return {"median": float(np.median(values)), "p10": float(np.percentile(values, 10)),
            "videos": found}


SECTIONS = {"davis16": davis16, "dogs": dogs, "highway": highway, "cars": cars, "films": films,
            "int8": int8}


def rows_of(modes):
    """Name of a figure, and its value in every mode; those with parts are for the file alone."""
    names = dict.fromkeys(name for found in modes.values() for name in found)
    for name in names:
        values = [modes.get(mode, {}).get(name) for mode in MODES]
        if name == "faults":
            yield name, ["; ".join(f"{k}: {v}" for k, v in (each or {}).items()) for each in values]
        elif not any(isinstance(each, dict) for each in values):
            yield name, values


def show(results):
    table = Table(title="Objects, all frames", title_justify="left")
    for heading in ("", "figure", *MODES):
        table.add_column(heading, overflow="fold", justify="right" if heading in MODES else "left")
    for section, modes in results["sections"].items():
        for index, (name, values) in enumerate(rows_of(modes)):
            table.add_row(section if index == 0 else "", name, *map(_shown, values))
        table.add_section()
    Console().print(table)


def _shown(value):
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def main():
    parser = argparse.ArgumentParser(description="what the objects are worth")
    parser.add_argument("--data", type=Path, default=Path(
        os.environ.get("COVEY_DATA") or ROOT.parent / "shared" / "data"))
    parser.add_argument("--model", help="weight file (the one that comes with covey)")
    parser.add_argument("--only", action="append", choices=SECTIONS, metavar="SECTION",
                        help=f"of {', '.join(SECTIONS)}; may be repeated")
    parser.add_argument("--mode", action="append", choices=MODES, help="may be repeated")
    parser.add_argument("--options", type=json.loads, default={}, metavar="JSON",
                        help='of sessions, such as \'{"tau": 0.8}\'')
    parser.add_argument("--seed", type=int, default=1,
                        help="of made-up films; choose settings on others than 1")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "objects.json")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: no such folder; $COVEY_DATA names another")
    results = {"sections": {}}
    if options.only and options.output.is_file():
        results = json.loads(options.output.read_text())
    results |= {"machine": describe(ROOT), "library": os.environ.get("COVEY_LIBRARY")}
    with covey.Model(options.model) as model:
        for section in options.only or SECTIONS:
            found = {}
            for mode in options.mode or MODES:
                subject = Subject(model, options.options, options.seed)
                start = time.perf_counter()
                found[mode] = SECTIONS[section](subject, options.data, mode)
                found[mode]["ms a frame (CPU)"] = 1000 * subject.seconds / subject.frames
                print(f"{section}, {mode}: {time.perf_counter() - start:.0f} s", file=sys.stderr)
            results["sections"][section] = found
    show({"sections": {name: results["sections"][name] for name in options.only or SECTIONS}})
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
