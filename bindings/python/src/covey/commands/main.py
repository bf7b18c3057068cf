"""The command: which one is asked for, its arguments parsed, and its failures told in a line."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import warnings
from collections.abc import Collection, Sequence
from types import ModuleType

from ..arguments.values import Parser, UsageError
from ..mirror.abi import VERSION
from ..mirror.errors import CoveyError
from ..system.terminal import say

#: Each is the file of its name here.  That has ``add(parser)``, which adds its arguments,
#: ``run(arguments)``, which returns the exit status, and where words may be left over
#: ``take_up(arguments, left)``, which returns what is wrong with them.
COMMANDS = {
    "segment": "a video or a folder of pictures to label maps",
    "batch": "many videos, on this machine or a cluster",
    "train": "adapt a model to your videos, without labels",
    "evaluate": "figures on labelled video: J, F, FG-ARI, mIoU",
    "plot": "figures of a video",
    "info": "what a weight file holds",
    "quantize": "a weight file to a smaller one",
    "convert": "a training checkpoint to a weight file",
}

#: Exit statuses: done, failed, wrong usage (argparse's), interrupted (a shell's
#: 128 + SIGINT).
DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def build_parser(wanted: Collection[str] = tuple(COMMANDS)) -> argparse.ArgumentParser:
    """Of all commands; those that are ``wanted`` with their arguments."""
    parser = Parser(
        prog="covey", description="Object segmentation of video, without supervision."
    )
    parser.add_argument("--version", action="version", version=f"covey {VERSION}")
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND"
    )
    for name, told in COMMANDS.items():
        command = commands.add_parser(name, help=told)
        if name in wanted:
            _file_of(name).add(command)
    return parser


def _file_of(command: str) -> ModuleType:
    return importlib.import_module(f".{command}", __package__)


def _parse(argv: Sequence[str]) -> tuple[ModuleType, argparse.Namespace]:
    """The command's file, and its arguments.  SystemExit for wrong usage."""
    words, behind = list(argv), []
    if words[:1] == ["batch"] and "--" in words:
        place = words.index("--")
        words, behind = words[:place], words[place + 1 :]
    # The others need not be read.
    parser = build_parser([each for each in words[:1] if each in COMMANDS] or COMMANDS)
    arguments, left = parser.parse_known_args(words)
    command = _file_of(arguments.command)
    if behind:
        # For covey segment alone.
        arguments.passed_on = [*arguments.passed_on, *behind]
    if wrong := _wrong_with(command, arguments, left):
        say(f"covey {arguments.command}: error: {wrong}", error=True)
        parser.exit(USAGE)
    return command, arguments


def _wrong_with(
    command: ModuleType, arguments: argparse.Namespace, left: list[str]
) -> str | None:
    """In words; None where nothing is.  What is ``left`` are videos: argparse does not join those
    behind an option with those before."""
    options = [each for each in left if each.startswith("-") and each != "-"]
    take_up = getattr(command, "take_up", None)
    if options or (left and take_up is None):
        return f"unrecognized arguments: {' '.join(left)}"
    wrong: str | None = None if take_up is None else take_up(arguments, left)
    return wrong


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status.

    A failure is one line on standard error; with COVEY_TRACEBACK set it is
    raised instead.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed by who began it: nobody wants to read.
            setattr(sys, name, open(os.devnull, "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Of a file's name that is no text the escapes are printed, which are JSON's too.
        sys.stdout.reconfigure(errors="backslashreplace")
    # Large pictures are read, as is told where they are too large.
    warnings.filterwarnings("ignore", "Image size .* could be decompression bomb")
    command, arguments = _parse(sys.argv[1:] if argv is None else argv)
    try:
        status: int = command.run(arguments)
        sys.stdout.flush()
        return status
    except UsageError as error:
        say(f"covey {arguments.command}: error: {error}", error=True)
        return USAGE
    except KeyboardInterrupt:
        say("covey: interrupted", error=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Nobody reads on: neither does the interpreter's own flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        if os.environ.get("COVEY_TRACEBACK"):
            raise
        say(f"covey: error: {_one_line(error)}", error=True)
        return FAILED


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    # Operating system's and FFmpeg's errors: without their numbers.
    reason, name = getattr(error, "strerror", None), getattr(error, "filename", None)
    # Of FFmpeg's some have the function that failed for a file.
    if reason and name and not os.fsdecode(name).endswith("()"):
        return f"{os.fsdecode(name)}: {reason}"
    expected = (CoveyError, OSError, ValueError, ImportError, MemoryError)
    if isinstance(error, expected) and text:
        return text
    return f"{type(error).__name__}: {text}"
