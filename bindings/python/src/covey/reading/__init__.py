"""Sources to frames: films, pictures, cameras, clips for training.

What enters: what makes uint8 RGB arrays of files and devices.  Public.  Knows no other room.
"""
