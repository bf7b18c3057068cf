"""int8 inference: how far its keys are from fp32's, and that it is what it says.

Two networks: the default model, and a ViT-S/8 of random weights spread as
training leaves them (heavy_tailed.py).  The frames are real ones where there are
any, else made up; the arithmetic is compared with int8_oracle.py.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import davis
import heavy_tailed
import int8_oracle
import numpy as np
import oracles
import pytest
import reference
from conftest import random_state
from figures import record  # noqa: F401

import covey
from covey.checkpoints.convert import Settings, convert

HEIGHT, WIDTH = 192, 384


def write(state, path, heads, height=HEIGHT, width=WIDTH):
    from safetensors.numpy import save_file

    checkpoint = path.with_suffix(".safetensors")
    save_file(state, checkpoint)
    settings = Settings(
        name="heavy", heads=heads, correlator_heads=heads,
        working_height=height, working_width=width,
    )
    convert(checkpoint, path, settings=settings)
    checkpoint.unlink()
    return path


def pictures(count):
    """Frames of as many sequences; where there are none, made-up ones."""
    names = davis.sequences()
    names = names[:: max(1, len(names) // count)][:count]
    if not names:
        return [heavy_tailed.smooth_frame(240, 427, seed) for seed in range(count)]
    folder = davis.data_folder() / "davis16_train"
    return [davis.read_frames(folder / name / "frames", 3)[1] for name in names]


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """pair(name) is (fp32, int8): the same model twice.  The default model's file is int8:
    there both have the same weights, and what differs is the arithmetic."""
    folder = tmp_path_factory.mktemp("int8")
    made = {}

    def open_pair(name):
        if name not in made:
            if name == "default":
                path = davis.model_path()
                if not path.is_file():
                    pytest.skip(f"{path}: not there (COVEY_MODEL names a weight file)")
            elif name == "heavy-tailed":
                path = write(heavy_tailed.heavy_tailed_state(), folder / "heavy.gguf", 6)
            else:
                state = random_state(patch=8, dim=72, depth=3, grid=6)
                path = write(state, folder / "small.gguf", 3, 200, 264)
            saved = {dtype: folder / f"{name}-{dtype}.gguf" for dtype in ("f32", "q8")}
            with covey.Model(path) as model:
                for dtype, copy in saved.items():
                    model.save(copy, dtype)
            made[name] = tuple(covey.Model(copy) for copy in saved.values())
        return made[name]

    yield open_pair
    for models in made.values():
        for model in models:
            model.close()


def cosines(a, b):
    a, b = (x.reshape(-1, x.shape[-1]).astype(np.float64) for x in (a, b))
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def relative(found, expected):
    """L2 over that of what varies over the patches: a mean would flatter."""
    expected = expected.reshape(-1, expected.shape[-1]).astype(np.float64)
    varying = expected - expected.mean(axis=0)
    return np.linalg.norm(found.reshape(expected.shape) - expected) / np.linalg.norm(varying)


# Observed: the default model .99998 and .9998 (12 frames), the heavy-tailed
# network .99989 and .9995 (3 frames), varying part off by .017 and .038.
@pytest.mark.parametrize("name, count", [("default", 12), ("heavy-tailed", 3)])
def test_keys_are_those_of_fp32(name, count, pair, record):
    floats, bytes8 = pair(name)
    found, errors = [], []
    for picture in pictures(count):
        expected, keys = floats.encode(picture), bytes8.encode(picture)
        found.append(cosines(keys, expected))
        errors.append(relative(keys, expected))
    found = np.concatenate(found)
    median, first = np.median(found), np.quantile(found, 0.01)
    record(
        median=f"{median:.5f}", percentile_1=f"{first:.5f}", least=f"{found.min():.5f}",
        varying_part=float(np.mean(errors)),
    )
    assert median >= 0.999
    assert first >= 0.99
    # Four times and more than twice the observed: the heavy-tailed one is near
    # what a cosine of .99 would mean already.
    assert np.mean(errors) < {"default": 0.08, "heavy-tailed": 0.1}[name]
    # It is int8 that ran.
    assert min(errors) > 1e-4


@pytest.mark.parametrize("name", ["default", "small"])
def test_correlator_is_that_of_fp32(name, pair, record):
    """Queries and keys of the block: fp32 of weights in halves, each off by
    2.8e-4 of itself or less.  Observed: 3.3e-4 (small), nothing where both models have the
    halves (default); behind the backbone's keys in int8 .034 and .017, which are off by
    .033 and .019 themselves."""
    floats, bytes8 = pair(name)
    picture = pictures(1)[0]
    features = floats.encode(picture)
    expected, found = floats.correlate(features), bytes8.correlate(features)
    errors = [relative(b, a) for a, b in zip(expected, found)]
    assert max(errors) < 7e-4
    assert min(errors) > 0 or name == "default"
    keys = bytes8.encode(picture)
    behind = [relative(b, a) for a, b in zip(expected, bytes8.correlate(keys))]
    record(queries=float(errors[0]), keys=float(errors[1]), behind=float(max(behind)))
    assert max(behind) < 1.1 * relative(keys, features)


@pytest.mark.parametrize("name", ["small", "default", "heavy-tailed"])
def test_threads_change_no_bit(name, pair):
    _, bytes8 = pair(name)
    picture = pictures(1)[0]
    one = bytes8.encode(picture, threads=1)
    for threads in (2, 3):
        assert np.array_equal(one, bytes8.encode(picture, threads=threads))
        assert np.array_equal(
            np.stack(bytes8.correlate(one, threads=1)),
            np.stack(bytes8.correlate(one, threads=threads)),
        )


PROGRAM = """
import hashlib, sys, numpy as np, covey
with covey.Model(sys.argv[1]) as model:
    keys = model.encode(np.load(sys.argv[2]))
