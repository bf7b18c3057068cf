"""covey: object segmentation of video, without supervision.

Frames go in; for every frame a label map comes out in which each pixel carries
the id of the object it belongs to (0 is background), and an object keeps its
id for the whole video::

    import covey

    with covey.Model() as model:
        labels = model.segment(frames)                # uint16 [T, H, W]

    for result in covey.results(covey.Video("clip.mp4")):
        print(result.index, [each.id for each in result.objects])

Models may be used from any number of threads at once, a session by one thread
at a time.  While the library computes, other Python threads run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from .interface.clustering import Clusters, cluster
from .interface.log import set_log
from .interface.model import Model
from .interface.result import Object, Result
from .interface.session import Memory, Merge, Session
from .interface.trainer import Metrics, Trainer, TrainerInfo
from .interface.weights import ModelInfo, TensorInfo
from .mirror.abi import (
    VERSION,
    Affinity,
    Dtype,
    KeyRounding,
    LogLevel,
    Mask,
    Mode,
    Output,
    PixelFormat,
    Stage,
    Start,
    Status,
)
from .mirror.errors import (
    ArgumentError,
    CancelledError,
    CapacityError,
    CoveyError,
    FileError,
    FormatError,
    InternalError,
    OutOfMemoryError,
    StateError,
    UnsupportedError,
    VersionError,
)
from .mirror.library import default_model_path, lib, split_version
from .reading.video import Video
from .writing.palette import davis_palette

if TYPE_CHECKING:
    from .mirror.frames import FormatLike, FrameLike
    from .mirror.options import Options, Unpack

__version__ = VERSION

__all__ = [
    "Affinity",
    "ArgumentError",
    "CancelledError",
    "CapacityError",
    "Clusters",
    "CoveyError",
    "Dtype",
    "FileError",
    "FormatError",
    "InternalError",
    "KeyRounding",
    "LogLevel",
    "Mask",
    "Memory",
    "Merge",
    "Metrics",
    "Mode",
    "Model",
    "ModelInfo",
    "Object",
    "OutOfMemoryError",
    "Output",
    "PixelFormat",
    "Result",
    "Session",
    "Stage",
    "Start",
    "StateError",
    "Status",
    "TensorInfo",
    "Trainer",
    "TrainerInfo",
    "UnsupportedError",
    "VersionError",
    "Video",
    "build_info",
    "cluster",
    "davis_palette",
    "default_model_path",
    "results",
    "set_log",
    "version",
]


def version() -> tuple[int, int, int]:
    """The version of the library that was loaded."""
    return split_version(lib().covey_version())


def build_info() -> str:
    """One line for bug reports: version, compiler, kernels, BLAS."""
    text: bytes = lib().covey_build_info()
    return text.decode("utf-8", "replace")


def results(
    frames: Iterable[FrameLike],
    model: Model | None = None,
    format: FormatLike = None,
    **options: Unpack[Options],
) -> Iterator[Result]:
    """The results of one video, frame by frame; without ``model``, of the
    default one.  Frames are read one at a time and not kept.  Options as those
    of Model.session; with streaming=True results come while frames are read, and
    the video may be without end."""
    used = Model() if model is None else model
    try:
        with used.session(**options) as session:
            yield from session.segment(frames, format)
    finally:
        if model is None:
            used.close()
