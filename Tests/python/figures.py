"""Figures that tests measure, shown whether they pass or not."""

from __future__ import annotations

import pytest


@pytest.fixture
def record(request, capsys, record_property):
    """record(name=number or text, ...): one line below the test's name, and
    properties in a report of --junit-xml."""

    def show(**figures):
        parts = []
        for name, value in figures.items():
            record_property(name, value)
            parts.append(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}")
        with capsys.disabled():
            print(f"\n    {request.node.name}: " + ", ".join(parts), end="")

    return show