print(covey.build_info())
print(hashlib.sha256(keys.tobytes()).hexdigest())
"""


def test_instruction_sets_change_no_bit(pair, tmp_path):
    """All of inference on the kernels of lesser CPUs: the same keys.  OpenBLAS,
    which embeds the patches, keeps its own."""
    _, bytes8 = pair("small")
    picture = heavy_tailed.smooth_frame(200, 264, seed=3)
    np.save(tmp_path / "picture.npy", picture)
    bytes8.save(tmp_path / "q8.gguf", dtype="q8")
    expected = hashlib.sha256(bytes8.encode(picture).tobytes()).hexdigest()
    kernels = set()
    for name in ("portable", "ssse3", "avx2", "avx512vnni", "neon", "dotprod"):
        out = subprocess.run(
            [sys.executable, "-c", PROGRAM, tmp_path / "q8.gguf", tmp_path / "picture.npy"],
            env={**os.environ, "COVEY_ISA": name}, capture_output=True, text=True, check=True,
        )
        info, digest = out.stdout.splitlines()
        kernels.add(info.split(", int8 ")[1].split(",")[0])
        assert digest == expected, name
    assert "portable" in kernels
    assert len(kernels) > 1


# ---- The arithmetic, against NumPy ----------------------------------------------

DIM, DEPTH, HEADS, GRID = 96, 2, 2, 12


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(state, tokens [n, C] float64, keys [N, C] of fp32, keys of int8)."""
    torch = oracles.load("torch")
    import torch_vit

    state = heavy_tailed.heavy_tailed_state(DIM, DEPTH, HEADS, 8, GRID)
    path = write(state, tmp_path_factory.mktemp("oracle") / "a.gguf", HEADS)
    # As large as the input, so that nothing is resampled.
    picture = heavy_tailed.smooth_frame(HEIGHT, WIDTH, seed=5)
    with covey.Model(path) as floats:
        floats.save(path.with_name("q8.gguf"), dtype="q8")
        expected = floats.encode(picture).reshape(-1, DIM)
    with covey.Model(path.with_name("q8.gguf")) as bytes8:
        found = bytes8.encode(picture).reshape(-1, DIM)
    tensors = {name: torch.from_numpy(each).double() for name, each in state.items()}
    image = torch_vit.normalise(torch_vit.resize(picture, HEIGHT, WIDTH, torch.float64))
    return state, tokens(torch_vit, tensors, image), expected, found


