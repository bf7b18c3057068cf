"""Models with random weights of any geometry, and frames to feed them."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "bindings" / "python" / "src"

try:
    import covey  # noqa: F401
except ImportError:
    sys.path.insert(0, str(SOURCE))

import davis  # noqa: E402

from covey.checkpoints.convert import Settings, convert  # noqa: E402

# A shell's background job ignores it, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

HEADER = ROOT / "Include" / "covey.h"


def random_state(patch=8, dim=48, depth=2, grid=4, mlp=None, seed=0, deviation=0.2):
    """A state dict as training leaves it: a ViT's plain names, and the block's.

    The spread is wide enough for attention maps that differ between patches.
    """
    random = np.random.default_rng(seed)
    mlp = 4 * dim if mlp is None else mlp

    def normal(*shape):
        return (random.standard_normal(shape) * deviation).astype(np.float32)

    def block(prefix, width, bias):
        state[f"{prefix}.norm1.weight"] = 1 + normal(dim)
        state[f"{prefix}.norm1.bias"] = normal(dim)
        state[f"{prefix}.attn.qkv.weight"] = normal(3 * dim, dim)
        if bias:
            state[f"{prefix}.attn.qkv.bias"] = normal(3 * dim)
        state[f"{prefix}.attn.proj.weight"] = normal(dim, dim)
        state[f"{prefix}.attn.proj.bias"] = normal(dim)
        state[f"{prefix}.norm2.weight"] = 1 + normal(dim)
        state[f"{prefix}.norm2.bias"] = normal(dim)
        state[f"{prefix}.mlp.fc1.weight"] = normal(width, dim)
        state[f"{prefix}.mlp.fc1.bias"] = normal(width)
        state[f"{prefix}.mlp.fc2.weight"] = normal(dim, width)
        state[f"{prefix}.mlp.fc2.bias"] = normal(dim)

    state = {
        "cls_token": normal(1, 1, dim),
        "pos_embed": normal(1, 1 + grid * grid, dim),
        "patch_embed.proj.weight": normal(dim, 3, patch, patch),
        "patch_embed.proj.bias": normal(dim),
    }
    for index in range(depth):
        block(f"blocks.{index}", mlp, True)
    state["norm.weight"] = 1 + normal(dim)
    state["norm.bias"] = normal(dim)
    block("temporal_transformer.0", 4 * dim, False)
    return state


@pytest.fixture(scope="session")
def make_checkpoint(tmp_path_factory):
    """make_checkpoint(**geometry) is the path of a .safetensors file."""
    from safetensors.numpy import save_file

    made = {}

    def make(**geometry):
        key = tuple(sorted(geometry.items()))
        if key not in made:
            path = tmp_path_factory.mktemp("checkpoint") / "random.safetensors"
            save_file(random_state(**geometry), path)
            made[key] = path
        return made[key]

    return make


@pytest.fixture(scope="session")
def make_model(make_checkpoint, tmp_path_factory):
    """make_model(settings={...}, **geometry) is the path of a weight file."""
    made = {}

    def make(settings=None, **geometry):
        chosen = {
            "heads": 2,
            "correlator_heads": 3,
            "working_height": 32,
            "working_width": 48,
            "key_stride": 2,
            "key_pool": 1,  # the frames are of a few patches
            "name": "random",
            **(settings or {}),
        }
        key = (tuple(sorted(chosen.items())), tuple(sorted(geometry.items())))
        if key not in made:
            path = tmp_path_factory.mktemp("model") / "random.gguf"
            convert(make_checkpoint(**geometry), path, settings=Settings(**chosen))
            made[key] = path
        return made[key]

    return make


@pytest.fixture(scope="session")
def model_path(make_model):
    return make_model()


@pytest.fixture
def model(model_path):
    with covey_module().Model(model_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def nano():
    """The default model."""
    path = davis.model_path()
    if not path.is_file():
        pytest.skip(f"{path}: not there (COVEY_MODEL names a weight file)")
    with covey_module().Model(path) as opened:
        yield opened


@pytest.fixture(scope="session")
def nano_f32(nano, tmp_path_factory):
    """The default model with the same weights as floats, so computed in fp32."""
    path = tmp_path_factory.mktemp("nano") / "f32.gguf"
    nano.save(path, "f32")
    with covey_module().Model(path) as opened:
        yield opened


def covey_module():
    import covey

    return covey


def moving_square(frames=5, height=40, width=60, side=16):
    """[T, H, W, 3]: a bright square crossing a dark, noisy ground."""
    random = np.random.default_rng(7)
    ground = random.integers(20, 60, (height, width, 3))
    video = np.repeat(ground[None], frames, axis=0).astype(np.uint8)
    for index in range(frames):
        left = 4 + index * 6
        video[index, 10 : 10 + side, left : left + side] = (230, 120, 40)
    return video


@pytest.fixture(scope="session")
def video():
    frames = moving_square()
    frames.setflags(write=False)
    return frames


@pytest.fixture
def environment():
    """For subprocesses: this package importable, and nothing of the caller's."""
    kept = {name: value for name, value in os.environ.items() if name != "COVEY_MODEL"}
    kept["PYTHONPATH"] = os.pathsep.join(
        [str(Path(covey_module().__file__).parents[1]), kept.get("PYTHONPATH", "")]
    )
    return kept
