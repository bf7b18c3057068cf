"""Runs of ``covey train`` for tests: videos, the command called and started, its log."""

import json
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from scenes import film

from covey.commands.main import main
from covey.writing import images

#: Made quickly: 72 tokens a clip.
QUICK = ("--steps", "12", "--learning-rate", "1e-3", "--seed", "4")


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two films, and a folder of pictures."""
    folder = tmp_path_factory.mktemp("videos")
    for index, count in enumerate((24, 9)):
        images.write_video(folder / f"{index}.mp4", film("medium", index, count, 40, 60)[0], fps=10)
    (folder / "pictures").mkdir()
    for index, frame in enumerate(film("easy", 2, 5, 40, 60)[0]):
        Image.fromarray(frame).save(folder / "pictures" / f"{index}.png")
    return [folder / "0.mp4", folder / "1.mp4", folder / "pictures"]


@pytest.fixture
def train(model_path, tmp_path, monkeypatch, capsys):
    """train(*arguments) runs the command in tmp_path with --json and returns what it
    told; its status is checked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COVEY_MODEL", str(model_path))

    def train(*arguments, status=0):
        capsys.readouterr()
        found = main(["train", "--json", *map(str, arguments)])
        output, errors = capsys.readouterr()
        assert found == status, errors
        return json.loads(output) if status in (0, 130) else errors

    return train


@pytest.fixture
def command(environment, model_path, tmp_path):
    """command(*arguments) is the process of ``covey train ...``, started."""
    started = []

    def command(*arguments):
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "covey", "train", *map(str, arguments)],
                env={**environment, "COVEY_MODEL": str(model_path)},
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield command
    for process in started:
        process.kill()
        process.communicate()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def metrics(path):
    """The log without what a clock says."""
    return [
        {name: value for name, value in row.items() if name not in ("seconds", "waited")}
        for row in lines(path)
    ]


def partly_broken(folder, picture):
    """Twelve pictures, three of which are none."""
    folder.mkdir()
    for index in range(12):
        shutil.copy(picture, folder / f"{index}.png")
    for index in (3, 6, 9):
        (folder / f"{index}.png").write_bytes(b"no picture")
    return folder
