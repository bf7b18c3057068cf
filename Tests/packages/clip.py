"""A clip whose truth is known: a bright disc moves over a dark ground with a grain.  It has
the shape of the default model's frames, 2 to 1: pulled to an ellipse, with no texture of its
own, the disc may fall into a rim and an inside."""

import random

WIDTH, HEIGHT, FRAMES, RADIUS = 256, 128, 4, 34


def inside(x, y, frame):
    return (x - 60 - 12 * frame) ** 2 + (y - 64) ** 2 < RADIUS**2


def grey(frame):
    """[height][width] bytes."""
    grain = random.Random(frame)
    return [
        bytes((200 if inside(x, y, frame) else 50) + grain.randrange(16) for x in range(WIDTH))
        for y in range(HEIGHT)
    ]


def yuv4mpeg2():
    chroma = bytes([128]) * (WIDTH * HEIGHT // 2)
    header = f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 Ip A1:1 C420jpeg\n".encode()
    return header + b"".join(
        b"FRAME\n" + b"".join(grey(frame)) + chroma for frame in range(FRAMES)
    )


def intersection_over_union(labels, frame):
    """The best of any one id with the disc; labels is [height][width]."""
    disc = sum(inside(x, y, frame) for y in range(HEIGHT) for x in range(WIDTH))
    area, common = {}, {}
    for y, row in enumerate(labels):
        for x, label in enumerate(row):
            area[label] = area.get(label, 0) + 1
            common[label] = common.get(label, 0) + inside(x, y, frame)
    return max(common[label] / (disc + area[label] - common[label]) for label in area)
