"""Checkpoints of all sorts to weight files, read by a reader of others."""

import os
import pickle

import gguf
import numpy as np
import oracles
import pytest
from conftest import random_state
from safetensors.numpy import save_file

from covey import Model
from covey.checkpoints.checkpoint import (
    CheckpointError,
    Geometry,
    read_state,
    understand,
    with_block,
)
from covey.checkpoints.convert import Settings, convert, settle, write_gguf
from covey.commands.main import main


def field(reader, key):
    return reader.fields[key].contents()


def spelled(state, form):
    """The same tensors under the names of other training codes."""
    if form == "plain":
        return dict(state)
    block = "temporal_transformer."
    named = {
        name if name.startswith(block) else f"encoder.{name}": each for name, each in state.items()
    }
    if form == "parallel":
        named = {f"module.{name}": each for name, each in named.items()}
    return named


@pytest.mark.parametrize("form", ["plain", "encoder", "parallel"])
def test_tensors_arrive_unchanged(tmp_path, form):
    state = random_state(patch=4, dim=24, depth=3, grid=5, mlp=40)
    save_file(spelled(state, form), tmp_path / "a.safetensors")
    done = convert(
        tmp_path / "a.safetensors",
        tmp_path / "a.gguf",
        settings=Settings(heads=3, correlator_heads=4, working_height=16, working_width=20),
    )
    assert done.dropped == []
    assert done.tensors == len(state)
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    found = {each.name: each for each in reader.tensors}
    assert len(found) == len(state)
    for name, array in state.items():
        renamed = (
            name.replace("temporal_transformer.0.", "correlator.")
            if name.startswith("temporal")
            else f"encoder.{name}"
        )
        data = np.asarray(found[renamed].data)
        np.testing.assert_array_equal(data, array.reshape(data.shape))
    for key, value in {
        "general.architecture": "covey",
        "general.name": "a",
        "general.alignment": 64,
        "general.file_type": 0,
        "covey.format_version": 1,
        "covey.vit.patch_size": 4,
        "covey.vit.embed_dim": 24,
        "covey.vit.depth": 3,
        "covey.vit.heads": 3,
        "covey.vit.mlp_dim": 40,
        "covey.vit.position_grid": 5,
        "covey.vit.cls_saliency": False,
        "covey.correlator.heads": 4,
        "covey.input.height": 16,
        "covey.input.width": 20,
        "covey.clustering.tau": 1.0,
        "covey.clustering.window": 3,
        "covey.clustering.key_stride": 10,
        "covey.clustering.key_pool": 4,
    }.items():
        assert field(reader, key) == value, key
    np.testing.assert_allclose(field(reader, "covey.input.mean"), [0.485, 0.456, 0.406])
    np.testing.assert_allclose(field(reader, "covey.vit.layer_norm_eps"), 1e-6)
    np.testing.assert_allclose(field(reader, "covey.correlator.layer_norm_eps"), 1e-5)


@pytest.mark.parametrize("form", ["plain", "parallel"])
def test_of_several_blocks_the_first_is_taken(tmp_path, form, capsys):
    state = random_state()
    further = {
        name.replace("temporal_transformer.0.", f"temporal_transformer.{index}."): array + index
        for name, array in state.items()
        if name.startswith("temporal_transformer.0.")
        for index in (1, 2)
    }
    save_file(spelled(state, form), tmp_path / "one.safetensors")
    save_file(spelled({**state, **further}, form), tmp_path / "three.safetensors")
    for name in ("one", "three"):
        convert(tmp_path / f"{name}.safetensors", tmp_path / f"{name}.gguf")
    one, three = (gguf.GGUFReader(tmp_path / f"{name}.gguf") for name in ("one", "three"))
    for ours, theirs in zip(three.tensors, one.tensors, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.data, theirs.data)
    assert "the first of 3 spatio-temporal blocks" in field(three, "covey.provenance")
    for name, says in (("one", False), ("three", True)):
        path = tmp_path / f"{name}.safetensors"
        assert main(["convert", str(path), "-o", str(tmp_path / "b.gguf")]) == 0
        said = "3 spatio-temporal blocks in it: the first is taken" in capsys.readouterr().out
        assert said == says


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", None])
def test_pytorch_files(tmp_path, wrapper):
    torch = oracles.load("torch")
    state = {name: torch.from_numpy(each) for name, each in random_state(dim=48).items()}
    config = {"heads": 3, "temporal_heads": 2, "mean": [0.5, 0.4, 0.3], "ratio": 7, "name": "own"}
    whole = state if wrapper is None else {wrapper: state, "config": config, "step": 5}
    torch.save(whole, tmp_path / "a.pt")
    convert(
        tmp_path / "a.pt",
        tmp_path / "a.gguf",
        settings=Settings(heads=2 if wrapper is None else None, window=5),
    )
    reader = gguf.GGUFReader(tmp_path / "a.gguf")
    np.testing.assert_array_equal(
        np.asarray(next(e for e in reader.tensors if e.name == "encoder.norm.bias").data),
        state["norm.bias"].numpy(),
    )
    if wrapper is None:
        assert field(reader, "covey.vit.heads") == 2
        assert field(reader, "covey.correlator.heads") == 1
    else:
        assert field(reader, "general.name") == "own"
        assert field(reader, "covey.vit.heads") == 3
        assert field(reader, "covey.correlator.heads") == 2
        assert field(reader, "covey.clustering.key_stride") == 7
        np.testing.assert_allclose(field(reader, "covey.input.mean"), [0.5, 0.4, 0.3])
    assert field(reader, "covey.clustering.window") == 5


