"""Label maps, overlays and films on disk; reading them back."""

import io
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from covey import davis_palette
from covey.reading.pictures import read_image
from covey.reading.sources import natural_key
from covey.reading.video import Video
from covey.writing import images, palette
from covey.writing.palette import colour_indices


def test_palette():
    palette = davis_palette()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    # As the PASCAL VOC development kit lists its 20 classes and the void label.
    assert palette[:21].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128],
        [0, 128, 128], [128, 128, 128], [64, 0, 0], [192, 0, 0], [64, 128, 0], [192, 128, 0],
        [64, 0, 128], [192, 0, 128], [64, 128, 128], [192, 128, 128], [0, 64, 0], [128, 64, 0],
        [0, 192, 0], [128, 192, 0], [0, 64, 128],
    ]  # fmt: skip
    assert palette[255].tolist() == [224, 224, 192]
    assert len({tuple(each) for each in palette.tolist()}) == 256
    with pytest.raises(ValueError):
        palette[0] = 1


def test_colours_begin_again():
    ids = np.array([0, 1, 255, 256, 510, 511, 65535], np.uint16)
    assert colour_indices(ids).tolist() == [0, 1, 255, 1, 255, 1, 255]


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 65535), st.integers(0, 2**32 - 1))
def test_labels_come_back(height, width, largest, seed):
    ids = np.random.default_rng(seed).integers(0, largest + 1, (height, width)).astype(np.uint16)
    file = io.BytesIO()
    bits = images.write_labels(file, ids)
    assert bits == (16 if ids.max() > 255 else 8)
    file.seek(0)
    np.testing.assert_array_equal(images.read_labels(file), ids)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_ids_of_any_gray_picture(tmp_path, mode):
    ids = np.arange(48, dtype=np.uint8).reshape(6, 8) % (2 if mode == "1" else 200)
    if mode == "P":
        images.write_labels(tmp_path / "a.png", ids)
    elif mode == "I;16":
        Image.fromarray(ids.astype(np.uint16)).save(tmp_path / "a.png")
    else:
        scale = 255 if mode == "1" else 1
        Image.fromarray(ids * np.uint8(scale)).convert(mode).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == mode
    np.testing.assert_array_equal(images.read_labels(tmp_path / "a.png"), ids)


def test_what_holds_no_ids_is_named(tmp_path):
    def refused(name, message):
        with pytest.raises(ValueError, match=f"{name}: {message}"):
            images.read_labels(tmp_path / name)

    random = np.random.default_rng(0)
    colours = random.integers(0, 2, (20, 30, 3)).astype(np.uint8) * 128
    Image.fromarray(colours).save(tmp_path / "colours.png")
    refused("colours.png", "expected ids, an indexed or gray PNG, found colours")
    Image.fromarray(colours[..., 0]).save(tmp_path / "lossy.jpg")
    refused("lossy.jpg", "expected ids, an indexed or gray PNG, found JPEG of mode L")
    Image.fromarray(colours[..., 0].astype(np.float32)).save(tmp_path / "float.tiff")
    refused("float.tiff", "expected ids, an indexed or gray PNG, found TIFF of mode F")
    Image.fromarray(colours[..., 0].astype(np.int32) - 1).save(tmp_path / "below.tiff")
    refused("below.tiff", "expected ids of 0 to 65535, found -1 to 127")
    whole = (tmp_path / "colours.png").read_bytes()
    (tmp_path / "short.png").write_bytes(whole[:-40])
    refused("short.png", "")
    (tmp_path / "text.png").write_text("text")
    refused("text.png", "not a picture")
    # A size that nobody has the memory for.
    (tmp_path / "huge.png").write_bytes(
        whole[:16] + (60000).to_bytes(4, "big") * 2 + whole[24:29] + zlib.crc32(
            b"IHDR" + (60000).to_bytes(4, "big") * 2 + whole[24:29]).to_bytes(4, "big") + whole[33:]
    )
    refused("huge.png", "Image size")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        images.read_labels(tmp_path / "nowhere.png")