def tokens(torch_vit, tensors, image):
    """The embedded patches and the CLS token before them, [n, C]."""
    x = torch_vit.F.conv2d(
        image, tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.bias"], stride=8
    )
    rows, columns = x.shape[-2:]
    x = x.flatten(2).transpose(1, 2)[0].numpy()
    x = np.concatenate([tensors["cls_token"].numpy()[0], x])
    return x + torch_vit.positions(tensors["pos_embed"], GRID, rows, columns)[0].numpy()


def errors_of_tokens(found, expected):
    """L2 of every token over the mean of what varies over the tokens."""
    varying = np.linalg.norm(expected - expected.mean(axis=0), axis=1).mean()
    return np.linalg.norm(found - expected, axis=1) / varying


def test_arithmetic_is_as_described(small, record):
    """A number near the middle of two bytes goes either way, and a token that has
    none follows to fp32 rounding.  The oracle in float32 is off the one in float64
    by 2e-7 at most in the median token and 8e-4 as a whole (three seeds); the
    smallest fault below makes 8e-3.
    """
    state, x, _, found = small
    errors = errors_of_tokens(found, int8_oracle.keys(state, DEPTH, HEADS, x))
    whole = float(np.sqrt((errors**2).mean()))
    record(median=float(np.median(errors)), whole=whole, off=f"{(errors > 1e-4).mean():.3f}")
    assert np.median(errors) < 1e-4
    assert whole < 4e-3


def attention(**changes):
    return {"attention": lambda q, k, v: int8_oracle.attention(q, k, v, **changes)}


def one_scale(x):
    scale = np.abs(x).max() / 127
    return np.round(x / scale), np.full((*x.shape[:-1], 1), scale)


#: Other arithmetic than docs/INT8.md describes.
FAULTS = [
    pytest.param(
        attention(table=255 * 2.0 ** (-np.arange(256) / 26)), id="weights-not-bytes"
    ),
    pytest.param(
        attention(table=int8_oracle.weights(steps=27)), id="other-steps"
    ),
    pytest.param(
        {"linear": lambda *each: int8_oracle.linear(*each, rows=one_scale)}, id="one-scale"
    ),
]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_notices(fault, small):
    state, x, _, found = small
    errors = errors_of_tokens(found, int8_oracle.keys(state, DEPTH, HEADS, x, **fault))
    assert np.median(errors) > 1e-3
    assert np.sqrt((errors**2).mean()) > 6e-3


def test_oracle_is_near_fp32(small, record):
    """What the oracle means is the network: .02 to .03 off (three seeds)."""
    state, x, expected, _ = small
    error = float(relative(int8_oracle.keys(state, DEPTH, HEADS, x), expected))
    record(varying_part=error)
    assert 1e-3 < error < 0.08


# ---- The weights imitate trained ones --------------------------------------------


