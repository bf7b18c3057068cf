"""The command, as a user runs it."""

import json
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest
from conftest import moving_square
from PIL import Image

import covey
from covey import images
from covey.cli import height_by_width, size_in_bytes


@pytest.fixture
def run(environment, tmp_path):
    """run(*arguments) is the finished process of ``covey ...``."""

    def run(*arguments, status=0, **variables):
        done = subprocess.run(
            [sys.executable, "-m", "covey", *map(str, arguments)],
            env={**environment, **variables},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == status, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A film of 6 frames, 40 x 60."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    images.write_video(path, moving_square(6), fps=10)
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for index, frame in enumerate(moving_square(3)):
        Image.fromarray(frame).save(folder / f"img{index + 8}.png")
    return folder


def masks(folder):
    return {each.stem: images.read_labels(each) for each in sorted((folder / "masks").iterdir())}


def test_segment_a_film(run, clip, model_path, tmp_path):
    done = run(
        "segment",
        clip,
        "-o",
        "out",
        "--model",
        model_path,
        "--overlay",
        "--sheet",
        "--tau",
        0.05,
        "--min-area",
        -1,
        "--threads",
        2,
    )
    found = masks(tmp_path / "out")
    assert list(found) == [f"{index:05d}" for index in range(6)]
    with covey.Model(model_path) as model:
        expected = model.segment(list(covey.Video(clip)), tau=0.05, min_area=-1)
    np.testing.assert_array_equal(list(found.values()), expected)
    with Image.open(tmp_path / "out" / "masks" / "00000.png") as picture:
        assert picture.mode == "P"
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as container:
        assert container.streams.video[0].frames == 6
        assert container.streams.video[0].average_rate == 10
    with Image.open(tmp_path / "out" / "sheet.png") as picture:
        # Six pairs of 320 x 213 in two columns.
        assert picture.size == (2 * (640 + 8) + 4, 3 * (213 + 4) + 4)
    assert "6 frames" in done.stdout
    assert f"{expected.max()} objects" in done.stdout
    assert "peak memory" in done.stdout
    assert "Traceback" not in done.stderr
    for stage in ("encode", "cluster", "assign", "write"):
        assert stage in done.stderr


def test_segment_pictures_with_json(run, pictures, model_path, tmp_path):
    done = run(
        "segment",
        pictures,
        "-o",
        tmp_path / "out",
        "--json",
        "--clusters",
        "--tau",
        0.05,
        COVEY_MODEL=str(model_path),
    )
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    found = masks(tmp_path / "out")
    assert list(found) == ["img10", "img8", "img9"]
    assert told["frames"] == 3
    assert told["model"] == "random"
    assert told["output"] == {"masks": str(tmp_path / "out" / "masks")}
    assert told["session_peak_bytes"] > 0
    assert told["process_peak_bytes"] > 2**20
    ids = {int(each) for mask in found.values() for each in np.unique(mask)}
    assert ids == set(range(1, told["clusters"] + 1))
    assert {each["id"] for each in told["tracks"]} == ids
    for track in told["tracks"]:
        areas = [int((mask == track["id"]).sum()) for mask in found.values()]
        assert track["frames"] == sum(area > 0 for area in areas)
        assert track["mean_area"] == pytest.approx(sum(areas) / track["frames"])


def test_limits(run, clip, model_path, tmp_path):
    done = run(
        "segment",
        clip,
        "-o",
        "out",
        "--model",
        model_path,
        "--json",
        "--max-frames",
        2,
        "--every",
        3,
        "--working-size",
        "16x24",
        "--memory-limit",
        "500M",
    )
    assert json.loads(done.stdout)["frames"] == 2
    assert list(masks(tmp_path / "out")) == ["00000", "00003"]
    # 2 x 3 patches of a picture of 40 x 60: squares of 20 pixels.
    for mask in masks(tmp_path / "out").values():
        np.testing.assert_array_equal(mask, np.kron(mask[::20, ::20], np.ones((20, 20))))


def test_too_little_memory(run, clip, model_path):
    done = run(
        "segment",
        clip,
        "-o",
        "out",
        "--model",
        model_path,
        "--memory-limit",
        "1K",
        "--json",
        status=1,
    )
    assert done.stdout == ""
    assert done.stderr.startswith("covey: error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["segment", "nothing.mp4", "-o", "out"], "nothing.mp4"),
        (["segment", "empty", "-o", "out"], "no pictures"),
        (["segment", "text.mp4", "-o", "out"], "text.mp4"),
        (["segment", "empty", "-o", "text.mp4"], "text.mp4"),
        (["info", "nothing.gguf"], "nothing.gguf"),
        (["info", "text.mp4"], "text.mp4"),
        (["convert", "nothing.pt", "-o", "a.gguf"], "nothing.pt"),
        (["convert", "text.safetensors", "-o", "a.gguf"], "text.safetensors"),
    ],
)
def test_failures_are_one_line(run, model_path, tmp_path, arguments, says):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("nothing of the kind")
    (tmp_path / "text.safetensors").write_text("nothing of the kind")
    done = run(*arguments, status=1, COVEY_MODEL=str(model_path))
    assert done.stderr.startswith("covey: error: ")
    assert len(done.stderr.splitlines()) == 1
    assert says in done.stderr
    assert not (tmp_path / "a.gguf").exists()


