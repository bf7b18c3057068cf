"""The command ``covey``: ``covey X`` is X.py here, its arguments and its run together.

What enters: a file for every command, with ``add(parser)`` and ``run(arguments)``, and a row in
``main.COMMANDS``.  Private.  Knows every room, and no room knows it.
"""
