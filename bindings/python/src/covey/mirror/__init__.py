"""The C interface as Python sees it: declarations, the library, calls, handles, values as C takes
them, and errors.

What enters: whatever restates covey.h, and nothing that computes.  Private; knows no other room.
"""