def test_indexed_png_has_the_palette(tmp_path):
    images.write_labels(tmp_path / "a.png", np.arange(12).reshape(3, 4))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        shown = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(shown.reshape(-1, 3), davis_palette()[:12])


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 3), int), np.array([[-1]]), np.array([[65536]])])
def test_labels_refused(bad, tmp_path):
    with pytest.raises(ValueError, match="labels"):
        images.write_labels(tmp_path / "bad.png", bad)


def test_contours():
    ids = np.zeros((7, 7), np.uint16)
    ids[1:6, 1:6] = 3
    thin = images.contours(ids)
    expected = ids > 0
    expected[2:5, 2:5] = False
    np.testing.assert_array_equal(thin, expected)
    thick = images.contours(ids, 2)
    expected[2:5, 2:5] = True
    expected[3, 3] = False
    np.testing.assert_array_equal(thick, expected)
    assert not images.contours(np.ones((4, 4), int)).any()


def test_overlay():
    frame = np.full((6, 6, 3), 100, np.uint8)
    ids = np.zeros((6, 6), np.uint16)
    ids[:, :4] = 1
    shown = images.overlay(frame, ids, alpha=0.25)
    assert (frame == 100).all()
    assert shown[0, 0].tolist() == [121, 96, 96]
    assert shown[0, 3].tolist() == [255, 255, 255]
    assert shown[0, 4].tolist() == [0, 0, 0]
    assert shown[0, 5].tolist() == [100, 100, 100]
    plain = images.overlay(frame, ids, alpha=1, outline=False)
    assert plain[0, 3].tolist() == [182, 85, 85]
    with pytest.raises(ValueError, match=r"\[6, 6, 3\]"):
        images.overlay(frame, ids[:5])


@pytest.mark.parametrize("colour", [
    (255, 0, 0), (128, 0, 0), (64, 0, 0), (0, 255, 0), (0, 128, 0), (0, 64, 0), (0, 0, 0),
    (255, 255, 255), (255, 85, 85), (128, 128, 128),
])  # fmt: skip
def test_overlays_are_visible(colour):
    """Whatever is under them: an object is told from its frame, and from what is around it."""
    frame = np.full((40, 60, 3), colour, np.uint8)
    ids = np.zeros((40, 60), np.uint16)
    ids[10:30, 10:50] = 1
    for number in range(1, 256):
        shown = images.overlay(frame, ids * number)
        changed = np.abs(shown.astype(int) - frame).sum(2)
        outline = changed[9:31, 9:51]
        # The line, or the one around it.
        assert max(outline[0].max(), outline[1].max()) >= 300
        if sorted(colour)[1] == 0:  # red and green themselves, and black
            assert changed[11:29, 11:49].min() >= 80
    colours = palette.overlay_colours(np.arange(1, 256))
    assert len({tuple(each) for each in colours.tolist()}) == 255


def test_smaller_pictures_are_of_the_same_places():
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[10:30, 12:48] = 200
    labels = (frame[..., 0] > 0).astype(np.uint16) * 7
    image, ids = images.smaller(frame, labels, 30)
    assert image.shape == (20, 30, 3)
    np.testing.assert_array_equal(ids, labels[::2, ::2])
    np.testing.assert_array_equal(image[..., 0] > 0, ids > 0)
    assert images.smaller(frame, labels, 60)[0] is frame


