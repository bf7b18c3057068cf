"""``covey batch``: manifests, names, what is kept, made anew, retried and refused."""

from __future__ import annotations

import concurrent.futures
import csv
import glob
import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import moving_square
from processes import processes_of, wait_for

from covey import batch, images
from covey._arguments import UsageError
from covey.batch import child, work
from covey.cli import main


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


# ---- Manifests and names ---------------------------------------------------------------------


@pytest.mark.parametrize("name, text", [
    ("a.txt", "# films\n\n one.mp4\nsub/two.mp4\n/three\n"),
    ("a.csv", "\ufeffsource\none.mp4\nsub/two.mp4\n/three\n"),
    ("b.csv", 'source, name\none.mp4,\nsub/two.mp4, "2nd, really"\n/three,3\n'),
    ("c.csv", 'name,source\n,one.mp4\n"2nd, really",sub/two.mp4\n3,/three\n'),
    ("b.jsonl", '{"source": "one.mp4"}\n\n{"source": "sub/two.mp4", "name": "2nd, really",'
     ' "options": ["--tau", 0.5]}\n{"name": "3", "source": "/three"}\n'),
])  # fmt: skip
def test_manifests(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = batch.read_manifest(str(tmp_path / name))
    assert [each.source for each in found] == [
        f"{tmp_path}/one.mp4", f"{tmp_path}/sub/two.mp4", "/three"
    ]  # fmt: skip
    named = name[0] in "bc"
    assert [each.name for each in found] == ([None, "2nd, really", "3"] if named else [None] * 3)
    options = ("--tau", "0.5") if name.endswith(".jsonl") else ()
    assert [each.options for each in found] == [(), options, ()]


@pytest.mark.parametrize("name, text, says", [
    ("a.csv", "", "line 1: expected the columns source,name or source, found nothing"),
    ("a.csv", "one.mp4\n", "found one.mp4"),
    ("a.csv", "source,name,tau\n", "found source,name,tau"),
    ("a.csv", "source,name\na,b\na,b,c\n", "line 3: expected source,name"),
    ("a.csv", "source,name\n,b\n", "line 2: expected source,name"),
    ("a.csv", "source,name\na,..\n", "line 2: expected the name of a folder, found '..'"),
    ("a.csv", "source,name\na,b/c\n", "found 'b/c'"),
    ("a.csv", "source,name\na,summary.csv\n", "found 'summary.csv'"),
    ("a.jsonl", '{"source": "a"}\n{"source"\n', "line 2: "),
    ("a.jsonl", '["a"]\n', "line 1: expected an object"),
    ("a.jsonl", '{"source": "a", "tau": 1}\n', "line 1: expected an object of source, name"),
    ("a.jsonl", '{"name": "a"}\n', "line 1: expected text as source"),
    ("a.jsonl", '{"source": "a", "name": 1}\n', "line 1: expected text as source"),
    ("a.jsonl", '{"source": "a", "options": "--tau 1"}\n', "line 1: expected a list of options"),
    ("a.jsonl", '{"source": "a", "options": [true]}\n', "line 1: expected options of text"),
    ("a.txt", "a.mp4\nrtsp://host/b\n", "line 2: rtsp://host/b: can be read only once"),
])  # fmt: skip
def test_damaged_manifests(tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError) as caught:
        batch.read_manifest(str(tmp_path / name))
    assert says in str(caught.value) and str(caught.value).startswith((str(tmp_path), "a"))


@pytest.mark.parametrize("sources, names", [
    (["/v/a.mp4", "/v/b.tar.mp4"], ["a", "b.tar"]),
    (["/v/x/a.mp4", "/v/y/a.mp4", "/v/x/b.mp4"], ["x-a", "y-a", "b"]),
    (["/v/a.mp4", "/v/a.avi"], ["a.mp4", "a.avi"]),
    (["/v/x/s/a.mp4", "/v/y/s/a.mp4"], ["x-s-a", "y-s-a"]),
    (["/v/x/a.mp4", "/v/x/a.avi", "/v/y/a.mp4", "/v/y/a.avi"],
     ["x-a.mp4", "x-a.avi", "y-a.mp4", "y-a.avi"]),
    (["/v/x/a.mp4", "/v/y/a.mp4", "/v/x-a.avi"], ["x-a.mp4", "y-a", "x-a.avi"]),
    (["/v/x/*.jpg", "/v/y/f_%04d.png"], ["x", "y"]),
    (["/v/.a.mp4", "/v/..mp4"], ["a", "video"]),
    (["/v/batch.jsonl.mp4"], ["batch.jsonl.mp4"]),
])  # fmt: skip
def test_names(sources, names):
    assert batch.unique_names([batch.Entry(each) for each in sources]) == names
    # What else is there does not matter, nor in which order.
    back = batch.unique_names([batch.Entry(each) for each in reversed(sources)])
    assert back == names[::-1]


def test_names_that_are_given():
    entries = [batch.Entry("/v/a.mp4"), batch.Entry("/v/b.mp4", "a"), batch.Entry("/v/c.mp4", "c")]
    assert batch.unique_names(entries) == ["a.mp4", "a", "c"]
    with pytest.raises(UsageError, match="2 videos have the name c"):
        batch.unique_names([*entries, batch.Entry("/v/d.mp4", "c")])
    # One video in several ways.
    same = [batch.Entry("/a.mp4", None, (str(n),)) for n in range(3)]
    assert batch.unique_names([*same, batch.Entry("/b.mp4", "a.mp4-2")]) == [
        "a.mp4", "a.mp4-3", "a.mp4-4", "a.mp4-2"
    ]  # fmt: skip


def test_names_of_folders(tmp_path):
    (tmp_path / "v1.5").mkdir()
    assert batch.unique_names([batch.Entry(str(tmp_path / "v1.5"))]) == ["v1.5"]


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
        figures = json.loads(found.pop("result.json"))["figures"]
        expected = files(tmp_path / name)
        assert found == expected and len(found) > 3
        assert figures["output"] == {  # beside result.json
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
        assert "usage: covey batch" in capsys.readouterr().err
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
            "from covey import cli, sinks\n"
            "def end(self): os.kill(os.getpid(), signal.SIGKILL)\n"
            f"if stem == 'one' and count < {times}: sinks.Sink.close = end\n"
            "sys.exit(cli.main(['segment', *words, '--json']))\n"
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
        wait_for(lambda: processes_of(out / ".partial" / "two"))
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


# ---- Tasks ---------------------------------------------------------------------------------


@pytest.fixture
def task(films, model_path, tmp_path):
    options = ["--model", str(model_path), "--max-frames", "1", "--threads", "1"]
    found = batch.plan([batch.Entry(str(films / "one.mp4"))], tmp_path / "out", options)
    (task,) = found.tasks
    with batch.BatchFolder(tmp_path / "out").locked():
        yield task


def test_two_attempts_at_once(task):
    """Both compute; one result, which is that of both."""
    started = threading.Barrier(2)
    real, calls = work._known, threading.local()

    def late(task):
        found = real(task)
        if not hasattr(calls, "first"):
            calls.first = found
            started.wait(30)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "_known", late)
        with concurrent.futures.ThreadPoolExecutor(2) as threads:
            both = list(threads.map(batch.segment_video, [task, task]))
    assert sorted(each.status for each in both) == ["done", "kept"]
    assert both[0].figures == both[1].figures
    assert batch.segment_video(task).status == "kept"
    assert not list(task.attempts.iterdir())


def test_a_source_that_changes(task, monkeypatch):
    moved = replace(task, settings={**task.settings, "source": {}})
    found = batch.segment_video(moved)
    assert (found.status, found.again) == ("failed", False)
    assert "changed while it was read" in found.error
    assert not task.result.exists()


def test_a_folder_that_is_gone_is_not_made_again(task, films, tmp_path):
    """Or a process that is to stop would not see it."""
    words = [task.source, *task.options]
    for folder in ("gone", "gone/deeper"):
        done = subprocess.run(child.command(str(tmp_path / folder), words), capture_output=True)
        assert done.returncode == 1 and b"FileNotFoundError" in done.stderr
    assert not (tmp_path / "gone").exists()
    # Nor does it begin where its parent has ended.
    (tmp_path / "there").mkdir()
    command = child.command(str(tmp_path / "there"), words)
    command[command.index(str(os.getpid()))] = "1"
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 1 and not done.stdout + done.stderr
    assert not list((tmp_path / "there").iterdir())


def test_workers_of_another_version(task):
    found = batch.segment_video(replace(task, version="9.9"))
    assert (found.status, found.again) == ("failed", False)
    assert "not 9.9" in found.error


def test_no_task_begins_after_the_batch(task, tmp_path):
    batch.BatchFolder(tmp_path / "out").stop()
    found = batch.segment_video(task)
    assert (found.status, found.again) == ("stopped", False)
    assert not task.result.exists()


def test_executors_that_fail(task):
    class KilledWorker(Exception):
        """As distributed has it."""

    def submit(function, task):
        future = concurrent.futures.Future()
        if task.name == "given up":
            future.cancel()
        else:
            kind = KilledWorker if task.name == "killed" else ModuleNotFoundError
            future.set_exception(kind("why"))
        return future

    names = ["killed", "not installed"]
    found = list(batch.map_videos([replace(task, name=each) for each in names], submit, retries=1))
    assert [(each.name, each.attempt, each.again, each.error) for each in found] == [
        ("killed", 1, True, "KilledWorker: why"),
        ("not installed", 1, False, "ModuleNotFoundError: why"),
        ("killed", 2, False, "KilledWorker: why"),
    ]
    with pytest.raises(ConnectionError, match="run again"):
        list(batch.map_videos([replace(task, name="given up")], submit))
