"""The block, its losses and their gradients by PyTorch's autodiff, in plain float64:
whole maps, no tiles.  And the random numbers, in NumPy."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

PURPOSES = {"attention": 0, "projection": 1, "hidden": 2, "output": 3, "positions": 4}


def philox(seed, step, stream, row, block):
    """[..., 4] uint32: Philox4x32-10 of the counters (block, row, stream, step)."""
    block, row = np.broadcast_arrays(np.asarray(block, np.uint64), np.asarray(row, np.uint64))
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    c = [block & low, row & low, np.full_like(row, stream), np.full_like(row, step)]
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        left, right = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [
            (right >> half) ^ c[1] ^ np.uint64(keys[0]),
            right & low,
            (left >> half) ^ c[3] ^ np.uint64(keys[1]),
            left & low,
        ]
        keys = [(keys[0] + 0x9E3779B9) & 0xFFFFFFFF, (keys[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, axis=-1).astype(np.uint32)


def kept(seed, step, purpose, number, rows, columns, rate):
    """[rows, columns] float64: 0 where dropped, else the factor."""
    threshold = round(rate * 65536)
    if threshold == 0:
        return np.ones((rows, columns))
    chunks = -(-columns // 128)
    words = philox(
        seed, step, (PURPOSES[purpose] << 16) | number,
        np.arange(rows)[:, None], np.arange(16 * chunks)[None],
    ).reshape(rows, chunks, 16, 4)
    # Of a chunk: the eight halves of each block, then the blocks.
    halves = np.stack([words & 0xFFFF, words >> 16], axis=-1).reshape(rows, chunks, 16, 8)
    bits = halves.swapaxes(2, 3).reshape(rows, -1)[:, :columns]
    return np.where(bits >= threshold, 65536 / (65536 - threshold), 0.0)


def draw(seed, step, count, limit):
    """Different numbers below limit: Floyd's algorithm."""
    words = philox(seed, step, PURPOSES["positions"] << 16, 0, np.arange(count))
    drawn = []
    for index in range(count):
        upper = limit - count + index
        wide = int(words[index, 0]) << 32 | int(words[index, 1])
        candidate = wide * (upper + 1) >> 64
        drawn.append(upper if candidate in drawn else candidate)
    return drawn


NAMES = [
    "norm1.weight", "norm1.bias", "attn.qkv.weight", "attn.proj.weight", "attn.proj.bias",
    "norm2.weight", "norm2.bias", "mlp.fc1.weight", "mlp.fc1.bias", "mlp.fc2.weight",
    "mlp.fc2.bias",
]


def shapes(c, f):
    sizes = [(c,), (c,), (3 * c, c), (c, c), (c,), (c,), (c,), (f, c), (f,), (c, f), (c,)]
    return dict(zip(NAMES, sizes, strict=True))


def split(flat, c, f):
    """{name: array} of a flat one."""
    found, offset = {}, 0
    for name, shape in shapes(c, f).items():
        size = int(np.prod(shape))
        found[name] = flat[offset : offset + size].reshape(shape)
        offset += size
    assert offset == len(flat)
    return found


def masks(n, c, f, heads, *, seed, step, attention, dropout, dtype=torch.float64):
    def tensor(array):
        return torch.from_numpy(array).to(dtype)

    each = [tensor(kept(seed, step, "attention", h, n, n, attention)) for h in range(heads)]
    return {
        "attention": torch.stack(each),
        "projection": tensor(kept(seed, step, "projection", 0, n, c, dropout)),
        "hidden": tensor(kept(seed, step, "hidden", 0, n, f, dropout)),
        "output": tensor(kept(seed, step, "output", 0, n, c, dropout)),
    }


