"""Text of the command line to values, and the options that several commands have.

What enters: what more than one command says in the same words.  Private.  Knows: mirror,
interface, system.
"""