class Malicious:
    def __reduce__(self):
        return (print, ("run",))


def test_pytorch_files_run_no_code(tmp_path, capsys):
    torch = oracles.load("torch")
    torch.save({"state_dict": Malicious()}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match="bad"):
        read_state(tmp_path / "bad.pt")
    assert "run" not in capsys.readouterr().out
    (tmp_path / "text.pt").write_text("nothing of the kind")
    with pytest.raises(CheckpointError, match="text"):
        read_state(tmp_path / "text.pt")


def test_damaged_pytorch_files(tmp_path):
    torch = oracles.load("torch")
    torch.save({"norm.bias": torch.zeros(48)}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    old = pickle.dumps({"norm.bias": [1.0] * 48}, 2)
    random = np.random.default_rng(0)
    path = tmp_path / "a.pt"
    for source in (whole, old):
        for turn in range(120):
            data = np.frombuffer(source, np.uint8).copy()
            data[random.integers(0, min(len(data), 400), 4)] = random.integers(0, 256, 4)
            cut = len(data) if turn % 2 else random.integers(len(data))
            path.write_bytes(data[:cut].tobytes())
            try:
                read_state(path)
            except CheckpointError as error:
                assert str(error).startswith(f"{path}: ")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float64"])
def test_tensors_of_other_kinds(tmp_path, suffix, kind):
    torch = oracles.load("torch")
    from safetensors.torch import save_file as save_torch

    state = random_state()
    rounded = {name: torch.from_numpy(each).to(getattr(torch, kind))
               for name, each in state.items()}
    path = tmp_path / f"a.{suffix}"
    (torch.save if suffix == "pt" else save_torch)(rounded, path)
    found = read_state(path)
    assert list(found.tensors) == (list(state) if suffix == "pt" else sorted(state))
    understood = understand(found).tensors
    for name, each in rounded.items():
        renamed = name.replace("temporal_transformer.0.", "correlator.")
        renamed = renamed if renamed != name else f"encoder.{name}"
        array = understood[renamed]
        assert array.dtype == np.float32 and array.flags.c_contiguous
        np.testing.assert_array_equal(array.ravel(), each.float().numpy().ravel())


def test_views_are_what_they_show(tmp_path):
    torch = oracles.load("torch")
    state = {name: torch.from_numpy(each) for name, each in random_state().items()}
    name = "blocks.0.attn.qkv.weight"
    shown = state[name].clone()
    large = torch.zeros(2 * shown.shape[1], shown.shape[0])
    large[1::2] = shown.T
    state[name] = large[1::2].T
    torch.save(state, tmp_path / "a.pt")
    found = understand(read_state(tmp_path / "a.pt")).tensors[f"encoder.{name}"]
    np.testing.assert_array_equal(found, shown.numpy())


@pytest.mark.parametrize("make, message", [
    (lambda torch: torch.zeros(48, dtype=torch.int64), "norm.bias: expected floating .* int64"),
    (lambda torch: torch.zeros(48, dtype=torch.complex64), "norm.bias: .* found complex64"),
    (lambda torch: torch.zeros(48).to_sparse(), "norm.bias: expected a dense tensor"),
    (lambda torch: torch.zeros(48, device="meta"), "norm.bias: expected a dense tensor"),
], ids=["integers", "complex", "sparse", "meta"])
def test_tensors_that_are_no_numbers(tmp_path, make, message):
    torch = oracles.load("torch")
    state = {name: torch.from_numpy(each) for name, each in random_state().items()}
    torch.save({**state, "norm.bias": make(torch)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message):
        understand(read_state(tmp_path / "a.pt"))


@pytest.mark.parametrize("given", ["file", "link", "folder", "block"])
def test_what_is_read_is_not_written_over(tmp_path, given):
    source = tmp_path / "model.safetensors"
    save_file(random_state(), source)
    before = source.read_bytes()
    output = source
    if given == "link":
        output = tmp_path / "b.gguf"
        output.symlink_to(source)
    other = tmp_path / "other.safetensors"
    save_file(random_state(), other)
    with pytest.raises(CheckpointError, match=f"{output.name}: is read, and would be overwritten"):
        convert(tmp_path if given == "folder" else other if given == "block" else source, output,
                block=source if given == "block" else None)
    assert source.read_bytes() == before


def test_a_name_that_is_no_text(tmp_path):
    path = tmp_path / os.fsdecode(b"a\xffb.safetensors")
    try:
        path.touch()
    except OSError:
        pytest.skip("this file system has names of text only")
    save_file(random_state(), path)
    assert convert(path, tmp_path / "a.gguf").info.name == "a\\udcffb"


def test_without_pytorch(tmp_path, monkeypatch):
    import sys

    (tmp_path / "a.pt").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install torch gguf"):
        read_state(tmp_path / "a.pt")


def test_unreadable_safetensors(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="safetensors"):
        read_state(tmp_path / "a.safetensors")
    with pytest.raises(FileNotFoundError):
        read_state(tmp_path / "b.safetensors")


def test_drop_unused_gives_the_same_features(tmp_path, make_checkpoint, video):
    settings = Settings(heads=2, correlator_heads=3, working_height=32, working_width=48)
    whole = convert(make_checkpoint(), tmp_path / "whole.gguf", settings=settings)
    dropped = convert(
        make_checkpoint(), tmp_path / "small.gguf", settings=settings, drop_unused=True
    )
    # Of the last block and of the spatio-temporal block 8 each, 2 of the norm.
    assert len(dropped.dropped) == 18
    assert dropped.tensors == whole.tensors - 18
    assert dropped.info.parameter_count < whole.info.parameter_count
    with Model(tmp_path / "whole.gguf") as a, Model(tmp_path / "small.gguf") as b:
        np.testing.assert_array_equal(a.encode(video[0]), b.encode(video[0]))
        np.testing.assert_array_equal(a.segment(video), b.segment(video))


def test_half_precision(tmp_path, make_checkpoint):
    convert(make_checkpoint(), tmp_path / "half.gguf", "f16", Settings(heads=2))
    kinds = {
        each.name: each.tensor_type.name for each in gguf.GGUFReader(tmp_path / "half.gguf").tensors
    }
    assert {name for name, kind in kinds.items() if kind == "F16"} == {
        name
        for name in kinds
        if name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight"))
        and "patch_embed" not in name
    }


def test_int8(tmp_path, make_checkpoint):
    done = convert(make_checkpoint(), tmp_path / "int8.gguf", "q8", Settings(heads=2))
    convert(make_checkpoint(), tmp_path / "plain.gguf", "f32", Settings(heads=2))
    assert done.info.dtype.name == "Q8"
    with Model(tmp_path / "plain.gguf") as model:
        model.save(tmp_path / "later.gguf", "q8")
    # At once, or in two steps.
    assert (tmp_path / "later.gguf").read_bytes() == (tmp_path / "int8.gguf").read_bytes()


def test_missing_and_left_over_are_all_named():
    state = random_state()
    del state["blocks.0.norm2.bias"], state["temporal_transformer.0.norm1.weight"]
    state["head.weight"] = np.zeros((3, 3), np.float32)
    state["blocks.1.ls1.gamma"] = np.zeros(48, np.float32)
    with pytest.raises(CheckpointError) as caught:
        understand(state)
    for name in (
        "missing: encoder.blocks.0.norm2.bias, correlator.norm1.weight;",
        "cannot be represented:",
        "head.weight",
        "encoder.blocks.1.ls1.gamma",
    ):
        assert name in str(caught.value)


def test_ignored_tensors():
    state = random_state()
    state["head.weight"] = np.zeros((3, 3), np.float32)
    assert understand(state, ignore=("head.",)).dropped == ["head.weight"]


def test_missing_what_is_never_run_is_fine():
    state = {
        name: each
        for name, each in random_state().items()
        if not name.startswith(("norm.", "blocks.1.mlp", "blocks.1.proj"))
    }
    assert set(understand(state).tensors) == {
        name.replace("temporal_transformer.0.", "correlator.")
        if name.startswith("temporal")
        else f"encoder.{name}"
        for name in state
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("pos_embed"), "encoder.pos_embed"),
        (
            lambda s: s.update(pos_embed=np.zeros((2, 17, 48), np.float32)),
            "encoder.pos_embed: expected 17x48, found 2x17x48",
        ),
        (lambda s: s.update(pos_embed=s["pos_embed"][:, :16]), "1 + G * G"),
        (
            lambda s: s.update({"patch_embed.proj.weight": np.zeros((48, 1, 8, 8), np.float32)}),
            "48x3xPxP",
        ),
        (
            lambda s: s.update({"norm.bias": np.zeros(47, np.float32)}),
            "encoder.norm.bias: expected 48, found 47",
        ),
        (
            lambda s: s.update({"blocks.0.attn.qkv.weight": np.zeros((48, 144), np.float32)}),
            "expected 144x48, found 48x144",
        ),
        (lambda s: s.update({"norm.bias": np.full(48, np.nan, np.float32)}), "not finite"),
        (lambda s: s.update({"norm.bias": np.zeros(48, np.int64)}), "int64"),
        (lambda s: s.update({"blocks.3.norm1.weight": np.ones(48, np.float32)}), "[0, 1, 3]"),
        (
            lambda s: s.update({"temporal_transformer.0.attn.qkv.bias": np.zeros(144, np.float32)}),
            "correlator.attn.qkv.bias",
        ),
        (lambda s: s.update({"encoder.norm.bias": np.zeros(48, np.float32)}), "two tensors"),
        (lambda s: s.clear(), "missing"),
    ],
)
def test_refused(change, says):
    state = random_state()
    change(state)
    with pytest.raises(CheckpointError) as caught:
        understand(state)
    assert says in str(caught.value)


