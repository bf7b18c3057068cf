"""Around the process: its terminal, and the cores and memory of its machine.

What enters: what knows no video and no model.  Private.  Knows: mirror, for the names of stages.
"""
