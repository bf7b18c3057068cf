"""The command, as a user runs it."""

import errno
import json
import os
import re
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
from covey.arguments.values import height_by_width, size_in_bytes
from covey.commands.main import main
from covey.segmenting.output import Output
from covey.system.display import Display, duration
from covey.writing import images


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
    count = expected.max()
    assert f", {count} object{'' if count == 1 else 's'}, " in done.stdout
    assert "peak memory" in done.stdout
    assert "Traceback" not in done.stderr
    assert done.stdout.splitlines()[-1] == "look first at out/overlay.mp4"
    # Of the clustering, which took no time, there is no line.
    assert [line.split()[0] for line in done.stderr.splitlines()] == ["encode", "write"]


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
        "--mask",
        "nearest",
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


@pytest.mark.parametrize("what", ["film", "pictures"])
def test_stream(what, run, clip, pictures, model_path, tmp_path):
    """The same masks as a session that streams; overlay and sheet beside them."""
    source = clip if what == "film" else pictures
    done = run(
        "segment", source, "-o", "out", "--model", model_path, "--stream", "--clusters",
        "--overlay", "--sheet", "--json", "--tau", 0.05, "--query-pool", 1, "--window", 2,
        "--key-budget", 3, "--bank-clusters", 9, "--max-clusters", 50,
    )  # fmt: skip
    told = json.loads(done.stdout)
    found = masks(tmp_path / "out")
    frames = list(covey.Video(source))
    with covey.Model(model_path) as model, model.session(
        streaming=True, output="clusters", tau=0.05, query_pool=1, window=2, key_budget=3,
        bank_clusters=9, max_clusters=50,
    ) as session:
        expected = [each.labels for each in session.segment(frames)]
    if what == "pictures":  # img8, img9, img10; masks() goes by the letters
        expected = expected[2:] + expected[:2]
    np.testing.assert_array_equal(list(found.values()), expected)
    assert told["frames"] == len(frames)
    assert (told["mode"], told["streaming"]) == ("edge", True)
    assert told["clustering"] == {
        "tau": pytest.approx(0.05), "window": 2, "key_stride": 2, "key_pool": 1, "query_pool": 1,
        "key_budget": 3, "target_clusters": None, "max_clusters": 50, "bank_clusters": 9,
    }
    assert told["seconds_per_frame"] > 0
    # What the two do by turns is not told apart.
    assert told["seconds_encode"] is told["seconds_cluster"] is None
    with av.open(str(tmp_path / "out" / "overlay.mp4")) as container:
        assert container.streams.video[0].frames == len(frames)
    with Image.open(tmp_path / "out" / "sheet.png") as picture:
        assert picture.size[0] > 640


def test_stream_of_pictures_of_one_name(run, small, model_path, tmp_path):
    """a.png and a.bmp: their masks are numbered, in a stream as elsewhere."""
    with Image.open(next(each for each in sorted(small.iterdir()))) as picture:
        picture.save(small / "same.png")
        picture.save(small / "same.bmp")
    for option in ((), ("--stream",)):
        run("segment", small, "-o", "out", "--model", model_path, *option)
        count = len(list(covey.Video(small)))
        assert list(masks(tmp_path / "out")) == [f"{index:05d}" for index in range(count)]


def test_masks_of_a_longer_stream_are_removed(run, clip, model_path, tmp_path):
    arguments = ("segment", clip, "-o", "out", "--model", model_path, "--stream")
    run(*arguments)
    done = run(*arguments, "--max-frames", 2)
    assert list(masks(tmp_path / "out")) == ["00000", "00001"]
    assert "removed 4 masks" in done.stdout
    assert "edge mode, streaming: tau" in done.stdout


def test_reference_mode(run, clip, model_path, tmp_path):
    done = run(
        "segment", clip, "-o", "out", "--model", model_path, "--mode", "reference", "--tau", 0.05,
        "--clusters", "--mask", "nearest",
    )  # fmt: skip
    assert "reference mode: tau 0.05, window 3, key_stride 2, key_pool 1" in done.stdout
    assert "key_budget all" in done.stdout
    with covey.Model(model_path) as model:
        expected = model.segment(
            list(covey.Video(clip)), mode="reference", tau=0.05, output="clusters", mask="nearest"
        )
    np.testing.assert_array_equal(list(masks(tmp_path / "out").values()), expected)