def geometry_of(channels, patch=8):
    found = understand(random_state(dim=48))
    found.geometry = Geometry(channels, 2, patch, 4, 4 * channels)
    return found


@pytest.mark.parametrize(
    ("channels", "patch", "heads", "correlator_heads", "size"),
    [
        (192, 8, 3, 4, (192, 384)),
        (384, 8, 6, 8, (320, 480)),
        (768, 16, 12, 16, (320, 480)),
        (384, 14, 6, 8, (322, 476)),
    ],
)
def test_what_shapes_tell(channels, patch, heads, correlator_heads, size):
    metadata = settle(geometry_of(channels, patch), Settings(), "a.pt")
    assert metadata["covey.vit.heads"] == heads
    assert metadata["covey.correlator.heads"] == correlator_heads
    assert (metadata["covey.input.height"], metadata["covey.input.width"]) == size


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (Settings(heads=5), "heads"),
        (Settings(correlator_heads=5), "correlator heads"),
        (Settings(working_height=30, working_width=64), "multiples"),
        (Settings(std=(0.1, 0.0, 0.1)), "std"),
        (Settings(mean=(0.1, 0.2)), "mean"),
    ],
)
def test_settings_refused(settings, says):
    with pytest.raises(CheckpointError, match=says):
        settle(geometry_of(192), settings, "a.pt")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"heads": float("inf")}, "config heads: expected int, found inf"),
        ({"heads": 2.7}, "config heads: expected int, found 2.7"),
        ({"cls_saliency": "False"}, "config cls_saliency: expected bool, found 'False'"),
        ({"name": ["a"]}, "config name: expected str, found "),
        ({"tau": "small"}, "config tau: expected float, found 'small'"),
        ({"tuned_hw": [float("inf"), 3]}, "config tuned_hw: expected two integers"),
    ],
)
def test_configs_refused(config, says):
    found = geometry_of(192)
    found.config.update(config)
    with pytest.raises(CheckpointError, match=says):
        settle(found, Settings(), "a.pt")


