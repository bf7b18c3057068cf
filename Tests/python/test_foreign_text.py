"""What others wrote, in names, metadata and JSON, neither steers the terminal nor ends in an
exception."""

from __future__ import annotations

import ast
import json
import re
import sys
import unicodedata
from pathlib import Path

import pytest
from conftest import moving_square

import covey
from covey.checkpoints.convert import Settings, convert
from covey.commands.main import main
from covey.system.display import Display
from covey.system.terminal import say, shown
from covey.writing import images

PACKAGE = Path(covey.__file__).parent
#: Ends a title, clears the screen, rings, turns the writing, and is no text.
EVIL = "a\x1b]0;x\x07\x1b[2J\x9b31m\x7f\u202e\u2028b\rc\x08"


def steers(text):
    """Whether a terminal would do anything but show it, the ends of lines apart."""
    return [each for each in text.replace("\n", "")
            if unicodedata.category(each) in ("Cc", "Cs", "Zl", "Zp") or each in "\u202e\u2066"]


def test_every_character():
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        kept = shown(character) == character
        steering = unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
        bidi = unicodedata.bidirectional(character) in (
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # fmt: skip
        assert kept != (steering or bidi), hex(code)
    # What is JSON stays that, and the same.
    for text in (EVIL, "\udcff", "père 👩\u200d👧 \\ \""):
        assert json.loads(shown(json.dumps(text, ensure_ascii=False))) == text


def test_nothing_else_prints():
    """One function does, so that none can forget it."""
    found = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called == "print" or re.fullmatch(r"sys\.std(out|err)\.write", called):
                    found.append(path.name)
                if called.endswith(".print"):
                    # Of rich: a table, whose cells are tested below, or text that is shown().
                    (first, *_) = node.args
                    assert ast.unparse(first) == "table" or first.func.id == "shown", path
    assert found == ["terminal.py"]


@pytest.fixture
def said(capfd):
    """said() is what was printed, which must not steer; it was about EVIL."""

    def told():
        out, err = capfd.readouterr()
        assert not steers(out) and not steers(err), (out, err)
        assert "]0;x" in out + err
        return out, err

    return told


@pytest.fixture
def evil_model(make_checkpoint, tmp_path):
    """Its metadata is of others."""
    path = tmp_path / "evil.gguf"
    chosen = {"heads": 2, "correlator_heads": 3, "working_height": 32, "working_width": 48,
              "name": f"n{EVIL}", "description": f"one\ntwo{EVIL}", "license": EVIL}  # fmt: skip
    convert(make_checkpoint(), path, settings=Settings(**chosen))
    return path


def test_metadata(evil_model, tmp_path, said):
    for more in ([], ["--tensors"]):
        assert main(["info", str(evil_model), *more]) == 0
        out, _ = said()
        assert re.search(r"one\\u000atwo", out)
    assert main(["info", str(evil_model), "--json"]) == 0
    assert json.loads(said()[0])["name"] == f"n{EVIL}"
    assert main(["quantize", str(evil_model), str(tmp_path / f"q{EVIL}.gguf")]) == 0
    said()


def test_names(tmp_path, model_path, said):
    film, out = tmp_path / f"f{EVIL}.mp4", tmp_path / f"o{EVIL}"
    images.write_video(film, moving_square(4))
    words = ["--model", str(model_path), "-o", str(out)]
    for more in ([], ["--resume"], ["--json"]):
        assert main(["segment", str(film), *words, "--overlay", *more]) == 0
        said()
    assert main(["batch", str(film), *words[:2], "-o", f"{out}-b"]) == 0
    said()
    run = ["-o", str(tmp_path / f"m{EVIL}.gguf"), "--steps", "1", "--tau", "keep"]
    assert main(["train", str(film), *words[:2], *run]) == 0
    said()
    broken = tmp_path / f"b{EVIL}.mp4"
    broken.write_bytes(b"nothing")
    for failing in (
        ["segment", str(broken), *words], ["segment", f"{film}x", *words],
        ["info", str(broken)], ["convert", str(broken), "-o", "x.gguf"],
        ["batch", str(broken), *words[:2], "-o", f"{out}-c"],
        ["train", str(broken), *words[:2], "-o", str(tmp_path / "x.gguf")],
    ):  # fmt: skip
        assert main(failing) == 1
        said()
    for wrong in (["segment", EVIL, EVIL], ["info", EVIL, EVIL], [f"x{EVIL}"],
                  ["segment", "a", "-o", "b", "--tau", EVIL], ["info", f"--{EVIL}"],
                  ["segment", "a", "-o", "b", "--mode", EVIL]):  # fmt: skip
        with pytest.raises(SystemExit):
            main(wrong)
        said()


@pytest.mark.parametrize("rich", [True, False])
def test_tables(rich, tmp_path, said, monkeypatch):
    if not rich:
        monkeypatch.setitem(sys.modules, "rich", None)
    from covey.checkpoints.tensors import _print_table

    _print_table(("name", "figure"), [(f"n{EVIL}", "1"), ("other", EVIL)])
    said()


def test_tables_of_figures(tmp_path, model_path, said):
    frames = moving_square(3)
    for name in (f"v{EVIL}", "w"):
        for index, frame in enumerate(frames):
            for folder in ("frames", "masks"):
                (tmp_path / name / folder).mkdir(parents=True, exist_ok=True)
            images.write_image(tmp_path / name / "frames" / f"{index}.png", frame)
            mask = (frame[..., 0] > 200).astype(int)
            images.write_labels(tmp_path / name / "masks" / f"{index}.png", mask)
    assert main(["evaluate", "folders", str(tmp_path), "-o", str(tmp_path / "out"), "--model",
                 str(model_path)]) == 0  # fmt: skip
    said()


def test_progress(said, monkeypatch):
    with Display(silent=False) as display:
        display.warn(EVIL)
    said()
    say(EVIL)
    say(EVIL, error=True)
    out, err = said()
    assert out == err


def test_progress_on_a_terminal(monkeypatch):
    """Above the bars of rich."""
    import io

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    file = Terminal()
    monkeypatch.setattr(sys, "stderr", file)
    with Display(silent=False) as display:
        display.update("encode", 1, 2)
        display.warn(EVIL)
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).replace("\r", "")
    assert "\\u001b]0;x\\u0007\\u001b[2J" in told and not steers(told)


