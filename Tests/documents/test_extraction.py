"""What counts as a command in a document."""

import commands
import pytest

PAGE = """# A page

    make lib        # the library
                    # and more of it
    covey segment a.mp4 \\
        -o 'out#1' | sort

    1 / (1 + a)     a formula

```sh
./segment a b
A=1 python3 x.py
```

```python
    pip = 1
```

Say `.venv/bin/covey info` or `.venv/bin/covey`, not `make all`.
"""


def found(tmp_path, text):
    (tmp_path / "page.md").write_text(text)
    return [(each.line, each.name) for each in commands.of(tmp_path / "page.md", "page.md")]


def test_a_page(tmp_path):
    assert found(tmp_path, PAGE) == [
        (3, "make lib"),
        (5, "covey segment a.mp4 -o 'out#1' | sort"),
        (11, "./segment a b"),
        (12, "A=1 python3 x.py"),
        (19, ".venv/bin/covey info"),
    ]


def test_a_program_that_is_not_known(tmp_path):
    with pytest.raises(AssertionError, match=r"page.md:1: .* uv pip install -e \."):
        found(tmp_path, "    uv pip install -e .\n")
