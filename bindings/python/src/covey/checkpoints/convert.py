"""Weight files from training checkpoints: ``covey convert``."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..interface.model import Model
from ..interface.weights import ModelInfo
from ..mirror.errors import CoveyError
from .checkpoint import (
    POSITION_RESIZES,
    Checkpoint,
    CheckpointError,
    Geometry,
    read_state,
    understand,
    with_block,
    with_identity_block,
)
from .files import WEIGHTS

__all__ = ["CheckpointError", "Conversion", "Settings", "convert", "settle", "write_gguf"]

ALIGNMENT = 64
#: Of a backbone without a block, whose features are compared as they are; as good as any
#: before it was tried on video (docs/CONVERTING.md).
IDENTITY_TAU = 0.3

#: Of values in 0..1, RGB: what DINO was trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Settings:
    """What a weight file says beside the tensors.  None: from the checkpoint's
    config, else as its format has it, else as described.

    license: else "unspecified".  heads: else C / 64.  correlator_heads: else 8 for C 384,
    4 for 192, C / 48.  working_height, working_width: pixels; else 320 x 480 for
    C >= 384, 192 x 384 below, to the nearest multiple of the patch.  layer_norm_eps: else 1e-6;
    correlator_layer_norm_eps: else 1e-5.  mean, std: of RGB in 0..1, else
    ImageNet's.  cls_saliency: whether the CLS token was trained.  position_resize:
    bicubic_offset, bicubic or bicubic_antialias.  tau: else 1, or 0.3 without a
    trained block; reference_tau: that of the reference mode, else tau's.
    """

    name: str | None = None
    license: str | None = None
    description: str | None = None
    provenance: str | None = None
    heads: int | None = None
    correlator_heads: int | None = None
    working_height: int | None = None
    working_width: int | None = None
    layer_norm_eps: float | None = None
    correlator_layer_norm_eps: float | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    cls_saliency: bool | None = None
    position_resize: str | None = None
    tau: float | None = None
    reference_tau: float | None = None
    window: int | None = None
    key_stride: int | None = None
    key_pool: int = 4


@dataclass(frozen=True)
class Conversion:
    """What was written: the model as read back; format and title of what it was made
    from; the tensors left out, and the layer scales folded into weights; whether a
    spatio-temporal block was there (else the file has the identity for one), and how
    many behind the first, which is the one that is taken."""

    path: Path
    info: ModelInfo
    tensors: int
    dropped: list[str]
    format: str
    title: str
    folded: list[str]
    has_block: bool
    further_blocks: int


def convert(
    checkpoint: str | os.PathLike[str],
    output: str | os.PathLike[str],
    dtype: Literal["f32", "f16", "q8"] = "f32",
    settings: Settings | None = None,
    drop_unused: bool = False,
    ignore: tuple[str, ...] = (),
    format: str | None = None,
    block: str | os.PathLike[str] | None = None,
) -> Conversion:
    """Writes the weight file ``output`` from a .safetensors, .pt or .pth file, or a
    folder of transformers or timm.

    docs/CONVERTING.md has the formats, of which ``format`` names one where it is not to
    be recognised.  ``drop_unused`` leaves out what inference never runs, ``ignore``
    tensors whose names start so.  ``block`` is a checkpoint to take the spatio-temporal
    block from; without any the file gets the identity.  The file is written by
    the library itself, so what it cannot read is never written.  Raises
    CheckpointError, CoveyError, OSError, ImportError.
    """
    for each in (checkpoint, *([] if block is None else [block])):
        if _holds(Path(each), Path(output)):
            raise CheckpointError(f"{output}: is read, and would be overwritten")
    source = read_state(checkpoint)
    found = understand(source, drop_unused, ignore, format)
    origin = source.name
    if block is not None:
        other = read_state(block)
        found = with_block(found, understand(other, drop_unused, ignore))
        origin = f"{origin}, the block from {other.name}"
    metadata = settle(found, settings or Settings(), source.name, origin)
    if not found.has_block:
        found = with_identity_block(found)
    with tempfile.TemporaryDirectory(prefix="covey-") as folder:
        raw = Path(folder) / "raw.gguf"
        write_gguf(raw, found, metadata)
        try:
            model = Model(raw)
        except CoveyError as error:
            # Not of a file that nobody knows.
            raise CheckpointError(str(error).removeprefix(f"{raw}: ")) from None
        with model:
            model.save(output, dtype)
    with Model(output) as model:
        return Conversion(
            Path(output),
            model.info,
            len(found.tensors),
            found.dropped,
            found.format.name,
            found.format.title,
            found.folded,
            found.has_block,
            found.further_blocks,
        )


def _holds(source: Path, output: Path) -> bool:
    """Whether ``output`` is that file, whatever it is called, or one in that folder."""
    files = [source / each for each in WEIGHTS] if source.is_dir() else [source]
    return output.exists() and any(each.exists() and output.samefile(each) for each in files)


def settle(
    found: Checkpoint, settings: Settings, source: str, origin: str | None = None
) -> dict[str, Any]:
    """The metadata of the weight file: strings, bools, ints (u32), floats (f32),
    and lists of floats.  origin: what provenance says it was converted from, else
    ``source``.  Raises CheckpointError for values that do not go together."""
    geometry, config = found.geometry, found.config

    def pick(given: Any, key: str, kind: type, default: Any) -> Any:
        value = config.get(key, default) if given is None else given
        try:
            found = kind(value)
        except (OverflowError, TypeError, ValueError):
            found = None
        # "False" is true, 2.7 is 2 and [1] is text to Python.
        if found is None or (kind is not float and found != value):
            raise CheckpointError(f"config {key}: expected {kind.__name__}, found {value!r}")
        return found

    c = geometry.channels
    heads = pick(settings.heads, "heads", int, max(1, c // 64))
    correlator_heads = pick(
        settings.correlator_heads, "temporal_heads", int, c // 48 if c % 48 == 0 else 0
    )
    if correlator_heads == 0:
        raise CheckpointError(f"correlator heads: name them, {c} channels do not tell")
    for name, count in (("heads", heads), ("correlator heads", correlator_heads)):
        if count < 1 or c % count:
            raise CheckpointError(f"{name}: expected a divisor of {c}, found {count}")
    height, width = _working_size(settings, config, geometry)
    mean = _colour("mean", settings.mean, config, IMAGENET_MEAN)
    std = _colour("std", settings.std, config, IMAGENET_STD)
    if min(std) <= 0:
        raise CheckpointError(f"std: expected positive numbers, found {std}")
    name = pick(settings.name, "name", str, Path(source).stem)
    resize = pick(settings.position_resize, "position_resize", str, POSITION_RESIZES[0])
    if resize not in POSITION_RESIZES:
        raise CheckpointError(
            f"position resize: expected one of {', '.join(POSITION_RESIZES)}, found {resize}"
        )
    # Only what readers of version 1 would overlook needs version 2.
    newer: dict[str, Any] = {}
    if resize != POSITION_RESIZES[0]:
        newer["covey.vit.position_resize"] = resize
    if geometry.registers:
        newer["covey.vit.register_count"] = geometry.registers
    untrained = {} if found.has_block else {"covey.correlator.trained": False}
    facts = [
        f"converted from {origin or source}",
        f"format {found.format.name}",
        *(["layer scale folded into weights"] if found.folded else []),
        *(["which had no spatio-temporal block"] if untrained else []),
        *(
            [f"the first of {1 + found.further_blocks} spatio-temporal blocks"]
            if found.further_blocks
            else []
        ),
    ]
    return {
        "general.name": name,
        "general.license": pick(settings.license, "license", str, "unspecified"),
        "general.description": settings.description
        or "Vision transformer and spatio-temporal block for video object segmentation",
        "covey.format_version": 2 if newer else 1,
        "covey.vit.patch_size": geometry.patch,
        "covey.vit.embed_dim": c,
        "covey.vit.depth": geometry.depth,
        "covey.vit.heads": heads,
        "covey.vit.mlp_dim": geometry.mlp,
        "covey.vit.position_grid": geometry.grid,
        "covey.vit.layer_norm_eps": pick(settings.layer_norm_eps, "ln_eps", float, 1e-6),
        "covey.vit.cls_saliency": pick(settings.cls_saliency, "cls_saliency", bool, False),
        **newer,
        "covey.correlator.heads": correlator_heads,
        "covey.correlator.layer_norm_eps": pick(
            settings.correlator_layer_norm_eps, "temporal_ln_eps", float, 1e-5
        ),
        **untrained,
        "covey.input.mean": mean,
        "covey.input.std": std,
        "covey.input.height": height,
        "covey.input.width": width,
        "covey.clustering.tau": pick(
            settings.tau, "tau", float, 1.0 if found.has_block else IDENTITY_TAU
        ),
        **_reference_tau(settings.reference_tau, config, pick),
        "covey.clustering.window": pick(settings.window, "window", int, 3),
        "covey.clustering.key_stride": pick(settings.key_stride, "ratio", int, 10),
        "covey.clustering.key_pool": int(settings.key_pool),
        "covey.provenance": settings.provenance or "; ".join(facts),
    }


def _reference_tau(
    given: float | None, config: Mapping[str, Any], pick: Callable[..., Any]
) -> dict[str, Any]:
    """The key of the reference mode's tau, where there is one."""
    if given is None and "reference_tau" not in config:
        return {}
    return {
        "covey.clustering.reference_tau": pick(given, "reference_tau", float, None)
    }


