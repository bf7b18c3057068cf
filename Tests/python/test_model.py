"""Loading, describing and saving models; what is computed with them."""

import dataclasses
import gc
import mmap
import os
import threading

import numpy as np
import pytest

import covey
from covey.mirror.options import Options


def test_info(model_path):
    with covey.Model(model_path) as model:
        info = model.info
    assert dataclasses.asdict(info) == {
        "dtype": covey.Dtype.F32,
        "patch_size": 8,
        "embed_dim": 48,
        "depth": 2,
        "heads": 2,
        "position_grid": 4,
        "correlator_heads": 3,
        "has_cls_saliency": False,
        "working_height": 32,
        "working_width": 48,
        "window": 3,
        "key_stride": 2,
        "key_pool": 1,
        "tau": 1.0,
        "reference_tau": 1.0,
        # CLS and 1 + 16 positions, 3 * 64 weights and a bias of the patch
        # embedding, two blocks of 12 C^2 + 13 C, the final norm, a block
        # without the bias of qkv.
        "parameter_count": 48 * (18 + 193) + 2 * (12 * 48**2 + 13 * 48) + 96 + 12 * 48**2 + 10 * 48,
        "weight_bytes": 4 * info.parameter_count,
        "name": "random",
    }


def test_metadata(model):
    assert model.metadata["general.architecture"] == "covey"
    assert model.metadata["covey.vit.embed_dim"] == "48"
    assert model.metadata["covey.input.mean"] == "[0.485, 0.456, 0.406]"
    assert "covey.checksum.crc32" in model.metadata