def test_target_clusters(run, clip, model_path, tmp_path):
    done = run(
        "segment", clip, "-o", "out", "--json", "--clusters", "--target-clusters", 2,
        "--query-pool", 1, "--model", model_path,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["clusters"] == 2 and told["clustering"]["target_clusters"] == 2


@pytest.mark.parametrize(
    "options",
    [
        ("--mode", "reference", "--stream"),
        ("--mode", "reference", "--target-clusters", 3),
        ("--mode", "reference", "--max-clusters", 3),
        ("--mode", "reference", "--query-pool", 2),
        ("--stream", "--target-clusters", 3),
    ],
)
def test_what_does_not_go_together(options, run, clip, model_path, tmp_path):
    done = run(
        "segment", clip, "-o", "out", "--model", model_path, *options, status=2
    )
    assert "covey segment: error: argument --" in done.stderr
    assert not (tmp_path / "out").exists()


def test_defaults_of_the_modes(run, model_path, video):
    """What covey info shows is what sessions use."""
    told = json.loads(run("info", model_path, "--json").stdout)["clustering"]
    shown = run("info", model_path).stdout
    with covey.Model(model_path) as model:
        for mode in ("edge", "reference"):
            # Of objects the cut is another.
            with model.session(mode=mode, output="clusters") as session:
                result = next(session.segment(video[:1]))
            assert told[mode] == {name: getattr(result, name) for name in told[mode]}
            assert set(told[mode]) == {
                "tau", "window", "key_stride", "key_pool", "query_pool", "key_budget"
            }
    assert "edge       tau 1, window 3, key_stride 2, key_pool 1, query_pool 4" in shown
    assert "reference  tau 1, window 3, key_stride 2, key_pool 1, query_pool 1" in shown


def names(folder):
    return sorted(each.name for each in folder.iterdir())


@pytest.fixture
def small(tmp_path):
    """A folder with two frames, 0.png and 1.png."""
    folder = tmp_path / "small"
    folder.mkdir()
    for index, frame in enumerate(moving_square(2)):
        Image.fromarray(frame).save(folder / f"{index}.png")
    return folder


def contents(*files):
    return {each: each.read_bytes() for each in files}


def test_frames_are_not_overwritten(run, small, model_path, tmp_path):
    (tmp_path / "z").mkdir()
    frames = small.rename(tmp_path / "z" / "masks")
    (tmp_path / "link").symlink_to(frames)
    before = contents(*frames.iterdir())
    for source in ("z/masks", "z/../z/masks", "link", "z/masks/1.png"):
        done = run("segment", source, "-o", "z", "--model", model_path, status=1)
        assert "overwrit" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert contents(*frames.iterdir()) == before


def test_a_linked_frame_is_not_overwritten(run, small, model_path, tmp_path):
    masks = tmp_path / "z" / "masks"
    masks.mkdir(parents=True)
    (masks / "1.png").symlink_to(small / "1.png")
    before = contents(*small.iterdir())
    done = run("segment", small, "-o", "z", "--model", model_path, status=1)
    assert "z/masks/1.png: would be overwritten" in done.stderr
    assert contents(*small.iterdir()) == before


@pytest.mark.parametrize(
    ("name", "option"), [("overlay.mp4", "--overlay"), ("sheet.png", "--sheet")]
)
def test_the_source_is_not_overwritten(run, clip, small, model_path, tmp_path, name, option):
    source = tmp_path / name
    source.write_bytes((clip if name == "overlay.mp4" else small / "0.png").read_bytes())
    before = contents(source)
    done = run("segment", name, "-o", ".", option, "--model", model_path, status=1)
    assert f"{name}: would be overwritten" in done.stderr
    assert contents(source) == before
    # Without the option it is only read.
    run("segment", name, "-o", ".", "--model", model_path)
    assert contents(source) == before


def test_a_sheet_among_the_frames_is_not_overwritten(run, small, model_path):
    run("segment", small, "-o", small, "--sheet", "--model", model_path)
    done = run("segment", small, "-o", small, "--sheet", "--model", model_path, status=1)
    assert "sheet.png: would be overwritten" in done.stderr


def test_output_is_checked_before_the_work(run, clip, model_path, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "masks").write_text("in the way")
    (tmp_path / "b" / "overlay.mp4").mkdir(parents=True)
    # Where nobody may make a folder, the superuser included.
    outputs = {"a": [], "b": ["--overlay"], "/proc/covey": []}
    if os.geteuid() != 0:
        (tmp_path / "c" / "masks").mkdir(parents=True)
        (tmp_path / "c" / "masks").chmod(0o555)
        outputs["c"] = []
    for output, options in outputs.items():
        done = run("segment", clip, "-o", output, *options, "--model", model_path, status=1)
        # The first step of the progress would be a line of its own.
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith(f"covey: error: {output}")


def test_unwritable_folders_are_named(monkeypatch, tmp_path):
    def refuse(dir):
        raise PermissionError(errno.EACCES, "Permission denied", f"{dir}/tmp123")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(PermissionError) as caught:
        output = Output(tmp_path / "out", [])
        with output.taken():
            output.try_out()
    assert caught.value.filename == tmp_path / "out" / "masks"
    assert "Permission denied" in str(caught.value)


def test_masks_of_a_longer_run_are_removed(run, clip, model_path, tmp_path):
    arguments = ["segment", clip, "-o", "out", "--model", model_path]
    assert "removed" not in run(*arguments).stdout
    folder = tmp_path / "out" / "masks"
    (folder / "notes.txt").write_text("not a mask")
    assert len(names(folder)) == 7
    # A run that fails leaves them all.
    run(*arguments, "--max-frames", 2, "--memory-limit", "1K", status=1)
    assert len(names(folder)) == 7
    done = run(*arguments, "--max-frames", 2)
    assert "removed 4 masks of an earlier run" in done.stdout
    assert names(folder) == ["00000.png", "00001.png", "notes.txt"]
    told = json.loads(run(*arguments, "--every", 5, "--json").stdout)
    assert told["masks_removed"] == 1
    assert names(folder) == ["00000.png", "00005.png", "notes.txt"]


def test_masks_named_as_pictures_are_removed(run, pictures, model_path, tmp_path):
    arguments = ["segment", pictures, "-o", "out", "--model", model_path]
    run(*arguments)
    run(*arguments, "--max-frames", 1)
    assert names(tmp_path / "out" / "masks") == ["img8.png"]


def test_masks_of_another_source_are_left(run, clip, pictures, model_path, tmp_path):
    run("segment", pictures, "-o", "out", "--model", model_path)
    folder = tmp_path / "out" / "masks"
    before = contents(*folder.iterdir())
    done = run("segment", clip, "-o", "out", "--model", model_path, status=1)
    assert "holds img10.png and 2 more" in done.stderr
    assert contents(*folder.iterdir()) == before


def test_frames_of_another_size_are_named(run, small, model_path, tmp_path):
    Image.new("RGB", (50, 30)).save(small / "2.png")
    done = run("segment", "small", "-o", "out", "--model", model_path, status=1)
    expected = "small/2.png: expected 60x40 like small/0.png, found 50x30; --resize makes it so"
    assert done.stderr.splitlines()[-1] == f"covey: error: {expected}"


def test_damaged_pictures_are_named(run, small, model_path):
    whole = (small / "1.png").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:20], b"text", b""):
        (small / "1.png").write_bytes(damaged)
        done = run("segment", "small", "-o", "out", "--model", model_path, status=1)
        assert done.stderr.splitlines()[-1].startswith("covey: error: small/1.png: ")


