#!/usr/bin/env python3
"""Writes vit.txt: the keys of the last block and the saliency that PyTorch
computes with the weights of tiny-f32.gguf.

    python3 Tests/golden/make_vit.py > Tests/golden/vit.txt

Needs numpy, torch (2.x, on the CPU) and gguf; in float64.

A case is a line `case rows columns`, a line with the keys [N, C] and one with
the saliency [N].  Element i of the planes [3, H, W] is (noise(rows, i) - 128) / 64.
"""
from pathlib import Path

import gguf
import numpy as np
import torch
import torch.nn.functional as F

from make_positions import noise, resized

FILE = Path(__file__).parent / "tiny-f32.gguf"
WEIGHTS = {
    t.name: torch.from_numpy(np.array(t.data)).double().reshape(*reversed(t.shape.tolist()))
    for t in gguf.GGUFReader(FILE).tensors
}
HEADS, DEPTH, EPS, PATCH = 3, 2, float(np.float32(1e-6)), 8


def linear(x, name):
    return F.linear(x, WEIGHTS[name + ".weight"], WEIGHTS[name + ".bias"])


def norm(x, name):
    return F.layer_norm(x, x.shape[-1:], WEIGHTS[name + ".weight"], WEIGHTS[name + ".bias"], EPS)


def qkv(x, prefix):
    """[3, heads, tokens, head dim]"""
    out = linear(norm(x, prefix + ".norm1"), prefix + ".attn.qkv")
    return out.reshape(len(x), 3, HEADS, -1).permute(1, 2, 0, 3)


def run(planes):
    proj = "encoder.patch_embed.proj"
    x = F.conv2d(planes[None], WEIGHTS[proj + ".weight"], WEIGHTS[proj + ".bias"], stride=PATCH)[0]
    rows, columns = x.shape[1:]
    x = torch.cat((WEIGHTS["encoder.cls_token"][None], x.flatten(1).T))
    x = x + resized(WEIGHTS["encoder.pos_embed"], rows, columns)
    for index in range(DEPTH - 1):
        prefix = f"encoder.blocks.{index}"
        out = F.scaled_dot_product_attention(*qkv(x, prefix))
        x = x + linear(out.transpose(0, 1).flatten(1), prefix + ".attn.proj")
        hidden = F.gelu(linear(norm(x, prefix + ".norm2"), prefix + ".mlp.fc1"))
        x = x + linear(hidden, prefix + ".mlp.fc2")
    q, k, _ = qkv(x, f"encoder.blocks.{DEPTH - 1}")
    attention = (q[:, :1] @ k.transpose(1, 2) / k.shape[-1] ** 0.5).softmax(-1)
    return k.transpose(0, 1).flatten(1)[1:], attention[:, 0, 1:].mean(0)


print("# PyTorch, in float64: see make_vit.py")
for rows, columns in ((1, 1), (4, 4), (4, 6), (7, 3)):
    shape = (3, rows * PATCH, columns * PATCH)
    values = (noise(rows, int(np.prod(shape))).astype(np.float64) - 128) / 64
    keys, saliency = run(torch.from_numpy(values).reshape(shape))
    print("case", rows, columns)
    print(*(f"{v:.8f}" for v in keys.numpy().ravel()))
    print(*(f"{v:.8f}" for v in saliency.numpy().ravel()))