@pytest.mark.parametrize("size, matrix", [((720, 1280), 1), ((480, 854), 6)], ids=["HD", "SD"])
def test_films_are_marked_as_they_are_coded(tmp_path, size, matrix):
    path = tmp_path / "film.mp4"
    colours = np.array([[230, 40, 40], [40, 200, 40], [60, 60, 220], [240, 240, 30]], np.uint8)
    frame = np.repeat(np.repeat(colours.reshape(2, 2, 3), size[0] // 2, 0), size[1] // 2, 1)
    images.write_video(path, [frame] * 2)
    with av.open(str(path)) as film:
        decoded = next(film.decode(video=0))
        context = film.streams.video[0].codec_context
        assert (decoded.colorspace, context.color_primaries, context.color_trc) == (matrix,) * 3
        # As a player converts it that goes by the mark.
        luma = decoded.to_ndarray(format="yuv420p")[: size[0]].astype(float)
    red, _, blue = (0.2126, 0.7152, 0.0722) if matrix == 1 else (0.299, 0.587, 0.114)
    weights = np.array([red, 1 - red - blue, blue])
    assert np.abs(luma - (16 + 219 / 255 * (frame @ weights))).mean() < 1
    (shown, _) = Video(path)
    assert np.abs(shown.astype(int) - frame)[8:-8, 8:-8].mean() < 3


def test_contact_sheet():
    frames = [np.full((30, 60, 3), value, np.uint8) for value in (10, 20, 30)]
    sheet = images.contact_sheet([(each, each + 100) for each in frames], width=40, gap=2)
    assert sheet.shape == (2 * (20 + 2) + 2, 2 * (80 + 4) + 2, 3)
    assert sheet[5, 5, 0] == 10
    assert sheet[5, 50, 0] == 110
    assert sheet[5, 5 + 84, 0] == 20
    assert sheet[5 + 22, 5, 0] == 30
    assert sheet[0, 0, 0] == 255


@pytest.mark.parametrize("size", [(48, 64), (47, 63)], ids=["even", "odd"])
def test_film(tmp_path, size):
    path = tmp_path / "film.mp4"
    shades = [20, 120, 220]
    images.write_video(path, (np.full((*size, 3), shade, np.uint8) for shade in shades), fps=12.5)
    video = Video(path)
    assert video.fps == 12.5
    assert video.frame_count == 3
    frames = list(video)
    assert [each.shape for each in frames] == [(48, 64, 3)] * 3
    for frame, shade in zip(frames, shades, strict=True):
        # Lossy, and limited range: a flat picture stays within a few levels.
        assert np.abs(frame.astype(int) - shade).max() <= 4


@pytest.mark.parametrize("encoder", ["libx264", "mpeg4"])
@pytest.mark.parametrize(
    ("fps", "rate"),
    [(30000 / 1001, Fraction(30000, 1001)), (24000 / 7007, Fraction(24000, 7007)),
     (0.2, Fraction(1, 5)), (25, 25), (59.94, Fraction(2997, 50)),
     (120000 / 1001, Fraction(120000, 1001))],
)
def test_rates_of_films(tmp_path, monkeypatch, fps, rate, encoder):
    add = av.container.OutputContainer.add_stream
    if encoder == "mpeg4":
        real = images.VideoWriter._add_stream

        class Without:
            """A container of a build of FFmpeg that has no x264."""

            def __init__(self, container):
                self._container = container

            def add_stream(self, name, **options):
                if name == "libx264":
                    raise ValueError(name)
                return add(self._container, name, **options)

            def __getattr__(self, name):
                return getattr(self._container, name)

        def without(self, width, height):
            self._container = Without(self._container)
            return real(self, width, height)

        monkeypatch.setattr(images.VideoWriter, "_add_stream", without)
    images.write_video(tmp_path / "film.mp4", [np.zeros((16, 16, 3), np.uint8)] * 30, fps)
    with av.open(tmp_path / "film.mp4") as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == {"libx264": "h264"}.get(encoder, encoder)
        found = stream.average_rate
    # Only the commonest denominators are kept, and of MPEG-4 numbers of 16 bits.
    exact = Fraction(rate).denominator in (1, 5, 50, 1001) and fps < 65
    assert found == rate if exact else abs(found / rate - 1) < 1e-3


@pytest.fixture
def numbered(tmp_path):
    """Pictures 1 to 11, each of its own shade, and what is no picture."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(1, 12):
        Image.new("RGB", (6, 4), (index, 2 * index, 3 * index)).save(folder / f"f{index}.png")
    (folder / "notes.txt").write_text("no picture")
    (folder / ".hidden.png").write_text("no picture")
    return folder


def test_folders_in_natural_order(numbered):
    video = Video(numbered)
    assert video.frame_count == 11
    assert video.fps is None
    assert [each[0, 0].tolist() for each in video] == [[i, 2 * i, 3 * i] for i in range(1, 12)]
    some = Video(numbered, max_frames=3, every=4)
    assert some.frame_count == 3
    assert [(each.index, each.name) for each in some.frames()] == [
        (0, "f1"),
        (4, "f5"),
        (8, "f9"),
    ]
    assert Video(numbered, max_frames=5, every=4).frame_count == 3
    assert len(list(Video(numbered / "f3.png"))) == 1


@given(st.lists(st.text(alphabet="ab0123456789._-", max_size=8)))
def test_any_names_can_be_sorted(names):
    # Comparable, and a total order: what the order of the input was is gone.
    assert sorted(names, key=natural_key) == sorted(sorted(names, reverse=True), key=natural_key)


def test_numbers_sort_by_value():
    assert sorted(["a10b", "a9b", "a09b", "b1", "a"], key=natural_key) == [
        "a",
        "a09b",
        "a9b",
        "a10b",
        "b1",
    ]


def encoded(path, codec="mpeg4", frames=6, rotation=None, format=None):
    """A film whose left half is bright and right half dark."""
    with av.open(str(path), "w", format=format) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for index in range(frames):
            pixels = np.zeros((32, 64, 3), np.uint8)
            pixels[:, :32] = 200 - 10 * index
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mpeg4"), ("a.mkv", "mpeg4"), ("a.avi", "mpeg4"), ("a.y4m", "wrapped_avframe")],
)
def test_containers(tmp_path, name, codec):
    path = encoded(tmp_path / name, codec, format="yuv4mpegpipe" if name == "a.y4m" else None)
    frames = list(Video(path).frames())
    assert [each.index for each in frames] == list(range(6))
    assert [each.name for each in frames] == [f"{index:05d}" for index in range(6)]
    np.testing.assert_allclose([each.time for each in frames], np.arange(6) / 10, atol=1e-3)
    for index, frame in enumerate(frames):
        assert frame.image.shape == (32, 64, 3)
        assert abs(int(frame.image[16, 8, 0]) - (200 - 10 * index)) < 8
        assert frame.image[16, 56, 0] < 8
    some = Video(path, every=2, max_frames=2)
    assert [each.index for each in some.frames()] == [0, 2]
    assert some.fps == 5


def rotated(path, quarter_turns):
    """``path`` with the matrix of its track turned: as telephones film."""
    data = bytearray(path.read_bytes())
    # In the track header (tkhd, version 0): 40 bytes after the name begin nine
    # 32-bit numbers, a b u c d v x y w; a, b, c, d are 16.16.
    start = data.index(b"tkhd") + 4 + 40
    one, minus = (65536).to_bytes(4, "big"), (-65536).to_bytes(4, "big", signed=True)
    zero = bytes(4)
    a, b, c, d = {
        1: (zero, one, minus, zero),
        2: (minus, zero, zero, minus),
        3: (zero, minus, one, zero),
    }[quarter_turns]
    for offset, value in ((0, a), (4, b), (12, c), (16, d)):
        data[start + offset : start + offset + 4] = value
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("turns", "bright"),
    [
        # The matrix turns clockwise: the bright left half goes up, right, down.
        (1, np.s_[:28, :]),
        (2, np.s_[:, 36:]),
        (3, np.s_[36:, :]),
    ],
)
def test_rotation(tmp_path, turns, bright):
    path = rotated(encoded(tmp_path / "a.mp4"), turns)
    frame = next(iter(Video(path)))
    assert frame.shape == ((64, 32, 3) if turns % 2 else (32, 64, 3))
    assert frame[bright].min() > 150
    assert frame.astype(int).sum() < 1.2 * frame[bright].astype(int).sum()


def test_exif_orientation(tmp_path):
    picture = Image.new("RGB", (6, 4), "white")
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (6, 4, 3)


def test_deep_gray_is_scaled(tmp_path):
    Image.fromarray(np.array([[0, 257, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 1, 255]


def test_video_refuses(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        Video(tmp_path / "nothing.mp4")
    with pytest.raises(ValueError, match="no pictures"):
        Video(tmp_path)
    for options in ({"every": 0}, {"max_frames": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Video(tmp_path, **options)
    (tmp_path / "a.mp4").write_bytes(b"nothing of the kind")
    with pytest.raises((OSError, ValueError)):
        list(Video(tmp_path / "a.mp4"))