def block(w, x, heads, keep, eps=1e-5):
    """(outputs [n, C], mean over heads of the dropped maps [n, n])."""
    n, c = x.shape
    z = functional.layer_norm(x, (c,), w["norm1.weight"], w["norm1.bias"], eps)
    q, k, v = (z @ w["attn.qkv.weight"].T).reshape(n, 3, heads, c // heads).permute(1, 2, 0, 3)
    maps = (q @ k.transpose(-2, -1) * (c // heads) ** -0.5).softmax(dim=-1) * keep["attention"]
    out = (maps @ v).transpose(0, 1).reshape(n, c)
    x = x + (out @ w["attn.proj.weight"].T + w["attn.proj.bias"]) * keep["projection"]
    z = functional.layer_norm(x, (c,), w["norm2.weight"], w["norm2.bias"], eps)
    hidden = functional.gelu(z @ w["mlp.fc1.weight"].T + w["mlp.fc1.bias"]) * keep["hidden"]
    x = x + (hidden @ w["mlp.fc2.weight"].T + w["mlp.fc2.bias"]) * keep["output"]
    return x, maps.mean(dim=0)


def losses(outputs, maps, frames, positions, *, counts=(30, 200, 10, 50), weigh_both=False,
           has_class=True):
    """(semantic, motion, gap): gap is the least relative distance between the last
    that is ranked among the positives or negatives and the first that is not."""
    t, first, tokens = frames, int(has_class), outputs.shape[0] // frames
    n = tokens - first
    sem_pos, sem_neg, mot_pos, mot_neg = (min(each, n) for each in counts)
    s = outputs.reshape(t, tokens, -1)[:, first:]
    a = maps.reshape(t, tokens, t, tokens)[:, first:, :, first:]  # [T, N, T, N]
    order = torch.sort(a[:, positions], dim=-1, descending=True, stable=True)
    ranks = order.indices  # [T, U, T, N]
    gap = np.inf
    for cut in {sem_pos, mot_pos, n - sem_neg, n - mot_neg}:
        if 0 < cut < n:
            below, above = order.values[..., cut], order.values[..., cut - 1]
            # Where both were dropped in all heads, ties are broken by position.
            relative = torch.where(above > 0, (above - below) / above.clamp(min=1e-30), 1.0)
            gap = min(gap, relative.min().item())

    p = a.reshape(t, n, -1)
    p = p / p.sum(dim=-1, keepdim=True)  # [T, N, T N]
    p_query = p[:, positions].detach()
    weight = ((p_query * (p_query + 1e-10).log()).sum(-1)).softmax(dim=-1)  # [T, U]

    unit = functional.normalize(s, dim=-1)
    semantic = motion = 0.0
    for frame in range(t):
        for u, position in enumerate(positions):
            share = weight[frame, u] if weigh_both else 1 / len(positions)
            for key in range(t):
                cosines = unit[key] @ unit[frame, position]
                best, worst = ranks[frame, u, key, :sem_pos], ranks[frame, u, key, n - sem_neg :]
                semantic = semantic + share / t**2 * (
                    (0.9 - cosines[best]).relu().mean() + (cosines[worst] - 0.1).relu().mean()
                )
            order = ranks[frame, u, frame]
            chosen = torch.cat([order[:mot_pos], order[n - mot_neg :]])
            score = (p[frame, chosen] + 1e-10).log() @ p_query[frame, u]
            pairs = (score[mot_pos:, None] - score[None, :mot_pos] + 1).relu()
            motion = motion + weight[frame, u] / t * pairs.mean()
    return semantic, motion, gap


def step(weights, x, heads, frames, positions, keep, *, least_gap, **options):
    """(semantic, motion, {name: gradient}) of float64 arrays; None where the gap is less:
    who is ranked would depend on rounding then."""
    w = {name: value.clone().requires_grad_() for name, value in weights.items()}
    outputs, maps = block(w, x, heads, keep)
    semantic, motion, gap = losses(outputs, maps, frames, positions, **options)
    if gap < least_gap:
        return None
    (semantic + motion).backward()
    return semantic.item(), motion.item(), {name: w[name].grad for name in w}
