"""``covey batch``: what is kept, made anew, retried and refused."""

from __future__ import annotations

import csv
import glob
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import moving_square
from processes import processes_of, wait_for

from covey.batch import child, work
from covey.commands.main import main
from covey.writing import images


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two films and a folder of pictures, no two the same."""
    folder = tmp_path_factory.mktemp("films")
    images.write_video(folder / "one.mp4", moving_square(5), fps=10)
    images.write_video(folder / "two.mp4", moving_square(4)[:, ::-1], fps=10)
    for index, frame in enumerate(moving_square(3)[:, :, ::-1]):
        (folder / "three").mkdir(exist_ok=True)
        images.write_image(folder / "three" / f"{index}.png", frame)
    return folder


@pytest.fixture
def run(model_path, tmp_path, capsys):
    """run(*words, options=[...]) is what ``covey batch --json`` tells; status= of it."""

    def run(*words, options=(), status=0):
        told = main(["batch", *map(str, words), "-o", str(tmp_path / "out"), "--json", "--",
                     "--model", str(model_path), *options])
        said = capsys.readouterr()
        assert told == status, said.err
        return json.loads(said.out.splitlines()[-1]) if said.out else said.err

    return run


def lines(folder):
    return [json.loads(line) for line in (folder / "batch.jsonl").read_text().splitlines()]


def files(folder):
    """Contents by path."""
    return {
        str(each.relative_to(folder)): each.read_bytes()
        for each in sorted(folder.rglob("*")) if each.is_file()
    }


# ---- Results ---------------------------------------------------------------------------------


def test_results_beside_failures(run, films, model_path, tmp_path):
    """The files of covey segment; what cannot be read stops nothing else."""
    (tmp_path / "bad.mp4").write_text("nothing of the kind")
    manifest = tmp_path / "more.jsonl"
    manifest.write_text(json.dumps(
        {"source": str(films / "one.mp4"), "name": "fine", "options": ["--max-frames", 2]}
    ))  # fmt: skip
    out = tmp_path / "out"
    words = [films / "one.mp4", tmp_path / "bad.mp4", films / "three", tmp_path / "gone.mp4",
             "--manifest", manifest, "--workers", 2]  # fmt: skip
    options = ["--coco", "--npz", "--clusters", "--tau", "0.01"]
    told = run(*words, options=options, status=1)
    names = ["one", "bad", "three", "gone", "fine"]
    assert [row["name"] for row in told["videos"]] == names
    states = ["done", "failed", "done", "failed", "done"]
    assert [row["status"] for row in told["videos"]] == states
    assert [row["attempts"] for row in told["videos"]] == [1, 1, 1, 0, 1]
    assert (told["done"], told["kept"], told["failed"], told["frames"]) == (3, 0, 2, 5 + 3 + 2)
    assert "Invalid data" in told["videos"][1]["error"]
    assert "gone.mp4: no such file" in told["videos"][3]["error"]
    assert json.loads((out / "summary.json").read_text()) == told
    with open(out / "summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["name"], row["status"], row["frames"]) for row in rows] == list(
        zip(names, states, ["5", "", "3", "", "2"], strict=True)
    )
    logged = {line["name"]: line for line in lines(out)}
    assert {name: logged[name]["status"] for name in names} == dict(
        zip(names, states, strict=True)
    )
    assert not logged["bad"]["again"] and len(lines(out)) == 5
    assert sorted(each.name for each in out.iterdir()) == sorted(
        [".lock", "batch.jsonl", "summary.csv", "summary.json", "fine", "one", "three"]
    )

    for name, source, more in (
        ("one", "one.mp4", []), ("three", "three", []), ("fine", "one.mp4", ["--max-frames", "2"])
    ):  # fmt: skip
        assert main(["segment", str(films / source), "-o", str(tmp_path / name), "--model",
                     str(model_path), *options, *more, "--json"]) == 0  # fmt: skip
        found = files(out / name)
        expected = files(tmp_path / name)
        made, alone = (json.loads(each.pop("result.json")) for each in (found, expected))
        assert found == expected and len(found) > 3
        assert made["settings"] == alone["settings"]
        assert re.fullmatch(rf"{re.escape(alone['worker'])}-[0-9a-f]{{6}}", made["worker"])
        assert made["figures"].keys() == alone["figures"].keys()
        assert made["figures"]["output"] == {  # beside result.json
            "masks": "masks", "coco": "coco.json", "npz": "labels.npz"
        }  # fmt: skip

    # Again, with the bad one mended: what is there stays, by other spellings too.
    before = files(out / "one"), (out / "one" / "result.json").stat().st_mtime_ns
    (tmp_path / "bad.mp4").write_bytes((films / "two.mp4").read_bytes())
    spelt = ["--coco", "--npz", "--clusters", "--tau", "0.010", "--threads", "1"]
    told = run(*words, options=spelt, status=1)
    states = ["kept", "done", "kept", "failed", "kept"]
    assert [row["status"] for row in told["videos"]] == states
    assert told["frames"] == 5 + 4 + 3 + 2
    assert (files(out / "one"), (out / "one" / "result.json").stat().st_mtime_ns) == before
    assert len(lines(out)) == 7


def test_other_settings(run, films, make_model, tmp_path):
    """Refused, or with --remake made anew: those alone whose settings are others."""
    out, source = tmp_path / "out", tmp_path / "film.mp4"
    source.write_bytes((films / "one.mp4").read_bytes())
    words = [source, films / "two.mp4"]
    run(*words, options=["--overlay"])
    before = files(out)
    other_model = ["--model", str(make_model(seed=1))]
    for options, says in (
        (["--tau", "0.5"], "film: overlay was True, is not given; tau was not given, is 0.5"),
        (["--overlay", *other_model], "the model has changed"),
    ):
        said = run(*words, options=options, status=2)
        assert says in said and "(and 1 more)" in said and "--remake" in said
    os.utime(source, ns=(1, 1))
    said = run(*words, options=["--overlay"], status=2)
    assert "film: the source has changed; make" in said
    assert files(out) == before
    told = run(*words, "--remake", options=["--overlay"])
    assert [row["status"] for row in told["videos"]] == ["done", "kept"]
    after = files(out)
    assert after["film/result.json"] != before["film/result.json"]
    assert after["film/masks/00000.png"] == before["film/masks/00000.png"]
    # All of the old one goes.
    run(*words, "--remake", options=["--max-frames", "1"])
    assert sorted(files(out / "film")) == ["masks/00000.png", "result.json"]
    assert not list(out.glob(".partial*"))


def test_folders_of_something_else(run, films, tmp_path):
    (tmp_path / "out" / "one").mkdir(parents=True)
    run(films / "one.mp4", options=["--max-frames", "1"])  # an empty one is nothing
    (tmp_path / "out" / "two").mkdir()
    (tmp_path / "out" / "two" / "notes.txt").write_text("mine")
    for remake in ([], ["--remake"]):
        said = run(films / "two.mp4", *remake, status=2)
        assert "two: is there, and is no result of covey batch" in said
    assert files(tmp_path / "out" / "two") == {"notes.txt": b"mine"}


@pytest.mark.parametrize("options, says", [
    (["--taw", "1"], "unrecognized arguments: --taw 1"),
    (["--tau", "0"], "argument --tau: expected a number above 0"),
    (["more.mp4"], "unrecognized arguments: more.mp4"),
    (["-o", "elsewhere"], "argument -o/--output: not here"),
    (["--mode", "reference", "--stream"], "argument --stream: not with --mode reference"),
    (["--working-size", "12x24"], "expected multiples of the model's patch size, 8"),
])  # fmt: skip
@pytest.mark.parametrize("where", ["after --", "manifest"])
def test_options_are_checked_first(run, films, tmp_path, options, says, where):
    words = [films / "one.mp4"]
    if where == "manifest":
        words += ["--manifest", tmp_path / "a.jsonl"]
        (tmp_path / "a.jsonl").write_text(json.dumps(
            {"source": str(films / "two.mp4"), "options": options}
        ))  # fmt: skip
    said = run(*words, options=options if where == "after --" else (), status=2)
    assert said.startswith("covey batch: error: options of covey segment: ") and says in said
    assert not (tmp_path / "out").exists()


def test_wrong_usage(run, films, tmp_path, capsys):
    assert "expected SOURCE or --manifest" in run(status=2)
    assert "can be read only once" in run("-", status=2)
    for words in (["--workers", "0"], ["--retries", "-1"], ["--workers", "2", "--cluster", "a"]):
        with pytest.raises(SystemExit):
            main(["batch", "a.mp4", "-o", str(tmp_path / "out"), *words])
        assert capsys.readouterr().err.startswith("covey batch: error: argument --")
    assert main(["batch", str(films), "-o", str(tmp_path / "out"), "--", "--model", "no.gguf"]) == 1
    assert "no.gguf" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# ---- Processes that end --------------------------------------------------------------------


def dying(marks, times):
    """In the place of child.command: the first ``times`` processes of every video are killed
    in the middle, when there are masks."""
    source = Path(child.__file__).parents[2]

    def command(folder, arguments):
        script = (
            "import os, pathlib, signal, sys\n"
            f"sys.path.insert(0, {str(source)!r})\n"
            "words = sys.argv[1:]\n"
            f"marks = pathlib.Path({str(marks)!r})\n"
            "stem = pathlib.Path(words[0]).stem\n"
            "count = len(list(marks.glob(f'{stem}.*')))\n"
            "(marks / f'{stem}.{count}').touch()\n"
            "from covey.commands.main import main\n"
            "from covey.writing import sinks\n"
            "def end(self): os.kill(os.getpid(), signal.SIGKILL)\n"
            f"if stem == 'one' and count < {times}: sinks.Sink.close = end\n"
            "sys.exit(main(['segment', *words, '--json']))\n"
        )
        return [sys.executable, "-c", script, *arguments, "-o", folder]

    return command


@pytest.mark.parametrize("times", [1, 9], ids=["once", "always"])
def test_killed_processes(run, films, tmp_path, monkeypatch, times):
    (tmp_path / "marks").mkdir()
    monkeypatch.setattr(work, "command", dying(tmp_path / "marks", times))
    words = [films / "one.mp4", films / "two.mp4", "--retries", 2]
    told = run(*words, status=0 if times == 1 else 1)
    attempts = [line for line in lines(tmp_path / "out") if line["name"] == "one"]
    killed = ("failed", "its process was ended by SIGKILL")
    if times == 1:
        assert [(line["status"], line["error"], line["again"]) for line in attempts] == [
            (*killed, True), ("done", None, False)
        ]  # fmt: skip
    else:
        assert [(line["status"], line["error"], line["again"]) for line in attempts] == [
            (*killed, True), (*killed, True), (*killed, False)
        ]  # fmt: skip
        assert not (tmp_path / "out" / "one").exists()
    assert [line["attempt"] for line in attempts] == list(range(1, len(attempts) + 1))
    assert [row["attempts"] for row in told["videos"]] == [len(attempts), 1]
    assert told["videos"][1]["status"] == "done"
    assert len(list((tmp_path / "marks").iterdir())) == len(attempts) + 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda each: each.name)
def test_interrupted_and_resumed(run, films, model_path, environment, tmp_path, how):
    """The second video is a pipe that nobody writes to: reading it does not end."""
    out = tmp_path / "out"
    os.mkfifo(tmp_path / "two.mp4")
    words = ["batch", str(films / "one.mp4"), str(tmp_path / "two.mp4"), str(films / "three"),
             "-o", str(out), "--workers", "1", "--", "--model", str(model_path)]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "covey", *words], env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        (child,) = wait_for(lambda: processes_of(out / ".partial" / "two"))
        # A terminal's Ctrl-C goes to all of its session: the batch alone is to get it.
        assert os.getsid(child) == child
        if how == signal.SIGKILL:  # when it is reading
            wait_for(lambda: glob.glob(f"{out}/.partial/two/*/masks"))
        # Meanwhile nobody else may write there.
        assert "another covey batch is writing there" in run(films / "one.mp4", status=1)
        assert (out / "one" / "result.json").is_file()
        process.send_signal(how)
        errors = process.communicate(timeout=30)[1]
    finally:
        process.kill()
        process.wait()
    wait_for(lambda: not processes_of(out))
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert errors.splitlines()[-1] == "covey: interrupted"
        told = json.loads((out / "summary.json").read_text())
        assert [row["status"] for row in told["videos"]] == ["done", "open", "open"]
        assert not (out / ".partial").exists()
    assert not (out / "two").exists() and not (out / "three").exists()

    (tmp_path / "two.mp4").unlink()
    (tmp_path / "two.mp4").write_bytes((films / "two.mp4").read_bytes())
    told = run(films / "one.mp4", tmp_path / "two.mp4", films / "three")
    assert [row["status"] for row in told["videos"]] == ["kept", "done", "done"]
    done = [line["name"] for line in lines(out) if line["status"] == "done"]
    assert sorted(done) == ["one", "three", "two"]
    assert not (out / ".partial").exists()