def test_memory_is_estimated_before_the_work(run, clip, model_path, tmp_path):
    arguments = ["segment", clip, "-o", "out", "--model", model_path, "--threads", 1]
    with covey.Model(model_path) as model:
        estimate = model.estimate_memory(60, 40, 6, threads=1).peak
    told = json.loads(run(*arguments, "--json").stdout)
    assert told["estimated_peak_bytes"] == estimate
    assert told["memory_limit_bytes"] is None
    assert told["warnings"] == []
    needed = told["session_peak_bytes"]
    # Enough for this film, less than any of this size might take.
    assert needed < estimate
    limited = [*arguments, "--memory-limit", estimate - 1]
    told = json.loads(run(*limited, "--json").stdout)
    assert told["memory_limit_bytes"] == estimate - 1
    (warning,) = told["warnings"]
    assert "6 frames of 60x40" in warning
    assert f"{estimate / 2**20:.1f} MiB" in warning
    done = run(*limited)
    assert done.stderr.splitlines()[0] == f"covey: warning: {warning}"
    assert "warning" not in run(*arguments, "--memory-limit", estimate).stderr


def test_memory_is_estimated_once_the_frames_are_counted(
    clip, model_path, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(covey.Video, "frame_count", None)
    arguments = ["segment", str(clip), "-o", str(tmp_path / "out"), "--model", str(model_path)]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    with covey.Model(model_path) as model:
        assert told["estimated_peak_bytes"] == model.estimate_memory(60, 40, 6).peak


def test_progress_says_what_is_left(run, clip, model_path):
    done = run("segment", clip, "-o", "out", "--model", model_path)
    assert re.search(r"encode .* 6/6 +frames +took [0-9]+ s", done.stderr)
    assert not re.search(r"[0-9]:[0-9]{2}:[0-9]{2}", done.stderr)


def test_lines_of_progress(monkeypatch, capsys):
    """For files: stages of which somebody had to wait, now and then and when they are done."""
    clock = iter([0, 0, 9, 10, 12, 15, 15.5, 20, 22])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    lines = Display(False)
    for done in (0, 1, 5, 6, 10):  # the last two: 10 s after the first; 2 s after that
        lines.update("encode", done, 10)
    for stage in ("merge", "assign"):
        lines.update(stage, 0, 100, "%")
        lines.update(stage, 100, 100, "%")
    assert capsys.readouterr().err.splitlines() == [
        "encode   6/10 frames 7 s left",
        "encode   10/10 frames took 12 s",
        "assign   100/100 %      took 2 s",
    ]


def test_durations():
    assert [duration(each) for each in (0.4, 25, 59.6, 185, 7805)] == [
        "0 s",
        "25 s",
        "1 min 0 s",
        "3 min 5 s",
        "2 h 10 min",
    ]


def test_working_size(run, clip, model_path, tmp_path):
    def found(*options):
        fine = ["--clusters", "--tau", 0.002, "--mask", "nearest"]
        run("segment", clip, "-o", "out", *fine, *options, "--model", model_path)
        labels = np.stack(list(masks(tmp_path / "out").values()))
        assert labels.max() > 1
        return labels

    plain = found()
    np.testing.assert_array_equal(found("--working-size", "0x0"), plain)
    np.testing.assert_array_equal(found("--working-size", "16x0"), found("--working-size", "16x24"))
    # The clip's own.
    np.testing.assert_array_equal(found("--working-size", "frame"), found("--working-size", "40x64"))
    # One row of patches: height comes first.
    flat = found("--working-size", "8x48")
    np.testing.assert_array_equal(flat, np.broadcast_to(flat[:, :1], flat.shape))
    assert (flat != flat[:, :, :1]).any()
    done = run(
        "segment", clip, "-o", "out", "--working-size", "12x24", "--model", model_path, status=2
    )
    assert "--working-size: expected multiples of the model's patch size, 8" in done.stderr


def test_masks_and_regions(run, clip, model_path, tmp_path):
    def found(*options):
        run(
            "segment", clip, "-o", "out", "--clusters", "--tau", 0.002, *options,
            "--model", model_path,
        )
        return np.stack(list(masks(tmp_path / "out").values()))

    plain = found()
    np.testing.assert_array_equal(found("--mask", "refined"), plain)
    nearest = found("--mask", "nearest")
    assert (nearest != plain).any()
    np.testing.assert_array_equal(found("--mask", "nearest", "--min-region", 0), nearest)
    np.testing.assert_array_equal(
        found("--min-region", 0), found("--min-region", -1)
    )
    assert (found("--min-region", 0.2) != plain).any()
    for wrong in (["--mask", "sharp"], ["--min-region", 1]):
        run("segment", clip, "-o", "out", *wrong, "--model", model_path, status=2)


def test_area_of_zero_leaves_none_out(run, clip, model_path, tmp_path):
    told = {}
    for area in ("0", "-1", "0.99"):
        done = run(
            "segment", clip, "-o", "out", "--json", "--tau", 0.05, "--min-area", area,
            "--query-pool", 1,
            "--model", model_path,
        )  # fmt: skip
        told[area] = json.loads(done.stdout)["objects"]
    assert told["0"] == told["-1"] > told["0.99"] == 0


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
        (["quantize", "nothing.gguf", "a.gguf"], "nothing.gguf"),
        (["quantize", "text.mp4", "a.gguf"], "text.mp4"),
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
        *(
            ["segment", "a.mp4", "-o", "b", option, value]
            for option, values in {
                "--working-size": ["-8x16", "8x-16", "axb", "8x", "8x8200", "8x16x24", ""],
                "--tau": ["0", "-1", "x", "nan", "inf", "1e-60", "1001"],
                "--window": ["0", "-1", "65", "1.5"],
                "--key-stride": ["0", "10001"],
                "--key-pool": ["0", "65"],
                "--affinity": ["dino", "0", ""],
                "--max-objects": ["0", "65536"],
                "--min-area": ["1", "nan", "x", "-inf"],
                "--threads": ["0", "-1", "257", "9" * 5000],
                "--memory-limit": ["-1", "0", "0.1", "8388608T"],
                "--max-frames": ["0", "-1"],
            }.items()
            for value in values
        ),
        ["quantize", "a.gguf"],
        ["quantize", "a.gguf", "b.gguf", "--dtype", "q4"],
        ["convert", "a.pt", "-o", "b", "--dtype", "f64"],
        ["convert", "a.pt", "-o", "b", "--tau", "0"],
        ["convert", "a.pt", "-o", "b", "--layer-norm-eps", "-1"],
        ["convert", "a.pt", "-o", "b", "--working-size", "0x16"],
        ["convert", "a.pt", "-o", "b", "--working-size", "frame"],
        ["train", "a.mp4", "-o", "b", "--working-size", "frame"],
        ["convert", "a.pt", "-o", "b", "--mean", "0.5,0.5,nan"],
        ["convert", "a.pt", "-o", "b", "--mean", "1,2"],
    ],
)
def test_wrong_usage(capsys, arguments):
    # In this process: to start one for each would take half a minute.
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    said = capsys.readouterr().err
    (line,) = said.splitlines()
    assert line.startswith(f"covey {arguments[0]}: error: " if arguments else "covey: error: ")
    assert "options." not in said
    option = next((each for each in arguments if each.startswith("--")), None)
    if option is not None:
        assert f"argument {option}" in said


