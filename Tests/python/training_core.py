"""covey_train_gradients and covey_train_apply with NumPy arrays."""

from __future__ import annotations

import ctypes

import numpy as np

from covey.mirror import abi
from covey.mirror.errors import check
from covey.mirror.library import lib


def count(c, f):
    return 4 * c * c + 2 * c * f + f + 6 * c


def gradients(
    weights, features, *, frames, heads, positions, hidden=None, has_class=True, **options
):
    """(semantic, motion, gradients [count], peak bytes).  ``positions``: a list, or how
    many are to be drawn."""
    features = np.ascontiguousarray(features, np.float32)
    weights = np.ascontiguousarray(weights, np.float32)
    tokens, c = features.shape
    clip = abi.sized("covey_train_clip")
    clip.frames, clip.patches = frames, tokens // frames - int(has_class)
    clip.without_cls = int(not has_class)
    clip.channels, clip.heads, clip.hidden = c, heads, hidden or 4 * c
    clip.features = features.ctypes.data
    chosen = None
    if isinstance(positions, int):
        clip.position_count = positions
    else:
        chosen = np.array(positions, np.int32)
        clip.position_count, clip.positions = len(chosen), chosen.ctypes.data
    settings = abi.sized("covey_train_options")
    for name, value in options.items():
        setattr(settings, name, value)
    found = np.empty_like(weights)
    losses = abi.sized("covey_train_losses")
    check(
        lib().covey_train_gradients(
            ctypes.byref(clip), ctypes.byref(settings), weights.ctypes.data, weights.size,
            found.ctypes.data, ctypes.byref(losses),
        )
    )
    return losses.semantic, losses.motion, found, losses.peak_bytes


def apply(weights, gradient, first, second, *, c, heads, f, step, **options):
    """One update, in place; returns the norm of the gradients."""
    update = abi.sized("covey_train_update")
    update.channels, update.heads, update.hidden, update.step = c, heads, f, step
    for name, value in options.items():
        setattr(update, name, value)
    norm = ctypes.c_double()
    check(
        lib().covey_train_apply(
            ctypes.byref(update), weights.ctypes.data, gradient.ctypes.data, first.ctypes.data,
            second.ctypes.data, weights.size, ctypes.byref(norm),
        )
    )
    return norm.value
