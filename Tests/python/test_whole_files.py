"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from covey.commands.main import main
from covey.writing import images
from covey.writing.whole_files import json_line, write_json, write_text, written_whole


def test_a_file_is_there_whole_or_as_it_was(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"ä": [1]}, indent=1)
    assert path.read_text(encoding="utf-8") == '{\n "ä": [\n  1\n ]\n}\n'
    with pytest.raises(TypeError):
        write_json(path, object())
    with pytest.raises(KeyError), written_whole(path) as file:
        file.write(b"half of it")
        raise KeyError
    write_text(tmp_path / "b.txt", "ö")
    assert json.loads(path.read_text(encoding="utf-8")) == {"ä": [1]}
    assert (tmp_path / "b.txt").read_bytes() == b"\xc3\xb6"
    assert sorted(os.listdir(tmp_path)) == ["a.json", "b.txt"]


def test_names_that_are_no_text_come_back():
    name = os.fsdecode(b"f\xff.png")
    assert json.loads(json_line([name]).decode("utf-8")) == [name]


def test_a_video_whose_name_is_no_text(tmp_path, model_path, video, capfdbinary):
    source = tmp_path / os.fsdecode(b"shot\xff")
    try:
        source.mkdir()
    except OSError:
        pytest.skip("this file system has names of text only")
    for index, frame in enumerate(video):
        images.write_image(source / os.fsdecode(b"%d\xfe.png" % index), np.asarray(frame))
    out = tmp_path / "out"
    assert main(["segment", str(source), "--model", str(model_path), "--coco", "--report",
                 "--json", "-o", str(out)]) == 0
    told = json.loads(capfdbinary.readouterr().out)
    assert os.fsencode(told["source"]) == os.fsencode(source)
    written = json.loads((out / "coco.json").read_text(encoding="utf-8"))
    assert written["images"][0]["file_name"] == os.fsdecode(b"0\xfe.png")
    assert "shot\\udcff" in (out / "report.html").read_text(encoding="utf-8")
