"""Tests/check_skips.py, on reports that pytest writes."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "Tests"))
import check_skips  # noqa: E402

ONE = """
import pathlib, pytest
FOLDER = pathlib.Path(__file__).parents[2] / "shared"

@pytest.mark.parametrize("number", [1, 2])
def test_data(number):
    pytest.skip(f"{FOLDER}/data: not there")

@pytest.mark.skipif(True, reason="needs a camera")
def test_camera(): pass

@pytest.mark.xfail
def test_that_fails(): assert False

def test_that_runs(): pass
"""
ALL = [
    ("../shared/data: not there", "part/test_one.py::test_data"),
    ("needs a camera", "part/test_one.py::test_camera"),
    ("needs no_such_module", "part/test_two.py"),
]
LIST = """# Why they do.
../shared/data: not there
    part/test_one.py::test_data
needs a camera
    part/test_one.py::test_camera

needs no_such_module
    part/test_two.py
"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    top = tmp_path_factory.mktemp("above") / "checkout"
    (top / "part").mkdir(parents=True)
    (top / "part/test_one.py").write_text(ONE)
    (top / "part/test_two.py").write_text(
        "import pytest; pytest.importorskip('no_such_module', reason='needs no_such_module')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", top,
         "--junit-xml", "build/reports/python.xml", "part"],
        cwd=top, capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stdout
    (top / "Tests/skips").mkdir(parents=True)
    return top


@pytest.fixture
def skips(checkout, monkeypatch):
    monkeypatch.setattr(check_skips, "TOP", checkout)
    return checkout / "Tests/skips/python.txt"


def test_all_that_is_listed(skips, capsys):
    skips.write_text(LIST)
    assert check_skips.skipped("python") == ALL == check_skips.listed("python")
    assert check_skips.main(["python"]) == 0
    assert capsys.readouterr().out == "python: 3 skipped, of 3 listed\n"
    assert check_skips.main(["--tests", "python"]) == 0
    assert capsys.readouterr().out.split() == [test for _, test in ALL]
    assert check_skips.main(["--show", "python"]) == 0
    skips.write_text(capsys.readouterr().out)
    assert check_skips.listed("python") == ALL


@pytest.mark.parametrize("change", [("needs a camera", "needs two cameras"), ("::test_camera", "")])
def test_one_that_is_not_listed(skips, capsys, change):
    skips.write_text(LIST.replace(*change))
    assert check_skips.main(["python"]) == 1
    said = capsys.readouterr().err
    assert "needs a camera\n    part/test_one.py::test_camera\n" in said and "data" not in said


def test_one_that_ran(skips, capsys):
    skips.write_text(LIST + "    part/test_one.py::test_that_runs\n")
    assert check_skips.main(["python"]) == 0
    assert "ran, though in" in (said := capsys.readouterr().out)
    assert said.endswith("needs no_such_module\n    part/test_one.py::test_that_runs\n")


def test_a_report_of_swift(skips, checkout):
    (checkout / "build/reports/swift.xml").write_text("""<testsuites><testsuite>
        <testcase classname="Tests.Texts" name="commas()" ><skipped>no de_DE</skipped></testcase>
        <testcase classname="Tests.Texts" name="plain()" time="0.1" />
        </testsuite></testsuites>""")
    assert check_skips.skipped("swift") == [("no de_DE", "Tests.Texts/commas()")]


def test_a_list_that_begins_without_a_reason(skips):
    skips.write_text("    part/test_two.py\n")
    with pytest.raises(ValueError, match=r"python\.txt:1: expected a reason"):
        check_skips.main(["python"])
