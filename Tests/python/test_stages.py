"""The stages one by one against PyTorch, and against goldens that PyTorch made.

Errors are relative L2, keys less their mean over the patches first: what the
patches have in common says nothing about how well they are told apart, and
would flatter the figure.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracles
import pytest
import reference
from figures import record  # noqa: F401

import covey
from covey.checkpoints.convert import Settings, convert

try:
    import torch
    import torch_vit
except ImportError:
    torch = None

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "network.npz"

needs_torch = pytest.mark.skipif(torch is None, reason=oracles.wanted("torch"))


def make_model(folder, state, geometry, suffix=".safetensors", **settings):
    """The model of a state dict of NumPy arrays, by way of a checkpoint file;
    no file of it is left, large ones would add up."""
    patch, channels, depth, heads, grid, correlator_heads = map(int, geometry[:6])
    checkpoint, weights = folder / f"checkpoint{suffix}", folder / "model.gguf"
    if suffix == ".pt":
        torch.save({"state_dict": {k: torch.from_numpy(v) for k, v in state.items()}}, checkpoint)
    else:
        from safetensors.numpy import save_file

        save_file(state, checkpoint)
    settings = {"heads": heads, "correlator_heads": correlator_heads, "cls_saliency": True,
                **settings}
    convert(checkpoint, weights, settings=Settings(**settings))
    model = covey.Model(weights, read_into_memory=True)
    checkpoint.unlink()
    weights.unlink()
    info = model.info
    assert (info.patch_size, info.embed_dim, info.depth) == (patch, channels, depth)
    assert (info.heads, info.position_grid) == (heads, grid)
    assert info.correlator_heads == correlator_heads
    return model


def picture(height, width, seed=0):
    """[height, width, 3] uint8: gradients, shapes and noise, so that patches differ
    in large and in small."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    channels = [
        128 + 60 * np.sin(x / 31 + 2 * y / height),
        90 + 80 * (y / height) + 30 * np.cos(x / 11),
        140 - 70 * np.hypot(y - height / 2, x - width / 3) / height,
    ]
    image = np.stack(channels, axis=-1) + random.normal(0, 12, (height, width, 3))
    image[height // 4 : height // 2, width // 2 : 3 * width // 4] = (230, 60, 40)
    image[2 * height // 3 : 3 * height // 4, : width // 2] = (20, 40, 90)
    return image.clip(0, 255).astype(np.uint8)


def error(found, truth, centred=True):
    found, truth = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    spread = truth - truth.mean(axis=0) if centred else truth
    return float(np.linalg.norm(found - truth) / np.linalg.norm(spread))


# ---- Without PyTorch: what it once computed -----------------------------------------


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as file:
        return dict(file)


@pytest.fixture(scope="module")
def golden_model(golden, tmp_path_factory):
    state = {
        name.removeprefix("weights/"): value.astype(np.float32) / 64
        for name, value in golden.items()
        if name.startswith("weights/")
    }
    height, width = map(int, golden["working"])
    with make_model(
        tmp_path_factory.mktemp("golden"), state, golden["geometry"],
        working_height=height, working_width=width,
    ) as model:
        yield model


# Observed 6e-7 (keys), 8e-7 (saliency), 2e-7 (queries and keys of the block).
GOLDEN_TOLERANCE = 5e-6


def test_golden_keys_and_saliency(golden, golden_model, record):
    keys, saliency = golden_model.encode(golden["frame"], saliency=True)
    height, width = golden["working"] // golden["geometry"][0]
    assert keys.shape == (height, width, golden["geometry"][1])
    found = error(keys.reshape(golden["keys"].shape), golden["keys"])
    found_saliency = error(saliency.ravel(), golden["saliency"], centred=False)
    record(keys=found, saliency=found_saliency)
    assert found < GOLDEN_TOLERANCE
    assert found_saliency < GOLDEN_TOLERANCE


def test_golden_queries_and_keys_of_the_block(golden, golden_model, record):
    queries, keys = golden_model.correlate(golden["keys"])
    found = error(queries, golden["queries"]), error(keys, golden["correlated"])
    record(queries=found[0], keys=found[1])
    assert max(found) < GOLDEN_TOLERANCE


def test_golden_notices_a_wrong_weight(golden, tmp_path):
    """The tolerance is fine enough to see one weight of 27,000 off by 1/64."""
    state = {
        name.removeprefix("weights/"): value.astype(np.float32) / 64
        for name, value in golden.items()
        if name.startswith("weights/")
    }
    state["blocks.1.attn.proj.weight"][5, 7] += 1 / 64
    height, width = map(int, golden["working"])
    with make_model(
        tmp_path, state, golden["geometry"], working_height=height, working_width=width
    ) as model:
        keys = model.encode(golden["frame"])
    assert error(keys.reshape(golden["keys"].shape), golden["keys"]) > 10 * GOLDEN_TOLERANCE


# ---- With PyTorch: real sizes ---------------------------------------------------------


def case(name, geometry, working, frame, gain=2.0, outlier=0.0, suffix=".safetensors", exact=True):
    return pytest.param(geometry, working, frame, gain, outlier, suffix, exact, id=name)


def cases():
    if torch is None:
        return []
    small = torch_vit.Geometry(8, 384, 12, 6, 28, 8)
    base = torch_vit.Geometry(16, 768, 12, 12, 14, 16)
    return [
        case("S8", small, (320, 480), (360, 640)),
        case("S8-as-initialised", small, (160, 240), (240, 428), gain=None, suffix=".pt"),
        case("S8-outlier-channel", small, (160, 240), (240, 428), outlier=50.0),
        case("S16", small._replace(patch=16, grid=14), (320, 480), (480, 854)),
        case("B16", base, (320, 480), (480, 854), exact=False),
        # As DINOv2's: an odd patch and a grid that no frame has.
        case("patch14-grid37", torch_vit.Geometry(14, 96, 4, 2, 37, 2), (322, 476), (333, 471)),
        # The position embedding as it is, frames that need no resizing.
        case("own-grid", torch_vit.Geometry(8, 96, 4, 3, 16, 2), (128, 128), (128, 128)),
        case("upright", torch_vit.Geometry(8, 96, 4, 3, 16, 2), (144, 80), (101, 67)),
    ]


#: Against PyTorch's fp32, which itself is up to 1.4e-5 from its float64: it rounds
#: the coordinates of the resized frame.
KEYS_TOLERANCE = 2e-4
#: Against float64.  Observed up to 1.8e-6 (keys) and 2.9e-6 (saliency, where exp
#: makes more of the error of large logits).
EXACT_TOLERANCE = 1e-5


@needs_torch
@pytest.mark.parametrize("geometry, working, size, gain, outlier, suffix, exact", cases())
def test_keys(geometry, working, size, gain, outlier, suffix, exact, tmp_path, record):
    state = torch_vit.random_state(geometry, gain, outlier, seed=geometry.channels)
    frame = picture(*size)
    with make_model(
        tmp_path, {name: value.numpy() for name, value in state.items()}, geometry, suffix,
        working_height=working[0], working_width=working[1],
    ) as model:
        keys, saliency = model.encode(frame, saliency=True)
        queries, correlated = model.correlate(keys)

    image = torch_vit.normalise(torch_vit.resize(frame, *working))
    single = torch_vit.encode(state, geometry, image)
    assert keys.shape == (single.rows, single.columns, geometry.channels)
    keys = keys.reshape(-1, geometry.channels)
    figures = {
        "keys": error(keys, single.keys),
        "saliency": error(saliency.ravel(), single.saliency, centred=False),
        "peak": float(single.saliency.max() / single.saliency.mean()),
    }
    if exact:
        image = torch_vit.normalise(torch_vit.resize(frame, *working, dtype=torch.float64))
        double = torch_vit.encode(state, geometry, image)
        figures["keys_float64"] = error(keys, double.keys)
        figures["torch_float64"] = error(single.keys, double.keys)
        figures["saliency_float64"] = error(saliency.ravel(), double.saliency, centred=False)
    expected = torch_vit.correlate(state, torch.from_numpy(keys).double())
    figures["correlate"] = max(
        error(queries.reshape(keys.shape), expected[0]),
        error(correlated.reshape(keys.shape), expected[1]),
    )
    record(**figures)

    assert figures["keys"] < KEYS_TOLERANCE
    assert figures["saliency"] < KEYS_TOLERANCE
    if exact:
        assert figures["keys_float64"] < EXACT_TOLERANCE
        assert figures["saliency_float64"] < EXACT_TOLERANCE
    # One layer norm and one product of C terms: observed up to 7e-7.
    assert figures["correlate"] < 5e-6


@needs_torch
def test_reference_agrees_with_torch_on_the_block():
    """reference.py serves test_agreement.py, so it is checked itself."""
    geometry = torch_vit.Geometry(8, 48, 1, 2, 4, 3)
    state = torch_vit.random_state(geometry, gain=2.0, seed=3)
    features = torch.randn((50, 48), generator=torch.Generator().manual_seed(1)).double()
    expected = torch_vit.correlate(state, features)
    prefix = "temporal_transformer.0."
    query, key, _ = np.split(state[f"{prefix}attn.qkv.weight"].numpy(), 3)
    found = reference.correlate(
        features.numpy(), state[f"{prefix}norm1.weight"].numpy(),
        state[f"{prefix}norm1.bias"].numpy(), query, key, 1e-5,
    )
    for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-12, atol=1e-12)

    # The maps, by PyTorch's softmax.
    heads = [(q @ k.T / 4).softmax(-1) for q, k in zip(*(each.split(16, -1) for each in expected))]
    maps = torch.stack(heads).mean(0)
    np.testing.assert_allclose(
        reference.attention_maps(found[0], found[1], 3), maps.numpy(), rtol=1e-10, atol=1e-15
    )
    # The distance, by PyTorch's KL divergence.
    target = torch.nn.functional.kl_div(
        maps[None].log(), maps[:, None], reduction="none"
    ).sum(-1)
    np.testing.assert_allclose(
        reference.jeffreys(maps.numpy(), maps.numpy()), (target + target.T).numpy(), atol=1e-12
    )


# ---- Resizing -----------------------------------------------------------------------

#: In its key channels 0..2 this network hands out the pixels it is given: see `probe`.
CARRIER = 16.0


#: Observed 5e-7; the mean that layer norm takes off is of terms of size K.
RESIZE_TOLERANCE = 3e-6


def probe():
    """A network of one block and patches of one pixel whose keys are its input.

    A pixel (r, g, b) becomes the token (r, g, b, -r-g-b, K, -K, 0, 0): mean 0, and
    a deviation of about K / 2, whatever the pixel.  W_k undoes the scale, and
    what is left of the pixel in it, the test knows.
    """
    embed = np.zeros((8, 3, 1, 1), np.float32)
    embed[:3, :, 0, 0] = np.eye(3)
    embed[3] = -1
    bias = np.array([0, 0, 0, 0, CARRIER, -CARRIER, 0, 0], np.float32)
    qkv = np.zeros((24, 8), np.float32)
    qkv[8:16] = np.eye(8) * CARRIER / 2
    return {
        "cls_token": np.zeros((1, 1, 8), np.float32),
        "pos_embed": np.zeros((1, 2, 8), np.float32),
        "patch_embed.proj.weight": embed,
        "patch_embed.proj.bias": bias,
        "blocks.0.norm1.weight": np.ones(8, np.float32),
        "blocks.0.norm1.bias": np.zeros(8, np.float32),
        "blocks.0.attn.qkv.weight": qkv,
        "blocks.0.attn.qkv.bias": np.zeros(24, np.float32),
        "temporal_transformer.0.norm1.weight": np.ones(8, np.float32),
        "temporal_transformer.0.norm1.bias": np.zeros(8, np.float32),
        "temporal_transformer.0.attn.qkv.weight": qkv,
    }


@needs_torch
@pytest.mark.parametrize(
    "size, working",
    [
        ((240, 428), (192, 384)),
        ((37, 53), (64, 80)),  # larger
        ((50, 1), (24, 40)),  # of one column
        ((64, 80), (64, 80)),  # as it is
        ((480, 854), (48, 72)),  # much smaller: most pixels are never read
    ],
)
def test_resize(size, working, tmp_path, record):
    frame = np.random.default_rng(size).integers(0, 256, (*size, 3)).astype(np.uint8)
    with make_model(
        tmp_path, probe(), (1, 8, 1, 1, 1, 1), mean=[0.5, 0.4, 0.3], std=[0.25, 0.5, 1.0],
        cls_saliency=False,
    ) as model:
        keys = model.encode(frame, working_height=working[0], working_width=working[1])
    image = torch_vit.resize(frame, *working, dtype=torch.float64)
    image = torch_vit.normalise(image, (0.5, 0.4, 0.3), (0.25, 0.5, 1.0))
    expected = image[0].permute(1, 2, 0).numpy()
    # What layer norm makes of the token, exactly.
    token = (expected**2).sum(-1) + expected.sum(-1) ** 2 + 2 * CARRIER**2
    expected = expected * (CARRIER / 2 / np.sqrt(token / 8 + 1e-6))[..., None]
    worst = float(np.abs(keys[..., :3] - expected).max())
    record(largest_difference=worst)
    # One grey level is 4e-3 to 1.6e-2 here: this is less than a thousandth of one.
    assert worst < RESIZE_TOLERANCE
