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

#: Keys of a block of attention: whole panels of 64, at most this many.
BLOCK = 320

#: Weights of attention as bytes: 2^(-i / STEPS), of 255; small ones are kept longer
#: than rounding would, for the mass of a long row's tail.
STEPS = 26


def weights(steps=STEPS, kept=0.335):
    exact = 255 * 2 ** (-np.arange(256) / steps)
    return np.where(exact < kept, 0, np.maximum(np.round(exact), 1))


TABLE = weights()

#: What GELU gives is a byte times a scale above this.
LEAST = np.float32(-0.1701)


def rows(x, most=127):
    """(integers, scales): x [..., n] symmetrically, a scale for every row."""
    scale = np.abs(x).max(axis=-1, keepdims=True) / most
    scale = np.maximum(scale, np.finfo(np.float32).tiny).astype(x.dtype)
    return np.round(x / scale), scale


def gelu(x):
    """x Phi(x) by the polynomial that serves int8: 3.4e-5 off at most."""
    coefficients = [
        3.35369678e-3, -9.32853948e-3, 1.22085139e-2, -1.67440418e-2, 2.76294071e-2,
        -4.05557677e-2, 5.48185669e-2, -7.7171959e-2, 1.5690212e-1,
    ]
    cut = np.clip(x, -4.5, 4.5)
    return x * (cut * np.polyval(coefficients, 2 * (cut / 4.5) ** 2 - 1) + 0.5)


def rows_of_gelu(x):
    """(integers, scales) of gelu(x): LEAST is added behind the product."""
    y = gelu(x) - x.dtype.type(LEAST)
    scale = np.maximum(y.max(axis=-1, keepdims=True), -x.dtype.type(LEAST)) / 255
    return np.round(y / scale), scale


def linear(state, name, x, rows=rows):
    """x W^T + b: bytes a row of x, bytes a row of W."""
    if name.endswith("mlp.fc2"):
        weight, weight_scale = rows(state[f"{name}.weight"].astype(x.dtype))
        sums = (weight * weight_scale).sum(axis=1)
        x, x_scale = rows_of_gelu(x)
        product = x @ weight.T * x_scale * weight_scale[:, 0]
        bias = state[f"{name}.bias"].astype(x.dtype)
        return (product + bias + sums * x.dtype.type(LEAST)).astype(x.dtype)
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
        p = table[np.minimum(distance, 255).astype(int)].astype(kind)
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
        # Of no effect on the weights, and bytes are finer without.
        qkv[:, channels : 2 * channels] -= state[f"{block}.attn.qkv.bias"][channels : 2 * channels]
        qkv = qkv.reshape(len(x), 3, heads, d)
        out = [attention(*(qkv[:, i, head] for i in range(3))) for head in range(heads)]
        x = x + linear(state, f"{block}.attn.proj", np.concatenate(out, axis=1))
        z = norm(state, f"{block}.norm2", x)
        x = x + linear(state, f"{block}.mlp.fc2", linear(state, f"{block}.mlp.fc1", z))
    block = f"blocks.{depth - 1}"
    qkv = linear(state, f"{block}.attn.qkv", norm(state, f"{block}.norm1", x))
    return qkv[1:, channels : 2 * channels]
