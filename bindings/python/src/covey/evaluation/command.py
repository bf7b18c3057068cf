"""``covey evaluate``: a dataset to OUT/results.{json,csv,md}."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import coco, images
from .._arguments import UsageError
from .._method_arguments import check_mode, check_size, session_options
from ..display import Display
from ..model import Model
from ..whole_files import json_line, write_json, write_text, written_whole
from .datasets import DATASETS, open_dataset
from .evaluate import Evaluation, VideoFigures, evaluate
from .labelled import LabelledVideo
from .predictors import Prediction, Predictor, colour_and_position, of_folder, of_model
from .protocols import PROTOCOLS, Protocol
from .tables import as_csv, as_dict, as_markdown, print_tables


class _Folder:
    """OUT: what is known so far, and at the end the tables.

        OUT/run.json       the settings
        OUT/videos.jsonl   figures, a line for every video, as they come
    """

    def __init__(self, path: Path, settings: dict[str, Any], resume: bool) -> None:
        self.path = path
        self._settings, self._log = path / "run.json", path / "videos.jsonl"
        self.known: dict[str, VideoFigures] = {}
        path.mkdir(parents=True, exist_ok=True)
        if resume:
            self._read(settings)
        write_json(self._settings, settings, indent=1)
        # Anew: a line that a crash cut short must not be continued.
        with written_whole(self._log) as file:
            for figures in self.known.values():
                file.write(json_line(asdict(figures)))

    def _read(self, settings: dict[str, Any]) -> None:
        if not self._settings.exists():
            return
        before = json.loads(self._settings.read_text(encoding="utf-8"))
        for name in sorted(set(before) | set(settings)):
            if before.get(name) != settings.get(name):
                raise ValueError(
                    f"{self.path}: was run with {name} {before.get(name)!r}, now "
                    f"{settings.get(name)!r}: not the same evaluation"
                )
        for line in self._log.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError):
                figures = VideoFigures(**json.loads(line))
                self.known[figures.video] = figures

    def add(self, figures: VideoFigures) -> None:
        self.known[figures.video] = figures
        with open(self._log, "ab") as file:
            file.write(json_line(asdict(figures)))

    def write(self, found: Evaluation) -> None:
        """The tables."""
        write_json(self.path / "results.json", as_dict(found), indent=1)
        write_text(self.path / "results.csv", as_csv(found))
        write_text(self.path / "results.md", as_markdown(found))


def _save(folder: Path, video: LabelledVideo, found: Prediction) -> None:
    """The labels: of a numbered dataset as an entry of ytvis.json, to be, else as PNG."""
    if video.identifier is not None:
        entries = coco.video_tracks(found.labels, found.scores, video.identifier)
        (folder / "tracks").mkdir(exist_ok=True)
        write_json(folder / "tracks" / f"{video.identifier}.json", entries)
        return
    masks = folder / "masks" / video.name
    masks.mkdir(parents=True, exist_ok=True)
    for name, labels in zip(video.frame_names, found.labels, strict=True):
        images.write_labels(masks / f"{name}.png", labels)


def _join_tracks(folder: Path) -> None:
    parts = sorted((folder / "tracks").glob("*.json"), key=lambda path: int(path.stem))
    entries = [entry for path in parts for entry in json.loads(path.read_text())]
    write_json(folder / "ytvis.json", entries)


@contextlib.contextmanager
def _predictor(arguments: argparse.Namespace, protocol: Protocol) -> Iterator[Predictor]:
    if arguments.predictions is not None:
        root = Path(arguments.predictions)
        if not root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder")
        yield of_folder(root)
    elif arguments.colour_and_position is not None:
        yield colour_and_position(arguments.colour_and_position)
    else:
        check_mode(arguments)
        with Model(arguments.model) as model:
            check_size(arguments.working_size, model)
            yield of_model(model, {**protocol.options, **session_options(arguments)})


def _named(arguments: argparse.Namespace) -> list[str] | None:
    only: list[str] | None = arguments.only
    if arguments.list is None:
        return only
    if only is not None:
        raise UsageError("argument --list: not with --only")
    text = Path(arguments.list).read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


#: Arguments that change no figure.
_NOT_SETTINGS = ("command", "output", "resume", "save", "json", "only", "list", "threads")


def run(arguments: argparse.Namespace) -> int:
    """Runs the command; returns 0, or raises."""
    dataset = DATASETS[arguments.dataset]
    name = arguments.protocol or dataset.protocols[0]
    if name not in dataset.protocols:
        raise UsageError(
            f"argument --protocol: expected one of {', '.join(dataset.protocols)} for "
            f"{dataset.name}, found {name}"
        )
    protocol = PROTOCOLS[name]
    videos = open_dataset(dataset.name, arguments.root, arguments.split, _named(arguments))
    settings = {
        key: value
        for key, value in sorted(vars(arguments).items())
        if key not in _NOT_SETTINGS and value not in (None, False)
    }
    settings["protocol"] = name
    settings["root"] = str(Path(arguments.root).resolve())
    folder = _Folder(Path(arguments.output), settings, arguments.resume)
    left = [video for video in videos if video.name not in folder.known]

    def kept(video: LabelledVideo, found: Prediction) -> None:
        if arguments.save:
            _save(folder.path, video, found)

    with _predictor(arguments, protocol) as predictor, Display(arguments.json) as display:
        display.update("evaluate", len(videos) - len(left), len(videos), "videos")
        for figures in evaluate(left, predictor, protocol, kept):
            folder.add(figures)
            display.update("evaluate", len(folder.known), len(videos), "videos")
    found = Evaluation(protocol, [folder.known[video.name] for video in videos])
    folder.write(found)
    if arguments.save and (folder.path / "tracks").is_dir():
        _join_tracks(folder.path)
    if arguments.json:
        print(json.dumps({**as_dict(found), "settings": settings}, ensure_ascii=False))
    else:
        print_tables(found)
        print(f"results: {folder.path / 'results.md'}, .csv, .json")
    return 0