def test_of_another_checkpoint_only_the_block_is_believed():
    found, other = understand(random_state(dim=48)), understand(random_state(dim=48))
    found.config.update(heads=3, temporal_heads=1)
    other.config.update(heads=2, temporal_heads=4, cls_saliency=True, mean=[0.1, 0.2, 0.3])
    assert with_block(found, other).config == {**found.config, "temporal_heads": 4}


def test_unknown_number_of_correlator_heads():
    with pytest.raises(CheckpointError, match="correlator heads"):
        settle(geometry_of(64), Settings(), "a.pt")


def test_the_library_has_the_last_word(tmp_path, make_checkpoint):
    # What convert() does not check itself: nothing may be left behind.
    with pytest.raises(CheckpointError, match=r"^covey\.clustering\.tau: expected more than 0"):
        convert(make_checkpoint(), tmp_path / "a.gguf", settings=Settings(heads=2, tau=-1.0))
    assert list(tmp_path.iterdir()) == []


def test_gguf_without_checksum_is_read(tmp_path):
    found = understand(random_state())
    write_gguf(tmp_path / "raw.gguf", found, settle(found, Settings(heads=2), "a.pt"))
    with Model(tmp_path / "raw.gguf") as model:
        assert "covey.checksum.crc32" not in model.metadata
