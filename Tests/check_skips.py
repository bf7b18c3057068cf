#!/usr/bin/env python3
"""The tests that skipped, against those that may.

    check_skips.py PASS...       build/reports/PASS.xml against Tests/skips/PASS.txt
    check_skips.py --show PASS   what the list would be
    check_skips.py --tests PASS  the list as arguments for pytest

A test that skips and is not in the list, or for another reason, is an error; of one that is
in the list and ran it is told.  Parameters of a test count as one.
"""

from __future__ import annotations

import ast
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import grouped

TOP = Path(__file__).resolve().parents[1]
Skips = list[tuple[str, str]]


def skipped(name: str) -> Skips:
    """(reason, test) of a report, paths as from the checkout."""
    found = set()
    for case in ET.parse(TOP / f"build/reports/{name}.xml").iter("testcase"):
        skip = case.find("skipped")
        if skip is None or skip.get("type") == "pytest.xfail":
            continue
        if skip.get("message") == "collection skipped":  # a whole file
            test = case.get("name").replace(".", "/") + ".py"
            _, _, reason = ast.literal_eval(skip.text)
        elif skip.get("type") is None:  # of swift test, as its --filter has it
            test, reason = f"{case.get('classname')}/{case.get('name')}", skip.text
        else:
            test = case.get("classname").replace(".", "/") + ".py::" + case.get("name")
            reason = skip.get("message")
        reason = reason.removeprefix("Skipped: ").replace(f"{TOP}/", "")
        found.add((reason.replace(f"{TOP.parent}/", "../"), test.partition("[")[0]))
    return sorted(found)


def listed(name: str) -> Skips:
    return grouped.read(TOP / f"Tests/skips/{name}.txt")


def is_as_listed(name: str) -> bool:
    found, expected = skipped(name), listed(name)
    gone = [each for each in expected if each not in found]
    new = [each for each in found if each not in expected]
    print(f"{name}: {len(found)} skipped, of {len(expected)} listed")
    if gone:
        print(f"{name}: ran, though in Tests/skips/{name}.txt:", grouped.shown(gone), sep="\n")
    if new:
        print(f"{name}: skipped, and not in Tests/skips/{name}.txt:", grouped.shown(new), sep="\n",
              file=sys.stderr)
    return not new


def main(arguments: list[str]) -> int:
    match arguments:
        case ["--tests", name]:
            print("\n".join(dict.fromkeys(test for _, test in listed(name))))
        case ["--show", name]:
            print(grouped.shown(skipped(name)))
        case [name, *_] if not name.startswith("-"):
            return 0 if all([is_as_listed(each) for each in arguments]) else 1
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
