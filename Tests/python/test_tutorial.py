"""The blocks of docs/TUTORIAL.md, one after the other, on a small film."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import moving_square

import covey
from covey.writing import images

PAGE = Path(__file__).resolve().parents[2] / "docs" / "TUTORIAL.md"


def test_every_block_runs(tmp_path, monkeypatch, capsys):
    if not covey.default_model_path().is_file():
        pytest.skip("no default model")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(blocks) >= 8
    monkeypatch.chdir(tmp_path)
    images.write_video("my-video.mp4", moving_square(8, 64, 96, 24), fps=10)
    names = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"{PAGE.name}, block {number + 1}", "exec"), names)
    shown = capsys.readouterr().out
    assert "objects:" in shown and "MiB" in shown and "pixels a patch" in shown
    made = {each.name for each in tmp_path.iterdir()}
    assert made >= {"first.png", "overlay.mp4", "attention.png", "hierarchy.png", "adapted.gguf"}
    with covey.Model("adapted.gguf") as adapted:
        assert adapted.info.embed_dim == names["model"].info.embed_dim
    names["model"].close()