def _working_size(
    settings: Settings, config: Mapping[str, Any], geometry: Geometry
) -> tuple[int, int]:
    patch = geometry.patch
    if settings.working_height is not None and settings.working_width is not None:
        height, width = settings.working_height, settings.working_width
        if height < patch or width < patch or height % patch or width % patch:
            raise CheckpointError(
                f"working size: expected multiples of the patch size {patch}, "
                f"found {height}x{width}"
            )
        return height, width
    default = (320, 480) if geometry.channels >= 384 else (192, 384)
    tuned = config.get("tuned_hw", default)
    try:
        height, width = (int(side) for side in tuned)
    except (OverflowError, TypeError, ValueError):
        raise CheckpointError(f"config tuned_hw: expected two integers, found {tuned!r}") from None
    return max(1, round(height / patch)) * patch, max(1, round(width / patch)) * patch


def _colour(
    name: str,
    given: Sequence[float] | None,
    config: Mapping[str, Any],
    default: Sequence[float],
) -> list[float]:
    value = config.get(name, default) if given is None else given
    try:
        numbers = [float(each) for each in value]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or not all(np.isfinite(numbers)):
        raise CheckpointError(f"{name}: expected three numbers (RGB, 0..1), found {value!r}")
    return numbers


def write_gguf(
    path: str | os.PathLike[str], found: Checkpoint, metadata: Mapping[str, Any]
) -> None:
    """Writes a weight file of float32 tensors, without a checksum."""
    try:
        import gguf
    except ImportError:
        raise ImportError("converting needs gguf: pip install gguf") from None
    writer = gguf.GGUFWriter(os.fspath(path), "covey")
    writer.add_custom_alignment(ALIGNMENT)
    writer.add_file_type(0)
    for key, value in metadata.items():
        # bool before int: it is one.
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            if not 0 <= value < 1 << 32:
                raise CheckpointError(f"{key}: {value} does not fit an unsigned 32-bit integer")
            writer.add_uint32(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, str):
            # The name of a file need not be text.
            writer.add_string(key, value.encode("utf-8", "backslashreplace").decode())
        else:
            writer.add_array(key, value)
    for name, array in found.tensors.items():
        writer.add_tensor(name, array)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()
