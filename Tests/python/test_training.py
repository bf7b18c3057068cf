"""Training's numerical core against PyTorch's autodiff in float64, and by itself."""

from __future__ import annotations

import numpy as np
import pytest

import covey
import oracles
import training_core as core
from figures import record  # noqa: F401

try:
    import torch

    import torch_training as oracle
except ImportError:
    torch = None

needs_torch = pytest.mark.skipif(torch is None, reason=oracles.wanted("torch"))


def random_weights(c, f, random):
    """Flat; matrices keep the variance of what goes through them."""
    parts = []
    for shape in [(c,), (c,), (3 * c, c), (c, c), (c,), (c,), (c,), (f, c), (f,), (c, f), (c,)]:
        matrix = len(shape) == 2
        parts.append(random.standard_normal(shape) * (shape[1] ** -0.5 if matrix else 0.1))
    parts[0] += 1
    parts[5] += 1
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def clip(frames, patches, c, f, positions, seed, has_class=True):
    random = np.random.default_rng(seed)
    weights = random_weights(c, f, random)
    tokens = frames * (patches + int(has_class))
    features = random.standard_normal((tokens, c)).astype(np.float32)
    return weights, features, [int(i) for i in random.choice(patches, positions, replace=False)]


def compare(record, *, frames, patches, c, heads, f, counts, attention, dropout, positions=4,
            weigh_both=False, has_class=True, seed=5):
    """Relative errors of the losses, and of every gradient."""
    for seed in range(seed, seed + 30):
        weights, features, chosen = clip(frames, patches, c, f, positions, seed, has_class)
        drawn = {"seed": 2**40 + seed, "step": 1000 + seed}
        keep = oracle.masks(
            len(features), c, f, heads, attention=attention, dropout=dropout, **drawn)
        exact = {
            name: torch.from_numpy(value).double()
            for name, value in oracle.split(weights, c, f).items()
        }
        # Errors of maps are around 1e-6.
        truth = oracle.step(
            exact, torch.from_numpy(features).double(), heads, frames, chosen, keep,
            least_gap=1.5e-5, counts=counts, weigh_both=weigh_both, has_class=has_class)
        if truth:
            break
    expected_semantic, expected_motion, expected = truth
    semantic, motion, found, _ = core.gradients(
        weights, features, frames=frames, heads=heads, hidden=f, positions=chosen, threads=2,
        attention_dropout=attention or -1, dropout=dropout or -1, positives=counts[0],
        negatives=counts[1], motion_positives=counts[2], motion_negatives=counts[3],
        weigh_both=int(weigh_both), has_class=has_class, **drawn)
    assert min(expected_semantic, expected_motion) > 0.1
    errors = {
        name: float(
            np.linalg.norm(value - expected[name].numpy()) / np.linalg.norm(expected[name].numpy())
        )
        for name, value in oracle.split(found, c, f).items()
    }
    losses = (
        abs(semantic / expected_semantic - 1), abs(motion / expected_motion - 1)
    )
    record(semantic=losses[0], motion=losses[1], **errors)
    return losses, errors


#: Relative L2 of each tensor's gradient.  fp32 sums of thousands of terms, each of which
#: lost a few ulp: observed at most 5e-7 (small), 8e-7 (3,459 tokens); losses 1e-7.
TOLERANCE = 2e-5
LOSS_TOLERANCE = 2e-6


@needs_torch
@pytest.mark.parametrize("weigh_both", [False, True], ids=["motion", "both"])
@pytest.mark.parametrize("attention, dropout", [(0, 0), (0, 0.1), (0.4, 0), (0.4, 0.1)])
def test_losses_and_gradients(attention, dropout, weigh_both, record):
    losses, errors = compare(
        record, frames=3, patches=24, c=16, heads=2, f=40, counts=(5, 8, 3, 6),
        attention=attention, dropout=dropout, weigh_both=weigh_both)
    assert max(losses) < LOSS_TOLERANCE
    assert max(errors.values()) < TOLERANCE


@needs_torch
@pytest.mark.parametrize(
    "frames, patches, c, heads, f, counts",
    [
        (1, 70, 24, 4, 56, (30, 200, 10, 50)),  # fewer patches than negatives
        (2, 200, 40, 5, 90, (30, 100, 10, 50)),  # nothing a multiple of a vector's width
        (5, 33, 64, 8, 256, (6, 12, 4, 9)),
        (3, 43, 8, 1, 2, (6, 12, 4, 9)),  # one head: many equal entries, all zero
    ],
)
def test_shapes(frames, patches, c, heads, f, counts, record):
    losses, errors = compare(
        record, frames=frames, patches=patches, c=c, heads=heads, f=f, counts=counts,
        attention=0.4, dropout=0.1)
    assert max(losses) < LOSS_TOLERANCE
    assert max(errors.values()) < TOLERANCE


