"""What ``covey segment`` tells at the end: the objects over the whole video."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..interface.result import Result

#: Of the clustering, as results tell them.
_KNOBS = ("tau", "window", "key_stride", "key_pool", "query_pool", "key_budget")


@dataclass
class Track:
    """One id over the video."""

    id: int
    first_frame: int
    frames: int = 0
    area: int = 0
    confidence: float = 0.0
    objectness: float = 0.0


@dataclass
class Summary:
    """What a run found."""

    tracks: dict[int, Track] = field(default_factory=dict)
    frames: int = 0
    total_objects: int = 0
    total_clusters: int = 0
    shots: int = 0
    #: The knobs of the clustering that were used, defaults filled in.
    knobs: dict[str, Any] = field(default_factory=dict)

    def add(self, result: Result) -> None:
        self.frames += 1
        self.total_objects = result.total_objects
        self.total_clusters = result.total_clusters
        self.shots = result.shot + 1
        if not self.knobs:
            self.knobs = {name: getattr(result, name) for name in _KNOBS}
        for found in result.objects:
            track = self.tracks.setdefault(found.id, Track(found.id, found.first_frame))
            track.frames += 1
            track.area += found.area
            track.confidence += found.confidence
            track.objectness = found.objectness

    def objects(self) -> list[dict[str, Any]]:
        return [
            {
                "id": track.id,
                "first_frame": track.first_frame,
                "frames": track.frames,
                "mean_area": track.area / track.frames,
                "mean_confidence": track.confidence / track.frames,
                "objectness": track.objectness,
            }
            for _, track in sorted(self.tracks.items())
        ]
