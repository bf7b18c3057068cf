"""Training the spatio-temporal block of a model, without labels."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..mirror import abi
from ..mirror.calls import deferred_signals
from ..mirror.errors import check
from ..mirror.frames import FormatLike, FrameLike, frame_array, refuse_paths
from ..mirror.handle import Handle, HandleOwner
from ..mirror.library import lib
from ..mirror.options import trainer_struct, unsigned
from .model import Model
from .weights import encoded_path

if TYPE_CHECKING:
    from ..mirror.options import TrainerOptions, Unpack

#: A clip: its frames, or its features [T, tokens, C] as from Trainer.encode().
ClipLike = Iterable[FrameLike] | NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Metrics:
    """One step.

    step: steps made, this one included.  semantic_loss, motion_loss, total_loss:
    means over the clips of the step.  learning_rate: that this step used.
    gradient_norm: before clipping.
    """

    step: int
    semantic_loss: float
    motion_loss: float
    total_loss: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True)
class TrainerInfo:
    """What a trainer is and holds.

    has_cls: whether the CLS token takes part; then a frame has one token more
    than patches.  clip_frames: of a clip.  clips_per_step.  feature_count: floats
    of a clip's features.  step, total_steps: made, and of the cosine.  memory,
    memory_peak: bytes held now and at most so far, without the model's weights.
    """

    has_cls: bool
    clip_frames: int
    clips_per_step: int
    feature_count: int
    step: int
    total_steps: int
    memory: int
    memory_peak: int


class Trainer(HandleOwner):
    """Adapts the spatio-temporal block of ``model`` to videos.

    The backbone is frozen.  Keeps what it needs of the model, which may be closed
    before.  Belongs to one thread at a time (a second one gets StateError), except
    cancel().  A context manager; after close() every method raises ValueError::

        with covey.Model() as model, covey.Trainer(model, total_steps=500) as trainer:
            for metrics in trainer.train(clips):
                print(metrics.step, metrics.total_loss)
            trainer.export().save("adapted.gguf", "q8")

    Options: see TrainerOptions.  Raises ArgumentError for one out of range.
    """

    def __init__(self, model: Model, **options: Unpack[TrainerOptions]) -> None:
        struct, self._progress = trainer_struct(options)
        self._channels = model.info.embed_dim
        out = ctypes.c_void_p()
        with model._handle.using() as address:
            keeps = (model._handle.keeps, self._progress)
            with deferred_signals():
                status = lib().covey_trainer_create(
                    address, ctypes.byref(struct), ctypes.byref(out)
                )
                if out.value:
                    self._handle = Handle(out.value, lib().covey_trainer_free, "trainer", keeps)
                check(status)

    @property
    def info(self) -> TrainerInfo:
        """Sizes, steps, memory."""
        struct = abi.sized("covey_trainer_info")
        with self._handle.owning() as address:
            check(lib().covey_trainer_get_info(address, ctypes.byref(struct)))
        found = abi.values(struct)
        found["has_cls"] = bool(struct.has_cls)
        return TrainerInfo(**found)

    @property
    def step_count(self) -> int:
        """Steps made, those before a restore() included."""
        return self.info.step

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """Of a clip's features: (T, tokens of a frame, C)."""
        info = self.info
        tokens = info.feature_count // (info.clip_frames * self._channels)
        return info.clip_frames, tokens, self._channels

    def encode(
        self, frames: Iterable[FrameLike], draw: int = 0, format: FormatLike = None
    ) -> NDArray[np.float32]:
        """The features of one clip: [T, tokens, C], with the CLS token, where
        ``info.has_cls``, before the patches.

        frames: clip_length of them, of one size (see Session.push).  draw: which
        augmentation of this seed.  The features do not change with training, and
        can be used for any number of steps.
        """
        structs, kept = frame_array(frames, format)
        number = unsigned("draw", draw)
        features = np.empty(self.feature_shape, np.float32)
        with self._handle.owning() as address:
            check(
                self._progress.run(
                    lib().covey_trainer_encode,
                    address,
                    structs,
                    len(kept),
                    number,
                    features.ctypes.data,
                    features.size,
                )
            )
        return features

    def step(self, frames: Iterable[FrameLike], format: FormatLike = None) -> Metrics:
        """One step on clips_per_step x clip_length frames, clip after clip, or an
        array of them [clips, T, H, W, 3].  The augmentations are the draws
        step_count x clips_per_step and up.  After an error the step has not been
        made, and can be repeated."""
        if getattr(frames, "ndim", 0) == 5:
            array = np.asarray(frames)
            frames = array.reshape(-1, *array.shape[2:])
        structs, kept = frame_array(frames, format)
        struct = abi.sized("covey_train_metrics")
        with self._handle.owning() as address:
            check(
                self._progress.run(
                    lib().covey_trainer_step, address, structs, len(kept), ctypes.byref(struct)
                )
            )
        return _metrics(struct)

    def step_features(self, features: ArrayLike) -> Metrics:
        """One step on the features of clips_per_step clips: [clips, T, tokens, C],
        for one clip also [T, tokens, C].  As step() else."""
        array = np.ascontiguousarray(features, np.float32)
        clips = self.info.clips_per_step
        shape = (clips, *self.feature_shape)
        if array.shape != shape and (clips, *array.shape) != (1, *shape[1:]):
            raise ValueError(f"features: expected {list(shape)}, found {list(array.shape)}")
        struct = abi.sized("covey_train_metrics")
        with self._handle.owning() as address:
            check(
                self._progress.run(
                    lib().covey_trainer_step_features,
                    address,
                    array.ctypes.data,
                    array.size,
                    ctypes.byref(struct),
                )
            )
        return _metrics(struct)

    def train(
        self, clips: Iterable[ClipLike], steps: int | None = None, format: FormatLike = None
    ) -> Iterator[Metrics]:
        """Makes ``steps`` steps (None: those left of total_steps) and yields the
        metrics of each, when it has been made.

        clips: one after the other clip_length frames, or all of them features as
        from encode().  Only as many are taken as a step needs; it ends early where
        they do, and leaves a step's clips unused that are fewer than
        clips_per_step.
        """
        info = self.info
        count = info.total_steps - info.step if steps is None else steps
        refuse_paths(clips, "clips: expected an iterable of clips")
        source = iter(clips)
        for _ in range(count):
            batch = list(islice(source, info.clips_per_step))
            if len(batch) < info.clips_per_step:
                return
            if all(_is_features(clip) for clip in batch):
                yield self.step_features(np.stack([np.asarray(clip) for clip in batch]))
            else:
                for clip in batch:
                    refuse_paths(clip, "clip: expected frames")
                yield self.step([frame for clip in batch for frame in clip], format)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a checkpoint: weights, moments, step.  Whole or not at all: a file
        that was there before stays until this one is on the disk."""
        with self._handle.owning() as address, deferred_signals():
            check(lib().covey_trainer_save(address, encoded_path(path)))

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Goes on from a checkpoint, bit for bit.

        It must be of the same model and options; threads, total_steps, progress and
        memory_limit may differ.  After an error the trainer is as it was.
        """
        with self._handle.owning() as address, deferred_signals():
            check(lib().covey_trainer_restore(address, encoded_path(path)))

    def export(self, tau: float = 0) -> Model:
        """A model with the block as it is now, and the rest as it was loaded.

        tau: its clustering threshold in nats; 0: as before.
        """
        out = ctypes.c_void_p()
        with self._handle.owning() as address, deferred_signals():
            check(lib().covey_trainer_export(address, float(tau), ctypes.byref(out)))
            return Model._adopted(out.value or 0, self._handle.keeps)

    def cancel(self) -> None:
        """From any thread: the step or encode in progress, or else the next, raises
        CancelledError."""
        with self._handle.using() as address:
            lib().covey_trainer_cancel(address)


def _metrics(struct: ctypes.Structure) -> Metrics:
    found = abi.values(struct)
    del found["reserved"]
    return Metrics(**found)


def _is_features(clip: ClipLike) -> bool:
    return np.issubdtype(getattr(clip, "dtype", np.uint8), np.floating)
