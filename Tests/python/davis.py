"""How well the clusters of a model cover the objects of DAVIS-2016.

    python Tests/python/davis.py MODEL [MODEL ...]

The measure is the published one (README, models/): of each sequence 20 frames
evenly spaced, the reference algorithm with keys averaged over 4 x 4 patches, every
cluster kept, every pixel labelled as its patch, and J (region IoU) of the single cluster that
is best over the whole video, mean over the frames that show the object.  The
choice of the cluster looks at the truth: it says how good the partition is, not
how good the choice of objects is.

The folder is found at ../shared/data/davis16_train, or below $COVEY_DATA:
NAME/frames/*.jpg and NAME/masks/*.png (0 background).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 20
#: How the published figures are measured.
REFERENCE = {"mode": "reference", "key_pool": 4, "output": "clusters", "mask": "nearest"}


class Score(NamedTuple):
    """j: of the best cluster over the video.  j_per_frame: where each frame may
    choose its own.  clusters: how many there are.  seconds: a frame."""

    sequence: str
    j: float
    j_per_frame: float
    clusters: int
    seconds: float


def data_folder():
    """Where the data for tests are, there or not."""
    return Path(os.environ.get("COVEY_DATA") or ROOT.parent / "shared" / "data")


def model_path():
    """The weight file that the figures are of, there or not."""
    return Path(os.environ.get("COVEY_MODEL") or ROOT / "models" / "covey-nano.gguf")


def sequences(folder=None):
    """Names of the sequences, none where the folder is absent."""
    folder = folder or data_folder() / "davis16_train"
    return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []


def read_sequence(name, frames=FRAMES, folder=None):
    """(images [T, H, W, 3] uint8, truth [T, H, W] bool), evenly spaced."""
    from PIL import Image

    folder = (folder or data_folder() / "davis16_train") / name
    images = read_frames(folder / "frames", frames)
    masks = _spaced(sorted((folder / "masks").glob("*.png")), frames)
    truth = np.stack([np.asarray(Image.open(path).convert("L")) > 0 for path in masks])
    return images, truth


def read_frames(folder, frames=FRAMES):
    """images [T, H, W, 3] uint8 of a folder of images, evenly spaced."""
    from PIL import Image

    paths = _spaced(sorted(Path(folder).glob("*.jpg")), frames)
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def _spaced(paths, count):
    return [paths[i] for i in np.linspace(0, len(paths) - 1, count).round().astype(int)]


def overlap(labels, truth):
    """J [T', S] of every id 1 .. S of labels [T, H, W] in the T' frames where
    truth [T, H, W] has a pixel."""
    count = int(labels.max()) + 1
    rows = []
    for ids, mask in zip(labels, truth):
        if mask.any():
            inside = np.bincount(ids[mask], minlength=count)
            area = np.bincount(ids.ravel(), minlength=count)
            rows.append(inside / (area + mask.sum() - inside))
    return np.stack(rows)[:, 1:]


def score(sequence, labels, truth, seconds=0.0):
    """The score of label maps [T, H, W] with ids 1.. for every cluster."""
    j = overlap(labels, truth)
    return Score(
        sequence,
        float(j.mean(axis=0).max()),
        float(j.max(axis=1).mean()),
        len(np.unique(labels)),
        seconds / len(labels),
    )


def evaluate(segment, names=None, show=print):
    """Scores of ``segment(images) -> labels [T, H, W]`` over the sequences, each
    told to ``show`` as it is known."""
    scores = []
    for name in names if names is not None else sequences():
        images, truth = read_sequence(name)
        start = time.perf_counter()
        labels = segment(images)
        scores.append(score(name, labels, truth, time.perf_counter() - start))
        show(row(scores[-1]))
    show(row(mean(scores)))
    return scores


def mean(scores):
    """The mean of each figure."""
    return Score("mean", *(float(np.mean(each)) for each in list(zip(*scores))[1:]))


def row(each):
    """One line of the table."""
    kind = "5.2f" if isinstance(each.clusters, float) else "5d"
    return (
        f"{each.sequence:18s} J {each.j:.4f}  per frame {each.j_per_frame:.4f}  "
        f"clusters {each.clusters:{kind}}  {each.seconds:.3f} s/frame"
    )


def main(paths):
    """The table of each model; of all but the first also how far its clusters
    agree with the first one's."""
    import covey
    from reference import adjusted_rand_index

    if not sequences():
        print(f"{data_folder()}: no davis16_train there", file=sys.stderr)
        return 1
    first = []
    for path in paths or [model_path()]:
        found = []

        def segment(images):
            found.append(model.segment(images, **REFERENCE))
            return found[-1]

        with covey.Model(path) as model:
            print(f"{path}: {model.info.name}, {model.info.dtype.name}, "
                  f"{os.path.getsize(path)} bytes")
            evaluate(segment)
        if not first:
            first = found
            continue
        indices = [adjusted_rand_index(one, other) for one, other in zip(first, found)]
        print("adjusted Rand index to the first model")
        for name, index in zip([*sequences(), "mean"], [*indices, np.mean(indices)]):
            print(f"{name:18s} {index:.4f}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
