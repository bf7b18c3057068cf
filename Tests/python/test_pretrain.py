"""The recipe of the default model's backbone, tools/pretrain: scenes, network, objective
and a run that is cut off.  The network's oracle is the library, the objective's plain
loops in float64."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys

import davis
import gguf
import numpy as np
import oracles
import pytest
from figures import record  # noqa: F401

import covey
from covey.checkpoints.convert import Settings, convert

cv2 = oracles.load("cv2")
torch = oracles.load("torch")

TOOLS = davis.ROOT / "tools" / "pretrain"


@pytest.fixture(scope="module", autouse=True)
def on_the_path():
    sys.path.insert(0, str(TOOLS))
    yield
    sys.path.remove(str(TOOLS))


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Twenty discs of one colour each and twenty smooth backgrounds, as material.py
    would leave them."""
    folder = tmp_path_factory.mktemp("material")
    rng = np.random.default_rng(0)
    for kind in ("cutouts", "backgrounds", "textures"):
        (folder / kind).mkdir()
    for number in range(20):
        disc = np.zeros((80, 80, 4), np.uint8)
        cv2.circle(disc, (40, 40), 36, (*map(int, rng.integers(40, 220, 3)), 255), -1)
        cv2.imwrite(str(folder / f"cutouts/{number}.png"), disc)
        ramp = cv2.resize(rng.integers(0, 255, (4, 6, 3)).astype(np.uint8), (300, 200))
        cv2.imwrite(str(folder / f"backgrounds/{number}.jpg"), ramp)
        cv2.imwrite(str(folder / f"textures/{number}.jpg"), ramp[::-1])
    return folder


def test_held_out_pictures_are_never_trained_on(material):
    from pictures import is_held_out, read_pictures

    names = [path.name for path in (material / "cutouts").iterdir()]
    held_out = [name for name in names if is_held_out(name)]
    train, judged = read_pictures(material), read_pictures(material, held_out=True)
    assert len(judged.cutouts) == len(held_out) > 0
    assert len(train.cutouts) == len(names) - len(held_out) > 0
    first = {bytes(pyramid[0]) for pyramid in train.cutouts}
    assert not first & {bytes(pyramid[0]) for pyramid in judged.cutouts}


@pytest.mark.parametrize("motion", [False, True])
def test_every_pixel_has_its_owners(material, motion):
    from compositing import compose
    from pictures import read_pictures

    pictures = read_pictures(material)
    for seed in range(8):
        scene = compose(np.random.default_rng(seed), pictures, 64, 96, 3, motion)
        again = compose(np.random.default_rng(seed), pictures, 64, 96, 3, motion)
        assert np.array_equal(scene.images, again.images)
        owners = np.stack(scene.owners)
        assert owners.shape[0] == 3 and 2 <= owners.shape[1] <= 7
        # Each paste rounds once: 7 of them, in fp32.
        assert np.abs(owners.sum(axis=1) - 1).max() < 1e-5
        assert owners.min() >= -1e-6  # an alpha that was blurred may be 1 + 1 ulp
        assert all(image.shape == (64, 96, 3) for image in scene.images)
        assert all(image.min() >= 0 and image.max() <= 255 for image in scene.images)


def test_a_thing_is_where_its_owner_says():
    """A disc of one colour, pasted: its pixels, and no others, have that colour."""
    from compositing import Thing, paste

    disc = np.zeros((100, 100, 4), np.uint8)
    cv2.circle(disc, (50, 50), 48, (200, 40, 90, 255), -1)
    thing = Thing(
        picture=[disc], size=30, x=0, y=0, angle=0, mirrored=False, aspect=1, brightness=1,
        contrast=1, saturation=1, tint=np.ones(3, np.float32), blur=0, shadow=None,
        camouflage=0, velocity=np.zeros(2), turning=0, growing=0,
    )
    image = np.full((64, 96, 3), 10, np.float32)
    owners = [np.ones((64, 96), np.float32)]
    paste(image, owners, thing, 60, 20, 25, 1)
    inside, outside = owners[1] > 0.999, owners[1] < 1e-3
    assert np.abs(image[inside] - (200, 40, 90)).max() < 1e-3
    assert np.abs(image[outside] - 10).max() < 1e-3
    rows, columns = np.nonzero(owners[1] > 0.5)
    assert rows.mean() == pytest.approx(20, abs=0.5) and columns.mean() == pytest.approx(60, abs=0.5)
    # A disc of 48/50 of half the size 30.
    assert owners[1].sum() == pytest.approx(math.pi * (30 * 0.48) ** 2, rel=0.03)


