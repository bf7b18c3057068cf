"""Arrays of any layout: the same pixels give the same bits out."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from covey.mirror.abi import PixelFormat
from covey.mirror.frames import Frame


def seen(frame):
    """What C reads through the struct: a list of planes, row by row."""
    struct = frame.struct
    height, width = struct.height, struct.width
    rows, columns = (height + 1) // 2, (width + 1) // 2
    format = PixelFormat(struct.format)
    sizes = {
        PixelFormat.RGB8: [(height, 3 * width)],
        PixelFormat.BGR8: [(height, 3 * width)],
        PixelFormat.RGBA8: [(height, 4 * width)],
        PixelFormat.BGRA8: [(height, 4 * width)],
        PixelFormat.GRAY8: [(height, width)],
        PixelFormat.YUYV: [(height, 2 * width)],
        PixelFormat.I420: [(height, width), (rows, columns), (rows, columns)],
        PixelFormat.NV12: [(height, width), (rows, 2 * columns)],
        PixelFormat.P010: [(height, 2 * width), (rows, 4 * columns)],
    }[format]
    planes = []
    for index, (lines, length) in enumerate(sizes):
        stride = struct.strides[index] or length
        planes.append(
            [
                ctypes.string_at(struct.planes[index] + line * stride, length)
                for line in range(lines)
            ]
        )
    return planes


def lines(plane):
    return [np.ascontiguousarray(row).tobytes() for row in plane]


@st.composite
def layouts(draw):
    """A view of random bytes, of any strides in all three axes."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    channels = draw(st.sampled_from([0, 1, 3, 4]))
    shape = (height, width) + ((channels,) if channels else ())
    steps = [draw(st.sampled_from([1, 1, 2, -1, -2, 3])) for _ in shape]
    order = draw(st.permutations(range(len(shape))))
    base = [shape[axis] * abs(steps[axis]) + draw(st.integers(0, 3)) for axis in order]
    seed = draw(st.integers(0, 2**32 - 1))
    data = np.random.default_rng(seed).integers(0, 256, base, np.uint8)
    view = data.transpose(np.argsort(order))
    view = view[tuple(slice(None, None, step) for step in steps)]
    return view[tuple(slice(0, size) for size in shape)]


@given(layouts())
@settings(max_examples=300, deadline=None)
def test_any_layout_is_read_right(pixels):
    frame = Frame(pixels)
    assert (frame.struct.height, frame.struct.width) == pixels.shape[:2]
    assert seen(frame) == [lines(pixels)]


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a,
        lambda a: a[::-1],
        lambda a: a[::2],
        lambda a: a[1:, 3:-2],
        lambda a: a[-1:0:-3, 2:],
    ],
    ids=["whole", "bottom up", "every second row", "window", "all of it"],
)
def test_rows_are_not_copied(view):
    pixels = view(np.zeros((12, 20, 3), np.uint8))
    assert np.shares_memory(Frame(pixels).planes[0], pixels)


@pytest.mark.parametrize(
    "view",
    [lambda a: a[:, ::2], lambda a: a[:, :, ::-1], lambda a: a[:, ::-1]],
    ids=["every second column", "channels reversed", "mirrored"],
)
def test_other_layouts_are_copied(view):
    pixels = view(np.zeros((12, 20, 3), np.uint8))
    assert not np.shares_memory(Frame(pixels).planes[0], pixels)


def test_rows_on_top_of_each_other_are_copied():
    # A stride of 0 means "no padding" to the library.
    row = np.arange(30, dtype=np.uint8).reshape(1, 10, 3)
    pixels = np.broadcast_to(row, (4, 10, 3))
    assert seen(Frame(pixels)) == [lines(pixels)]


@pytest.mark.parametrize(
    ("channels", "format", "expected"),
    [
        (3, None, PixelFormat.RGB8),
        (4, None, PixelFormat.RGBA8),
        (1, None, PixelFormat.GRAY8),
        (3, "bgr", PixelFormat.BGR8),
        (3, "BGR8", PixelFormat.BGR8),
        (4, "bgra", PixelFormat.BGRA8),
        (2, "yuyv", PixelFormat.YUYV),
        (3, PixelFormat.BGR8, PixelFormat.BGR8),
    ],
)
def test_formats(channels, format, expected):
    assert Frame(np.zeros((4, 6, channels), np.uint8), format).struct.format == expected


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from(["i420", "nv12", "p010"]))
@settings(deadline=None)
def test_planar(height, width, format):
    kind, interleaved = (np.uint16 if format == "p010" else np.uint8), format != "i420"
    random = np.random.default_rng(height * 10 + width)
    rows, columns = (height + 1) // 2, (width + 1) // 2
    largest = np.iinfo(kind).max + 1
    luma = random.integers(0, largest, (height, width), kind)
    if interleaved:
        chroma = random.integers(0, largest, (rows, columns, 2), kind)
        for given_chroma in (chroma, chroma.reshape(rows, 2 * columns)):
            frame = Frame((luma, given_chroma), format)
            assert seen(frame) == [lines(luma), lines(chroma)]
    else:
        u, v = random.integers(0, 256, (2, rows, columns), np.uint8)
        assert seen(Frame((luma, u, v), "i420")) == [lines(luma), lines(u), lines(v)]


