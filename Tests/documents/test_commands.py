"""Every command of README and docs runs, or stands with a reason in not_run.txt.

Each document is a script of its own, in a folder like the checkout with the files that a
reader is said to have, and, where it begins with `pip install`, in an environment of what that
installs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import commands
import grouped
import numpy as np
import pytest
from scenes import film
from small_datasets import davis2016, davis2017, ytvis

import covey
from covey.writing import images

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", "Examples/README.md", "bindings/python/README.md",
         "models/README.md", *(f"docs/{path.name}" for path in (TOP / "docs").glob("*.md"))]
COMMANDS = {page: commands.of(TOP / page, page) for page in sorted(PAGES)}
NOT_RUN = grouped.read(HERE / "not_run.txt")

#: What is run in the place of what stands there.
SHORTER = (
    (r"--steps \d+", "--steps 2 --working-size 96x192"),  # minutes to hours
    (r"(covey_bench \S+)$", r"\1 --sizes 96x192"),
    (r"(pip install .*) torch\b", r"\1"),  # gigabytes
    (r"^\.venv/bin/pip install", ".venv/bin/pip install --dry-run"),  # the checkout's own
)

#: Frames of films: as many and as large as `covey plot attention` is asked about.
FRAMES, HEIGHT, WIDTH = 11, 136, 240


def run_here(page):
    left_out = {entry for _, entry in NOT_RUN}
    return [each for each in COMMANDS[page] if each.name not in left_out]


@pytest.fixture(scope="module")
def frames():
    return film("easy", 3, FRAMES, HEIGHT, WIDTH)[0]


@pytest.fixture
def folder(tmp_path, frames):
    """The checkout's parts, what `make` built, and what a reader has."""
    for name in ("Examples", "Include", "Tests", "build", "models", ".venv"):
        (tmp_path / name).symlink_to(TOP / name)
    # pip builds in there.
    shutil.copytree(TOP / "bindings", tmp_path / "bindings",
                    ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))

    images.write_video(tmp_path / "my-video.mp4", frames, fps=25)
    images.write_video(tmp_path / "short.mp4", frames[:6], fps=25)
    for name in ("clip", "videos/a", "videos/b", "my-videos/one", "my-videos/two"):
        path = tmp_path / f"{name}.mp4"
        path.parent.mkdir(exist_ok=True)
        shutil.copyfile(tmp_path / "short.mp4", path)
    for at in ("frames", "frames/shot-1"):
        (tmp_path / at).mkdir()
        for number, frame in enumerate(frames[:6]):
            images.write_image(tmp_path / at / f"{number:05d}.png", frame)
    (tmp_path / "masks").mkdir()
    (tmp_path / "theirs/masks").mkdir(parents=True)
    for number, frame in enumerate(frames):
        images.write_labels(tmp_path / f"theirs/masks/{number:05d}.png",
                            (frame[..., 0] > 128).astype(np.uint16))
    (tmp_path / "list.csv").write_text("source,name\nvideos/a.mp4,first\nvideos/b.mp4,\n")
    for name in ("dino-s8.gguf", "covey-nano.gguf"):
        (tmp_path / name).symlink_to(TOP / "models" / "covey-nano.gguf")
    with covey.Model() as model:
        model.save(tmp_path / "my-model.gguf", "f32")
    for program in ("covey_bench", "segment"):
        shutil.copy(TOP / "build" / "c" / program, tmp_path)

    (tmp_path / "DAVIS").mkdir()
    davis2017(tmp_path / "DAVIS")
    truth = davis2016(tmp_path / "more")["bear"]
    for kind in ("Annotations/480p", "ImageSets/480p"):
        shutil.copytree(tmp_path / "more" / kind, tmp_path / "DAVIS" / kind)
    shutil.rmtree(tmp_path / "more")
    theirs = tmp_path / "results-of-another-system/bear"
    theirs.mkdir(parents=True)
    for number, each in enumerate(truth):
        images.write_labels(theirs / f"{number:05d}.png", (each > 0).astype(np.uint16))
    (tmp_path / "YTVIS").mkdir()
    first = sorted(ytvis(tmp_path / "YTVIS"))[0]
    (tmp_path / "held-out.txt").write_text(f"{first}\n")
    return tmp_path


@pytest.fixture(scope="module")
def environments(tmp_path_factory):
    """Of what a page installs first, the folder: pages that install the same share it."""
    made = {}
    return lambda install: made.setdefault(install, tmp_path_factory.mktemp("environment") / "new")


@pytest.mark.parametrize("page", [page for page in COMMANDS if run_here(page)])
def test_commands_run(page, folder, environments):
    script = ["set -euo pipefail"]
    first = next((each.text for each in run_here(page) if each.text.startswith(("pip ", "covey "))), "")
    if first:
        as_in_the_readme = "pip install 'bindings/python[cli]'"
        new = environments(as_in_the_readme if first.startswith("covey ") else first)
        script.append(f"[[ -d {new} ]] || python3 -m venv {new}; . {new}/bin/activate")
        if first.startswith("covey "):
            script.append(f"command -v {new}/bin/covey || {as_in_the_readme}")
    for each in run_here(page):
        text = each.text
        for long, short in SHORTER:
            text = re.sub(long, short, text)
        script += [f"echo '{page}:{each.line}' >&2", text]
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("COVEY_", "PYTHON", "VIRTUAL_ENV", "MAKE", "LD_"))}
    done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=folder, text=True, env=kept,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200)
    assert done.returncode == 0, done.stdout[-3000:]


def test_what_is_not_run_is_in_a_document():
    names = {each.name for found in COMMANDS.values() for each in found}
    gone = [entry for _, entry in NOT_RUN if entry not in names]
    assert not gone, f"in not_run.txt, and in no document: {gone}"


def test_contributing_names_what_the_gate_runs():
    gate = re.sub(r"\\$\(.*?\)", "", (TOP / ".ci/run").read_text())
    run = {word for line in re.findall(r"(?m)^(?:\w+=\S+ )?make (.*)$", gate)
           for word in re.findall(r"(?<!\S)[a-z][a-z-]+(?!\S)", line)}
    told = (TOP / "CONTRIBUTING.md").read_text().split("\n## ")[0]
    assert len(run) > 4 and set(re.findall(r"`make ([a-z-]+)`", told)) == run


@pytest.mark.parametrize("page", [page for page in COMMANDS if page.startswith("docs/")])
def test_a_page_begins_with_what_it_is_for(page):
    _, first = (TOP / page).read_text().split("\n\n")[:2]
    assert first.startswith("After this page "), f"{page}: {first}"
    assert len(first.split("\n")) <= 3


def test_targets_are_the_makefiles():
    targets = set(re.findall(r"(?m)^([a-z][a-z0-9-]*):", (TOP / "Makefile").read_text()))
    for page in COMMANDS:
        text = (TOP / page).read_text()
        for line in [*re.findall(r"`(make [^`]*)`", text), *re.findall(r"(?m)^    (make .*)", text)]:
            if " -f " in line:
                continue
            named = re.match(r"make ((?:[a-z][a-z0-9-]* ?)*)", line)[1].split()
            assert set(named) <= targets, f"{page}: {line}"
