"""Results to files: masks, films, sheets, COCO, reports; and files that are there whole or not at
all.

What enters: what makes files, and reads its own again.  Public.  Knows: interface, reading,
system.
"""
