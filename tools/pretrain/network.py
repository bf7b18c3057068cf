"""The backbone: a plain pre-norm vision transformer with DINO's parameter names.

Only what the keys of the last block depend on is trained; the last block's attention
output, its MLP and the final norm keep their first values and mean nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, count, channels = tokens.shape
        parts = self.qkv(tokens).reshape(batch, count, 3, self.heads, channels // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        if tokens.is_cuda:
            mixed = functional.scaled_dot_product_attention(query, key, value)
        else:  # At some hundred tokens faster than the fused kernel of the CPU.
            scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
            mixed = scores.softmax(-1).to(value.dtype) @ value
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, channels))


class MLP(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(tokens)))


class Block(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLP(channels, 4 * channels)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class PatchEmbedding(nn.Module):
    def __init__(self, patch: int, channels: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, channels, patch, patch)

    def forward(self, images: Tensor) -> Tensor:
        """batch x 3 x height x width -> batch x patches x channels, as one product."""
        batch, colours, height, width = images.shape
        p = self.patch
        patches = images.reshape(batch, colours, height // p, p, width // p, p)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, colours * p * p)
        return functional.linear(patches, self.proj.weight.flatten(1), self.proj.bias)


class Backbone(nn.Module):
    def __init__(self, channels: int, depth: int, heads: int, patch: int = 8, grid: int = 16):
        super().__init__()
        self.channels, self.patch, self.grid = channels, patch, grid
        self.patch_embed = PatchEmbedding(patch, channels)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + grid * grid, channels))
        self.blocks = nn.ModuleList([Block(channels, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def positions(self, rows: int, columns: int) -> Tensor:
        """The position embedding at a size of the grid, resized as DINO does."""
        if rows == columns == self.grid:
            return self.pos_embed
        patches = self.pos_embed[:, 1:].reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        scale = ((rows + 0.1) / self.grid, (columns + 0.1) / self.grid)
        patches = functional.interpolate(patches, scale_factor=scale, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Keys of the last block, heads side by side: batch x patches x channels."""
        height, width = images.shape[-2:]
        tokens = self.patch_embed(images)
        tokens = torch.cat([self.cls_token.expand(len(images), -1, -1).to(tokens.dtype), tokens], 1)
        tokens = tokens + self.positions(height // self.patch, width // self.patch).to(tokens.dtype)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        last = self.blocks[-1]
        rows = slice(self.channels, 2 * self.channels)
        qkv = last.attn.qkv
        return functional.linear(last.norm1(tokens)[:, 1:], qkv.weight[rows], qkv.bias[rows])
