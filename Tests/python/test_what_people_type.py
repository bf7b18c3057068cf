"""Commands as they are typed before the manual is read: each works, or says in a line what to
type; and what a run that fails leaves."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import moving_square
from PIL import Image

import covey
from covey.commands.main import build_parser, main
from covey.system import machine
from covey.writing import images, whole_files


@pytest.fixture
def films(tmp_path):
    """A folder of two films."""
    folder = tmp_path / "films"
    folder.mkdir()
    images.write_video(folder / "one.mp4", moving_square(5), fps=10)
    images.write_video(folder / "two.mp4", moving_square(4)[:, ::-1], fps=10)
    return folder


@pytest.fixture
def covey_says(tmp_path, model_path, monkeypatch, capsys):
    """covey_says(*words, status=) is the last line on standard error, or with status 0 what
    --json tells."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COVEY_MODEL", str(model_path))

    def run(*words, status=0):
        try:
            found = main([*map(str, words), *(["--json"] if status == 0 else [])])
        except SystemExit as ended:
            found = ended.code
        said = capsys.readouterr()
        assert found == status, said.err
        if status == 0:
            return json.loads(said.out.splitlines()[-1])
        (line,) = said.err.splitlines()
        return line

    return run


def test_folders_of_films(covey_says, films, tmp_path):
    told = covey_says("batch", films, "-o", "out")
    assert [each["name"] for each in told["videos"]] == ["one", "two"] and told["done"] == 2
    told = covey_says("train", "films", "-o", "a.gguf", "--steps", 1, "--tau", "keep")
    assert told["videos"] == 2 and told["frames"] == 9
    # The same ones, when it goes on.
    assert covey_says("train", "--resume", "a-run", "films", "--steps", 2)["steps"] == 2
    Image.new("RGB", (6, 4)).save(films / "cover.png")
    for words in (["batch", "films", "-o", "b"], ["train", "films", "-o", "b.gguf"]):
        says = covey_says(*words, status=2)
        assert re.search(r"films: holds films and pictures; name which: .*films/\*\.mp4", says)
    (tmp_path / "list.csv").write_text("source,name\nfilms,a\n")
    (films / "cover.png").unlink()
    says = covey_says("batch", "--manifest", "list.csv", "-o", "b", status=2)
    assert says.endswith("list.csv: line 2: films: holds 2 films, for the one name a")
    says = covey_says("segment", "films", "-o", "b", status=1)
    assert says.endswith("as films/one.mp4; covey batch and covey train take the folder")
    assert not (tmp_path / "b").exists()


def options_of(command):
    (commands,) = (each for each in build_parser()._actions if each.dest == "command")
    return {word: each for each in commands.choices[command]._actions
            for word in each.option_strings}  # fmt: skip


def test_batch_takes_the_options_of_segment(covey_says, films, tmp_path):
    """All of them; among its own, and behind --."""
    own = {"-o", "--output", "--json", "-h", "--help"}
    assert set(options_of("segment")) - own <= set(options_of("batch"))
    told = covey_says("batch", "films/one.mp4", "--overlay", "-o", "out", "--min-area", "-1",
                      "--tau=0.05", "films/two.mp4", "--max-frames", "2")  # fmt: skip
    assert told["done"] == 2 and told["frames"] == 4
    made = json.loads((tmp_path / "out/one/result.json").read_text())["settings"]["options"]
    assert made == {"every": 1, "first": 0, "max_frames": 2, "min_area": -1.0, "overlay": True,
                    "tau": 0.05}  # fmt: skip
    assert (tmp_path / "out/two/overlay.mp4").is_file()
    words = ["batch", "films", "-o", "out", "--json", "--tau", ".05", "--", "--overlay",
             "--min-area", "0", "--max-frames", "2"]  # fmt: skip
    assert main(words) == 0
    says = covey_says("batch", "films", "-o", "b", "--tau", "0", status=2)
    assert "options of covey segment: argument --tau: expected a number above 0" in says
    says = covey_says("batch", "films", "-o", "b", "--resume", status=2)
    assert says.endswith("argument --resume: not here")
    says = covey_says("batch", "films", "-o", "b", "--taw", "1", status=2)
    assert says == "covey batch: error: unrecognized arguments: --taw 1"


@pytest.mark.parametrize("words", [[], ["-o", "out"], ["--overlay"]], ids=str)
def test_several_videos_are_a_batch(covey_says, films, words, tmp_path):
    says = covey_says("segment", "films/one.mp4", "films/two.mp4", *words, status=2)
    assert says.startswith("covey segment: error: one SOURCE at a time, found 2; many, with the "
                           "same options: covey batch films/one.mp4 films/two.mp4 -o ")
    typed = says[says.index("covey batch") :].split()[1:]
    assert covey_says(*typed)["done"] == 2


