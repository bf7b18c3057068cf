"""Trains the backbone on scenes made up on the fly:

    python material.py MATERIAL
    torchrun --standalone --nproc-per-node 2 train.py MATERIAL RUN --steps 20000

One process a core without a GPU, one process a GPU with one.  The run is kept in the folder
RUN: the same command goes on where it stopped, bit for bit as if it had not (on one kind of
machine).  When it ends, RUN/backbone.pt is a checkpoint that `covey convert` reads.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from compositing import Scene, compose
from export import BLOCK_HEADS, DEVIATION, HEAD_CHANNELS, MEAN, read_backbone, write_checkpoint
from network import Backbone
from objective import Objective
from pictures import Pictures, read_pictures
from torch import Tensor, distributed

#: Scenes' height and width; the last part of a run sees the large one, near inference's.
SIZES = [(128, 128), (96, 192), (112, 144)]
LARGE_SIZE = (144, 288)
PATCH = 8
VIEWS = 2
MOST_THINGS = 6
#: Settings that a run that goes on may change.
CHANGEABLE = {"steps", "every", "workers"}


def main() -> None:
    settings = parse_arguments()
    rank, ranks = start_processes()
    device = torch.device("cuda", rank) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cpu":
        torch.set_num_threads(1)
    cv2.setNumThreads(0)

    torch.manual_seed(settings.seed)
    backbone = Backbone(settings.channels, settings.depth, settings.channels // HEAD_CHANNELS)
    objective = Objective(BLOCK_HEADS, gain=settings.gain)
    if settings.weights:
        backbone.load_state_dict(read_backbone(settings.weights))
    backbone.to(device)
    objective.to(device)
    optimizer = make_optimizer(backbone, objective, settings)
    settings.run.mkdir(parents=True, exist_ok=True)
    step = resume(settings, backbone, objective, optimizer, device)

    scenes = read_ahead(settings, step, rank, ranks)
    held_out = read_held_out(settings) if rank == 0 else None
    parameters = [*backbone.parameters(), *objective.parameters()]
    sums: dict[str, float] = {}
    started = time.monotonic()
    first = step
    while step < settings.steps:
        set_rate(optimizer, settings, step)
        images, owners = next(scenes)
        torch.manual_seed(hash((settings.seed, step, rank)) % 2**63)
        losses = measure(backbone, objective, images.to(device), owners.to(device))
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        average_gradients(parameters, ranks)
        torch.nn.utils.clip_grad_norm_(backbone.parameters(), 1.0)
        optimizer.step()
        step += 1
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0) + float(loss.detach())
        if step % settings.every == 0 or step == settings.steps:
            if rank == 0:
                line = {name: round(total / (step - first), 4) for name, total in sums.items()}
                line |= {
                    f"held_out_{name}": round(loss, 4)
                    for name, loss in validate(backbone, objective, held_out, device).items()
                }
                line |= {
                    "gain": round(float(objective.log_gain.detach().exp()), 3),
                    "seconds_a_step": round((time.monotonic() - started) / (step - first), 3),
                }
                report(settings.run, step, line)
                save(settings, step, backbone, objective, optimizer)
            sums, first, started = {}, step, time.monotonic()
    if rank == 0:
        gain = float(objective.log_gain.detach().exp())
        write_checkpoint(settings.run / "backbone.pt", backbone.state_dict(), gain)
        print(settings.run / "backbone.pt")
    if ranks > 1:
        distributed.destroy_process_group()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("material", type=Path, help="what material.py gathered")
    parser.add_argument("run", type=Path, help="folder of the run; one that exists goes on")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--weights", type=Path, help="checkpoint whose backbone to begin with")
    parser.add_argument("--gain", type=float, default=1.0, help="attention's gain at first")
    parser.add_argument("--channels", type=int, default=192)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--scenes", type=int, default=6, help="of 128 x 128, a step and process")
    parser.add_argument("--rate", type=float, default=1.2e-3)
    parser.add_argument("--warm-up", type=int, default=60, metavar="STEPS")
    parser.add_argument("--decay", type=float, default=0.05)
    parser.add_argument("--large", type=float, default=0.2, help="share of the run at large size")
    parser.add_argument("--shapes", type=float, default=0.35, help="share of random shapes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=100, help="steps between reports and saves")
    parser.add_argument("--workers", type=int, default=0, help="processes that make scenes")
    return parser.parse_args()


def start_processes() -> tuple[int, int]:
    """This process's rank and how many there are; torchrun says so in the environment."""
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    if ranks > 1:
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return int(os.environ.get("RANK", 0)), ranks


def make_optimizer(
    backbone: Backbone, objective: Objective, settings: argparse.Namespace
) -> torch.optim.AdamW:
    named = dict(backbone.named_parameters())
    decayed = [p for n, p in named.items() if p.ndim > 1 and n not in ("pos_embed", "cls_token")]
    others = [p for n, p in named.items() if p.ndim <= 1 or n in ("pos_embed", "cls_token")]
    return torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": settings.decay},
            {"params": [*others, objective.log_sharpness], "weight_decay": 0},
            # One number that the maps' sharpness hangs on: it may move faster.
            {"params": [objective.log_gain], "weight_decay": 0, "times": 10.0},
        ],
        betas=(0.9, 0.98),
    )


def set_rate(optimizer: torch.optim.AdamW, settings: argparse.Namespace, step: int) -> None:
    """A linear warm-up, then a cosine to a fiftieth of the rate."""
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    rate = settings.rate * (0.98 * cosine + 0.02) * min(1, (step + 1) / (settings.warm_up + 1))
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("times", 1.0)