def test_wrong_usage_of_a_process(run):
    (line,) = run("segment", "a.mp4", status=2).stderr.splitlines()
    assert line.endswith("error: the following arguments are required: -o/--output")


def test_the_greatest_values_are_those_of_the_library(run, clip, model_path):
    """What argparse lets through, the library does too."""
    arguments = [
        "--tau", 1000, "--window", 64, "--key-stride", 10000, "--key-pool", 64,
        "--max-objects", 65535, "--min-area", 0.999, "--threads", 256,
        "--memory-limit", "8388607T", "--working-size", "8x8192", "--max-frames", 1,
    ]  # fmt: skip
    run("segment", clip, "-o", "out", *arguments, "--model", model_path)


def test_affinity_is_passed_on(run, clip, model_path, tmp_path):
    masks = {}
    for affinity in (None, "correlator", "features", "attention"):
        chosen = [] if affinity is None else ["--affinity", affinity]
        run(
            "segment", clip, "-o", f"{affinity}", "--clusters", "--tau", 0.05, "--max-frames", 3,
            "--mode", "reference", "--key-pool", 2, *chosen, "--model", model_path,
        )  # fmt: skip
        files = sorted((tmp_path / f"{affinity}").rglob("*.png"))
        assert len(files) == 3
        masks[affinity] = tuple(file.read_bytes() for file in files)
    assert masks[None] == masks["correlator"]
    assert len(set(masks.values())) == 3


