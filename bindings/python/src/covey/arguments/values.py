"""Arguments of the command: text to values, with the ranges of the library.

Each raises argparse.ArgumentTypeError, which argparse makes a usage error: the
library's own messages name its options, not the command's.
"""

from __future__ import annotations

import argparse
import ctypes
import re
from collections.abc import Callable
from typing import NoReturn

from ..system.terminal import say


class UsageError(ValueError):
    """An argument that only the model, or the other arguments, show to be wrong."""


class Parser(argparse.ArgumentParser):
    """Tells what is wrong in a line; --help tells what is right, in as many as it takes."""

    def error(self, message: str) -> NoReturn:
        say(f"{self.prog}: error: {message}", error=True)
        self.exit(2)


def size_in_bytes(text: str) -> int:
    """ "500M" is 500 * 1024 * 1024; K, M, G, T, with or without B or iB."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not match:
        raise argparse.ArgumentTypeError(f"expected a size such as 500M, found {text!r}")
    size = int(float(match.group(1)) * 1024 ** " KMGT".index(match.group(2).upper() or " "))
    if not 1 <= size < 1 << 63:
        raise argparse.ArgumentTypeError(
            f"expected at least a byte, and less than 8388608T, found {text!r}"
        )
    return size


#: The longest edge of the working size.
_LARGEST = 8192


def height_by_width(text: str) -> tuple[int, int]:
    """ "192x384" is (192, 384); either may be 0."""
    match = re.fullmatch(r"([0-9]{1,9})[xX]([0-9]{1,9})", text.strip())
    size = (int(match.group(1)), int(match.group(2))) if match else (-1, -1)
    if not all(0 <= side <= _LARGEST for side in size):
        raise argparse.ArgumentTypeError(
            f"expected HEIGHTxWIDTH such as 192x384, each at most {_LARGEST}, found {text!r}"
        )
    return size


#: The working size of frames that are not resized, but to whole patches.
OF_FRAME = (-1, -1)


def height_by_width_or_frame(text: str) -> tuple[int, int]:
    """As height_by_width(); "frame" is the frames' own size."""
    return OF_FRAME if text.strip() == "frame" else height_by_width(text)


def height_by_width_of_a_model(text: str) -> tuple[int, int]:
    """As height_by_width(), without 0."""
    size = height_by_width(text)
    if 0 in size:
        raise argparse.ArgumentTypeError(f"expected HEIGHTxWIDTH from 1x1, found {text!r}")
    return size


def whole(largest: int) -> Callable[[str], int]:
    """Integers from 1 to ``largest``."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,18}", text) or not 1 <= int(text) <= largest:
            raise argparse.ArgumentTypeError(f"expected 1 to {largest}, found {text!r}")
        return int(text)

    return parse


#: Where nothing but the width of the C type sets a bound.
positive = whole(2**31 - 1)


def index(text: str) -> int:
    """From 0."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"expected 0 or more, found {text!r}")
    return int(text)


def _single(text: str) -> float:
    """A number as the library sees it, in single precision; nan for none."""
    try:
        return ctypes.c_float(float(text)).value
    except ValueError:
        return float("nan")


def above_zero(largest: float) -> Callable[[str], float]:
    """Numbers above 0, to ``largest``."""

    def parse(text: str) -> float:
        if not 0 < _single(text) <= largest:
            raise argparse.ArgumentTypeError(
                f"expected a number above 0, at most {largest:g}, found {text!r}"
            )
        return float(text)

    return parse


def above_zero_or_none(largest: float) -> Callable[[str], float]:
    """Numbers to ``largest``; 0 is "none", as negative numbers are (see below)."""

    def parse(text: str) -> float:
        number = _single(text)
        if not -float("inf") < number <= largest:
            raise argparse.ArgumentTypeError(
                f"expected a number, at most {largest:g}, found {text!r}"
            )
        return float(text) if number > 0 else -1.0

    return parse


def fraction_or_none(text: str) -> float:
    """Below 1.  0 is "none", as negative numbers are: to the library 0 is its
    default, for which the argument can be left out."""
    number = _single(text)
    if not -float("inf") < number < 1:
        raise argparse.ArgumentTypeError(f"expected a number below 1, found {text!r}")
    return number if number > 0 else -1.0


def seed(text: str) -> int:
    """From 0 to 2**64 - 1."""
    if not re.fullmatch(r"[0-9]{1,20}", text) or int(text) >= 1 << 64:
        raise argparse.ArgumentTypeError(f"expected 0 to {2**64 - 1}, found {text!r}")
    return int(text)


def threshold(text: str) -> float | str:
    """ "auto", "keep", or nats."""
    return text if text in ("auto", "keep") else above_zero(1000)(text)


def three_numbers(text: str) -> tuple[float, ...]:
    """ "0.485,0.456,0.406"."""
    numbers = tuple(_single(part) for part in text.split(","))
    if len(numbers) != 3 or not all(abs(number) < float("inf") for number in numbers):
        raise argparse.ArgumentTypeError(f"expected R,G,B in 0..1, found {text!r}")
    return tuple(float(part) for part in text.split(","))
