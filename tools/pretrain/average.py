"""Averages the weights of models of one training, which covers more than any one of them:

    python average.py MODEL MODEL... -o CHECKPOINT

Models are fp32 weight files as `covey train` writes them, all with the same tensors; the
checkpoint is what `covey convert` reads.  After Izmailov et al., "Averaging Weights Leads
to Wider Optima and Better Generalization", 2018.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFReader


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    readers = [GGUFReader(path) for path in arguments.models]
    torch.save(
        {"state_dict": average(readers), "config": configuration(readers[0])}, arguments.output
    )


def average(readers: list[GGUFReader]) -> dict[str, torch.Tensor]:
    """Means of the tensors, by their names in a checkpoint."""
    models = [{tensor.name: values(tensor) for tensor in reader.tensors} for reader in readers]
    first, *others = models
    for other in others:
        if {name: array.shape for name, array in other.items()} != {
            name: array.shape for name, array in first.items()
        }:
            raise SystemExit("the models have different tensors")
    return {
        name.replace("correlator.", "temporal_transformer.0.", 1): torch.from_numpy(
            np.mean([model[name] for model in models], axis=0, dtype=np.float64).astype(np.float32)
        )
        for name in first
    }


def values(tensor: Any) -> np.ndarray:
    if tensor.tensor_type != GGMLQuantizationType.F32:
        raise SystemExit(f"{tensor.name} is {tensor.tensor_type.name}, expected F32")
    return np.asarray(tensor.data).reshape(tensor.shape[::-1])


def configuration(reader: GGUFReader) -> dict[str, Any]:
    def field(name: str) -> Any:
        return reader.fields[f"covey.{name}"].contents()

    return {
        "heads": field("vit.heads"),
        "temporal_heads": field("correlator.heads"),
        "mean": field("input.mean"),
        "std": field("input.std"),
        "cls_saliency": field("vit.cls_saliency"),
    }


if __name__ == "__main__":
    main()