def test_info(run, model_path):
    text = run("info", model_path).stdout
    assert "random" in text
    assert "covey.vit.patch_size" in text
    told = json.loads(run("info", model_path, "--json").stdout)
    assert told["embed_dim"] == 48
    assert told["dtype"] == "f32"
    assert told["metadata"]["covey.vit.embed_dim"] == "48"
    assert told["int8"] is None
    assert "tensors" not in told
    assert "int8" not in text
    told = json.loads(run("info", model_path, "--json", "--tensors").stdout)
    assert told["tensors"][0] == {
        "name": "encoder.cls_token",
        "dtype": "f32",
        "shape": [48],
        "bytes": 192,
        "quantization_error": None,
    }
    assert re.search(
        r"encoder\.pos_embed +f32 +17x48 +3,264\s", run("info", model_path, "--tensors").stdout
    )


def test_quantize(run, model_path, tmp_path):
    text = run("quantize", model_path, "small.gguf").stdout
    with covey.Model(tmp_path / "small.gguf") as model:
        assert model.info.dtype is covey.Dtype.Q8
        errors = {
            each.name: each.quantization_error
            for each in model.tensors
            if each.dtype is covey.Dtype.Q8
        }
    assert len(errors) == 11
    for name, error in errors.items():
        assert re.search(rf"{re.escape(name.removesuffix('.weight'))} .* {error:.3%}\s", text), name
    mean, worst = sum(errors.values()) / 11, max(errors.values())
    summary = (
        f"11 int8 matrices, relative error mean {mean:.3%}, worst {worst:.3%} "
        f"({max(errors, key=errors.get)})"
    )
    before, after = model_path.stat().st_size, (tmp_path / "small.gguf").stat().st_size
    assert f"small.gguf: random, q8, {before:,} -> {after:,} bytes" in text
    assert summary in text
    assert after < 0.4 * before

    told = json.loads(run("quantize", model_path, "again.gguf", "--json").stdout)
    assert (told["bytes_before"], told["bytes_after"]) == (before, after)
    assert {each["name"]: each["quantization_error"] for each in told["tensors"]} == errors
    assert told["int8"]["matrices"] == 11
    assert told["int8"]["mean_error"] == pytest.approx(mean)
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "small.gguf").read_bytes()

    info = run("info", "small.gguf", "--tensors").stdout
    assert "parameters, q8, " in info
    assert summary in info
    assert re.search(r"blocks\.0\.mlp\.fc1\.weight +int8 +192x48 +9,216 +0\.[0-9]{3}%\s", info)
    assert re.search(r"blocks\.0\.mlp\.fc1\.weight\.scale +f32 +192 +768\s", info)
    assert re.search(r"correlator\.attn\.qkv\.weight +f16 +144x48 +13,824\s", info)
    assert json.loads(run("info", "small.gguf", "--json").stdout)["int8"] == told["int8"]

    # And back: a file of floats has no errors to tell.
    text = run("quantize", "small.gguf", "large.gguf", "--dtype", "f32").stdout
    assert f"large.gguf: random, f32, {after:,} -> {before:,} bytes" in text
    assert "int8" not in text