def test_no_library(run, tmp_path):
    done = run("info", "a.gguf", status=1, COVEY_LIBRARY=str(tmp_path / "absent.so"))
    assert "absent.so" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["segment", "a.mp4"],
        ["segment", "a.mp4", "-o", "b", "--every", "0"],
        ["segment", "a.mp4", "-o", "b", "--working-size", "192"],
        ["segment", "a.mp4", "-o", "b", "--memory-limit", "lots"],
        ["convert", "a.pt", "-o", "b", "--dtype", "f64"],
        ["convert", "a.pt", "-o", "b", "--mean", "1,2"],
    ],
)
def test_wrong_usage(run, arguments):
    assert "usage: covey" in run(*arguments, status=2).stderr


def test_info(run, model_path):
    text = run("info", model_path).stdout
    assert "random" in text
    assert "covey.vit.patch_size" in text
    told = json.loads(run("info", model_path, "--json").stdout)
    assert told["embed_dim"] == 48
    assert told["dtype"] == "f32"
    assert told["metadata"]["covey.vit.embed_dim"] == "48"


def test_convert(run, make_checkpoint, tmp_path):
    arguments = [
        "convert",
        make_checkpoint(),
        "-o",
        "a.gguf",
        "--heads",
        2,
        "--name",
        "mine",
        "--licence",
        "CC0-1.0",
        "--provenance",
        "random numbers",
        "--tau",
        0.5,
        "--key-pool",
        2,
        "--working-size",
        "32x48",
        "--dtype",
        "f16",
        "--drop-unused",
    ]
    told = json.loads(run(*arguments, "--json").stdout)
    assert told["name"] == "mine"
    assert told["dtype"] == "f16"
    assert len(told["dropped"]) == 18
    assert "left out: " in run(*arguments).stdout
    with covey.Model(tmp_path / "a.gguf") as model:
        assert model.info.tau == 0.5
        assert model.info.key_pool == 2
        assert (model.info.working_height, model.info.working_width) == (32, 48)
        assert model.metadata["general.license"] == "CC0-1.0"
        assert model.metadata["covey.provenance"] == "random numbers"


def test_interrupted(environment, make_model, clip, tmp_path):
    slow = make_model(
        {"heads": 2, "correlator_heads": 2, "working_height": 1024, "working_width": 2048},
        patch=8,
        dim=96,
        depth=12,
        grid=8,
    )
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "covey",
            "segment",
            clip,
            "-o",
            tmp_path / "out",
            "--model",
            slow,
            "--json",
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert errors == "covey: interrupted\n"
    assert output == ""


def test_sizes():
    assert size_in_bytes("500M") == 500 * 2**20
    assert size_in_bytes("1.5 GiB") == 3 * 2**29
    assert size_in_bytes("2kb") == 2048
    assert size_in_bytes("77") == 77
    assert height_by_width("192x384") == (192, 384)
