"""``covey batch --cluster``: a scheduler and two workers of Dask, one of which is killed."""

from __future__ import annotations

import glob
import json
import os
import re
import signal
import subprocess
import sys

import pytest
from conftest import moving_square
from processes import children, processes_of, wait_for

from covey.batch.work import _threads_of_worker
from covey.commands.main import main
from covey.system.machine import usable_cores
from covey.writing import images

VIDEOS = 6


@pytest.fixture
def cluster(environment, tmp_path):
    """The scheduler's file, and two workers without nannies, which log to worker0.log
    and worker1.log what they begin and do."""
    file = tmp_path / "scheduler.json"
    variables = {**environment, "DASK_LOGGING__COVEY": "info"}
    started = []

    def start(name, *words):
        with open(tmp_path / f"{name}.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + re.sub("[0-9]", "", name),
                 "--scheduler-file", str(file), "--no-dashboard", *words],
                env=variables, cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        started.append(process)
        return process

    try:
        start("scheduler", "--port", "0", "--host", "127.0.0.1")
        workers = [
            start(f"worker{number}", "--no-nanny", "--nthreads", "1", "--local-directory",
                  str(tmp_path / f"space{number}"))
            for number in range(2)
        ]  # fmt: skip
        yield file, workers
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_worker_that_is_killed(cluster, environment, model_path, tmp_path):
    """In the middle of a video: all results are there, none was computed twice to its end."""
    file, workers = cluster
    for number in range(VIDEOS):
        images.write_video(tmp_path / f"film{number}.mp4", moving_square(3 + number), fps=10)
    out = tmp_path / "out"
    sources = [str(tmp_path / f"film{number}.mp4") for number in range(VIDEOS)]
    options = ["--model", str(model_path), "--npz", "--clusters", "--tau", "0.01"]
    (tmp_path / "bad.mp4").write_text("nothing of the kind")
    process = subprocess.Popen(
        [sys.executable, "-m", "covey", "batch", *sources, str(tmp_path / "bad.mp4"), "-o",
         str(out), "--cluster", str(file), "--", *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    victim, other = (each.pid for each in workers)

    def attempts(pid):
        # Not with pathlib, whose glob() fails where a folder goes in the middle.
        return glob.glob(f"{out}/.partial/*/*-{pid}-*")

    try:
        # Both at work, and the one that is to die past its first video.
        wait_for(lambda: re.search(r": done by .*", (tmp_path / "worker0.log").read_text()))
        (place,) = wait_for(lambda: attempts(victim) if attempts(other) else None)
        os.kill(victim, signal.SIGKILL)
        shown, errors = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    print(shown, errors, sep="\n")
    name, lost = place.split("/")[-2:]
    assert not processes_of(lost)  # it did not outlive its worker
    assert process.returncode == 1, errors  # the bad one
    assert f"{VIDEOS + 1} videos: {VIDEOS} done, 1 failed; " in shown
    assert f"{name}: {lost}: its worker ended, done again" in " ".join(errors.split())

    logged = [json.loads(line) for line in (out / "batch.jsonl").read_text().splitlines()]
    print(*(f"{line['name']:6} {line['status']:6} {line['worker']}" for line in logged), sep="\n")
    assert sorted(line["name"] for line in logged if line["status"] == "done") == [
        f"film{number}" for number in range(VIDEOS)
    ]
    assert [line["worker"] for line in logged if line["status"] == "lost"] == [lost]
    # As the workers tell it, the dead one too.  (One that is killed before it could hand
    # its last result on is asked again by the scheduler: that finds it there.)
    said = "".join((tmp_path / f"worker{number}.log").read_text() for number in range(2))
    begun = sorted(re.findall(r"(\w+): begun by", said))
    done = sorted(re.findall(r"(\w+): done by", said))
    names = [f"film{number}" for number in range(VIDEOS)]
    assert done == names
    assert set(begun) == {*names, "bad"} and begun.count(name) == 2
    assert len(begun) - len(names) - 2 == len(re.findall(r"\w+: kept by", said)) <= 1

    told = json.loads((out / "summary.json").read_text())
    rows = {row["name"]: row for row in told["videos"]}
    assert [*rows] == [*names, "bad"]
    for number, each in enumerate(names):
        row = rows[each]
        assert (row["status"], row["frames"]) == ("done", 3 + number)
        assert row["attempts"] == (2 if each == name else 1)
    assert (rows["bad"]["status"], rows["bad"]["attempts"]) == ("failed", 1)
    assert not (out / ".partial").exists()

    # The result of the video that was begun twice is that of covey segment.
    number = int(name.removeprefix("film"))
    assert main(["segment", sources[number], "-o", str(tmp_path / "alone"), *options]) == 0
    for each in sorted((tmp_path / "alone").rglob("*.[np]*")):
        found = out / name / each.relative_to(tmp_path / "alone")
        assert found.read_bytes() == each.read_bytes()

    # The scheduler's address, and nothing left to do.
    address = json.loads(file.read_text())["address"]
    assert main(["batch", *sources, "-o", str(out), "--cluster", address, "--", *options]) == 0

    # Ctrl-C stops what runs on the workers, and not them.
    os.mkfifo(tmp_path / "endless.mp4")
    process = subprocess.Popen(
        [sys.executable, "-m", "covey", "batch", str(tmp_path / "endless.mp4"), "-o", str(out),
         "--cluster", address, "--", *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        wait_for(lambda: glob.glob(f"{out}/.partial/endless/*/masks"))
        assert children(other)
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=30)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130 and errors.splitlines()[-1] == "covey: interrupted", errors
    wait_for(lambda: not children(other))
    assert workers[1].poll() is None
    wait_for(lambda: "endless: stopped by" in (tmp_path / "worker1.log").read_text())


def test_threads_of_workers():
    """Evenly among the videos that one does at a time."""
    from distributed import Client

    cores = usable_cores()
    for at_once in (1, 2, 4 * cores):
        with Client(processes=False, n_workers=1, threads_per_worker=at_once,
                    dashboard_address=None, set_as_default=False) as client:  # fmt: skip
            threads = client.submit(_threads_of_worker).result()
        assert threads == max(1, cores // at_once)
    assert _threads_of_worker() is None


def test_no_scheduler(tmp_path, model_path, capsys, monkeypatch):
    import dask

    (tmp_path / "film.mp4").write_text("never read")
    words = ["batch", str(tmp_path / "film.mp4"), "-o", str(tmp_path / "out"), "--cluster"]
    monkeypatch.setattr("covey.commands.batch.PATIENCE", 1)
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert main([*words, "tcp://127.0.0.1:9", "--", "--model", str(model_path)]) == 1
    assert "covey: error: tcp://127.0.0.1:9: no scheduler: " in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main([*words, "tcp://127.0.0.1:9", "--", "--model", str(model_path)]) == 1
    assert "--cluster needs Dask: pip install 'covey[cluster]'" in capsys.readouterr().err