def test_heavy_tailed_weights_are_what_they_say():
    lines = []
    state = heavy_tailed.heavy_tailed_state(96, 4, 2, 8, 12, seed=1, show=lines.append)
    again = heavy_tailed.heavy_tailed_state(96, 4, 2, 8, 12, seed=1)
    assert len(lines) == 4
    assert all(np.array_equal(state[name], again[name]) for name in state)
    assert all(np.isfinite(each).all() for each in state.values())
    torch = oracles.load("torch")
    import torch_vit

    tensors = {name: torch.from_numpy(each).double() for name, each in state.items()}
    # The made-up frame that the scales are set by: what it makes large is known.
    picture = heavy_tailed.smooth_frame(96, 96, seed=1)
    image = torch_vit.normalise(torch_vit.resize(picture, 96, 96, torch.float64))
    x = tokens(torch_vit, tensors, image)
    for index in range(3):
        x = block(state, x, f"blocks.{index}", 2)
    level = np.sqrt((x**2).mean(axis=0))
    assert 10 < level.max() / np.median(level) < 200
    # What tells tokens apart is no smaller than what they share.
    ordinary = level < 5 * np.median(level)
    assert x[:, ordinary].std(axis=0).mean() > 0.5 * level[ordinary].mean()
    spread = logit_spread(state, x, "blocks.3", 2)
    assert 0.5 < min(spread) and max(spread) < 6


def exact(x):
    return x, np.ones((*x.shape[:-1], 1))


def block(state, x, name, heads):
    """One block in float64: the oracle's layers, nothing rounded."""

    def linear(layer, x):
        return int8_oracle.linear(state, f"{name}.{layer}", x, rows=exact)

    def mean(q, k, v):
        logits = q @ k.T / np.sqrt(q.shape[1])
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p @ v / p.sum(axis=1, keepdims=True)

    z = int8_oracle.norm(state, f"{name}.norm1", x)
    qkv = linear("attn.qkv", z).reshape(len(x), 3, heads, -1)
    out = [mean(*(qkv[:, i, head] for i in range(3))) for head in range(heads)]
    x = x + linear("attn.proj", np.concatenate(out, axis=1))
    hidden = heavy_tailed.gelu(linear("mlp.fc1", int8_oracle.norm(state, f"{name}.norm2", x)))
    return x + hidden @ state[f"{name}.mlp.fc2.weight"].T + state[f"{name}.mlp.fc2.bias"]


def logit_spread(state, x, name, heads):
    """Deviation of the logits over the keys, mean over the queries, of every head."""
    z = int8_oracle.norm(state, f"{name}.norm1", x)
    qkv = int8_oracle.linear(state, f"{name}.attn.qkv", z, rows=exact)
    qkv = qkv.reshape(len(x), 3, heads, -1)
    scale = np.sqrt(qkv.shape[-1])
    return [
        (qkv[:, 0, head] @ qkv[:, 1, head].T / scale).std(axis=1).mean() for head in range(heads)
    ]


# ---- Masks -----------------------------------------------------------------------


def test_davis16_train_in_int8(pair, capsys):
    """J of int8, of the reference algorithm, is not .01 below fp32's.  How far the
    label maps agree is shown and not judged: what rounding does near tau, this
    clustering passes on, to either side (test_stability.py has the edge mode's,
    which does not).
    Observed: .4203, fp32 with the same weights .4172; single clips move by up to .09.
    """
    if len(davis.sequences()) != 27:
        pytest.skip(f"{davis.data_folder()}: no davis16_train there (COVEY_DATA names the folder)")
    models = pair("default")
    maps = []
    scores = []
    with capsys.disabled():
        for model in models:
            kept = []

            def segment(images, model=model, kept=kept):
                kept.append(model.segment(images, **davis.REFERENCE))
                return kept[-1]

            print(f"\n{model.info.dtype.name}")
            scores.append(davis.mean(davis.evaluate(segment)))
            maps.append(kept)
        indices = [reference.adjusted_rand_index(one, other) for one, other in zip(*maps)]
        print("adjusted Rand index of int8's clusters and fp32's")
        for name, index in zip([*davis.sequences(), "mean"], [*indices, np.mean(indices)]):
            print(f"{name:18s} {index:.4f}")
    # Far above would be something else than rounding.
    # Observed .036: rounding moves the labels of the reference either way (docs/STABILITY.md).
    assert -0.01 < scores[1].j - scores[0].j < 0.05
