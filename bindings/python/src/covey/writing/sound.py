"""The sound of a film, copied into another without coding it again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..reading.films import film_error, open_film

#: Codecs of sound that players expect in an .mp4.
_IN_MP4 = frozenset({"aac", "ac3", "alac", "eac3", "flac", "mp3", "opus"})


class Sound:
    """Of the first audio stream of the film at ``path``; none where it has none, or one that an
    .mp4 does not take."""

    def __init__(self, path: Path) -> None:
        self._container = open_film(path)
        streams = self._container.streams.audio
        self._from = next((each for each in streams[:1] if each.name in _IN_MP4), None)
        self._packets = iter(() if self._from is None else self._container.demux(self._from))
        self._next: Any = None
        #: The other film, and its stream.
        self._film: Any = None
        self._into: Any = None

    def add_to(self, container: Any) -> None:
        """Before anything is written."""
        if self._from is not None:
            self._film = container
            self._into = container.add_stream_from_template(self._from)

    def copy(self, begin: float, until: float) -> None:
        """What is heard before ``until``, where ``begin`` is to be 0; both in seconds of the film.
        Damaged sound ends."""
        while self._into is not None:
            try:
                packet = self._next or next(self._packets, None)
            except film_error():
                packet = None
            if packet is None or packet.pts is None or packet.dts is None:
                self._into = None
                return
            self._next = packet
            if packet.pts * packet.time_base >= until:
                return
            self._next = None
            if packet.pts * packet.time_base >= begin:
                shift = math.floor(begin / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = self._into
                self._film.mux(packet)

    def close(self) -> None:
        self._container.close()
