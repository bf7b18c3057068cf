"""What tests compare with and `make` does not install, as it is large.  Without it they
skip, and say what to install."""

from __future__ import annotations

import pytest

NAMES = {
    "cv2": "OpenCV",
    "skimage": "scikit-image",
    "timm": "timm",
    "torch": "PyTorch",
    "trackeval": "TrackEval",
    "transformers": "transformers",
}


def wanted(module):
    """The reason of a skip."""
    return f"needs {NAMES[module]}: .venv/bin/pip install -r Tests/python/oracles.txt"


def load(module):
    """The module.  Without it the test that asks skips, or the file."""
    return pytest.importorskip(module, reason=wanted(module))
