"""The vision transformer in PyTorch, as the peers run it: keys of the last block.

Two attentions.  ``AuthorsAttention`` is that of DINO's and the paper's code: the
full matrix of scores, softmax, matrix products, and a last block that is run to
its end although only its keys are used.  ``SdpaAttention`` is
F.scaled_dot_product_attention in the trimmed network: depth - 1 blocks, then the
norm and the keys of the last.  The trimmed one is what is exported.

The position embedding is resized beforehand, in float64: peers take one size.
"""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F
from torch import nn

import weights

sys.path.insert(0, str(weights.ROOT / "Tests" / "python"))
import torch_vit  # noqa: E402

GEOMETRY = torch_vit.Geometry(
    weights.PATCH, weights.CHANNELS, weights.DEPTH, weights.HEADS, weights.GRID,
    weights.CORRELATOR_HEADS,
)
EPS = 1e-6


class AuthorsAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(weights.CHANNELS, 3 * weights.CHANNELS)
        self.proj = nn.Linear(weights.CHANNELS, weights.CHANNELS)

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, weights.HEADS, c // weights.HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attention = (q @ k.transpose(-2, -1)) * (c // weights.HEADS) ** -0.5
        attention = attention.softmax(dim=-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, c))


class SdpaAttention(AuthorsAttention):
    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, weights.HEADS, c // weights.HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(b, n, c))


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(weights.CHANNELS, 4 * weights.CHANNELS)
        self.fc2 = nn.Linear(4 * weights.CHANNELS, weights.CHANNELS)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.norm1 = nn.LayerNorm(weights.CHANNELS, eps=EPS)
        self.attn = attention()
        self.norm2 = nn.LayerNorm(weights.CHANNELS, eps=EPS)
        self.mlp = Mlp()

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class KeysOnly(nn.Module):
    """Of the last block: the norm and the keys."""

    def __init__(self):
        super().__init__()
        self.norm1 = nn.LayerNorm(weights.CHANNELS, eps=EPS)
        self.keys = nn.Linear(weights.CHANNELS, weights.CHANNELS)

    def forward(self, x):
        return self.keys(self.norm1(x))


class PatchEmbed(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Conv2d(3, weights.CHANNELS, weights.PATCH, weights.PATCH)

    def forward(self, image):
        return self.proj(image).flatten(2).transpose(1, 2)


class Vit(nn.Module):
    """image [1, 3, H, W] to keys [N, C].  authors: see the module.

    ``state`` is emptied on the way, so that no weight is in memory twice: that
    would be in the peak that is reported.
    """

    def __init__(self, state, height, width, authors=False):
        super().__init__()
        self.authors = authors
        with torch.device("meta"):
            self._build(height, width, authors)
        self.load_state_dict(self._own(state, height, width), assign=True)
        self.eval().requires_grad_(False)
        if authors:
            # As their code gets at the features: a hook on the last qkv.
            self.blocks[-1].attn.qkv.register_forward_hook(self._keep)

    def _build(self, height, width, authors):
        attention = AuthorsAttention if authors else SdpaAttention
        whole = weights.DEPTH if authors else weights.DEPTH - 1
        self.patch_embed = PatchEmbed()
        self.blocks = nn.ModuleList(Block(attention) for _ in range(whole))
        if not authors:
            self.last = KeysOnly()
        self.cls_token = nn.Parameter(torch.empty(1, 1, weights.CHANNELS))
        tokens = 1 + (height // weights.PATCH) * (width // weights.PATCH)
        self.pos_embed = nn.Parameter(torch.empty(1, tokens, weights.CHANNELS))

    def _keep(self, module, inputs, output):
        self.kept = output

    def _own(self, state, height, width):
        """The tensors that this network runs, under its names."""
        trained = torch.from_numpy(state["pos_embed"]).double()
        state["pos_embed"] = torch_vit.positions(
            trained, weights.GRID, height // weights.PATCH, width // weights.PATCH
        ).float().numpy()
        if not self.authors:
            last, c = f"blocks.{weights.DEPTH - 1}.", weights.CHANNELS
            for part in ("weight", "bias"):
                state[f"last.norm1.{part}"] = state[f"{last}norm1.{part}"]
                state[f"last.keys.{part}"] = state[f"{last}attn.qkv.{part}"][c : 2 * c]
        own = {name: torch.from_numpy(state.pop(name)).clone() for name in self.state_dict()}
        state.clear()
        return own

    def forward(self, image):
        x = torch.cat([self.cls_token, self.patch_embed(image)], dim=1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        if not self.authors:
            return self.last(x)[0, 1:]
        c = weights.CHANNELS
        return self.kept[0, 1:, c : 2 * c]


def reference(state, image):
    """The keys [N, C] in float64, by the tests' oracle (Tests/python/torch_vit.py),
    which shares nothing with the class above.  image: [1, 3, H, W] array."""
    tensors = {name: torch.from_numpy(value).double() for name, value in state.items()}
    return torch_vit.encode(tensors, GEOMETRY, torch.from_numpy(image).double()).keys.numpy()