def test_pictures_are_no_batch(covey_says):
    """As a shell makes them of a pattern without quotes."""
    says = covey_says("segment", "shots/1.jpg", "shots/2.jpg", "shots/3.JPG", "-o", "a", status=2)
    assert says.endswith("name their folder, or their pattern in quotes, as 'shots/*.jpg'")


@pytest.mark.parametrize("name, data, hint", [
    ("a.mp4", b"nothing of the kind", ""),
    ("empty.gguf", b"", ""),
    ("a.gguf", b"GG", ""),
    ("a.pth", b"PK\3\4 and more", "; covey convert makes one of a checkpoint"),
])  # fmt: skip
def test_what_is_no_weight_file(covey_says, films, tmp_path, name, data, hint):
    (tmp_path / name).write_bytes(data)
    for words in (["info", name], ["segment", "films/one.mp4", "-o", "a", "-m", name]):
        says = covey_says(*words, status=1)
        assert says == f"covey: error: {name}: not a weight file (GGUF){hint}"


@pytest.mark.parametrize("command", [
    "segment", "batch", "train", "evaluate", "plot attention", "info", "quantize", "convert", "",
])  # fmt: skip
def test_wrong_usage_is_a_line(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--no-such-option", "1"])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(rf"covey( {command.split()[0] if command else ''}.*)?: error: ", line)


@pytest.mark.parametrize("path", ["x.mp4", Path("x.mp4"), b"x.mp4"], ids=repr)
def test_paths_are_no_frames(model, path):
    says = r"covey\.Video\('x.mp4'\) gives the frames of a file"
    with pytest.raises(TypeError, match=says):
        model.segment(path)
    with pytest.raises(TypeError, match=says):
        model.segment([path, path])
    with pytest.raises(TypeError, match=says):
        model.encode(path)
    with pytest.raises(TypeError, match=says):
        next(covey.results(path, model))
    with model.session() as session, pytest.raises(TypeError, match=says):
        session.push(path)
    with covey.Trainer(model, total_steps=1) as trainer:
        for clips in (path, [path], [[path] * 3]):
            with pytest.raises(TypeError, match=says):
                next(trainer.train(clips))


def test_what_writing_takes_is_told(films, tmp_path, model_path, capsys, monkeypatch):
    import time

    from covey.writing import sinks

    write = sinks.Masks.write

    def slowly(self, *arguments):
        time.sleep(0.05)
        write(self, *arguments)

    monkeypatch.setattr(sinks.Masks, "write", slowly)
    for stream in ([], ["--stream"]):
        command = ["segment", str(films / "one.mp4"), "-o", str(tmp_path / "out"), *stream,
                   "--model", str(model_path)]  # fmt: skip
        assert main([*command, "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["seconds_write"] >= 0.25 > told["seconds_per_frame"] * 5
        assert main(command) == 0
        out = capsys.readouterr().out
        says = re.search(r"([0-9.]+) s a frame and ([0-9.]+) s to write it", out)
        assert float(says[1]) < 0.05 <= float(says[2])


# ---- What is left ----------------------------------------------------------------------------


@pytest.mark.parametrize("words", [
    ["segment", "films/one.mp4", "-o", "a/b/c", "--memory-limit", "1K"],
    ["segment", "films/none.mp4", "-o", "a/b/c"],
    ["segment", "broken.mp4", "-o", "a/b/c", "--overlay", "--npz"],
    ["segment", "films/one.mp4", "-o", "a/b/c", "--model", "broken.mp4"],
    ["train", "films", "-o", "a.gguf", "--run", "a/b/c", "--memory-limit", "1K"],
    ["train", "broken.mp4", "-o", "a.gguf", "--run", "a/b/c"],
    ["batch", "films", "-o", "a/b/c", "--model", "broken.mp4"],
], ids=" ".join)  # fmt: skip
def test_failed_runs_leave_no_folders(covey_says, films, tmp_path, words):
    (tmp_path / "broken.mp4").write_bytes(b"nothing of the kind")
    before = sorted(tmp_path.rglob("*"))
    assert main([*words, "--json"]) == 1
    assert sorted(tmp_path.rglob("*")) == before
    # What was there stays.
    (tmp_path / "a/b/c").mkdir(parents=True)
    assert main([*words, "--json"]) == 1
    assert [each.name for each in (tmp_path / "a/b").iterdir()] == ["c"]


def test_folders_that_are_made(tmp_path):
    class Stop(BaseException):
        pass

    for name, left in ((None, []), ("b/file", ["b"])):
        with pytest.raises(Stop), whole_files.made_folder(tmp_path / "b/c", "busy"):
            if name:
                (tmp_path / name).touch()
            raise Stop
        assert os.listdir(tmp_path) == left


# ---- One at a time ---------------------------------------------------------------------------


def test_one_run_at_a_time(covey_says, films, tmp_path, monkeypatch):
    """In one folder, resumed or not; whatever the other is at."""
    told = covey_says("segment", "films/one.mp4", "-o", "out", "--overlay")
    before = {each: each.read_bytes() for each in tmp_path.rglob("out/**/*") if each.is_file()}
    with whole_files.made_folder(tmp_path / "out", "busy"):
        for more in ([], ["--resume"], ["--stream"]):
            says = covey_says("segment", "films/two.mp4", "-o", "out", *more, status=1)
            assert says == "covey: error: out: another covey segment is writing there"
    after = {each: each.read_bytes() for each in tmp_path.rglob("out/**/*") if each.is_file()}
    assert after == before
    assert covey_says("segment", "films/one.mp4", "-o", "out", "--overlay", "--resume") == told

    # It is held from before the first look to after the last file.
    from covey.commands import segment
    from covey.segmenting import writer

    def meanwhile(real):
        def called(*arguments, **named):
            with pytest.raises(ValueError, match="another covey segment is writing there"):
                with whole_files.made_folder(tmp_path / "out",
                                             "another covey segment is writing there"):
                    pass
            return real(*arguments, **named)
        return called

    owners = {"read_made": segment, "remove_made": writer, "write_made": segment}
    for name in owners:
        monkeypatch.setattr(owners[name], name, meanwhile(getattr(owners[name], name)))
    covey_says("segment", "films/two.mp4", "-o", "out")


def test_two_processes_at_once(films, tmp_path, model_path, environment):
    """Masks and result are of one of them."""
    import subprocess
    import sys

    running = [
        subprocess.Popen(
            [sys.executable, "-m", "covey", "segment", films / name, "-o", tmp_path / "out",
             "--model", model_path, "--json"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name in ("one.mp4", "two.mp4") for _ in range(2)
    ]  # fmt: skip
    said = [each.communicate() for each in running]
    done = [json.loads(out) for (out, _), each in zip(said, running, strict=True)
            if each.returncode == 0]  # fmt: skip
    assert done
    for (_, error), each in zip(said, running, strict=True):
        assert each.returncode == 0 or "another covey segment is writing there" in error
    made = json.loads((tmp_path / "out/result.json").read_text())
    assert made["figures"]["frames"] == len(list((tmp_path / "out/masks").iterdir()))
    assert Path(made["settings"]["source"]["path"]).name[:3] in ("one", "two")


def test_links_are_not_followed(covey_says, films, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("00000.png", "00007.png", "notes.txt"):
        (mine / name).write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/masks").symlink_to(mine)
    for more in ([], ["--stream"], ["--resume"]):
        says = covey_says("segment", "films/one.mp4", "-o", "out", *more, status=1)
        assert says.startswith("covey: error: out/masks: is a symbolic link")
    (tmp_path / "out/masks").unlink()
    # Links in the place of files go, to what is there and to what is not.
    (tmp_path / "out/masks").mkdir()
    (tmp_path / "out/masks/00000.png").symlink_to(mine / "00000.png")
    (tmp_path / "out/masks/00001.png").symlink_to(mine / "new.png")
    for name in ("overlay.mp4", ".overlay.mp4.partial", "sheet.png", "result.json"):
        (tmp_path / "out" / name).symlink_to(mine / "notes.txt" if name == "overlay.mp4"
                                             else mine / "absent")
    covey_says("segment", "films/one.mp4", "-o", "out", "--overlay", "--sheet")
    assert sorted(os.listdir(mine)) == ["00000.png", "00007.png", "notes.txt"]
    assert {each.read_text() for each in mine.iterdir()} == {"mine"}
    assert not any(each.is_symlink() for each in tmp_path.rglob("*"))
    # The folder itself may be elsewhere.
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    covey_says("segment", "films/one.mp4", "-o", "link")
    assert (tmp_path / "there/result.json").is_file()


# ---- Cores and memory ------------------------------------------------------------------------


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """groups(lines, {file: text}) are the control groups of this process, of a machine with 64
    cores and 24 GB."""
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "GROUPS", tmp_path / "sys")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))

    def make(lines, files):
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(lines)
        (tmp_path / "proc/meminfo").write_text("MemTotal: 1 kB\nMemAvailable:   24000000 kB\n")
        for name, text in files.items():
            (tmp_path / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "sys" / name).write_text(text + "\n")

    return make


V1 = "11:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n1:name=systemd:/docker/ab\n0::/system\n"


@pytest.mark.parametrize("lines, files, cores, memory", [
    ("0::/\n", {"cpu.max": "max 100000", "memory.max": "max"}, 64, 24_576_000_000),
    ("0::/\n", {"cpu.max": "250000 100000", "memory.max": "1000000"}, 3, 1000000),
    ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000",
                   "a/memory.max": "7"}, 2, 7),
    # As a container sees it, and as the machine does.
    (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "150000", "cpu,cpuacct/cpu.cfs_period_us": "100000",
          "memory/memory.limit_in_bytes": "5"}, 2, 5),
    (V1, {"cpu/docker/ab/cpu.cfs_quota_us": "400000",
          "cpu/docker/ab/cpu.cfs_period_us": "100000"}, 4, 24_576_000_000),
    (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000",
          "memory/memory.limit_in_bytes": "9223372036854771712"}, 64, 24_576_000_000),
    ("damaged", {}, 64, 24_576_000_000),
], ids=["v2 none", "v2", "v2 above", "v1 inside", "v1 outside", "v1 none", "damaged"])  # fmt: skip
def test_control_groups(groups, lines, files, cores, memory):
    groups(lines, files)
    assert machine.usable_cores() == cores and machine.usable_memory() == memory