def test_quantize_does_not_overwrite_its_input(run, model_path, tmp_path):
    (tmp_path / "a.gguf").write_bytes(model_path.read_bytes())
    (tmp_path / "link.gguf").symlink_to("a.gguf")
    (tmp_path / "hard.gguf").hardlink_to(tmp_path / "a.gguf")
    before = contents(tmp_path / "a.gguf")
    for output in ("a.gguf", "../" + tmp_path.name + "/a.gguf", "link.gguf", "hard.gguf"):
        done = run("quantize", "a.gguf", output, status=1)
        assert done.stderr.startswith(f"covey: error: {output}: would be overwritten")
        assert len(done.stderr.splitlines()) == 1
        assert done.stdout == ""
    assert contents(tmp_path / "a.gguf") == before
    assert (tmp_path / "link.gguf").is_symlink()
    # Another file is replaced, as by every other command.
    (tmp_path / "b.gguf").write_text("old")
    run("quantize", "a.gguf", "b.gguf")
    assert covey.Model(tmp_path / "b.gguf").info.dtype is covey.Dtype.Q8


def test_tables_without_rich(model_path, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["quantize", str(model_path), str(tmp_path / "small.gguf")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^layer +shape +relative error$", said, re.M)
    assert re.search(r"^encoder\.blocks\.0\.mlp\.fc1 +192x48 +0\.[0-9]{3}%$", said, re.M)


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
        "--reference-tau",
        0.25,
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
        assert (model.info.tau, model.info.reference_tau) == (0.5, 0.25)
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
    assert height_by_width("0x384") == (0, 384)


def test_kinds_or_clusters(run, clip, model_path):
    given = ["segment", clip, "-o", "out", "--max-frames", 2, "--model", model_path]
    assert "--kinds: not with --clusters" in run(*given, "--kinds", "--clusters", status=2).stderr
    run(*given, "--kinds")


def test_where_nothing_is_found_it_is_said_what_to_try(run, tmp_path, nano):
    """A picture without a thing, for as long as it takes."""
    (tmp_path / "plain").mkdir()
    shade = np.linspace(60, 160, 64)[:, None, None].repeat(96, 1).repeat(3, 2).astype(np.uint8)
    for index in range(6):
        Image.fromarray(shade).save(tmp_path / "plain" / f"{index}.png")
    told = run("segment", "plain", "-o", "out").stdout
    assert "6 frames, 0 objects" in told
    assert "--least-objectness 0.1 finds more, --clusters shows all there is" in told
    assert "finds more" not in run("segment", "plain", "-o", "all", "--clusters").stdout
