"""Makes network.npz beside this script: a tiny network, a frame, and what comes out.

`python make_network.py`, with PyTorch 2.1 or newer (written with 2.13).  Everything
is computed in float64 by Tests/python/torch_vit.py, which shares no code with
covey.  The weights are whole multiples of 1/64, so that the file is small and
the same in every float type.

Contents: weights/NAME int8, in 64ths; frame [H, W, 3] uint8; geometry (the
fields of torch_vit.Geometry), working [height, width]; float32: keys [N, C],
saliency [N], queries and correlated [N, C] (queries and keys of the
spatio-temporal block).
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
import torch_vit  # noqa: E402

GEOMETRY = torch_vit.Geometry(
    patch=5, channels=24, depth=3, heads=4, grid=3, correlator_heads=3, mlp=40
)
WORKING = (30, 45)


def main():
    state = torch_vit.random_state(GEOMETRY, gain=2.0, seed=20240923)
    unused = ("norm.", "temporal_transformer.0.attn.proj", "temporal_transformer.0.norm2",
              "temporal_transformer.0.mlp")
    weights = {
        name: (value * 64).round().clamp(-127, 127).to(torch.int8)
        for name, value in state.items()
        if not name.startswith(unused)
    }
    state = {name: value.double() / 64 for name, value in weights.items()}
    random = np.random.default_rng(5)
    frame = random.integers(0, 256, (23, 31, 3)).astype(np.uint8)

    image = torch_vit.normalise(torch_vit.resize(frame, *WORKING, dtype=torch.float64))
    encoded = torch_vit.encode(state, GEOMETRY, image)
    queries, keys = torch_vit.correlate(state, encoded.keys)
    path = Path(__file__).with_name("network.npz")
    np.savez_compressed(
        path,
        frame=frame,
        geometry=np.array(GEOMETRY),
        working=np.array(WORKING),
        keys=encoded.keys.float().numpy(),
        saliency=encoded.saliency.float().numpy(),
        queries=queries.float().numpy(),
        correlated=keys.float().numpy(),
        **{f"weights/{name}": value.numpy() for name, value in weights.items()},
    )
    print(path.name, path.stat().st_size)
    print("saliency, largest over mean:", float(encoded.saliency.max() / encoded.saliency.mean()))


if __name__ == "__main__":
    main()