def test_planes_in_one_array():
    whole = np.arange(6 * 4, dtype=np.uint8).reshape(6, 4)
    assert seen(Frame(whole, "i420")) == [
        lines(whole[:4]),
        lines(whole[4].reshape(2, 2)),
        lines(whole[5].reshape(2, 2)),
    ]
    assert seen(Frame(whole, "nv12")) == [lines(whole[:4]), lines(whole[4:])]
    words = np.arange(24, dtype=np.uint16).reshape(6, 4) << 6
    assert seen(Frame(words, "p010")) == [lines(words[:4]), lines(words[4:])]
    wide = np.zeros((4, 9), np.uint16)[:, 2:8]
    frame = Frame((wide, words[:2, :3].repeat(2, axis=1)), "p010")
    assert np.shares_memory(frame.planes[0], wide) and frame.struct.strides[0] == 18


@pytest.mark.parametrize(
    ("frame", "format", "error", "says"),
    [
        (np.zeros((4, 4, 3), np.float32), None, TypeError, "uint8"),
        (np.zeros((4, 4, 2), np.uint8), None, ValueError, "channels"),
        (np.zeros((4, 4, 3), np.uint8), "rgba", ValueError, "4 channels"),
        (np.zeros((4, 4, 3), np.uint8), "hsv", ValueError, "'rgb8'"),
        (np.zeros((4,), np.uint8), None, ValueError, "[H, W, 3]"),
        (np.zeros((0, 4, 3), np.uint8), None, ValueError, "[H, W, 3]"),
        (np.zeros((5, 4), np.uint8), "i420", ValueError, "H * 3 / 2"),
        ((np.zeros((4, 4), np.uint8), np.zeros((2, 3), np.uint8)), "nv12", ValueError, "chroma"),
        (np.zeros((6, 4), np.uint8), "p010", TypeError, "uint16"),
        (np.zeros((6, 4), ">u2"), "p010", TypeError, "uint16"),
        (np.zeros((6, 4), np.uint16), "nv12", TypeError, "uint8"),
    ],
)
def test_refused(frame, format, error, says):
    with pytest.raises(error) as caught:
        Frame(frame, format)
    assert says in str(caught.value)


def test_layouts_give_the_same_features(model):
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (33, 47, 3), np.uint8)
    expected = model.encode(pixels)
    alpha = random.integers(0, 256, (33, 47, 1), np.uint8)
    padded = np.zeros((33, 60, 3), np.uint8)
    padded[:, 5:52] = pixels
    for same, format in [
        (np.asfortranarray(pixels), None),
        (padded[:, 5:52], None),
        (np.ascontiguousarray(pixels[::-1])[::-1], None),
        (pixels[:, :, ::-1], "bgr"),
        (np.concatenate([pixels, alpha], axis=2), None),
        (np.concatenate([pixels[:, :, ::-1], alpha], axis=2), "bgra"),
    ]:
        np.testing.assert_array_equal(model.encode(same, format), expected)
    assert (model.encode(pixels[::-1]) != expected).any()


def test_words_are_finer_than_bytes(model):
    """P010 of a picture of bytes is that picture; between two bytes it is between them."""
    random = np.random.default_rng(5)
    pixels = random.integers(32, 200, (48, 32), np.uint8)
    expected = model.encode(pixels, "nv12")
    words = pixels.astype(np.uint16) << 8
    np.testing.assert_array_equal(model.encode(words, "p010"), expected)
    brighter = pixels.copy()
    brighter[:32] += 1
    step = np.abs(model.encode(brighter, "nv12") - expected).max()
    words[:32] += 1 << 6  # a quarter of that
    finer = np.abs(model.encode(words, "p010") - expected).max()
    assert 0.1 * step < finer < 0.5 * step