@pytest.mark.parametrize("height, width", [(128, 128), (96, 200)])
def test_covey_computes_the_same_keys(height, width, tmp_path, record):
    """The network as trained, in PyTorch, and as the library runs what `covey convert`
    makes of the recipe's checkpoint: at the size of its positions and at another."""
    from export import DEVIATION, MEAN, write_checkpoint
    from network import Backbone

    torch.manual_seed(3)
    backbone = Backbone(channels=128, depth=3, heads=2)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    write_checkpoint(tmp_path / "a.pt", backbone.state_dict(), gain=1.5)
    settings = Settings(working_height=height, working_width=width)
    convert(tmp_path / "a.pt", tmp_path / "a.gguf", settings=settings)
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    image = torch.from_numpy(((picture / 255 - MEAN) / DEVIATION).astype(np.float32))
    with torch.no_grad():
        expected = backbone(image.permute(2, 0, 1)[None])[0].numpy()
    with covey.Model(tmp_path / "a.gguf") as model:
        found = model.encode(picture)
        queries, keys = model.correlate(found)
    found = found.reshape(expected.shape)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected - expected.mean(axis=0))
    record(error=float(error))
    assert error < 5e-6  # fp32 twice
    # The block looks for what is alike: both are sqrt(gain) times the normalised key.
    centred = expected - expected.mean(axis=1, keepdims=True)
    z = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5)
    for tensor in (queries, keys):
        assert np.allclose(tensor.reshape(z.shape), math.sqrt(1.5) * z, atol=1e-4)


def test_objective_is_what_it_says(record):
    from objective import Objective

    rng = np.random.default_rng(5)
    scenes, views, patches, segments, channels, heads = 2, 2, 12, 4, 16, 2
    keys = rng.normal(size=(scenes, views, patches, channels))
    owners = rng.dirichlet(np.full(segments, 0.2), size=(scenes, views, patches))
    owners[0, :, :, 3] = 0  # a segment that this scene has not
    owners /= owners.sum(axis=-1, keepdims=True)
    objective = Objective(heads, queries=10**6, gain=1.3)
    with torch.no_grad():
        found = objective(torch.tensor(keys).float(), torch.tensor(owners).float())
    expected = naive_prototypes(keys, owners), naive_attention(keys, owners, heads, 1.3)
    record(prototypes=expected[0], attention=expected[1])
    # fp32 against float64, and 1e-8 in logarithms.
    assert float(found["prototypes"]) == pytest.approx(expected[0], rel=1e-5)
    assert float(found["attention"]) == pytest.approx(expected[1], rel=1e-5)


def normalised(key):
    return (key - key.mean()) / math.sqrt(key.var() + 1e-5)


def naive_prototypes(keys, owners, sharpness=10.0):
    scenes, views, patches, segments = owners.shape
    total = 0.0
    for other in (0, 1):
        errors, weights = 0.0, 0.0
        for s in range(scenes):
            for v in range(views):
                centres = {}
                for g in range(segments):
                    shares = owners[s, v ^ other, :, g] ** 2
                    if shares.sum() <= 0.8:
                        continue
                    units = [normalised(key) for key in keys[s, v ^ other]]
                    mean = sum(a * u / np.linalg.norm(u) for a, u in zip(shares, units))
                    centres[g] = mean / np.linalg.norm(mean)
                area = np.maximum(owners[s, v].sum(axis=0), 1)
                for n in range(patches):
                    share = {g: owners[s, v, n, g] for g in centres}
                    if sum(share.values()) <= 0.6:
                        continue
                    unit = normalised(keys[s, v, n])
                    unit = unit / np.linalg.norm(unit)
                    scores = {g: sharpness * unit @ centre for g, centre in centres.items()}
                    normaliser = math.log(sum(math.exp(score) for score in scores.values()))
                    error = -sum(share[g] * (scores[g] - normaliser) for g in centres)
                    weight = sum(owners[s, v, n, g] / math.sqrt(area[g]) for g in range(segments))
                    errors += weight * error / sum(share.values())
                    weights += weight
        total += errors / weights
    return total / 2


