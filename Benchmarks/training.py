#!/usr/bin/env python3
"""One training step beside PyTorch's, on the same threads: losses, gradients, AdamW.

    make bench-training
    training.py [--channels 384] [--threads 2] [--rounds 5] [--alone covey|torch]

Three frames of 192 x 384 in patches of 8 (3,459 tokens), 8 heads, dropout as in training.
PyTorch runs the block as it is usually written, with whole maps; the ranking and the
losses are vectorised and only touch the rows that they need.  Both take turns;
the ratio is the median over the rounds.  Then each runs in a process of its own, whose
largest memory counts, less what it had before the first step: libraries and weights.
--alone is one of these.  Writes build/training.json; Benchmarks/report.py renders it.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

TOP = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(TOP / "Tests" / "python"), str(TOP / "bindings" / "python" / "src")]

FRAMES, PATCHES, HEADS, POSITIONS = 3, 1152, 8, 8


def torch_step(weights, features, c):
    import torch
    from torch.nn import functional
    from torch_training import split

    w = {name: torch.from_numpy(value.copy()).requires_grad_()
         for name, value in split(weights, c, 4 * c).items()}
    x = torch.from_numpy(features)
    n, t, d = len(features), FRAMES, c // HEADS
    optimiser = torch.optim.AdamW(list(w.values()), lr=1e-4, weight_decay=0.1)

    def step():
        optimiser.zero_grad(set_to_none=True)
        z = functional.layer_norm(x, (c,), w["norm1.weight"], w["norm1.bias"])
        q, k, v = (z @ w["attn.qkv.weight"].T).reshape(n, 3, HEADS, d).permute(1, 2, 0, 3)
        maps = functional.dropout((q @ k.transpose(-2, -1) * d**-0.5).softmax(dim=-1), 0.4)
        out = (maps @ v).transpose(0, 1).reshape(n, c)
        y = x + functional.dropout(
            functional.linear(out, w["attn.proj.weight"], w["attn.proj.bias"]), 0.1)
        z = functional.layer_norm(y, (c,), w["norm2.weight"], w["norm2.bias"])
        h = functional.gelu(functional.linear(z, w["mlp.fc1.weight"], w["mlp.fc1.bias"]))
        h = functional.linear(
            functional.dropout(h, 0.1), w["mlp.fc2.weight"], w["mlp.fc2.bias"])
        y = y + functional.dropout(h, 0.1)

        a = maps.mean(dim=0).reshape(t, n // t, t, n // t)[:, 1:, :, 1:]
        s = functional.normalize(y.reshape(t, n // t, c)[:, 1:], dim=-1)
        positions = torch.randperm(PATCHES)[:POSITIONS]
        queries = a[:, positions]  # [T, U, T, N]
        ranks = queries.detach().argsort(dim=-1, descending=True)
        keys = torch.arange(t)[None, None, :, None]
        own = s[:, positions][:, :, None, None]
        best = (s[keys, ranks[..., :30]] * own).sum(-1)
        worst = (s[keys, ranks[..., -200:]] * own).sum(-1)
        semantic = (0.9 - best).relu().mean() + (worst - 0.1).relu().mean()
        rows = functional.normalize(queries.detach().flatten(2), dim=-1, p=1)  # [T, U, T N]
        weight = (rows * (rows + 1e-10).log()).sum(-1).softmax(dim=-1)
        frames = torch.arange(t)
        ranked = ranks[frames, :, frames]  # [T, U, N]
        chosen = torch.cat([ranked[..., :10], ranked[..., -50:]], dim=-1)
        picked = functional.normalize(a[frames[:, None, None], chosen].flatten(3), dim=-1, p=1)
        score = ((picked + 1e-10).log() * rows[:, :, None]).sum(-1)
        pairs = (score[..., 10:, None] - score[..., None, :10] + 1).relu().mean((-1, -2))
        motion = (weight * pairs).sum(1).mean()
        (semantic + motion).backward()
        optimiser.step()

    return step


def covey_step(weights, features, c, threads):
    from training_core import apply, gradients

    first, second = np.zeros_like(weights), np.zeros_like(weights)

    def step():
        _, _, gradient, _ = gradients(
            weights, features, frames=FRAMES, heads=HEADS, positions=POSITIONS,
            threads=threads, seed=1)
        apply(weights, gradient, first, second, c=c, heads=HEADS, f=4 * c, step=0,
              learning_rate=1e-4, weight_decay=0.1)

    return step


def largest_memory():
    """Of this process so far, in MB.  Not ru_maxrss, which begins with the parent's."""
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def alone(name, chosen):
    """Largest memory of a process of its own, and less what it had before, in MB."""
    command = [sys.executable, __file__, "--alone", name, "--rounds", "2",
               "--channels", str(chosen.channels), "--threads", str(chosen.threads)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(told.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--channels", type=int, default=384)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alone", choices=["covey", "torch"])
    parser.add_argument("--output", type=pathlib.Path, default=TOP / "build" / "training.json")
    chosen = parser.parse_args()
    c = chosen.channels
    random = np.random.default_rng(0)
    count = 4 * c * c + 2 * c * 4 * c + 4 * c + 6 * c
    weights = (0.05 * random.standard_normal(count)).astype(np.float32)
    features = random.standard_normal((FRAMES * (PATCHES + 1), c)).astype(np.float32)

    steps = {}
    if chosen.alone != "torch":
        steps["covey"] = covey_step(weights.copy(), features, c, chosen.threads)
    if chosen.alone != "covey":
        import torch

        torch.set_num_threads(chosen.threads)
        steps["torch"] = torch_step(weights, features, c)
    before = largest_memory()
    seconds = {name: [] for name in steps}
    for index in range(chosen.rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if index:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    if chosen.alone:
        print(json.dumps({"peak_mb": largest_memory(), "step_mb": largest_memory() - before}))
        return
    rows = []
    for name, each in seconds.items():
        row = {"name": name, "median_s": statistics.median(each), "min_s": min(each),
               "max_s": max(each), **alone(name, chosen)}
        rows.append(row)
        print("{name:6} {median_s:.3f} s a step, {min_s:.3f} to {max_s:.3f}; largest memory "
              "{peak_mb:.0f} MB, of the step {step_mb:.0f} MB".format(**row))
    ratios = [a / b for a, b in zip(seconds["covey"], seconds["torch"], strict=True)]
    found = {"channels": c, "threads": chosen.threads, "tokens": len(features), "rows": rows,
             "ratio": statistics.median(ratios), "ratio_min": min(ratios),
             "ratio_max": max(ratios)}
    print("covey / torch {ratio:.2f}, {ratio_min:.2f} to {ratio_max:.2f}".format(**found))
    runs = json.loads(chosen.output.read_text()) if chosen.output.exists() else []
    key = (c, chosen.threads)
    runs = [run for run in runs if (run["channels"], run["threads"]) != key] + [found]
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    chosen.output.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