def read_ahead(
    settings: argparse.Namespace, step: int, rank: int, ranks: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches of a process from a step on; each depends on its step alone."""
    loader = torch.utils.data.DataLoader(
        Batches(settings, rank),
        batch_size=None,
        sampler=range(step, settings.steps),
        num_workers=settings.workers,
        prefetch_factor=4 if settings.workers else None,
    )
    return iter(loader)


class Batches(torch.utils.data.Dataset):
    """Batch number `step` of a process, made up from the seed, the step and the rank."""

    def __init__(self, settings: argparse.Namespace, rank: int) -> None:
        self.settings, self.rank = settings, rank
        self.pictures = read_pictures(settings.material)

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        s = self.settings
        # All processes take the same size, or one would wait for the other.
        rng = np.random.default_rng([s.seed, step])
        large = step >= s.steps * (1 - s.large)
        height, width = LARGE_SIZE if large else SIZES[rng.integers(len(SIZES))]
        count = max(2, s.scenes * 128 * 128 // (height * width))
        rng = np.random.default_rng([s.seed, step, self.rank])
        return make_batch(rng, self.pictures, count, height, width, s.shapes)


def make_batch(
    rng: np.random.Generator, pictures: Pictures, count: int, height: int, width: int, shapes: float
) -> tuple[Tensor, Tensor]:
    """Images: scenes x views x 3 x height x width; owners: scenes x views x patches x segments."""
    scenes = [
        compose(rng, pictures, height, width, VIEWS, most_things=MOST_THINGS, shapes=shapes)
        for _ in range(count)
    ]
    images = np.stack([(np.stack(s.images) / 255 - MEAN) / DEVIATION for s in scenes])
    owners = np.stack([patch_owners(scene) for scene in scenes])
    return torch.from_numpy(images).permute(0, 1, 4, 2, 3).float(), torch.from_numpy(owners)


def patch_owners(scene: Scene) -> np.ndarray:
    owners = np.stack(scene.owners)
    views, segments, height, width = owners.shape
    blocks = owners.reshape(views, segments, height // PATCH, PATCH, width // PATCH, PATCH)
    shares = blocks.mean(axis=(3, 5)).reshape(views, segments, -1).transpose(0, 2, 1).clip(0)
    result = np.zeros((*shares.shape[:2], 1 + MOST_THINGS), np.float32)
    result[..., :segments] = shares / shares.sum(axis=2, keepdims=True)
    return result


def measure(
    backbone: Backbone, objective: Objective, images: Tensor, owners: Tensor
) -> dict[str, Tensor]:
    with torch.autocast(images.device.type, torch.bfloat16):
        keys = backbone(images.flatten(0, 1))
    return objective(keys.unflatten(0, images.shape[:2]), owners)


def read_held_out(settings: argparse.Namespace) -> list[tuple[Tensor, Tensor]]:
    """Scenes of pictures that are never trained on, the same in every run."""
    pictures = read_pictures(settings.material, held_out=True)
    return [
        make_batch(np.random.default_rng(number), pictures, 8, 96, 192, settings.shapes)
        for number in range(4)
    ]


@torch.no_grad()
def validate(
    backbone: Backbone,
    objective: Objective,
    batches: list[tuple[Tensor, Tensor]],
    device: torch.device,
) -> dict[str, float]:
    state = torch.get_rng_state()
    torch.manual_seed(0)
    sums: dict[str, float] = {}
    for images, owners in batches:
        losses = measure(backbone, objective, images.to(device), owners.to(device))
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0) + float(loss) / len(batches)
    torch.set_rng_state(state)
    return sums


def average_gradients(parameters: list[Tensor], ranks: int) -> None:
    if ranks == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= ranks
    for gradient, mean in zip(
        gradients, flat.split([g.numel() for g in gradients]), strict=True
    ):
        gradient.copy_(mean.view_as(gradient))


def report(run: Path, step: int, line: dict[str, float]) -> None:
    entry = json.dumps({"step": step, **line})
    print(entry, flush=True)
    with (run / "log.jsonl").open("a") as log:
        log.write(entry + "\n")


def fixed_settings(settings: argparse.Namespace) -> dict[str, str]:
    return {
        name: str(value)
        for name, value in vars(settings).items()
        if name not in CHANGEABLE | {"run", "material"}
    }


def save(
    settings: argparse.Namespace,
    step: int,
    backbone: Backbone,
    objective: Objective,
    optimizer: torch.optim.AdamW,
) -> None:
    path = settings.run / "checkpoint.pt"
    unfinished = path.with_suffix(".unfinished")
    state = {
        "settings": fixed_settings(settings),
        "step": step,
        "backbone": backbone.state_dict(),
        "objective": objective.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(state, unfinished)
    unfinished.replace(path)


def resume(
    settings: argparse.Namespace,
    backbone: Backbone,
    objective: Objective,
    optimizer: torch.optim.AdamW,
    device: torch.device,
) -> int:
    """The step to go on with: that of the run's checkpoint, or 0 where there is none."""
    path = settings.run / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, map_location=device, weights_only=True)
    if state["settings"] != fixed_settings(settings):
        raise SystemExit(
            f"{path}: a run with other settings, {state['settings']};"
            f" now {fixed_settings(settings)}"
        )
    backbone.load_state_dict(state["backbone"])
    objective.load_state_dict(state["objective"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


if __name__ == "__main__":
    main()
