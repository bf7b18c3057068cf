"""A run of ``covey train``: its settings, its folder, its clips, its steps, and tau behind them.

What enters: what such a run is of.  Public.  Knows: mirror, interface, system, reading, writing,
arguments.
"""
