"""One video to one folder: what ``covey segment`` is made of, and each video of a batch.

What enters: a stage between the frames that are read and OUT/result.json.  Private.  Knows:
mirror, interface, system, reading, writing, arguments.
"""