@needs_torch
@pytest.mark.parametrize("frames, patches", [(1, 70), (3, 43), (2, 64)])
def test_without_class_tokens(frames, patches, record):
    losses, errors = compare(
        record, frames=frames, patches=patches, c=24, heads=4, f=56, counts=(6, 12, 4, 9),
        attention=0.4, dropout=0.1, has_class=False)
    assert max(losses) < LOSS_TOLERANCE
    assert max(errors.values()) < TOLERANCE


@needs_torch
@pytest.mark.parametrize("attention, dropout", [(0, 0), (0.4, 0.1)])
def test_real_size(attention, dropout, record):
    """3 frames of 24 x 48 patches and CLS: 3,459 tokens."""
    losses, errors = compare(
        record, frames=3, patches=24 * 48, c=192, heads=8, f=768, counts=(30, 200, 10, 50),
        positions=8, attention=attention, dropout=dropout)
    assert max(losses) < LOSS_TOLERANCE
    assert max(errors.values()) < TOLERANCE


@needs_torch
def test_a_wrong_weight_is_noticed(record):
    """The tolerance sees one weight of 4,000 off by 1 %."""
    weights, features, chosen = clip(3, 24, 16, 40, 4, 5)
    settings = {
        "frames": 3, "heads": 2, "hidden": 40, "positions": chosen, "positives": 5,
        "negatives": 8, "motion_positives": 3, "motion_negatives": 6, "seed": 1,
    }
    before = core.gradients(weights, features, **settings)[2]
    weights[500] *= 1.01
    after = core.gradients(weights, features, **settings)[2]
    worst = max(
        np.linalg.norm(a - b) / np.linalg.norm(a)
        for a, b in zip(
            oracle.split(before, 16, 40).values(), oracle.split(after, 16, 40).values(),
            strict=True)
    )
    record(worst=float(worst))
    assert worst > 10 * TOLERANCE


@needs_torch
def test_positions_are_those_of_the_generator():
    weights, features, _ = clip(2, 40, 8, 16, 4, 1)
    settings = {"frames": 2, "heads": 2, "hidden": 16, "seed": 77, "step": 3, "positives": 4,
                "negatives": 6, "motion_positives": 3, "motion_negatives": 4}
    drawn = core.gradients(weights, features, positions=6, **settings)
    given = core.gradients(
        weights, features, positions=oracle.draw(77, 3, 6, 40), **settings)
    assert drawn[:2] == given[:2]
    assert np.array_equal(drawn[2], given[2])


@needs_torch
@pytest.mark.parametrize("clip_norm", [0, 0.5])
def test_ten_steps_of_the_optimiser(clip_norm, record):
    """torch.optim.AdamW in float64, with its own clipping and schedule."""
    c, heads, f, steps, rate = 16, 2, 40, 10, 1e-3
    random = np.random.default_rng(2)
    weights = random_weights(c, f, random)
    start = weights.copy()
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    exact = {
        name: torch.nn.Parameter(torch.from_numpy(value.copy()).double())
        for name, value in oracle.split(weights, c, f).items()
    }
    matrices = [value for value in exact.values() if value.ndim == 2]
    vectors = [value for value in exact.values() if value.ndim == 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}],
        lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps, eta_min=1e-6)
    for step in range(steps):
        gradient = random.standard_normal(weights.size).astype(np.float32) * 0.1
        for name, value in oracle.split(gradient.copy(), c, f).items():
            exact[name].grad = torch.from_numpy(value).double()
        expected_norm = torch.nn.utils.clip_grad_norm_(
            exact.values(), clip_norm or float("inf")).item()
        optimiser.step()
        schedule.step()
        norm = core.apply(
            weights, gradient, first, second, c=c, heads=heads, f=f, step=step,
            total_steps=steps, learning_rate=rate, weight_decay=0.1, clip_norm=clip_norm)
        assert norm == pytest.approx(expected_norm, rel=1e-6)
    moved = np.concatenate([value.detach().numpy().ravel() for value in exact.values()]) - start
    error = float(np.linalg.norm(weights - start - moved) / np.linalg.norm(moved))
    record(error=error)
    # Ten roundings of weights of size 1 beside moves of 5e-3: observed 1.4e-5.
    assert error < 5e-5


