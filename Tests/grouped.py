"""Lists of what a test leaves out, each entry below the reason for it:

    # a comment
    the reason
        an entry
        another
"""

from __future__ import annotations

from pathlib import Path


def read(path: Path) -> list[tuple[str, str]]:
    """(reason, entry) of every entry, in the file's order."""
    found, reason = [], None
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if not line.startswith(" "):
            reason = line.strip()
        elif reason is None:
            raise ValueError(f"{path}:{number}: expected a reason before the first entry")
        else:
            found.append((reason, line.strip()))
    return found


def shown(entries: list[tuple[str, str]]) -> str:
    """The text of such a file."""
    lines = []
    for reason in dict.fromkeys(reason for reason, _ in entries):
        lines += [reason, *(f"    {entry}" for of, entry in entries if of == reason)]
    return "\n".join(lines)
