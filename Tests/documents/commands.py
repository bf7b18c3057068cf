"""The commands in a document: indented blocks, fenced ones that are in no language, and
code between words that begins as the checkout's own programs do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

#: First words of commands, beside those with a folder (./segment, .venv/bin/covey).
PROGRAMS = {
    "c++", "cc", "covey", "curl", "dask", "ffmpeg", "for", "gdown", "lscpu", "make", "pip",
    "python", "python3", "sbatch", "scp", "sudo", "swift", "tar", "taskset",
}
OWN = (".venv/", "./", "my-env/", "build/")
SHELL = ("", "bash", "console", "sh", "shell")


@dataclass(frozen=True)
class Command:
    document: str
    line: int
    #: As it stands there, without its comment; what lists name it by has single blanks.
    text: str

    @property
    def name(self):
        return " ".join(self.text.replace("\\\n", " ").split())


def blocks(text: str):
    """(number of the first line, lines) of blocks that could be commands."""
    fence, start, held = None, 0, []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        opened = re.match(r"\s*```\s*(\w*)", line)
        if opened or (fence is None and not line.startswith("    ")):
            if held and fence in (None, *SHELL):
                yield start, held
            held = []
            if opened:
                fence = opened[1] if fence is None else None
            continue
        if not held:
            start = number
        held.append(line if fence is not None else line[4:])


def is_command(line: str) -> bool:
    word = re.sub(r"^(\w+=\S+ )+", "", line).split()[0]
    return word in PROGRAMS or word.startswith(OWN) or re.match(r"\w+=[$\w.]", line) is not None


def of(path: Path, document: str) -> list[Command]:
    found, text = [], path.read_text()
    for start, lines in blocks(text):
        if not is_command(lines[0]):
            odd = [line for line in lines if re.search(r"\s--?[a-z]", line)]
            assert not odd, f"{document}:{start}: a command of a program unknown here? {odd[0]}"
            continue
        joined = ""
        for number, line in enumerate(lines, start):
            joined += re.sub(r"(^|\s+)#\s.*", "", line)
            if joined.endswith("\\"):
                joined += "\n"
            elif joined.strip():
                found.append(Command(document, number - joined.count("\n"), joined.strip()))
                joined = ""
    between = re.compile(r"(?<!`)`(\.venv/bin/[^`]+ [^`]+)`(?!`)")
    found += [
        Command(document, text.count("\n", 0, each.start()) + 1, each[1])
        for each in between.finditer(text)
    ]
    return sorted(found, key=lambda command: command.line)