def test_quotas_count_for_threads(groups, films, tmp_path, model_path, monkeypatch):
    from covey.arguments.method import session_options
    from covey.commands import batch as command
    from covey.training import settings

    groups(V1, {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"})
    words = ["segment", "a.mp4", "-o", "out"]
    assert session_options(build_parser().parse_args(words))["threads"] == 3
    words += ["--threads", "5"]
    assert session_options(build_parser().parse_args(words))["threads"] == 5
    assert command._shared_out([], 1) == ([], 1)
    seen = []
    real = settings.Settings.options
    monkeypatch.setattr(settings.Settings, "options", lambda self, threads, limit: (
        seen.append(threads), real(self, 1, limit))[1])  # fmt: skip
    assert main(["train", str(films), "-o", str(tmp_path / "a.gguf"), "--steps", "1", "--model",
                 str(model_path), "--tau", "keep", "--json"]) == 0  # fmt: skip
    assert seen == [3]


@pytest.mark.parametrize("more, less", [
    ([], "; --stream, or --every N, which leaves frames out, needs less"),
    (["--mode", "reference"], "; --every N, which leaves frames out, needs less"),
    (["--stream"], "; a smaller --working-size needs less"),
], ids=str)  # fmt: skip
def test_memory_is_told_before_the_work(films, tmp_path, model_path, monkeypatch, capsys, more,
                                        less):  # fmt: skip
    """Where the machine has less than may be needed, and where a limit is reached."""
    monkeypatch.setattr(covey.Video, "frame_count", 60000)
    command = ["segment", str(films / "one.mp4"), "-o", str(tmp_path / "out"), "--model",
               str(model_path), *more]  # fmt: skip
    # There is enough.
    monkeypatch.setattr("covey.segmenting.forecast.usable_memory", lambda: 1 << 50)
    assert main(command) == 0
    assert "warning" not in capsys.readouterr().err
    monkeypatch.setattr("covey.segmenting.forecast.usable_memory", lambda: 1 << 12)
    told = []
    push = covey.Session.push

    def noted(self, *arguments):
        told.append(capsys.readouterr().err)
        push(self, *arguments)

    monkeypatch.setattr(covey.Session, "push", noted)
    assert main(command) == 0
    frames = "a stream of" if more == ["--stream"] else "60000 frames of"
    (line,) = told[0].splitlines()
    assert line.startswith(f"covey: warning: {frames} 60x40 may need up to ")
    assert line.endswith(f"MiB, more than there is, 0.0 MiB{less}") and not "".join(told[1:])
    assert main([*command, "--memory-limit", "1K"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].endswith(less)


def test_a_large_picture(tmp_path, model_path, environment):
    """No copies of it in floats: what is shown of it in a report is small."""
    import subprocess
    import sys

    pixels = np.zeros((6000, 6000, 3), np.uint8)
    pixels[1000:4000, 1000:5000] = (200, 30, 30)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    del pixels
    done = subprocess.run(
        [sys.executable, "-m", "covey", "segment", "a.png", "-o", "out", "--report", "--sheet",
         "--clusters", "--model", model_path, "--json"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stderr == ""
    # The picture in Pillow's four bytes and in three, its labels in two.
    assert json.loads(done.stdout)["process_peak_bytes"] < 120 * 2**20 + 10 * 6000**2
