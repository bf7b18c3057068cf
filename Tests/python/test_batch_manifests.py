"""Which videos ``covey batch`` is to segment, and what their results are called."""

from __future__ import annotations

import pytest

from covey import batch
from covey.arguments.values import UsageError


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
    ("a.txt", "a.mp4\n".encode("utf-16"), "a.txt: expected text in UTF-8"),
    ("a.json", '[{"source": "a"}]', "a.json: expected a line for every video, in a .jsonl"),
])  # fmt: skip
def test_damaged_manifests(tmp_path, name, text, says):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
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
    assert batch.unique_names([*same, batch.Entry("/b.mp4", "a-2")]) == [
        "a", "a-3", "a-4", "a-2"
    ]  # fmt: skip


def test_names_of_folders(tmp_path):
    (tmp_path / "v1.5").mkdir()
    assert batch.unique_names([batch.Entry(str(tmp_path / "v1.5"))]) == ["v1.5"]
