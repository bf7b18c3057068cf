"""One task of a batch, and executors that fail."""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import threading
from dataclasses import replace

import pytest
from conftest import moving_square

from covey import batch
from covey.batch import child, work
from covey.commands import batch as command
from covey.writing import images


@pytest.fixture
def task(model_path, tmp_path):
    images.write_video(tmp_path / "one.mp4", moving_square(5), fps=10)
    options = ["--model", str(model_path), "--max-frames", "1", "--threads", "1"]
    found = batch.plan([batch.Entry(str(tmp_path / "one.mp4"))], tmp_path / "out", options)
    (task,) = found.tasks
    with batch.BatchFolder(tmp_path / "out").locked():
        yield task


@pytest.mark.parametrize(
    ("workers", "at_once", "threads"), [(None, 3, 2), (2, 2, 4), (8, 3, 2), (1, 1, 8)]
)
def test_cores_are_shared(task, monkeypatch, workers, at_once, threads):
    monkeypatch.setattr("covey.commands.batch.usable_cores", lambda: 8)
    task = replace(task, threads=None)
    shared, together = command._shared_out([task, task, replace(task, threads=5)], workers)
    assert together == at_once
    assert [each.threads for each in shared] == [threads, threads, 5]


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


def test_attempts_that_were_lost(task, tmp_path):
    """Are told of with the outcome, and are to stop."""
    folder = batch.BatchFolder(tmp_path / "out")
    for worker in ("host-2", "host-1", ".host-3.gone"):
        (task.attempts / worker).mkdir(parents=True)
    told = folder.add(batch.Outcome(task.name, task.source, "done", worker="host-4"))
    assert [(each.worker, each.status) for each in told] == [("host-1", "lost"), ("host-2", "lost")]
    logged = [json.loads(line)["worker"] for line in folder.log.read_text().splitlines()]
    assert logged == ["host-1", "host-2", "host-4"]
    assert not task.attempts.exists()


def test_a_source_that_changes(task, monkeypatch):
    moved = replace(task, settings={**task.settings, "source": {}})
    found = batch.segment_video(moved)
    assert (found.status, found.again) == ("failed", False)
    assert "changed while it was read" in found.error
    assert not task.result.exists()


def test_a_folder_that_is_gone_is_not_made_again(task, tmp_path):
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