def naive_attention(keys, owners, heads, gain):
    scenes, views, patches, segments = owners.shape
    channels = keys.shape[-1]
    errors, weights = 0.0, 0.0
    for s in range(scenes):
        z = np.array([normalised(key) for view in keys[s] for key in view])
        owner = owners[s].reshape(-1, segments)
        area = np.maximum(owner.sum(axis=0), 1)
        for i in range(len(z)):
            target = owner @ owner[i]
            target /= target.sum()
            row = np.zeros(len(z))
            for part in np.split(np.arange(channels), heads):
                scores = np.exp(z[:, part] @ z[i, part] * gain / math.sqrt(len(part)))
                row += scores / scores.sum() / heads
            weight = (owner[i] / np.sqrt(area)).sum()
            errors += weight * (target * (np.log(target + 1e-8) - np.log(row + 1e-8))).sum()
            weights += weight
    return errors / weights


def train(material, run, *options, **kinds):
    return subprocess.run(
        [
            sys.executable, TOOLS / "train.py", material, run, "--channels", "64",
            "--depth", "2", "--scenes", "2", "--every", "4", "--warm-up", "2", *options,
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, **kinds,
    )


def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(material, tmp_path):
    whole = train(material, tmp_path / "whole", "--steps", "12", check=True)
    assert "backbone.pt" in whole.stdout
    # Killed once the second checkpoint is there.
    cut = subprocess.Popen(
        [
            sys.executable, TOOLS / "train.py", material, tmp_path / "cut", "--channels", "64",
            "--depth", "2", "--scenes", "2", "--every", "4", "--warm-up", "2", "--steps", "12",
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True,
    )
    for line in cut.stdout:
        if json.loads(line)["step"] == 8:
            break
    cut.kill()
    cut.wait()
    assert not (tmp_path / "cut" / "backbone.pt").exists()
    refused = train(material, tmp_path / "cut", "--steps", "12", "--rate", "1e-4")
    assert refused.returncode != 0 and "other settings" in refused.stderr
    train(material, tmp_path / "cut", "--steps", "12", check=True)
    one, other = (
        torch.load(tmp_path / name / "backbone.pt", weights_only=True)["state_dict"]
        for name in ("whole", "cut")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_training_learns_to_tell_discs_apart(material, tmp_path, record):
    """Sixty steps on scenes of plain discs: both losses of held-out scenes fall
    (observed: 1.70 -> 1.06 and .90 -> .76)."""
    train(material, tmp_path / "run", "--steps", "60", "--every", "5", "--shapes", "0", check=True)
    lines = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    first, last = lines[0], lines[-1]
    for name in ("held_out_prototypes", "held_out_attention"):
        record(**{name: f"{first[name]} -> {last[name]}"})
        assert last[name] < 0.95 * first[name]


def test_composites_are_films_with_truth(material, tmp_path):
    subprocess.run(
        [
            sys.executable, TOOLS / "films.py", material, tmp_path, "--clips", "1",
            "--frames", "3", "--held-out",
        ],
        check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    frames = sorted((tmp_path / "composite000/frames").iterdir())
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in
             sorted((tmp_path / "composite000/masks").iterdir())]
    assert len(frames) == len(masks) == 3
    assert all(mask.shape == (192, 384) and 0 < mask.max() <= 6 for mask in masks)


def test_difficulties_are_pictured(model_path, tmp_path):
    """Every film has the things it is about, and a row of the picture."""
    oracles.load("skimage")
    from failures import difficulties, film

    films = difficulties()
    for title, (ground, things) in films.items():
        _, truth = film(ground, things)
        shown = np.bincount(truth.ravel())
        assert len(shown) == len(things) + 1 and shown.min() > 200, title
    picture = tmp_path / "failures.png"
    subprocess.run([sys.executable, TOOLS / "failures.py", model_path, picture], check=True)
    height, width, _ = cv2.imread(str(picture)).shape
    assert height > width * len(films) / 3 / 2.5


def test_average_is_of_each_weight(make_model, tmp_path):
    """Of two models, through the converter: every weight is the mean of the two."""
    one, other = make_model(seed=1), make_model(seed=2)
    checkpoint, averaged = tmp_path / "averaged.pt", tmp_path / "averaged.gguf"
    subprocess.run(
        [sys.executable, TOOLS / "average.py", one, other, "-o", checkpoint], check=True
    )
    convert(checkpoint, averaged, settings=Settings(working_height=32, working_width=48))
    first, second, mean = (
        {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(path).tensors}
        for path in (one, other, averaged)
    )
    assert first.keys() == mean.keys()
    assert any(not np.array_equal(first[name], second[name]) for name in first)
    for name in mean:
        middle = (first[name].astype(float) + second[name]) / 2
        assert np.array_equal(mean[name], middle.astype(np.float32))
