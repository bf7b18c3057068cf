"""Stability of the clustering: small changes of queries and keys must not make others
of the clusters.  On the 27 sequences of DAVIS-2016's training part, 20 frames each, with
the default model; docs/STABILITY.md has what was tried, and figures of it.

Queries and keys are computed once, in fp32 and in int8 (with the same weights, for the
default model's are int8); the clusterings are compared on patches, and J counts the pixels
of each patch: that of masks drawn as patches (davis.py), to the last pixel.

    python Tests/python/test_stability.py        the table, of the reference too
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import covey
import davis
import reference
from test_davis import PUBLISHED_J

#: What clusters are compared under: tau is a factor of the model's.
NOISE = 1e-2
FACTORS = (0.7, 1.0, 1.4)
EDGE = {"mode": "edge"}
REFERENCE = {"mode": "reference"}


class Sequence(NamedTuple):
    """queries, keys: computed in fp32, then in int8, [T, rows, columns, C] and [M, C],
    keys pooled.  inside, area: pixels of the object, and all, of each patch [T, N]."""

    name: str
    exact: tuple[np.ndarray, np.ndarray]
    quantized: tuple[np.ndarray, np.ndarray]
    inside: np.ndarray
    area: np.ndarray


def stages(model, images):
    info = model.info
    features = np.stack([model.encode(image) for image in images])
    queries, keys = model.correlate(features)
    chosen = reference.key_frames(len(images), info.key_stride)
    return queries, reference.pool_keys(keys[chosen], info.key_pool).astype(np.float32)


def patch_counts(truth, rows, columns):
    """Of truth [T, H, W] the pixels of each patch that are the object, and their number."""
    height, width = truth.shape[1:]
    y, x = np.arange(height) * rows // height, np.arange(width) * columns // width
    patch = (y[:, None] * columns + x[None, :]).ravel()
    inside = [np.bincount(patch, mask.ravel(), minlength=rows * columns) for mask in truth]
    area = np.bincount(patch, minlength=rows * columns)
    return np.stack(inside), np.tile(area, (len(truth), 1))


def best_overlap(labels, sequence):
    """J of the cluster that is best over the video: davis.score() from counts."""
    labels = labels.reshape(sequence.inside.shape)
    count = labels.max() + 1
    overlaps = []
    for ids, inside, area in zip(labels, sequence.inside, sequence.area):
        if inside.any():
            both = np.bincount(ids, inside, minlength=count)
            overlaps.append(
                both / (np.bincount(ids, area, minlength=count) + inside.sum() - both)
            )
    return np.mean(overlaps, axis=0).max()


def read(names, model, quantized):
    for name in names:
        images, truth = davis.read_sequence(name)
        exact = stages(model, images)
        rows, columns = exact[0].shape[1:3]
        counts = patch_counts(truth, rows, columns)
        yield Sequence(name, exact, stages(quantized, images), *counts)


def noisy(arrays, seed):
    """Each with noise of NOISE of its deviation about its mean."""
    random = np.random.default_rng(seed)
    return tuple(
        (each + NOISE * each.std() * random.standard_normal(each.shape)).astype(np.float32)
        for each in arrays
    )


class Figures(NamedTuple):
    """j: mean over the sequences for each of FACTORS.  int8, noise: adjusted Rand index
    of each sequence to the labels of fp32, at tau itself."""

    j: list[float]
    int8: np.ndarray
    noise: np.ndarray
    clusters: float

    def __str__(self):
        def spread(values):
            return f"median {np.median(values):.3f} p10 {np.quantile(values, 0.1):.3f}"

        j = " / ".join(f"{each:.3f}" for each in self.j)
        return (
            f"J at tau x 0.7 / 1 / 1.4: {j}; ARI int8 {spread(self.int8)}, "
            f"noise {spread(self.noise)}; {self.clusters:.1f} clusters"
        )


def measure(sequences, info, options):
    def labels(arrays, factor=1.0):
        found = covey.cluster(
            *arrays, info.correlator_heads, tau=info.tau * factor, window=info.window, **options
        )
        return found.labels

    j = {factor: [] for factor in FACTORS}
    int8, noise, clusters = [], [], []
    for place, sequence in enumerate(sequences):
        for factor in FACTORS:
            found = labels(sequence.exact, factor)
            j[factor].append(best_overlap(found, sequence))
            if factor == 1:
                exact = found
        clusters.append(exact.max() + 1)
        rand = reference.adjusted_rand_index
        int8.append(rand(exact, labels(sequence.quantized)))
        noise.append(rand(exact, labels(noisy(sequence.exact, place))))
    return Figures(
        [float(np.mean(each)) for each in j.values()], np.array(int8), np.array(noise),
        float(np.mean(clusters)),
    )



def test_overlap_from_counts():
    """As from pixels."""
    random = np.random.default_rng(0)
    truth = random.random((3, 13, 22)) > 0.6
    labels = random.integers(0, 4, (3, 4, 5))
    sequence = Sequence("", None, None, *patch_counts(truth, 4, 5))
    expected = davis.overlap(reference.nearest(labels + 1, 13, 22), truth).mean(axis=0).max()
    assert best_overlap(labels, sequence) == pytest.approx(expected)


def test_edge_mode_is_stable(nano, nano_f32, tmp_path, capsys):
    """Asked for: ARI of a median of .95 and a 10th percentile of .75, J not .01 below the
    reference's, and within 10 % of its own at other tau.  Observed: see docs/STABILITY.md."""
    if len(davis.sequences()) != 27:
        pytest.skip(f"{davis.data_folder()}: no davis16_train there (COVEY_DATA names the folder)")
    nano.save(tmp_path / "int8.gguf", "q8")
    with covey.Model(tmp_path / "int8.gguf") as quantized:
        sequences = list(read(davis.sequences(), nano_f32, quantized))
    figures = measure(sequences, nano.info, EDGE)
    with capsys.disabled():
        print(f"\n    edge: {figures}")
        for sequence, one, other in zip(sequences, figures.int8, figures.noise):
            print(f"    {sequence.name:18s} ARI int8 {one:.3f} noise {other:.3f}")
    for index in (figures.int8, figures.noise):
        assert np.median(index) >= 0.95
        assert np.quantile(index, 0.1) >= 0.75
    less, j, more = figures.j
    assert j >= PUBLISHED_J - 0.01
    assert abs(less - j) <= 0.1 * j and abs(more - j) <= 0.1 * j


def main():
    with covey.Model(davis.model_path()) as model, tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{dtype}.gguf" for dtype in ("f32", "q8")]
        for path, dtype in zip(paths, ("f32", "q8")):
            model.save(path, dtype)
        with covey.Model(paths[0]) as exact, covey.Model(paths[1]) as quantized:
            sequences = list(read(davis.sequences(), exact, quantized))
        for name, options in (("edge", EDGE), ("reference", REFERENCE)):
            print(f"{name}: {measure(sequences, model.info, options)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
