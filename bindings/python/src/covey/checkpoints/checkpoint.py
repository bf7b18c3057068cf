"""What network a checkpoint holds, whatever its format: its tensors under the names and
in the shapes of a weight file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .files import CheckpointError, Source, read_state
from .formats import (
    POSITION_RESIZES,
    Array,
    Format,
    Tensors,
    add_class_position,
    fold_layer_scale,
    join_projections,
    library_config,
    recognised,
)

__all__ = [
    "POSITION_RESIZES",
    "Checkpoint",
    "CheckpointError",
    "Geometry",
    "Source",
    "read_state",
    "understand",
    "with_block",
    "with_identity_block",
]

_BLOCK = (
    "norm1.weight",
    "norm1.bias",
    "attn.qkv.weight",
    "attn.qkv.bias",
    "attn.proj.weight",
    "attn.proj.bias",
    "norm2.weight",
    "norm2.bias",
    "mlp.fc1.weight",
    "mlp.fc1.bias",
    "mlp.fc2.weight",
    "mlp.fc2.bias",
)
#: Of the last block of either, what inference runs.
_RUN = {"norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.qkv.bias"}


@dataclass(frozen=True)
class Geometry:
    """The shapes of a network; heads as far as the checkpoint tells."""

    channels: int
    depth: int
    patch: int
    grid: int
    mlp: int
    registers: int = 0


@dataclass
class Checkpoint:
    """tensors: float32, named as in a weight file.  config: what the file said beside
    them, and what its format implies.  dropped: names left out on purpose.  folded:
    layer scales that went into the weights.  has_block: whether it has a
    spatio-temporal block.  further_blocks: those behind the first, which are dropped."""

    tensors: Tensors
    geometry: Geometry
    format: Format
    config: dict[str, Any] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    folded: list[str] = field(default_factory=list)
    has_block: bool = True
    further_blocks: int = 0


def understand(
    source: Source | Mapping[str, Any],
    drop_unused: bool = False,
    ignore: tuple[str, ...] = (),
    format: str | None = None,
) -> Checkpoint:
    """The network in ``source`` (or in tensors by their names).

    drop_unused leaves out what inference never runs; ignore: tensors whose name
    in the checkpoint starts with one of these are left out; format: else the one that
    it is recognised as.  Raises CheckpointError naming every tensor that is missing,
    left over or wrong.
    """
    if not isinstance(source, Source):
        source = Source("", dict(source))
    row = recognised(source, format)
    tensors, dropped = _renamed(source.tensors, row, ignore)
    join_projections(tensors)
    folded = fold_layer_scale(tensors) if row.has_layer_scale else []
    if row.no_class_position:
        add_class_position(tensors)
    config = {**row.defaults, **library_config(source), **source.config}
    geometry = _geometry(tensors)
    # Some spell it for both sides.
    if config.get("patch_size", geometry.patch) not in (geometry.patch, [geometry.patch] * 2):
        raise CheckpointError(
            f"config.json: patch_size: expected {geometry.patch}, as the tensors have it, "
            f"found {config['patch_size']}"
        )
    has_block = any(name.startswith("correlator.") for name in tensors)
    expected = _expected(geometry)
    last = f"encoder.blocks.{geometry.depth - 1}."

    def unused(name: str) -> bool:
        return name.startswith("encoder.norm.") or any(
            name.startswith(prefix) and name.removeprefix(prefix) not in _RUN
            for prefix in (last, "correlator.")
        )

    missing = [
        name
        for name in expected
        if name not in tensors
        and not unused(name)
        and (has_block or not name.startswith("correlator."))
    ]
    left_over = [name for name in tensors if name not in expected]
    if missing or left_over:
        parts = []
        if missing:
            parts.append("missing: " + ", ".join(missing))
        if left_over:
            parts.append("cannot be represented: " + ", ".join(left_over))
        raise CheckpointError(f"{'; '.join(parts)} (format: {row.name})")
    for name, array in tensors.items():
        tensors[name] = _shaped(name, array, expected[name])
    if drop_unused:
        dropped += [name for name in tensors if unused(name)]
        tensors = {name: array for name, array in tensors.items() if not unused(name)}
    ordered = {name: tensors[name] for name in expected if name in tensors}
    further = {row.further_block(name) for name in source.tensors} - {None}
    return Checkpoint(ordered, geometry, row, config, dropped, folded, has_block, len(further))


def with_block(found: Checkpoint, other: Checkpoint) -> Checkpoint:
    """``found`` with the block of another checkpoint, and what that says of it."""
    if not other.has_block:
        raise CheckpointError("no spatio-temporal block (temporal_transformer.0.*) in it")
    if other.geometry.channels != found.geometry.channels:
        raise CheckpointError(
            f"spatio-temporal block: expected {found.geometry.channels} channels, as the "
            f"backbone has them, found {other.geometry.channels}"
        )
    encoder = {n: t for n, t in found.tensors.items() if n.startswith("encoder.")}
    block = {n: t for n, t in other.tensors.items() if n.startswith("correlator.")}
    said = {key: value for key, value in other.config.items() if key.startswith("temporal_")}
    return replace(
        found,
        tensors={**encoder, **block},
        config={**found.config, **said},
        has_block=True,
        further_blocks=other.further_blocks,
    )


def with_identity_block(found: Checkpoint) -> Checkpoint:
    """``found`` with a block that compares the features themselves: a layer norm without
    gain and bias, and the identity for queries and keys.  For values too: a training
    that starts with them and a projection of zeros would never leave values of zeros."""
    c = found.geometry.channels
    eye = np.eye(c, dtype=np.float32)
    block = {
        "correlator.norm1.weight": np.ones(c, np.float32),
        "correlator.norm1.bias": np.zeros(c, np.float32),
        "correlator.attn.qkv.weight": np.concatenate([eye, eye, eye]),
    }
    return replace(found, tensors={**found.tensors, **block})


def _renamed(
    state: Mapping[str, Any], row: Format, ignore: tuple[str, ...]
) -> tuple[Tensors, list[str]]:
    tensors: Tensors = {}
    dropped: list[str] = []
    for name, value in state.items():
        if row.drops(name) or (ignore and name.startswith(ignore)):
            dropped.append(name)
            continue
        renamed = row.renamed(name)
        if renamed in tensors:
            raise CheckpointError(f"{name}: two tensors would be {renamed}")
        array = np.asarray(value)
        if array.dtype.kind != "f":
            raise CheckpointError(f"{name}: expected floating point, found {array.dtype}")
        tensors[renamed] = np.ascontiguousarray(array, np.float32)
    return tensors, dropped


def _shaped(name: str, array: Array, shape: tuple[int, ...]) -> Array:
    # PyTorch keeps leading axes of 1: cls_token [1, 1, C].
    squeezed = array.shape[array.ndim - len(shape) :]
    if squeezed != shape or array.size != np.prod(shape):
        gated = name.endswith("mlp.fc2.weight") and 2 * squeezed[-1] == shape[-1]
        hint = ": covey has no gated (SwiGLU) MLP" if gated else ""
        raise CheckpointError(
            f"{name}: expected {_times(shape)}, found {_times(array.shape)}{hint}"
        )
    if not np.isfinite(array).all():
        raise CheckpointError(f"{name}: has values that are not finite")
    return array.reshape(shape)


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _geometry(tensors: Tensors) -> Geometry:
    def shape(name: str, rank: int) -> tuple[int, ...]:
        if name not in tensors:
            raise CheckpointError(f"missing: {name}: not a vision transformer as covey knows them")
        found = tensors[name].shape
        if len(found) < rank:
            raise CheckpointError(f"{name}: expected {rank} axes, found {_times(found)}")
        return found[-rank:]

    channels, colours, patch, patch_columns = shape("encoder.patch_embed.proj.weight", 4)
    if colours != 3 or patch != patch_columns:
        raise CheckpointError(
            f"encoder.patch_embed.proj.weight: expected {channels}x3xPxP, "
            f"found {channels}x{colours}x{patch}x{patch_columns}"
        )
    positions = shape("encoder.pos_embed", 2)[0]
    grid = round(max(positions - 1, 0) ** 0.5)
    if grid < 1 or grid * grid + 1 != positions:
        raise CheckpointError(f"encoder.pos_embed: expected 1 + G * G positions, found {positions}")
    blocks = {
        int(match.group(1))
        for match in (re.match(r"encoder\.blocks\.([0-9]+)\.", name) for name in tensors)
        if match
    }
    if blocks != set(range(len(blocks))) or not blocks:
        raise CheckpointError(f"encoder.blocks: expected 0, 1, 2, ..., found {sorted(blocks)}")
    registers = 0
    if "encoder.register_tokens" in tensors:
        registers = shape("encoder.register_tokens", 2)[0]
    # The first block has its MLP in every checkpoint of more than one block;
    # where there is one only, inference never runs it.
    mlp = 4 * channels
    for block in (f"encoder.blocks.{index}" for index in sorted(blocks)):
        if f"{block}.mlp.fc1.weight" in tensors:
            mlp = shape(f"{block}.mlp.fc1.weight", 2)[0]
            break
    return Geometry(channels, len(blocks), patch, grid, mlp, registers)


def _expected(geometry: Geometry) -> dict[str, tuple[int, ...]]:
    """Every tensor of a weight file with its shape, in the file's order."""
    c, f, p = geometry.channels, geometry.mlp, geometry.patch

    def block(prefix: str, mlp: int, bias: bool) -> dict[str, tuple[int, ...]]:
        shapes = {
            "norm1.weight": (c,),
            "norm1.bias": (c,),
            "attn.qkv.weight": (3 * c, c),
            "attn.qkv.bias": (3 * c,),
            "attn.proj.weight": (c, c),
            "attn.proj.bias": (c,),
            "norm2.weight": (c,),
            "norm2.bias": (c,),
            "mlp.fc1.weight": (mlp, c),
            "mlp.fc1.bias": (mlp,),
            "mlp.fc2.weight": (c, mlp),
            "mlp.fc2.bias": (c,),
        }
        return {
            f"{prefix}.{name}": shapes[name] for name in _BLOCK if bias or name != "attn.qkv.bias"
        }

    expected: dict[str, tuple[int, ...]] = {
        "encoder.cls_token": (c,),
        "encoder.pos_embed": (1 + geometry.grid**2, c),
        "encoder.patch_embed.proj.weight": (c, 3, p, p),
        "encoder.patch_embed.proj.bias": (c,),
    }
    if geometry.registers:
        expected["encoder.register_tokens"] = (geometry.registers, c)
    for index in range(geometry.depth):
        expected |= block(f"encoder.blocks.{index}", f, bias=True)
    expected |= {"encoder.norm.weight": (c,), "encoder.norm.bias": (c,)}
    expected |= block("correlator", 4 * c, bias=False)
    return expected
