"""The folder of an evaluation: what is known so far, and at the end the tables."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..writing import coco, images
from ..writing.whole_files import (
    json_line,
    parsed_json,
    refuse_link,
    write_json,
    write_text,
    written_whole,
)
from .evaluate import Evaluation, VideoFigures
from .labelled import LabelledVideo
from .predictors import Prediction
from .tables import as_csv, as_dict, as_markdown


class EvaluationFolder:
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
