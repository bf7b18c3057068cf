"""Weights of others to weight files, and what is in a weight file.

What enters: formats of checkpoints, and what they are made into.  Public.  Knows: mirror,
interface, system, writing.
"""
