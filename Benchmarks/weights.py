"""The weights that every peer gets: a random ViT-S/8, as covey's weight files and
as a state dict.

The state dict has DINO's names (blocks.0.attn.qkv.weight, ...), the
spatio-temporal block under temporal_transformer.0; covey's files are made of it
by covey's own converter, so that nothing but the arithmetic differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
CHANNELS, DEPTH, HEADS, PATCH, GRID, CORRELATOR_HEADS = 384, 12, 6, 8, 28, 8
#: Of the random weights; a first guess that training starts from is 0.02.
DEVIATION = 0.04


def random_vit(seed=0, tails="normal"):
    """A state dict of float32 arrays.

    tails: "normal", every tensor of normals of deviation 0.04 (norms around 1);
    "heavy", spread as training leaves them, by Tests/python/heavy_tailed.py:
    what int8 loses shows with these.
    """
    if tails == "heavy":
        sys.path.insert(0, str(ROOT / "Tests" / "python"))
        from heavy_tailed import heavy_tailed_state

        return heavy_tailed_state(
            dim=CHANNELS, depth=DEPTH, heads=HEADS, patch=PATCH, grid=GRID, seed=seed
        )
    if tails != "normal":
        raise ValueError(f"tails: expected normal or heavy, found {tails!r}")
    random = np.random.default_rng(seed)

    def normal(*shape):
        return (DEVIATION * random.standard_normal(shape)).astype(np.float32)

    c, hidden = CHANNELS, 4 * CHANNELS
    state = {
        "cls_token": normal(1, 1, c),
        "pos_embed": normal(1, 1 + GRID * GRID, c),
        "patch_embed.proj.weight": normal(c, 3, PATCH, PATCH),
        "patch_embed.proj.bias": normal(c),
        "norm.weight": 1 + normal(c),
        "norm.bias": normal(c),
    }
    blocks = [f"blocks.{index}" for index in range(DEPTH)]
    for block in [*blocks, "temporal_transformer.0"]:
        state[f"{block}.norm1.weight"] = 1 + normal(c)
        state[f"{block}.norm1.bias"] = normal(c)
        state[f"{block}.attn.qkv.weight"] = normal(3 * c, c)
        if block in blocks:
            state[f"{block}.attn.qkv.bias"] = normal(3 * c)
        state[f"{block}.attn.proj.weight"] = normal(c, c)
        state[f"{block}.attn.proj.bias"] = normal(c)
        state[f"{block}.norm2.weight"] = 1 + normal(c)
        state[f"{block}.norm2.bias"] = normal(c)
        state[f"{block}.mlp.fc1.weight"] = normal(hidden, c)
        state[f"{block}.mlp.fc1.bias"] = normal(hidden)
        state[f"{block}.mlp.fc2.weight"] = normal(c, hidden)
        state[f"{block}.mlp.fc2.bias"] = normal(c)
    return state


def write_weight_file(state, path, dtype):
    """covey's weight file of a state dict, by covey's converter.

    dtype: "f32", "f16" or "q8".  Raises covey.CoveyError where the library does
    not write it.
    """
    import covey
    from covey.checkpoints.checkpoint import understand
    from covey.checkpoints.convert import Settings, settle, write_gguf

    path = Path(path)
    found = understand(state)
    settings = Settings(name="random ViT-S/8", license="CC0-1.0", heads=HEADS,
                        correlator_heads=CORRELATOR_HEADS)
    raw = path.with_suffix(".raw")
    try:
        write_gguf(raw, found, settle(found, settings, "random weights"))
        with covey.Model(raw) as model:
            model.save(path, dtype)
    finally:
        raw.unlink(missing_ok=True)