@pytest.mark.parametrize("read_into_memory", [False, True])
def test_sources(model_path, read_into_memory, video):
    data = model_path.read_bytes()
    with covey.Model(model_path) as model:
        expected = model.encode(video[0])
    with open(model_path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for source in (
        model_path,
        str(model_path),
        data,
        bytearray(data),
        memoryview(data),
        np.frombuffer(data, np.uint8),
        mapped,
    ):
        with covey.Model(source, read_into_memory=read_into_memory) as model:
            np.testing.assert_array_equal(model.encode(video[0]), expected)


def test_a_buffer_lives_as_long_as_model_and_sessions(model_path, video):
    data = bytearray(model_path.read_bytes())
    model = covey.Model(data)
    session = model.session()
    with pytest.raises(BufferError):
        data.clear()
    model.close()
    del model
    gc.collect()
    # The session computes with these bytes.
    with pytest.raises(BufferError):
        data.clear()
    session.push(video[0])
    session.close()
    del session
    gc.collect()
    data.clear()


def test_no_file(tmp_path):
    with pytest.raises(covey.FileError, match="nothing") as caught:
        covey.Model(tmp_path / "nothing.gguf")
    assert isinstance(caught.value, OSError)
    assert caught.value.status is covey.Status.ERROR_IO


def test_damaged_files(model_path):
    data = model_path.read_bytes()
    for damaged in (b"", b"GGUF", b"not a weight file at all", data[: len(data) // 2]):
        with pytest.raises(covey.FormatError) as caught:
            covey.Model(damaged)
        assert isinstance(caught.value, ValueError)
    flipped = bytearray(data)
    flipped[-100] ^= 1
    with pytest.raises(covey.FormatError, match=r"(?i)crc|checksum"):
        covey.Model(flipped)
    covey.Model(flipped, skip_checksum=True).close()


@pytest.mark.parametrize("source", [12, 3.5, ["a"]])
def test_sources_of_the_wrong_kind(source):
    with pytest.raises(TypeError):
        covey.Model(source)


def test_save(model, model_path, tmp_path, video):
    keys = model.encode(video[0])
    model.save(tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == model_path.read_bytes()
    model.save(tmp_path / "half.gguf", "f16")
    with covey.Model(tmp_path / "half.gguf") as half:
        assert half.info.dtype is covey.Dtype.F16
        assert half.info.weight_bytes < model.info.weight_bytes
        assert half.metadata["general.file_type"] == "1"
        # Half floats have 11 bits: weights are off by 2^-12, and here two
        # blocks' errors add up to less than 32 times that (observed: 3e-4 of
        # keys of size 1).
        error = np.abs(half.encode(video[0]) - keys).max() / np.abs(keys).max()
        assert 0 < error < 2**-7
    with pytest.raises(covey.FileError):
        model.save(tmp_path / "no" / "such" / "folder.gguf")
    with pytest.raises(ValueError, match="'f16'"):
        model.save(tmp_path / "x.gguf", "f64")
    assert sorted(os.listdir(tmp_path)) == ["again.gguf", "half.gguf"]


def test_tensors(model, model_path):
    import gguf

    found = {each.name: each for each in gguf.GGUFReader(model_path).tensors}
    assert [each.name for each in model.tensors] == list(found)
    for each in model.tensors:
        assert each.dtype is covey.Dtype.F32
        assert each.shape == tuple(int(size) for size in found[each.name].shape[::-1])
        assert each.bytes == 4 * np.prod(each.shape)
        assert each.quantization_error is None
    assert sum(each.bytes for each in model.tensors) == model.info.weight_bytes


def test_use_after_close(model_path, video):
    model = covey.Model(model_path)
    session = model.session()
    model.close()
    model.close()
    assert model.closed
    for use in (
        lambda: model.info,
        lambda: model.metadata,
        lambda: model.tensors,
        lambda: model.save("never.gguf"),
        lambda: model.session(),
        lambda: model.segment(video),
        lambda: model.encode(video[0]),
        lambda: model.correlate(np.zeros((1, 48))),
        lambda: model.estimate_memory(10, 10, 1),
        lambda: model.__enter__(),
    ):
        with pytest.raises(ValueError, match="closed"):
            use()
    session.push(video[0])
    session.finish()
    assert len(list(session)) == 1


def test_closing_while_another_thread_computes(model_path, video):
    model = covey.Model(model_path)
    reached = threading.Event()
    go_on = threading.Event()
    outcome = []

    def progress(stage, fraction):
        reached.set()
        go_on.wait(10)

    def compute():
        outcome.append(model.segment(video, progress=progress, threads=1))

    thread = threading.Thread(target=compute)
    thread.start()
    assert reached.wait(10)
    model.close()
    with pytest.raises(ValueError, match="closed"):
        model.encode(video[0])
    go_on.set()
    thread.join(30)
    assert outcome[0].shape == video.shape[:3]


def test_segment(model, video):
    labels = model.segment(video)
    assert labels.dtype == np.uint16
    assert labels.shape == video.shape[:3]
    np.testing.assert_array_equal(model.segment(list(video)), labels)
    np.testing.assert_array_equal(model.segment(iter(video), threads=3), labels)
    with model.session() as session:
        np.testing.assert_array_equal([each.labels for each in session.segment(video)], labels)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("format", [None, "rgb"])
def test_one_frame_is_no_video(model, channels, format):
    pixels = np.random.default_rng(1).integers(0, 256, (9, 30, channels), np.uint8)
    with pytest.raises(ValueError, match=r'one frame.*frames\[None\].*"gray"'):
        model.segment(pixels, format)
    with model.session() as session, pytest.raises(ValueError, match="one frame"):
        list(session.segment(pixels, format))


def test_gray_frames_three_pixels_wide(model):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 30, 3), np.uint8)
    labels = model.segment(pixels, "gray")
    assert labels.shape == (2, 30, 3)
    np.testing.assert_array_equal(model.segment(list(pixels)), labels)
    # Other widths are no colours.
    assert model.segment(np.zeros((2, 30, 5), np.uint8)).shape == (2, 30, 5)


def test_clusters_are_all_there_is(model, video):
    labels = model.segment(video, output="clusters", tau=0.01)
    assert labels.min() == 1
    assert labels.max() > 1


def test_segment_refuses(model, video):
    with pytest.raises(ValueError, match="at least one"):
        model.segment([])
    with pytest.raises(covey.ArgumentError):
        model.segment([video[0], video[0][:20]])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"taw": 1.0}, TypeError, "tau"),
        ({"threads": 1.5}, TypeError, "threads"),
        ({"threads": "2"}, TypeError, "threads"),
        ({"threads": 2**40}, ValueError, "32 bits"),
        ({"threads": -1}, covey.ArgumentError, "threads"),
        ({"tau": float("nan")}, covey.ArgumentError, "tau"),
        ({"tau": "much"}, ValueError, "much"),
        ({"output": "things"}, ValueError, "'objects'"),
        ({"key_rounding": 7}, ValueError, "'ceil'"),
        ({"progress": 5}, TypeError, "callable"),
        ({"working_height": 30}, covey.ArgumentError, "30"),
    ],
)
def test_options_refused(model, options, error, says):
    with pytest.raises(error) as caught:
        model.session(**options)
    assert says in str(caught.value)


def test_options_of_nothing_are_the_defaults(model, video):
    unset = dict.fromkeys(Options.__annotations__)
    np.testing.assert_array_equal(model.segment(video, **unset), model.segment(video))


