"""The network in PyTorch's own operators: what the library's is compared with.

Functions of a state dict (names as in DINO's checkpoints, the spatio-temporal
block under temporal_transformer.0) and of any float type, so that the same
lines give fp32 and, as the truth, float64.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Geometry(NamedTuple):
    patch: int
    channels: int
    depth: int
    heads: int
    grid: int
    correlator_heads: int
    mlp: int = 0  # 0: four times the channels


class Encoded(NamedTuple):
    """keys and queries [N, C] of the last block; saliency [N]: attention of the CLS
    token of the last block to the patches, mean over heads; rows x columns = N."""

    keys: torch.Tensor
    saliency: torch.Tensor
    rows: int
    columns: int
    queries: torch.Tensor


def random_state(geometry, gain=None, outlier=0.0, seed=0):
    """A state dict of random weights.

    gain None: truncated normals of 0.02, as a network starts; its attention is
    all but uniform.  Else matrices of gain / sqrt(inputs) and norms, biases and
    positions spread as training leaves them: at 2, the logits of attention have
    a deviation of about 4, and most of its weight is on a few tokens of
    thousands.  outlier: this much is added to one channel of the residual
    stream in the second block: trained transformers have such channels, and layer
    norm must not lose digits over them.
    """
    generator = torch.Generator().manual_seed(seed)
    c, mlp = geometry.channels, geometry.mlp or 4 * geometry.channels

    def matrix(rows, columns, *rest):
        shape = (rows, columns, *rest)
        values = torch.empty(shape)
        inputs = values[0].numel()
        deviation = 0.02 if gain is None else gain / inputs**0.5
        return torch.nn.init.trunc_normal_(
            values, std=deviation, a=-2 * deviation, b=2 * deviation, generator=generator
        )

    def vector(size, middle=0.0, deviation=0.1):
        spread = 0.0 if gain is None else deviation
        return middle + spread * torch.randn(size, generator=generator)

    state = {
        "cls_token": 0.5 * torch.randn((1, 1, c), generator=generator),
        "pos_embed": (0.02 if gain is None else 0.3)
        * torch.randn((1, 1 + geometry.grid**2, c), generator=generator),
        "patch_embed.proj.weight": matrix(c, 3, geometry.patch, geometry.patch),
        "patch_embed.proj.bias": vector(c),
        "norm.weight": vector(c, 1),
        "norm.bias": vector(c),
    }
    prefixes = [f"blocks.{index}" for index in range(geometry.depth)]
    for prefix in [*prefixes, "temporal_transformer.0"]:
        block = prefix.startswith("blocks")
        width = mlp if block else 4 * c
        state[f"{prefix}.norm1.weight"] = vector(c, 1)
        state[f"{prefix}.norm1.bias"] = vector(c)
        state[f"{prefix}.attn.qkv.weight"] = matrix(3 * c, c)
        if block:
            state[f"{prefix}.attn.qkv.bias"] = vector(3 * c)
        state[f"{prefix}.attn.proj.weight"] = matrix(c, c)
        state[f"{prefix}.attn.proj.bias"] = vector(c)
        state[f"{prefix}.norm2.weight"] = vector(c, 1)
        state[f"{prefix}.norm2.bias"] = vector(c)
        state[f"{prefix}.mlp.fc1.weight"] = matrix(width, c)
        state[f"{prefix}.mlp.fc1.bias"] = vector(width)
        state[f"{prefix}.mlp.fc2.weight"] = matrix(c, width)
        state[f"{prefix}.mlp.fc2.bias"] = vector(c)
    if outlier:
        state["blocks.1.mlp.fc2.bias"][3] += outlier
    return state


def resize(frame, height, width, dtype=torch.float32):
    """A frame [H, W, 3] uint8 as [1, 3, height, width] in 0..1: bilinear,
    half-pixel centres, no anti-aliasing."""
    image = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].to(dtype) / 255
    return F.interpolate(image, size=(height, width), mode="bilinear", align_corners=False)


def normalise(image, mean=IMAGENET_MEAN, std=IMAGENET_STD):
    mean = torch.tensor(mean, dtype=image.dtype).view(1, 3, 1, 1)
    std = torch.tensor(std, dtype=image.dtype).view(1, 3, 1, 1)
    return (image - mean) / std


def positions(trained, grid, rows, columns):
    """[1, 1 + G * G, C] resized to [1, 1 + rows * columns, C] as DINO does:
    bicubically, with the scale (rows + 0.1) / G."""
    if (rows, columns) == (grid, grid):
        return trained
    patches = trained[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
    patches = F.interpolate(
        patches, scale_factor=((rows + 0.1) / grid, (columns + 0.1) / grid), mode="bicubic"
    )
    assert patches.shape[-2:] == (rows, columns)
    return torch.cat([trained[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)


@torch.no_grad()
def encode(state, geometry, image, eps=1e-6):
    """The vision transformer on a normalised image [1, 3, H, W], in its float type."""
    state = {name: value.to(image.dtype) for name, value in state.items()}
    c, heads = geometry.channels, geometry.heads

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def norm(x, name):
        return F.layer_norm(x, (c,), state[f"{name}.weight"], state[f"{name}.bias"], eps)

    def split(x):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # [1, H, N, D]

    x = F.conv2d(
        image, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"],
        stride=geometry.patch,
    )
    rows, columns = x.shape[-2:]
    x = torch.cat([state["cls_token"], x.flatten(2).transpose(1, 2)], dim=1)
    x = x + positions(state["pos_embed"], geometry.grid, rows, columns)
    for index in range(geometry.depth - 1):
        block = f"blocks.{index}"
        q, k, v = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv").chunk(3, dim=-1)
        out = F.scaled_dot_product_attention(split(q), split(k), split(v))
        x = x + linear(out.transpose(1, 2).flatten(2), f"{block}.attn.proj")
        hidden = F.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1"))
        x = x + linear(hidden, f"{block}.mlp.fc2")
    block = f"blocks.{geometry.depth - 1}"
    q, k, _ = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv").chunk(3, dim=-1)
    scores = split(q)[:, :, :1] @ split(k).transpose(-1, -2) * (c // heads) ** -0.5
    saliency = scores.softmax(dim=-1).mean(dim=1)[0, 0, 1:]
    return Encoded(k[0, 1:], saliency, rows, columns, q[0, 1:])


@torch.no_grad()
def correlate(state, features, eps=1e-5):
    """Queries and keys [N, C] of the spatio-temporal block for features [N, C]."""
    block = {
        name.removeprefix("temporal_transformer.0."): value.to(features.dtype)
        for name, value in state.items()
        if name.startswith("temporal_transformer.0.")
    }
    c = features.shape[-1]
    z = F.layer_norm(features, (c,), block["norm1.weight"], block["norm1.bias"], eps)
    query, key, _ = block["attn.qkv.weight"].chunk(3)
    return F.linear(z, query), F.linear(z, key)
