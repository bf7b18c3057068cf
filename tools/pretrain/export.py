"""Writes a backbone as a checkpoint that `covey convert` reads.

The checkpoint has PyTorch's plain names (`encoder.*`, `temporal_transformer.0.*`) and a
config.  Its block looks for what is alike: W_q = W_k = sqrt(gain) times the identity,
nothing added by its attention.  `covey train` goes on from there.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

#: Of the input's channels, red, green, blue of 0...1 (ImageNet's).
MEAN = np.array([0.485, 0.456, 0.406], np.float32)
DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)
#: Heads of the spatio-temporal block.
BLOCK_HEADS = 4
HEAD_CHANNELS = 64  # of the backbone


def write_checkpoint(path: Path, backbone: dict[str, Tensor], gain: float) -> None:
    channels = backbone["cls_token"].shape[-1]
    state = {f"encoder.{name}": tensor.cpu() for name, tensor in backbone.items()}
    block = identity_block(channels, gain)
    state |= {f"temporal_transformer.0.{name}": tensor for name, tensor in block.items()}
    config = {
        "heads": channels // HEAD_CHANNELS,
        "temporal_heads": BLOCK_HEADS,
        "mean": MEAN.tolist(),
        "std": DEVIATION.tolist(),
        "cls_saliency": False,  # nothing trains the CLS token
    }
    torch.save({"state_dict": state, "config": config}, path)


def read_backbone(path: Path) -> dict[str, Tensor]:
    """The backbone of such a checkpoint."""
    state = torch.load(path, weights_only=True)["state_dict"]
    return {
        name.removeprefix("encoder."): tensor
        for name, tensor in state.items()
        if not name.startswith("temporal_transformer.")
    }


def identity_block(channels: int, gain: float) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)

    def small(*shape: int) -> Tensor:
        return torch.empty(shape).normal_(0, 0.02, generator=generator)

    alike = torch.eye(channels) * math.sqrt(gain)
    return {
        "norm1.weight": torch.ones(channels),
        "norm1.bias": torch.zeros(channels),
        "attn.qkv.weight": torch.cat([alike, alike, small(channels, channels)]),
        "attn.proj.weight": torch.zeros(channels, channels),
        "attn.proj.bias": torch.zeros(channels),
        "norm2.weight": torch.ones(channels),
        "norm2.bias": torch.zeros(channels),
        "mlp.fc1.weight": small(4 * channels, channels),
        "mlp.fc1.bias": torch.zeros(4 * channels),
        "mlp.fc2.weight": small(channels, 4 * channels) * 0.1,
        "mlp.fc2.bias": torch.zeros(channels),
    }
