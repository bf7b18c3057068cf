"""Lines on the terminal.  What is in them of others, names of files and metadata of models, cannot
steer it."""

from __future__ import annotations

import re
import sys

#: Control characters of C0 and C1, ends of lines and paragraphs, what turns the direction of
#: writing, and surrogates, as names have them that are no text.
_STEERING = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """``text`` on one line, with escapes of JSON, which it so remains, for what would steer."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def say(text: str, error: bool = False) -> None:
    """One line, on standard output or error."""
    print(shown(text), file=sys.stderr if error else sys.stdout, flush=error)
