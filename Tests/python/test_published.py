"""Tests/check_abi.py notices what would break programs built against an earlier covey.h."""

import shutil
import subprocess
import sys

import pytest
from conftest import HEADER, ROOT

TABLE = ROOT / "Tests" / "abi" / "covey-0.txt"
CROSS = "aarch64-linux-gnu-gcc"


def check(*arguments):
    """(exit status, all that it said)."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "Tests" / "check_abi.py"), *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(autouse=True)
def compiler():
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")


def changed(folder, old, new):
    """A header in which `old`, which is there once, is `new`."""
    text = HEADER.read_text()
    assert text.count(old) == 1, old
    path = folder / "covey.h"
    path.write_text(text.replace(old, new))
    return path


@pytest.mark.parametrize("of", ["cc", pytest.param(CROSS, marks=pytest.mark.skipif(
    shutil.which(CROSS) is None, reason="no cross compiler"))])
def test_the_interface_is_as_published(of):
    status, said = check("--cc", of)
    assert status == 0, said
    # What the table had when this was written: one that was cut short would pass.
    lines = TABLE.read_text().splitlines()
    least = {"struct": 18, "field": 188, "enum": 48, "type": 2, "function": 51}
    for kind, count in least.items():
        assert sum(line.startswith(kind + " ") for line in lines) >= count, kind


@pytest.mark.parametrize(("old", "new", "expected"), [
    # A field that grows, moves, changes its type, goes, or comes.
    ("int64_t            timestamp; ", "int32_t            timestamp; ",
     "covey_frame.timestamp had 8 bytes"),
    ("    int32_t            width, height;       /* pixels, 1",
     "    int32_t            height, width;       /* pixels, 1",
     "covey_frame.width was at byte 8"),
    ("float    min_area; ", "int32_t  min_area; ",
     "covey_session_options.min_area was of type float"),
    ("    int32_t  a, b;  ", "    int32_t  a, c;  ", "field covey_merge.b: published, but no"),
    ("    float    share; ", "    float    share, more;",
     "field covey_merge.more: in covey.h, but not published"),
    # Enumerators.
    ("COVEY_PIXEL_NV12  = 7,", "COVEY_PIXEL_NV12  = 9,", "COVEY_PIXEL_NV12 was 7"),
    ("COVEY_STAGE_TRAIN   = 5 ", "COVEY_STAGE_TRAINING = 5 ",
     "enumerator COVEY_STAGE_TRAIN: published, but no"),
    # Functions and callbacks.
    ("COVEY_API void covey_session_cancel(covey_session *session);", "",
     "function covey_session_cancel: published, but no"),
    ("covey_session *session, float tau, int32_t target_clusters);",
     "covey_session *session, double tau, int32_t target_clusters);",
     "covey_session_recut was of type covey_status (covey_session *, float, int32_t)"),
    ("COVEY_API int32_t covey_version(void);",
     "COVEY_API int32_t covey_version(void);\nCOVEY_API int32_t covey_more(void);",
     "function covey_more: in covey.h, but not published"),
    ("void *user_data, covey_stage stage, float fraction);",
     "void *user_data, covey_stage stage, double fraction);",
     "covey_progress_fn was of type int32_t"),
    ("    covey_trainer *trainer, const float *features, size_t feature_count,\n    covey_train_m",
     "    covey_trainer *trainer, const double *features, size_t feature_count,\n    covey_train_m",
     "(experimental)"),
])
def test_changes_are_noticed(tmp_path, old, new, expected):
    status, said = check("--header", changed(tmp_path, old, new))
    assert status == 1
    assert expected in said
    assert "--record" in said


def test_growth_is_recorded_and_nothing_else(tmp_path):
    table = tmp_path / "table.txt"
    table.write_text(TABLE.read_text())
    header = changed(tmp_path, "    float    share; ", "    float    share, more; ")
    status, said = check("--header", header, "--table", table, "--record")
    assert status == 0, said
    old, new = TABLE.read_text(), table.read_text()
    assert new.startswith(old)
    assert [line.split()[:5] for line in new[len(old):].splitlines()] == [
        ["struct", "covey_merge", "24", "0.1"], ["field", "covey_merge", "more", "20", "4"]]
    # A second time there is nothing to add, and what was recorded is frozen too.
    check("--header", header, "--table", table, "--record")
    assert table.read_text() == new
    status, said = check("--header", HEADER, "--table", table)
    assert status == 1
    assert "field covey_merge.more: published, but no" in said


def test_fields_in_padding_are_noticed(tmp_path):
    table = tmp_path / "table.txt"
    table.write_text(TABLE.read_text())
    # This field ends at byte 76, and the next begins at 80.
    old = "    int64_t  shot;                          /* that the frame is of: from 0 on; see"
    header = changed(tmp_path, old, "    float    more;\n" + old)
    status, said = check("--header", header, "--table", table, "--record")
    assert status == 1
    assert "covey_result_info.more: at byte 76, within the 88" in said


def test_libraries_are_looked_at(tmp_path):
    source, library = tmp_path / "some.c", tmp_path / "libsome.so"
    names = [line.split()[1] for line in TABLE.read_text().splitlines()
             if line.startswith("function ")]
    names.remove("covey_segment")
    source.write_text("".join(f"int {name};\n" for name in [*names, "covey_more"]))
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    status, said = check(library)
    assert status == 1
    assert "covey_segment: published, but not exported" in said
    assert "covey_more: exported, but not published" in said
    assert "2 findings" in said
