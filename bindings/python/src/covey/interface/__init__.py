"""What ``import covey`` gives: models, sessions, results, trainers, clustering, the log.

What enters: a class or function for every thing of covey.h, with NumPy arrays for its pointers.
Public, by way of ``covey`` itself.  Knows: mirror.
"""
