"""The clustering as the paper's code does it, in PyTorch: what covey is measured against.

Written from docs/ALGORITHM.md.  Everything is float32 and a few large operations,
which is what PyTorch is good at: attention of all heads at once, full distance
matrices, two products each, a merge that masks rows of a full matrix.  Two things
differ from the released code so that results can be compared at all: the keys are
given (key frames 0, r, 2r, ... whatever the length), and probabilities below 1e-37
count as 1e-37 in the logarithm.

Shape letters: T frames, N patches of a frame, C channels, H heads, M keys, P maps of
a window, S clusters.
"""

from __future__ import annotations

import torch

FLOOR = 1e-37


def attention(queries, keys, heads):
    """The mean over heads of the softmax over all keys: [P, M]."""
    q = queries.reshape(len(queries), heads, -1).transpose(0, 1)  # [H, P, D]
    k = keys.reshape(len(keys), heads, -1).transpose(0, 1)
    scores = q @ k.transpose(1, 2) * q.shape[-1] ** -0.5  # [H, P, M]
    return scores.softmax(dim=-1).mean(dim=0)


def distances(p, q):
    """KL(p || q) + KL(q || p), in nats: [P, Q]."""
    log_p, log_q = p.clamp(min=FLOOR).log(), q.clamp(min=FLOOR).log()
    one = (p * log_p).sum(dim=1)[:, None] - p @ log_q.T
    other = (q * log_q).sum(dim=1)[:, None] - q @ log_p.T
    return one + other.T


def mean_shift(maps, tau):
    near = (distances(maps, maps) <= tau).to(maps.dtype)
    near.fill_diagonal_(1)
    shifted = near @ maps
    return shifted / shifted.sum(dim=1, keepdim=True)


def greedy_merge(maps, tau):
    """Centres [S, M]: in order, every row not yet claimed claims all others within tau."""
    near = distances(maps, maps) <= tau
    near.fill_diagonal_(True)
    free = torch.ones(len(maps), dtype=torch.bool)
    centres = []
    for leader in range(len(maps)):
        if not free[leader]:
            continue
        claimed = near[leader] & free
        centres.append(maps[claimed].mean(dim=0))
        free &= ~claimed
    return torch.stack(centres)


@torch.inference_mode()
def cluster(queries, keys, heads, tau=1.0, window=3):
    """Labels [T, N], numbered in the order of the centres, of queries [T, N, C] and
    keys [M, C]."""
    centres = []
    for first in range(0, len(queries), window):
        maps = attention(queries[first : first + window].flatten(0, 1), keys, heads)
        centres.append(greedy_merge(mean_shift(maps, tau), tau))
    centres = torch.cat(centres)
    while True:
        merged = greedy_merge(centres, tau)
        if len(merged) == len(centres):
            break
        centres = merged
    # The maps of the whole video never exist together: they are made once more.
    labels = torch.stack([
        distances(centres, attention(frame, keys, heads)).argmin(dim=0) for frame in queries
    ])
    return labels.unique(return_inverse=True)[1]