# ---- JSON ------------------------------------------------------------------------------------

DEEP = "[" * 100_000


@pytest.mark.parametrize("text", [DEEP, '{"source": ' + DEEP, '{"a":' * 100_000])
def test_json_that_is_nested_deeply(text, tmp_path, model_path, make_checkpoint, capsys):
    def fails(status, *words):
        assert main([*map(str, words)]) == status
        (line,) = capsys.readouterr().err.splitlines()
        return line

    (tmp_path / "list.jsonl").write_text(text)
    out = tmp_path / "out"
    says = fails(2, "batch", "--manifest", tmp_path / "list.jsonl", "-o", out)
    assert says.endswith("list.jsonl: line 1: nested too deeply")
    out.mkdir()
    (out / "result.json").write_text(text)
    images.write_video(tmp_path / "a.mp4", moving_square(3))
    says = fails(1, "segment", tmp_path / "a.mp4", "-o", out, "--model", model_path)
    assert says.endswith("result.json: is there, and was not written by covey")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "model.safetensors").write_bytes(make_checkpoint().read_bytes())
    (tmp_path / "folder" / "config.json").write_text(text)
    says = fails(1, "convert", tmp_path / "folder", "-o", tmp_path / "x.gguf")
    assert says.endswith("config.json: not JSON: nested too deeply")
    run = tmp_path / "run"
    run.mkdir()
    (run / "checkpoint.gguf").touch()
    (run / "run.json").write_text(text)
    assert fails(1, "train", "--resume", run).endswith("run.json: nested too deeply")


def test_nothing_else_reads_json():
    own = {"terminal.py", "whole_files.py", "run_result.py", "child.py"}
    for path in PACKAGE.rglob("*.py"):
        if path.name not in own:
            assert not re.search(r"json\.loads?\(", path.read_text()), path
