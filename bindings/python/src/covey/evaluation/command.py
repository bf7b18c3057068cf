"""``covey evaluate``: a dataset to OUT/results.{json,csv,md}."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import __version__, coco, images
from .._arguments import UsageError
from .._method_arguments import check_mode, check_size, session_options
from ..display import Display
from ..model import Model
from ..run_result import model_identity
from ..terminal import say
from ..whole_files import (
    json_line,
    made_folder,
    parsed_json,
    refuse_link,
    write_json,
    write_text,
    written_whole,
)
from .datasets import DATASETS, open_dataset
from .evaluate import Evaluation, VideoFigures, evaluate
from .labelled import LabelledVideo, names_in
from .predictors import Prediction, Predictor, colour_and_position, of_folder, of_model
from .protocols import PROTOCOLS, Protocol
from .tables import as_csv, as_dict, as_markdown, print_tables


class _Folder:
    """OUT: what is known so far, and at the end the tables.

        OUT/run.json       the settings
        OUT/videos.jsonl   figures, a line for every video, as they come
        OUT/masks          with --save; of numbered videos OUT/tracks, and ytvis.json
    """

    def __init__(self, path: Path, settings: dict[str, Any], resume: bool) -> None:
        """Reads only, and raises ValueError for what another command or run wrote."""
        self.path = path
        # As it will be read again: tuples are lists.
        self._settings: dict[str, Any] = parsed_json(json_line(settings))
        self._run, self._log = path / "run.json", path / "videos.jsonl"
        self.known: dict[str, VideoFigures] = {}
        if self._run.exists():
            self._read(resume)

    def _read(self, resume: bool) -> None:
        try:
            before = parsed_json(self._run.read_bytes())
        except ValueError as error:
            raise ValueError(f"{self._run}: {error}") from None
        if not isinstance(before, dict) or not {"dataset", "protocol"} <= set(before):
            raise ValueError(f"{self._run}: not of an evaluation; name another folder")
        if not resume:
            return
        for name in sorted(set(before) | set(self._settings)):
            if before.get(name) != self._settings.get(name):
                raise ValueError(
                    f"{self.path}: was run with {name} {before.get(name)!r}, now "
                    f"{self._settings.get(name)!r}: not the same evaluation"
                )
        if not self._log.exists():
            return
        for line in self._log.read_bytes().split(b"\n"):
            # A crash leaves the last one cut short.
            with contextlib.suppress(ValueError, TypeError):
                figures = VideoFigures(**parsed_json(line))
                self.known[figures.video] = figures

    def begin(self, videos: Sequence[LabelledVideo], save: bool) -> list[LabelledVideo]:
        """Returns the videos that are not known, as they are now."""
        left = [
            video
            for video in videos
            if video.name not in self.known
            or self.known[video.name].frames != len(video)
            or (save and not all(each.is_file() for each in self._labels(video)))
        ]
        for video in left:
            self.known.pop(video.name, None)
        write_json(self._run, self._settings, indent=1)
        # Anew: a line that a crash cut short must not be continued.
        with written_whole(self._log) as file:
            for figures in self.known.values():
                file.write(json_line(asdict(figures)))
        return left

    def add(self, figures: VideoFigures) -> None:
        self.known[figures.video] = figures
        with open(self._log, "ab") as file:
            file.write(json_line(asdict(figures)))

    def _labels(self, video: LabelledVideo) -> list[Path]:
        """Files of its labels: of a numbered dataset one, to go into ytvis.json."""
        if video.identifier is not None:
            return [self.path / "tracks" / f"{video.identifier}.json"]
        folder = self.path / "masks" / video.name
        return [folder / f"{name}.png" for name in video.frame_names]

    def save(self, video: LabelledVideo, found: Prediction) -> None:
        """The labels."""
        paths = self._labels(video)
        for folder in (paths[0].parent.parent, paths[0].parent):
            refuse_link(folder)
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        if video.identifier is not None:
            write_json(paths[0], coco.video_tracks(found.labels, found.scores, video.identifier))
            return
        for path, labels in zip(paths, found.labels, strict=True):
            images.write_labels(path, labels)

    def write(self, found: Evaluation) -> None:
        """The tables."""
        write_json(self.path / "results.json", as_dict(found), indent=1)
        write_text(self.path / "results.csv", as_csv(found))
        write_text(self.path / "results.md", as_markdown(found))

    def join_tracks(self, videos: Sequence[LabelledVideo]) -> None:
        """Those of these videos, and of no earlier run."""
        numbered = [each for each in videos if each.identifier is not None]
        if numbered:
            parts = [parsed_json(self._labels(each)[0].read_bytes()) for each in numbered]
            write_json(self.path / "ytvis.json", [entry for part in parts for entry in part])


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
    return names_in(Path(arguments.list))


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
    settings |= {"covey": __version__, "protocol": name, "root": os.path.realpath(arguments.root)}
    if arguments.predictions is not None:
        settings["predictions"] = os.path.realpath(arguments.predictions)
    elif arguments.colour_and_position is None:
        settings["model"] = model_identity(arguments.model)
    folder = _Folder(Path(arguments.output), settings, arguments.resume)
    if arguments.save and settings.get("predictions") == os.path.realpath(folder.path / "masks"):
        raise UsageError("argument --save: would write over --predictions; name another folder")

    def kept(video: LabelledVideo, found: Prediction) -> None:
        if arguments.save:
            folder.save(video, found)

    with (
        _predictor(arguments, protocol) as predictor,
        Display(arguments.json) as display,
        made_folder(folder.path, "another covey evaluate is writing there"),
    ):
        left = folder.begin(videos, arguments.save)
        display.update("evaluate", len(videos) - len(left), len(videos), "videos")
        for done, figures in enumerate(evaluate(left, predictor, protocol, kept), start=1):
            folder.add(figures)
            display.update("evaluate", len(videos) - len(left) + done, len(videos), "videos")
        found = Evaluation(protocol, [folder.known[video.name] for video in videos])
        folder.write(found)
        if arguments.save:
            folder.join_tracks(videos)
    if arguments.json:
        say(json.dumps({**as_dict(found), "settings": settings}, ensure_ascii=False))
    else:
        print_tables(found)
        say(f"results: {folder.path / 'results.md'}, .csv, .json")
    return 0
