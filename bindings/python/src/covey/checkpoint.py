"""Reading training checkpoints, and telling what network they hold."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = dict[str, NDArray[np.float32]]

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


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not hold a network that covey
    can run."""


@dataclass(frozen=True)
class Geometry:
    """The shapes of a network; heads as far as the checkpoint tells."""

    channels: int
    depth: int
    patch: int
    grid: int
    mlp: int


@dataclass
class Checkpoint:
    """tensors: float32, named as in a weight file.  config: what the file said
    beside them.  dropped: names left out on purpose."""

    tensors: Tensors
    geometry: Geometry
    config: dict[str, Any] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)


def read_state(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(tensors by their names in the file, the file's config) of a .safetensors
    or PyTorch file.

    Raises CheckpointError, OSError, or ImportError where PyTorch is needed and
    absent.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file")
    if source.suffix == ".safetensors":
        return _read_safetensors(source), {}
    return _read_torch(source)


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise ImportError(
            "reading .safetensors needs safetensors: pip install safetensors gguf"
        ) from None
    try:
        with safe_open(path, framework="numpy") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}
    except (SafetensorError, TypeError) as error:
        # TypeError: bfloat16, which NumPy lacks.
        raise CheckpointError(f"{path}: {error}") from None


def _read_torch(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{path.name}: PyTorch files need PyTorch: pip install torch gguf; "
            "or save the checkpoint as .safetensors"
        ) from None
    import pickle

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: not a PyTorch file of plain tensors: {first}") from None
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path}: expected a dictionary, found {type(loaded).__name__}")
    config = loaded.get("config")
    state = loaded
    for name in ("state_dict", "model_state_dict"):
        if isinstance(loaded.get(name), Mapping):
            state = loaded[name]
            break
    tensors = {
        str(name): value.detach().to(torch.float32).numpy()
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise CheckpointError(f"{path}: no tensors in it")
    return tensors, dict(config) if isinstance(config, Mapping) else {}


def _renamed(name: str) -> str:
    """The weight file's name; one that has none keeps its own."""
    name = name.removeprefix("module.")
    if name.startswith("temporal_transformer.0."):
        return "correlator." + name.removeprefix("temporal_transformer.0.")
    if re.match(r"(cls_token|pos_embed|patch_embed\.|blocks\.|norm\.)", name):
        return "encoder." + name
    return name


def understand(
    state: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    drop_unused: bool = False,
    ignore: tuple[str, ...] = (),
) -> Checkpoint:
    """The network in ``state``, its tensors renamed and in the weight file's shapes.

    drop_unused leaves out what inference never runs; ignore: tensors whose name
    in the checkpoint starts with one of these are left out.  Raises
    CheckpointError naming every tensor that is missing, left over or wrong.
    """
    tensors: Tensors = {}
    dropped: list[str] = []
    for name, value in state.items():
        if ignore and name.startswith(ignore):
            dropped.append(name)
            continue
        renamed = _renamed(name)
        if renamed in tensors:
            raise CheckpointError(f"{name}: two tensors would be {renamed}")
        array = np.asarray(value)
        if array.dtype.kind != "f":
            raise CheckpointError(f"{name}: expected floating point, found {array.dtype}")
        tensors[renamed] = np.ascontiguousarray(array, np.float32)
    geometry = _geometry(tensors)
    expected = _expected(geometry)
    last = f"encoder.blocks.{geometry.depth - 1}."

    def unused(name: str) -> bool:
        return name.startswith("encoder.norm.") or any(
            name.startswith(prefix) and name.removeprefix(prefix) not in _RUN
            for prefix in (last, "correlator.")
        )

    missing = [name for name in expected if name not in tensors and not unused(name)]
    left_over = [name for name in tensors if name not in expected]
    if missing or left_over:
        if all(name.startswith("correlator.") for name in missing) and not any(
            name.startswith("correlator.") for name in tensors
        ):
            raise CheckpointError(
                "no spatio-temporal block (temporal_transformer.0.*) beside the backbone: "
                "covey needs a trained one"
            )
        parts = []
        if missing:
            parts.append("missing: " + ", ".join(missing))
        if left_over:
            parts.append("cannot be represented: " + ", ".join(left_over))
        raise CheckpointError("; ".join(parts))
    for name, array in tensors.items():
        shape = expected[name]
        # PyTorch keeps leading axes of 1: cls_token [1, 1, C].
        squeezed = array.shape[array.ndim - len(shape) :]
        if squeezed != shape or array.size != np.prod(shape):
            raise CheckpointError(f"{name}: expected {_times(shape)}, found {_times(array.shape)}")
        tensors[name] = array.reshape(shape)
        if not np.isfinite(array).all():
            raise CheckpointError(f"{name}: has values that are not finite")
    if drop_unused:
        dropped += [name for name in tensors if unused(name)]
        tensors = {name: array for name, array in tensors.items() if not unused(name)}
    ordered = {name: tensors[name] for name in expected if name in tensors}
    return Checkpoint(ordered, geometry, dict(config or {}), dropped)


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
    # The first block has its MLP in every checkpoint of more than one block;
    # where there is one only, inference never runs it.
    mlp = 4 * channels
    for block in (f"encoder.blocks.{index}" for index in sorted(blocks)):
        if f"{block}.mlp.fc1.weight" in tensors:
            mlp = shape(f"{block}.mlp.fc1.weight", 2)[0]
            break
    return Geometry(channels, len(blocks), patch, grid, mlp)


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
    for index in range(geometry.depth):
        expected |= block(f"encoder.blocks.{index}", f, bias=True)
    expected |= {"encoder.norm.weight": (c,), "encoder.norm.bias": (c,)}
    expected |= block("correlator", 4 * c, bias=False)
    return expected