def test_memory(model, video):
    height, width = video.shape[1:3]
    estimate = model.estimate_memory(width, height, len(video), threads=2, keep_shots=True)
    assert estimate.current == 0
    assert estimate.peak == estimate.features + estimate.workspace
    # Queries of 5 frames and keys of every second one: float [4, 6, 48] each.
    # Of every frame, the bytes of its colours at the working size too; of all but the
    # first five floats of motion for every patch; of the last its brightness.
    brightness = 32 * 48
    assert estimate.features == (
        (5 + 3) * 4 * 6 * 48 * 4 + 5 * 3 * 32 * 48 + 4 * 4 * 6 * 5 * 4 + brightness
    )
    with model.session(threads=2, keep_shots=True) as session:
        for frame in video:
            session.push(frame)
        assert session.memory.features == estimate.features
        session.finish()
        # Another cut of the tree would need them, but for the last.
        assert session.memory.features == estimate.features - brightness
        assert 0 < session.memory.current <= session.memory.peak <= estimate.peak
        session.reset()
        assert session.memory.features == 0
    with pytest.raises(covey.OutOfMemoryError) as caught:
        model.segment(video, memory_limit=estimate.peak // 10)
    assert isinstance(caught.value, MemoryError)


def test_encode(model, video):
    keys = model.encode(video[0])
    assert keys.shape == (4, 6, 48)
    assert keys.dtype == np.float32
    assert model.encode(video[0], working_height=16, working_width=16).shape == (2, 2, 48)
    with pytest.raises(covey.UnsupportedError) as caught:
        model.encode(video[0], saliency=True)
    assert isinstance(caught.value, NotImplementedError)


def test_saliency(make_model, video):
    with covey.Model(make_model({"cls_saliency": True})) as model:
        keys, saliency = model.encode(video[0], saliency=True)
        np.testing.assert_array_equal(keys, model.encode(video[0]))
    assert saliency.shape == (4, 6)
    # Attention without what the CLS token pays to itself.
    assert (saliency > 0).all()
    assert saliency.sum() < 1


def test_correlate(model_path, model, video):
    import gguf

    features = model.encode(video[0])
    queries, keys = model.correlate(features)
    tensors = {
        each.name: np.asarray(each.data, np.float64) for each in gguf.GGUFReader(model_path).tensors
    }
    x = features.astype(np.float64)
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x = x * tensors["correlator.norm1.weight"] + tensors["correlator.norm1.bias"]
    both = x @ tensors["correlator.attn.qkv.weight"][:96].T
    # Sums of 48 products in single precision: 48 roundings of 2^-24 each.
    bound = 48 * 2**-24 * np.abs(both).max() * 4
    np.testing.assert_allclose(queries, both[..., :48], atol=bound, rtol=0)
    np.testing.assert_allclose(keys, both[..., 48:], atol=bound, rtol=0)
    with pytest.raises(ValueError, match="48"):
        model.correlate(np.zeros((3, 47)))


def test_cluster():
    # Three directions: each query attends to the keys of its own kind only.
    kinds = np.array([[0, 1, 1, 2, 0], [0, 1, 2, 2, 0]])
    directions = 40 * np.eye(3, 4, dtype=np.float32)
    by_reference = {"heads": 1, "mode": "reference"}
    found = covey.cluster(directions[kinds], directions, **by_reference)
    assert found.count == 3
    # In the order of the centres, which is that of the first queries.
    np.testing.assert_array_equal(found.labels, kinds)
    assert found.labels.dtype == np.int32
    assert found.confidence.shape == kinds.shape
    assert (found.confidence > 0.9).all()
    assert covey.cluster(directions[kinds], directions, **by_reference, tau=1000).count == 1
    grid = covey.cluster(directions[kinds].reshape(2, 1, 5, 4), directions, heads=2)
    assert grid.labels.shape == (2, 1, 5)
    # Edge mode smooths distances between neighbours, so kinds lie together here; and it
    # averages queries over blocks that it must know the place of.
    kinds = np.repeat(np.repeat([[0, 1], [2, 0]], 8, axis=0), 8, axis=1)[None]
    found = covey.cluster(directions[kinds], directions, heads=1)
    assert found.count == 3
    np.testing.assert_array_equal(found.labels, kinds)
    with pytest.raises(covey.ArgumentError, match="rows"):
        covey.cluster(directions[kinds].reshape(1, 256, 4), directions, heads=1)


def test_cluster_refuses():
    q = np.zeros((1, 4, 6), np.float32)
    with pytest.raises(ValueError, match="queries"):
        covey.cluster(q[0], q[0], heads=1)
    with pytest.raises(ValueError, match="keys"):
        covey.cluster(q, q[..., :3], heads=1)
    with pytest.raises(covey.ArgumentError, match="heads"):
        covey.cluster(q, q[0], heads=4, mode="reference")
    with pytest.raises(covey.ArgumentError):
        covey.cluster(np.full_like(q, np.nan), q[0], heads=1, mode="reference")


def test_one_model_on_many_threads(model, video):
    expected = model.segment(video)
    outcomes = []

    def compute():
        outcomes.append(model.segment(video, threads=1))

    threads = [threading.Thread(target=compute) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 4
    for outcome in outcomes:
        np.testing.assert_array_equal(outcome, expected)


def test_log(model_path):
    heard = []
    covey.set_log(lambda level, message: heard.append((level, message)), "debug")
    try:
        covey.Model(model_path).close()
        with pytest.raises(covey.FormatError):
            covey.Model(b"nothing")
    finally:
        covey.set_log(None)
    before = len(heard)
    covey.Model(model_path).close()
    assert len(heard) == before
    for level, message in heard:
        assert isinstance(level, covey.LogLevel)
        assert isinstance(message, str)
        assert message
    with pytest.raises(TypeError):
        covey.set_log(5)


def test_library_facts():
    assert covey.version()[0] == 0
    assert "covey" in covey.build_info()


def test_errors_survive_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(covey.FormatError("odd")))
    assert isinstance(error, covey.FormatError)
    assert (str(error), error.status) == ("odd", covey.Status.ERROR_FORMAT)
