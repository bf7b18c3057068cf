"""Figures of a video: attention of chosen patches, clusters of features and of
attention, the tree of clusters at several tau, masks of several systems.  Needs
matplotlib and Pillow.

What enters: a figure, and what it is drawn with.  Public.  Knows: mirror, interface, writing.
"""

from .attention import Encoded, attention_maps, encoded
from .figures import plot_affinities, plot_attention, plot_comparison, plot_hierarchy, spread
from .grid import heat, save_grid

__all__ = [
    "Encoded",
    "attention_maps",
    "encoded",
    "heat",
    "plot_affinities",
    "plot_attention",
    "plot_comparison",
    "plot_hierarchy",
    "save_grid",
    "spread",
]