def two_things(c, rng, noise=1.0):
    """[3 (1 + 48), c]: 6 x 8 patches, on the left one thing, on the right another."""
    kinds = rng.standard_normal((2, c))
    frames = []
    for _ in range(3):
        frame = np.repeat(np.tile([0, 1], 6), 4)
        patches = kinds[frame] + noise * rng.standard_normal((48, c))
        frames.append(np.vstack([rng.standard_normal((1, c)), patches]))
    return np.concatenate(frames).astype(np.float32)


@pytest.mark.parametrize(
    "attention, left", [(-1, 1e-3), (0.4, 0.15)], ids=["no-dropout", "dropout"])
def test_one_clip_can_be_learnt(attention, left, record):
    """Both losses to near their floors: two kinds of patches are told apart.  Without
    dropout the floors are 0; with it some patch is always dropped in most heads."""
    c, heads, f = 32, 4, 64
    rng = np.random.default_rng(3)
    features = two_things(c, rng)
    weights = random_weights(c, f, rng)
    weights[2 * c : 2 * c + 3 * c * c] *= 0.3  # blurred maps to start with
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    history = []
    for step in range(300):
        semantic, motion, gradient, _ = core.gradients(
            weights, features, frames=3, heads=heads, hidden=f, positions=8, positives=10,
            negatives=20, motion_positives=5, motion_negatives=10,
            attention_dropout=attention, dropout=-1, seed=1, step=step)
        history.append((semantic, motion))
        core.apply(
            weights, gradient, first, second, c=c, heads=heads, f=f, step=step,
            total_steps=300, learning_rate=3e-3, weight_decay=0.1, clip_norm=1)
    start, end = np.mean(history[:5], axis=0), np.mean(history[-20:], axis=0)
    record(semantic=f"{start[0]:.3f} -> {end[0]:.4f}", motion=f"{start[1]:.3f} -> {end[1]:.4f}")
    assert (start > 0.3).all()
    assert (end < left).all()


def test_threads_change_nothing():
    weights, features, chosen = clip(3, 300, 48, 192, 8, 4)
    results = [
        core.gradients(weights, features, frames=3, heads=8, hidden=192, positions=chosen,
                       threads=threads, seed=9, step=2)
        for threads in (1, 2, 5)
    ]
    for other in results[1:]:
        assert other[:2] == results[0][:2]
        assert np.array_equal(other[2].view(np.uint32), results[0][2].view(np.uint32))


def test_seed_and_step_change_what_is_dropped():
    weights, features, chosen = clip(2, 60, 16, 64, 4, 4)

    def losses(**drawn):
        return core.gradients(
            weights, features, frames=2, heads=4, positions=chosen, positives=5, negatives=9,
            motion_positives=3, motion_negatives=6, **drawn)[:2]

    assert losses(seed=1, step=1) == losses(seed=1, step=1)
    assert len({losses(seed=1, step=1), losses(seed=2, step=1), losses(seed=1, step=2)}) == 3


@pytest.mark.parametrize(
    "change, message",
    [
        ({"heads": 3}, "heads: expected a divisor of 16, found 3"),
        ({"frames": 0}, "frames"),
        ({"positions": [0, 60]}, "positions[1]: expected 0 to 59, found 60"),
        ({"positions": 61}, "positions: expected 1 to 60, found 61"),
        ({"hidden": 63}, "weight_count"),
        ({"attention_dropout": 1.0}, "dropout: expected 0 to 0.99, found 1"),
        ({"threads": -1}, "options.threads"),
        ({"weigh_both": 2}, "options.weigh_both"),
        ({"positives": -1}, "positives"),
        ({"memory_limit": -5}, "options.memory_limit"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments(change, message):
    weights, features, chosen = clip(2, 60, 16, 64, 4, 4)
    settings = {"frames": 2, "heads": 4, "hidden": 64, "positions": chosen, **change}
    if settings["frames"] == 0:
        settings["frames"] = -2
    with pytest.raises(ValueError, match=message.replace("[", r"\[").replace("]", r"\]")):
        core.gradients(weights, features, **settings)


def test_what_is_not_finite_is_refused():
    weights, features, chosen = clip(2, 60, 16, 64, 4, 4)
    features[7, 3] = np.nan
    with pytest.raises(ValueError, match=r"clip.features\[115\]: is not a finite number"):
        core.gradients(weights, features, frames=2, heads=4, positions=chosen)


def test_too_little_memory_is_an_error():
    weights, features, chosen = clip(2, 60, 16, 64, 4, 4)
    with pytest.raises(covey.CoveyError, match="the limit is 100000"):
        core.gradients(
            weights, features, frames=2, heads=4, positions=chosen, memory_limit=100_000)
