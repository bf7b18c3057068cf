"""The method in NumPy, float64, written from its description and not from covey.

"Betrayed by Attention" (ECCV 2024, arXiv 2311.17893), inference as the
authors' released code does it; docs/ALGORITHM.md has the same in words.  Every
step is the formula: full distance matrices, no lazy rows, no tiles, no fp32.
Fast enough for 20 frames of 24 x 48 patches: 3 s with keys averaged over 4 x 4
patches (M = 144), half a minute with all of them (M = 2304).

Shape letters: T frames, N patches of a frame, C channels, H heads, K key
frames, M keys, P maps of a window, S clusters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

#: Probabilities below count as this in the logarithm, which the paper's
#: formula leaves undefined at 0.
FLOOR = 1e-37


class Clustering(NamedTuple):
    """labels [T, N]: 0 .. S - 1.  confidence [T, N]: 1 - nearest / second
    nearest distance.  centres [S', M]: S' >= S, with those that own no patch."""

    labels: np.ndarray
    confidence: np.ndarray
    centres: np.ndarray

    @property
    def count(self):
        return int(self.labels.max()) + 1


# ---- Before the clustering -----------------------------------------------------


def correlate(features, gain, bias, query, key, eps):
    """Queries and keys of the spatio-temporal block for features [..., C]: layer
    norm (gain, bias [C], eps), then W_q and W_k [C, C] without bias."""
    x = np.asarray(features, np.float64)
    x = x - x.mean(-1, keepdims=True)
    z = x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * gain + bias
    return z @ np.asarray(query, np.float64).T, z @ np.asarray(key, np.float64).T


def key_frames(frames, stride, rounding="ceil"):
    """Indices of the key frames: 0, r, 2r, ...  The authors' code takes
    floor(T / r) of them, which is none where T < r; "ceil" takes every r-th."""
    count = -(-frames // stride) if rounding == "ceil" else max(1, frames // stride)
    return np.arange(count) * stride


def pool_keys(keys, size):
    """keys [K, rows, columns, C] averaged over blocks of size x size patches, the
    ones cut off by the border over what they have: [M, C]."""
    _, rows, columns, channels = keys.shape
    blocks = [
        keys[:, top : top + size, left : left + size].mean(axis=(1, 2))
        for top in range(0, rows, size)
        for left in range(0, columns, size)
    ]
    return np.stack(blocks, axis=1).reshape(-1, channels)


# ---- The clustering -------------------------------------------------------------


def attention_maps(queries, keys, heads):
    """A [P, M] of queries [P, C] and keys [M, C]: the mean over heads of the
    softmax over all keys jointly of (q_h . k_h) D^-1/2."""
    queries, keys = np.asarray(queries, np.float64), np.asarray(keys, np.float64)
    width = queries.shape[1] // heads
    total = np.zeros((len(queries), len(keys)))
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = queries[:, part] @ keys[:, part].T * width**-0.5
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        total += scores / scores.sum(axis=1, keepdims=True)
    return total / heads


def jeffreys(p, q):
    """D(p, q) = KL(p || q) + KL(q || p), in nats, summed: [P, Q] for p [P, M], q [Q, M].

    sum (p - q)(ln p - ln q) multiplied out; in float64 the cancellation leaves
    errors below 1e-12, ten million times less than the thresholds it meets.
    """
    log_p, log_q = np.log(np.maximum(p, FLOOR)), np.log(np.maximum(q, FLOOR))
    own_p, own_q = (p * log_p).sum(axis=1), (q * log_q).sum(axis=1)
    return own_p[:, None] + own_q[None, :] - p @ log_q.T - log_p @ q.T


def mean_shift(maps, tau):
    """Every map to the sum of the maps within tau of it, itself included, scaled
    to sum 1: [P, M]."""
    near = jeffreys(maps, maps) <= tau
    np.fill_diagonal(near, True)
    shifted = near.astype(np.float64) @ maps
    return shifted / shifted.sum(axis=1, keepdims=True)


def greedy_merge(maps, tau):
    """In order, every map not yet claimed claims all unclaimed ones within tau of
    it; the centre is their unweighted mean: [S, M]."""
    distance = jeffreys(maps, maps)
    np.fill_diagonal(distance, 0)
    free = np.ones(len(maps), bool)
    centres = []
    for leader in range(len(maps)):
        if free[leader]:
            claimed = free & (distance[leader] <= tau)
            centres.append(maps[claimed].mean(axis=0))
            free &= ~claimed
    return np.stack(centres)


def merge_levels(centres, tau):
    """Greedy merges of the centres of all windows, until one merges nothing."""
    while True:
        merged = greedy_merge(centres, tau)
        if len(merged) == len(centres):
            return merged
        centres = merged


def cluster(queries, keys, heads, tau=1.0, window=3):
    """The clustering of a whole video: queries [T, N, C], keys [M, C]."""
    frames, patches, channels = queries.shape
    centres = []
    for first in range(0, frames, window):
        rows = np.asarray(queries[first : first + window]).reshape(-1, channels)
        centres.append(greedy_merge(mean_shift(attention_maps(rows, keys, heads), tau), tau))
    centres = merge_levels(np.concatenate(centres), tau)

    labels = np.empty((frames, patches), np.int64)
    confidence = np.ones((frames, patches))
    for frame in range(frames):
        distance = jeffreys(centres, attention_maps(queries[frame], keys, heads))  # [S, N]
        labels[frame] = distance.argmin(axis=0)
        if len(centres) > 1:
            nearest, second = np.maximum(np.partition(distance, 1, axis=0)[:2], 0)
            confidence[frame] = 1 - nearest / np.maximum(second, np.finfo(float).tiny)
    # Clusters that own no patch vanish; the others keep their order.
    labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    return Clustering(labels, confidence, centres)


# ---- After the clustering -------------------------------------------------------


def cluster_ids(labels):
    """The ids 1.. a session gives to clusters labels [T, N]: in the order in which
    they come into sight, the larger first, then by number."""
    order = []
    for cluster in range(labels.max() + 1):
        areas = (labels == cluster).sum(axis=1)
        first = int(np.flatnonzero(areas)[0])
        order.append((first, -int(areas[first]), cluster))
    ids = np.empty(len(order), np.int64)
    for position, (_, _, cluster) in enumerate(sorted(order)):
        ids[cluster] = position + 1
    return ids[labels]


def nearest(grids, height, width):
    """Label grids [T, rows, columns] at frame size: src = floor(dst * in / out)."""
    _, rows, columns = grids.shape
    y = np.arange(height) * rows // height
    x = np.arange(width) * columns // width
    return grids[:, y[:, None], x[None, :]]


# ---- Comparing --------------------------------------------------------------------


def adjusted_rand_index(a, b):
    """How far two partitions agree: 1 if they are the same, about 0 by chance
    (Hubert and Arabie, Journal of Classification 2, 1985)."""
    a = np.unique(a, return_inverse=True)[1].ravel()
    b = np.unique(b, return_inverse=True)[1].ravel()
    table = np.bincount(a * (b.max() + 1) + b, minlength=(a.max() + 1) * (b.max() + 1))
    table = table.reshape(a.max() + 1, b.max() + 1).astype(np.float64)

    def pairs(counts):
        return (counts * (counts - 1) / 2).sum()

    both, rows, columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    expected = rows * columns / max(pairs(np.array([a.size], np.float64)), 1)
    most = (rows + columns) / 2
    # Both are one cluster, or all patches are clusters of their own.
    if most == expected:
        return 1.0
    return float((both - expected) / (most - expected))
