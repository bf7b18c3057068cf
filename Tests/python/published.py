"""Networks whose checkpoints are converted, with random weights: those of DINO and DINOv2
written here from their formulas, with parameters named as published; those of timm and
transformers by these libraries.  And the keys that they compute themselves.
"""

from __future__ import annotations

import importlib
import importlib.util

import torch
import torch.nn.functional as F
from torch import nn


_operators = []


def has(library):
    """Whether timm or transformers is there."""
    if importlib.util.find_spec(library) is None:
        return False
    if importlib.util.find_spec("torchvision") is not None:
        # Both import it.  Its compiled part does not load beside a PyTorch for CPUs where
        # it was built for another one, and then it misses operators that nothing here
        # runs: it is enough that they have names.
        try:
            importlib.import_module("torchvision")
        except RuntimeError:
            names = torch.library.Library("torchvision", "FRAGMENT")
            for name in ("nms", "qnms"):
                names.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _operators.append(names)  # they live as long as it does
            importlib.import_module("torchvision")
    return True


class Attention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x):
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        weights = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1)
        return self.proj((weights @ v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc1 = nn.Linear(channels, 4 * channels)
        self.fc2 = nn.Linear(4 * channels, channels)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Scale(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        return self.gamma * x


class Block(nn.Module):
    def __init__(self, channels, heads, is_scaled):
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLP(channels)
        self.ls1 = Scale(channels) if is_scaled else nn.Identity()
        self.ls2 = Scale(channels) if is_scaled else nn.Identity()

    def forward(self, x):
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class Published(nn.Module):
    """DINO; with `is_scaled` DINOv2, which with registers resizes positions otherwise."""

    def __init__(self, patch, channels, depth, heads, grid, is_scaled=False, registers=0):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, channels, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, channels))
        if registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, registers, channels))
        if is_scaled:
            self.mask_token = nn.Parameter(torch.zeros(1, channels))
        self.blocks = nn.ModuleList(Block(channels, heads, is_scaled) for _ in range(depth))
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.grid, self.registers = grid, registers

    def positions(self, rows, columns):
        if (rows, columns) == (self.grid, self.grid):
            return self.pos_embed
        grid = self.pos_embed[:, 1:].transpose(1, 2).unflatten(2, (self.grid, self.grid))
        if self.registers:
            grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", antialias=True)
        else:
            scale = ((rows + 0.1) / self.grid, (columns + 0.1) / self.grid)
            grid = F.interpolate(grid, scale_factor=scale, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)

    def forward(self, image):
        x = self.patch_embed.proj(image)
        rows, columns = x.shape[-2:]
        x = torch.cat([self.cls_token, x.flatten(2).transpose(1, 2)], dim=1)
        x = x + self.positions(rows, columns)
        if self.registers:
            x = torch.cat([x[:, :1], self.register_tokens, x[:, 1:]], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def randomised(model, seed=0):
    """Weights of the size that trained ones have: logits of attention with a deviation
    of some units, norms around 1, layer scales well away from it."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.named_parameters():
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith(("token", "tokens", "pos_embed", "position_embeddings")):
            new = 0.3 * noise
        elif name.endswith(("gamma", "lambda1")):
            new = 0.4 + 0.15 * noise
        elif value.ndim > 1:
            new = 1.6 * noise / value[0].numel() ** 0.5
        else:
            new = 0.1 * noise + (1 if name.endswith("weight") else 0)
        value.data.copy_(new)
    return model.eval()


@torch.no_grad()
def keys_of(layer, run, image, patches):
    """[N, C]: what `layer` gives for the last tokens while `run` takes the image; of a
    layer of queries, keys and values the keys."""
    caught = []
    hook = layer.register_forward_hook(lambda _, inputs, output: caught.append((inputs, output)))
    run(image)
    hook.remove()
    (inputs, output), = caught
    channels = inputs[0].shape[-1]
    found = output[0, -patches:]
    return found if found.shape[-1] == channels else found[:, channels : 2 * channels]
