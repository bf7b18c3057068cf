"""Uses covey as it was installed: use_wheel.py SITE [HEIGHT WIDTH].

All of it, package, library and weights, has to come from SITE.
"""

import pathlib
import sys

import clip
import covey
import numpy as np

site = pathlib.Path(sys.argv[1]).resolve()
size = [int(text) for text in sys.argv[2:]]

assert pathlib.Path(covey.__file__).resolve() == site / "covey" / "__init__.py", covey.__file__

frames = [
    np.frombuffer(b"".join(clip.grey(frame)), np.uint8).reshape(clip.HEIGHT, clip.WIDTH)
    for frame in range(clip.FRAMES)
]
frames = [np.repeat(frame[:, :, None], 3, axis=2) for frame in frames]
# Four frames of a plain disc are too little to tell an object by its motion.
options = {"output": "clusters"}
if size:
    options |= {"working_height": size[0], "working_width": size[1]}
with covey.Model() as model:
    labels = model.segment(frames, **options)
    loaded = {
        line.split(maxsplit=5)[5].strip()
        for line in pathlib.Path("/proc/self/maps").read_text().splitlines()
        if "libcovey" in line or "covey-nano" in line
    }
assert loaded == {
    str(site / "covey" / "libcovey.so"), str(site / "covey" / "models" / "covey-nano.gguf")
}, loaded

assert labels.shape == (clip.FRAMES, clip.HEIGHT, clip.WIDTH)
least = 0.45 if size else 0.9
for frame in range(clip.FRAMES):
    share = clip.intersection_over_union(labels[frame].tolist(), frame)
    assert share > least, (frame, share)
print(covey.__version__, "segmented")
