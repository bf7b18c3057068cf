"""Inference in int8 written plainly in NumPy, from its description.

Whole numbers are kept as floats: sums of so few products of bytes are exact in
float64.  Everything else is in the float type of the tokens given, float64 as the
truth; in float32 it shows how much rounding alone can move, for a number that
falls near the middle of two bytes goes either way.

Shape letters: n tokens, C channels, H heads, D of a head, F of the MLP.
"""

from __future__ import annotations

import math

import numpy as np
from heavy_tailed import gelu

#: Keys of a block of attention: whole panels of 64, at most this many.
BLOCK = 320

#: Weights of attention as bytes: 2^(-i / STEPS), of 255.
STEPS = 28
TABLE = np.array([round(255 * 2 ** (-i / STEPS)) for i in range(256)] + [0], np.float64)


def rows(x, most=127):
    """(integers, scales): x [..., n] symmetrically, a scale for every row."""
    scale = np.abs(x).max(axis=-1, keepdims=True) / most
    scale = np.maximum(scale, np.finfo(np.float32).tiny).astype(x.dtype)
    return np.round(x / scale), scale


def linear(state, name, x, rows=rows):
    """x W^T + b: bytes a row of x, bytes a row of W."""
    x, x_scale = rows(x)
    w, w_scale = rows(state[f"{name}.weight"].astype(x_scale.dtype))
    product = (x.astype(np.float64) @ w.T.astype(np.float64)).astype(x_scale.dtype)
    return product * x_scale * w_scale[:, 0] + state[f"{name}.bias"].astype(x_scale.dtype)


def norm(state, name, x, eps=1e-6):
    z = x - x.mean(axis=-1, keepdims=True)
    z = z / np.sqrt((z * z).mean(axis=-1, keepdims=True) + x.dtype.type(eps))
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return z * weight.astype(x.dtype) + bias.astype(x.dtype)


def blocks(tokens):
    """Slices of the keys: as many blocks as BLOCK asks for, rounded up to a
    multiple of four where there are several; of whole panels of 64."""
    count = -(-tokens // BLOCK)
    count = count if count == 1 else -(-count // 4) * 4
    size = -(-tokens // count)
    size = -(-size // 64) * 64
    return [slice(start, min(tokens, start + size)) for start in range(0, tokens, size)]


def attention(q, k, v, table=TABLE):
    """softmax(q k^T / sqrt D) v of one head, [n, D] each."""
    kind = q.dtype
    q, q_scale = rows(q)
    k, k_scale = rows(k)
    logits = (q @ k.T) * q_scale * k_scale.T / kind.type(math.sqrt(v.shape[1]))
    top, total, out = -np.inf, 0, 0
    for block in blocks(len(k)):
        s = logits[:, block]
        here = s.max(axis=1, keepdims=True)
        distance = np.round((here - s) * kind.type(STEPS / math.log(2)))
        p = table[np.minimum(distance, 256).astype(int)].astype(kind)
        values, v_scale = rows(v[block].T)
        most = np.maximum(top, here)
        old, new = np.exp(top - most), np.exp(here - most)
        out = out * old + (p @ values.T) * v_scale.T * new
        total = total * old + p.sum(axis=1, keepdims=True) * new
        top = most
    return (out / total).astype(kind)


def keys(state, depth, heads, x, attention=attention, linear=linear):
    """Keys [n - 1, C] of the last block for the embedded tokens x [n, C]."""
    channels = x.shape[1]
    d = channels // heads
    for index in range(depth - 1):
        block = f"blocks.{index}"
        qkv = linear(state, f"{block}.attn.qkv", norm(state, f"{block}.norm1", x))
        qkv = qkv.reshape(len(x), 3, heads, d)
        out = [attention(*(qkv[:, i, head] for i in range(3))) for head in range(heads)]
        x = x + linear(state, f"{block}.attn.proj", np.concatenate(out, axis=1))
        z = norm(state, f"{block}.norm2", x)
        hidden = gelu(linear(state, f"{block}.mlp.fc1", z)).astype(x.dtype)
        x = x + linear(state, f"{block}.mlp.fc2", hidden)
    block = f"blocks.{depth - 1}"
    qkv = linear(state, f"{block}.attn.qkv", norm(state, f"{block}.norm1", x))
    return qkv[1:, channels : 2 * channels]
