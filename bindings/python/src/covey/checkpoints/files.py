"""Reading checkpoints: files of tensors, and the folders of model libraries."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..writing.whole_files import parsed_json

#: What a library calls the weights in its folder.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
#: Where a PyTorch file keeps the tensors, beside other things; of a pair of networks
#: the one that was averaged.
WRAPPERS = ("state_dict", "model_state_dict", "teacher", "model")


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not hold a network that covey
    can run."""


@dataclass(frozen=True)
class Source:
    """What a file or folder held.

    tensors: by their names there.  wrapper: the name of the dictionary they were
    in, "" for none.  config: what a PyTorch file said beside them.  library, inputs:
    a folder's config.json and preprocessor_config.json.
    """

    name: str
    tensors: dict[str, Any]
    wrapper: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    library: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)


def read_state(path: str | os.PathLike[str]) -> Source:
    """What a .safetensors or PyTorch file holds, or a folder with one of them and
    a config.json.  No code of a file is ever run.

    Raises CheckpointError, OSError, or ImportError where a package is needed and
    absent.
    """
    given = source = Path(path)
    if given.is_dir():
        source = next((given / each for each in WEIGHTS if (given / each).is_file()), given)
        if source == given:
            raise CheckpointError(f"{given}: expected one of {', '.join(WEIGHTS)} in it")
    if not source.is_file():
        raise FileNotFoundError(f"{source}: no such file")
    name = given.name
    library: dict[str, Any] = {}
    inputs: dict[str, Any] = {}
    if source.name in WEIGHTS and (source.parent / "config.json").is_file():
        name = source.resolve().parent.name
        library = _read_json(source.parent / "config.json")
        inputs = _read_json(source.parent / "preprocessor_config.json")
    if source.suffix == ".safetensors":
        return Source(name, _read_safetensors(source), "", {}, library, inputs)
    tensors, wrapper, config = _read_torch(source)
    return Source(name, tensors, wrapper, config, library, inputs)


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = parsed_json(path.read_text("utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{path}: not JSON: {error}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected an object, found {type(found).__name__}")
    return found


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError, deserialize, safe_open
    except ImportError:
        raise ImportError(
            "reading .safetensors needs safetensors: pip install safetensors gguf"
        ) from None
    try:
        with safe_open(path, framework="numpy") as opened:
            kinds = {name: opened.get_slice(name).get_dtype() for name in opened.keys()}
            # NumPy lacks bfloat16: the upper half of a float32.
            found = {name: opened.get_tensor(name) for name in kinds if kinds[name] != "BF16"}
        if len(found) < len(kinds):
            told: Any
            for name, told in deserialize(path.read_bytes()):  # type: ignore[no-untyped-call]
                if kinds[name] == "BF16":
                    upper = np.frombuffer(told["data"], "<u2").astype(np.uint32)
                    found[name] = (upper << 16).view(np.float32).reshape(told["shape"])
        return {name: found[name] for name in kinds}
    except (SafetensorError, TypeError) as error:
        # TypeError: other kinds that NumPy lacks.
        raise CheckpointError(f"{path}: {error}") from None


def _read_torch(path: Path) -> tuple[dict[str, Any], str, dict[str, Any]]:
    try:
        import torch
    except ImportError:
        raise ImportError(
            f"{path.name}: PyTorch files need PyTorch: pip install torch gguf; "
            "or save the checkpoint as .safetensors"
        ) from None
    # DINO's full checkpoints have the options of their training in them: plain values.
    allowed: Any = getattr(torch.serialization, "safe_globals", contextlib.nullcontext)
    try:
        with allowed([argparse.Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged pickle ends in whatever its instructions come to.
        if isinstance(error, MemoryError) or getattr(error, "filename", None):
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path}: not a PyTorch file of plain tensors: {first}") from None
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path}: expected a dictionary, found {type(loaded).__name__}")
    config = loaded.get("config")
    wrapper = next((each for each in WRAPPERS if isinstance(loaded.get(each), Mapping)), "")
    tensors: dict[str, Any] = {}
    for name, value in (loaded[wrapper] if wrapper else loaded).items():
        if not isinstance(value, torch.Tensor):
            continue
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise CheckpointError(
                f"{path}: {name}: expected a dense tensor of numbers, found {value.type()}"
            )
        plain = value.detach().resolve_conj()
        tensors[str(name)] = (plain.float() if plain.is_floating_point() else plain).numpy()
    if not tensors:
        raise CheckpointError(f"{path}: no tensors in it")
    return tensors, wrapper, dict(config) if isinstance(config, Mapping) else {}
