"""What the modes are worth on labelled video: J and FG-ARI of edge against reference, and
how near labels are to edge's of the whole video.

    make bench-quality
    python Benchmarks/quality.py [--data FOLDER] [--frames 20]

J: region IoU of the single cluster that is best for an object over the whole video,
mean over its frames and over the objects.  FG-ARI: adjusted Rand index of clusters and
instances (for the clips of Xiph classes) over the truth's foreground pixels of the whole
video at once.  ARI to edge: adjusted Rand index with the labels of "edge, nearest", all
pixels of a clip, median and 10th percentile.  Every cluster is kept; of each clip some frames evenly spaced, at the
model's working size.  Reference: keys averaged over 4 x 4 patches as in edge.

The folder is that of the tests (docs/TESTING.md).  Writes build/quality.json;
Benchmarks/report.py renders it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "bindings" / "python" / "src"))

import covey  # noqa: E402
from covey.evaluation.metrics import rand_index  # noqa: E402

CASES = {
    "reference, nearest": {"mode": "reference", "key_pool": 4, "mask": "nearest"},
    "edge, nearest": {"mask": "nearest"},
    "edge, refined": {},
    "edge stream, nearest": {"streaming": True, "mask": "nearest"},
}
#: Group: folder of masks, and which clips of the data folder.
GROUPS = {
    "davis16_train (27)": ("masks", lambda root: sorted((root / "davis16_train").iterdir())),
    "segtrack_girl": ("masks", lambda root: [root / "segtrack_girl"]),
    "davis17_dogs_jump": ("masks", lambda root: [root / "davis17_dogs_jump"]),
    "cdnet_highway": ("masks_instances", lambda root: [root / "cdnet_highway"]),
    "xiph_chen (8)": ("masks", lambda root: sorted(root.glob("xiph_chen_*"))),
}


def read(clip, masks, count):
    """images [T, H, W, 3] uint8 and ids [T, H, W] of evenly spaced frames."""

    def spaced(paths):
        return [paths[i] for i in np.linspace(0, len(paths) - 1, count).round().astype(int)]

    images = [Image.open(path).convert("RGB") for path in spaced(sorted(clip.glob("frames/*")))]
    truth = [np.asarray(Image.open(path)) for path in spaced(sorted(clip.glob(f"{masks}/*")))]
    truth = [mask if mask.ndim == 2 else mask[..., :3].max(axis=2) for mask in truth]
    return np.stack([np.asarray(image) for image in images]), np.stack(truth)


def contingency(labels, truth):
    """Pixels of each (true id, cluster), and of each frame: [T, I, S]; the ids."""
    ids, places = np.unique(truth, return_inverse=True)
    clusters = int(labels.max()) + 1
    frames = np.arange(len(labels))[:, None, None]
    flat = (frames * len(ids) + places.reshape(truth.shape)) * clusters + labels
    counts = np.bincount(flat.ravel(), minlength=len(labels) * len(ids) * clusters)
    return counts.reshape(len(labels), len(ids), clusters).astype(float), ids


def best_j(counts, ids):
    """Mean over objects of J of the best cluster over the video."""
    areas, sizes = counts.sum(axis=1), counts.sum(axis=2)
    found = []
    for place in np.flatnonzero(ids > 0):
        visible = sizes[:, place] > 0
        shared = counts[visible, place]
        union = areas[visible] + sizes[visible, place, None] - shared
        found.append((shared / np.maximum(union, 1)).mean(axis=0).max())
    return float(np.mean(found))


def fg_ari(counts, ids):
    """None where there is one object only: any clustering of it has the same index."""
    table = counts.sum(axis=0)[ids > 0]
    return rand_index(table) if len(table) > 1 else None


def main():
    parser = argparse.ArgumentParser(description="J and FG-ARI on labelled video")
    parser.add_argument("--data", type=Path, default=Path(
        os.environ.get("COVEY_DATA") or ROOT.parent / "shared" / "data"))
    parser.add_argument("--frames", type=int, default=20)
    parser.add_argument("--model", help="weight file (the one that comes with covey)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "quality.json")
    options = parser.parse_args()
    if not options.data.is_dir():
        sys.exit(f"{options.data}: no such folder; $COVEY_DATA names another")
    rows = []
    table = Table(title=f"{options.frames} frames a clip", title_justify="left")
    for heading in ("clips", "", "J", "FG-ARI", "clusters", "ARI to edge"):
        table.add_column(heading, justify="right" if heading in ("J", "FG-ARI") else "left")
    with covey.Model(options.model) as model:
        for group, (masks, clips) in GROUPS.items():
            scores = {case: [] for case in CASES}
            for clip in clips(options.data):
                images, truth = read(clip, masks, options.frames)
                labels = {
                    case: np.asarray(model.segment(images, output="clusters", **settings))
                    for case, settings in CASES.items()
                }
                for case, found in labels.items():
                    counts, ids = contingency(found, truth)
                    same, _ = contingency(found, labels["edge, nearest"])
                    scores[case].append((
                        best_j(counts, ids), fg_ari(counts, ids), len(np.unique(found)),
                        rand_index(same.sum(axis=0)),
                    ))
            for case, found in scores.items():
                js, aris, clusters, same = zip(*found)
                aris = [ari for ari in aris if ari is not None]
                row = {
                    "clips": group, "case": case, "j": float(np.mean(js)),
                    "fg_ari": float(np.mean(aris)) if aris else None,
                    "clusters": float(np.mean(clusters)), "to_edge": float(np.median(same)),
                    "to_edge_p10": float(np.quantile(same, 0.1)),
                }
                rows.append(row)
                table.add_row(
                    group, case, f"{row['j']:.3f}",
                    "-" if row["fg_ari"] is None else f"{row['fg_ari']:.3f}",
                    f"{row['clusters']:.1f}", f"{row['to_edge']:.2f} {row['to_edge_p10']:.2f}")
    Console().print(table)
    options.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
