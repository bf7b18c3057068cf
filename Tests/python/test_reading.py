"""Files that are not what most are: mirrored and trimmed films, names that look like protocols,
several pictures in a file, numbers of other types."""

from __future__ import annotations

import json
from fractions import Fraction

import av
import numpy as np
import pytest
from conftest import moving_square
from PIL import Image

import covey
from covey.commands.main import main
from covey.evaluation.labelled import of_pictures
from covey.reading.clips import Footage
from covey.reading.pictures import read_image
from covey.reading.sources import videos_in
from covey.writing import images

ONE = 65536


def coded(path, frames, codec="mpeg4", **options):
    """A film of BT.601, as good as the codec can."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=25)
        height, width = frames[0].shape[:2]
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = options or {"qmin": "1", "qmax": "2"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def with_matrix(path, a, b, c, d):
    """A film whose track header says so (tkhd, version 0: 40 bytes before a b u c d v x y w)."""
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40
    for offset, value in ((0, a), (4, b), (12, c), (16, d)):
        data[start + offset : start + offset + 4] = value.to_bytes(4, "big", signed=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("matrix", [
    (1, 0, 0, 1), (-1, 0, 0, 1), (1, 0, 0, -1), (-1, 0, 0, -1),
    (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, 1, 0), (0, -1, -1, 0),
], ids=str)  # fmt: skip
def test_display_matrices(tmp_path, matrix):
    """Each corner is where the matrix puts it: (x, y) at (ax + cy, bx + dy)."""
    a, b, c, d = matrix
    corners = {(0, 0): 250, (1, 0): 190, (0, 1): 130, (1, 1): 70}
    frame = np.zeros((32, 64, 3), np.uint8)
    for (x, y), shade in corners.items():
        frame[16 * y : 16 * y + 16, 32 * x : 32 * x + 32] = shade
    film = with_matrix(coded(tmp_path / "a.mp4", [frame] * 3), *(ONE * each for each in matrix))
    shown = next(iter(covey.Video(film)))
    height, width = shown.shape[:2]
    assert (height, width) == ((64, 32) if b else (32, 64))
    np.testing.assert_array_equal(Footage(film).read([0])[0], shown)
    for (x, y), shade in corners.items():
        right, down = a * (2 * x - 1) + c * (2 * y - 1), b * (2 * x - 1) + d * (2 * y - 1)
        row, column = height * (2 + down) // 4, width * (2 + right) // 4
        assert abs(int(shown[row, column, 0]) - shade) < 8


def trimmed(path, seconds, first):
    """A film whose edit list plays ``seconds`` from ``first`` on, as cutting without coding
    leaves it."""
    data = path.read_bytes()
    place = data.index(b"trak") - 4
    header = data.index(b"mvhd") + 4
    scale = int.from_bytes(data[header + 12 : header + 16], "big")
    media = data.index(b"mdhd") + 4
    media_scale = int.from_bytes(data[media + 12 : media + 16], "big")
    entry = (
        round(seconds * scale).to_bytes(4, "big")
        + round(first * media_scale).to_bytes(4, "big")
        + ONE.to_bytes(4, "big")
    )
    elst = b"elst" + bytes(4) + (1).to_bytes(4, "big") + entry
    elst = (len(elst) + 4).to_bytes(4, "big") + elst
    edts = (len(elst) + 8).to_bytes(4, "big") + b"edts" + elst
    old = data.index(b"edts") - 4
    size = int.from_bytes(data[old : old + 4], "big")
    assert place < old and size == len(edts)
    path.write_bytes(data[:old] + edts + data[old + size :])
    return path


@pytest.mark.parametrize("first", [0.52, 0], ids=["the start", "the end"])
def test_what_an_edit_list_hides_is_not_missing(tmp_path, first):
    film = coded(tmp_path / "a.mp4", list(np.resize(moving_square(6), (50, 40, 60, 3))), g="100")
    video = covey.Video(trimmed(film, 1.48, first))
    with av.open(str(film)) as container:
        assert container.streams.video[0].frames == 50
    assert len(list(video)) == 37 and video.cut_short is None
    assert abs(covey.Video(film).frame_count - 37) <= 1
    # What is missing of what is shown, is.
    with av.open(str(film)) as container:
        end = [packet.pos for packet in container.demux(video=0) if packet.size][25]
    film.write_bytes(film.read_bytes()[:end])
    assert 5 < len(list(video)) < 30 and "could be read" in video.cut_short


@pytest.mark.parametrize("name", [
    "cam1:front.mp4", "lavfi:x.mp4", "x11grab::0", "http:", "a%03d:b",
])  # fmt: skip
def test_names_like_protocols(tmp_path, monkeypatch, name, model_path, capsys):
    """Read, trained on, and in batches; and folders to write to."""
    monkeypatch.chdir(tmp_path)
    coded(tmp_path / "plain.mp4", moving_square(4)).rename(name)
    video = covey.Video(name)
    assert not video.is_live and len(list(video)) == 4 and Footage(name).count == 4
    command = ["segment", name, "-o", "run:1", "--overlay", "--model", str(model_path)]
    assert main(command) == 0
    assert len(list(covey.Video("run:1/overlay.mp4"))) == 4
    (tmp_path / "list.txt").write_text(f"{name}\n")
    monkeypatch.chdir("/")
    words = ["batch", "--manifest", str(tmp_path / "list.txt"), "-o", str(tmp_path / "out:2")]
    assert main([*words, "--model", str(model_path), "--max-frames", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["done"] == 1


def test_films_of_other_matrices(tmp_path):
    """The colours that went in come out, of BT.709 and of what is not marked, BT.601."""
    colours = np.array([[230, 40, 40], [40, 200, 40], [60, 60, 220], [240, 240, 30]], np.uint8)
    frame = np.repeat(np.repeat(colours.reshape(2, 2, 3), 64, 0), 64, 1)
    for space, marked in (("ITU709", 1), ("ITU601", 2)):
        path = tmp_path / f"{space}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv444p"
            stream.codec_context.colorspace = marked
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture = picture.reformat(
                format="yuv444p", dst_colorspace=space, dst_color_range="MPEG"
            )
            picture.colorspace = marked
            container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        (shown,) = covey.Video(path)
        np.testing.assert_allclose(shown, frame, atol=3)
        np.testing.assert_array_equal(Footage(path).read([0])[0], shown)


# ---- Several pictures in a file --------------------------------------------------------------


@pytest.fixture
def several(request, tmp_path):
    """A file of 3 pictures, and what they are."""
    frames = list(moving_square(3))
    name, options = request.param
    first, *more = [Image.fromarray(each) for each in frames]
    first.save(tmp_path / name, save_all=True, append_images=more, **options)
    return tmp_path / name, frames


FILES = [
    ("a.tif", {}),
    ("a.tiff", {"compression": "tiff_lzw"}),
    ("a.webp", {"lossless": True, "duration": 40}),
    ("a.png", {"duration": 40}),
    ("a.mpo", {"quality": 100, "subsampling": 0}),
]


@pytest.mark.parametrize("several", FILES, ids=[name for name, _ in FILES], indirect=True)
def test_several_pictures_in_a_file(several, tmp_path, model_path, capsys):
    path, frames = several
    video = covey.Video(path)
    assert video.frame_count == 3 and video.files == [path]
    found = list(video.frames())
    assert [each.name for each in found] == ["00000", "00001", "00002"]
    lossy = 12 if path.suffix == ".mpo" else 0
    for each, frame in zip(found, frames, strict=True):
        np.testing.assert_allclose(each.image.astype(int), frame, atol=lossy)
    (last,) = covey.Video(path, first=2)
    np.testing.assert_array_equal(last, found[2].image)
    footage = Footage(path)
    assert footage.count == 3
    np.testing.assert_array_equal(footage.read([0, 2]), [found[0].image, found[2].image])
    command = ["segment", str(path), "-o", str(tmp_path / "out"), "--model", str(model_path)]
    assert main(command) == 0
    assert [each.name for each in sorted((tmp_path / "out/masks").iterdir())] == [
        "00000.png", "00001.png", "00002.png"
    ]  # fmt: skip
    # As one of a folder it is none.
    Image.fromarray(frames[0]).save(tmp_path / "1.png")
    with pytest.raises(ValueError, match=rf"{path.name}: holds 3 pictures, expected one"):
        list(covey.Video(tmp_path))
    with pytest.raises(ValueError, match=rf"{path.name}: holds 3 pictures, expected one"):
        read_image(path)
    with pytest.raises(ValueError, match=rf"{path.name}: holds 3 pictures, expected one"):
        images.read_labels(path)


def test_previews_are_no_pictures_of_their_own(tmp_path):
    frame = moving_square(1)[0]
    large, small = Image.fromarray(frame), Image.fromarray(frame[::2, ::2])
    small.encoderinfo = {"tiffinfo": {254: 1}}
    large.save(tmp_path / "a.tif", save_all=True, append_images=[small])
    large.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[small], quality=95)
    still = Image.new("RGB", (60, 40))
    still.save(tmp_path / "a.png", save_all=True, append_images=[large, large.rotate(180)],
               default_image=True, duration=40)  # fmt: skip
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), frame)
    assert read_image(tmp_path / "a.jpg").shape == frame.shape
    first, second = covey.Video(tmp_path / "a.png")
    np.testing.assert_array_equal(first, frame)
    np.testing.assert_array_equal(second, frame[::-1, ::-1])


# ---- Numbers of other types ------------------------------------------------------------------


def test_floats(tmp_path):
    values = np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10)
    Image.fromarray(values).save(tmp_path / "a.tif")
    shown = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(shown, np.repeat(np.rint(values * 255)[..., None], 3, 2))
    for wrong in (values * 1.1, values - 0.1, values * np.nan, values * 255):
        Image.fromarray(wrong.astype(np.float32)).save(tmp_path / "a.tif")
        with pytest.raises(ValueError, match=r"a\.tif: expected numbers from 0 to 1, found"):
            read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_bits_that_are_used(tmp_path, bits, suffix):
    """Of all pictures of a sequence alike, dark ones among them."""
    most = 2**bits - 1
    ramp = np.linspace(0, most, 60).astype(np.uint16).reshape(6, 10)
    for index, frame in enumerate([ramp // 100, ramp, ramp // 2]):
        Image.fromarray(frame).save(tmp_path / f"{index}.{suffix}")
    dark, shown, half = covey.Video(tmp_path)
    np.testing.assert_allclose(shown[..., 0], ramp * (255 / most), atol=0.51)
    assert dark.max() <= 3 and abs(int(half.max()) - 127) <= 1
    np.testing.assert_array_equal(Footage(tmp_path).read([0, 1]), [dark, shown])
    files = covey.Video(tmp_path).files
    labelled = of_pictures("a", files, files, None)
    np.testing.assert_array_equal(list(labelled.frames()), [dark, shown, half])


def test_one_picture_of_more_bits_is_named(tmp_path):
    for index in range(100):
        frame = np.full((4, 6), 4095, np.uint16)
        frame[0] = 5000 if index == 50 else 0
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    says = r"50\.png: expected numbers from 0 to 4095, found 5000, with none above 4095"
    with pytest.raises(ValueError, match=says):
        list(covey.Video(tmp_path))


@pytest.mark.parametrize("codec, name, kind", [
    ("png", "a.png", "rgb48be"), ("png", "a.png", "rgba64be"), ("tiff", "a.tif", "rgb48le"),
])  # fmt: skip
def test_deep_colours(tmp_path, codec, name, kind):
    def save(pixels):
        context = av.CodecContext.create(codec, "w")
        context.width, context.height, context.pix_fmt = 10, 6, kind
        context.time_base = Fraction(1, 25)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb48le").reformat(format=kind)
        packets = [*context.encode(frame), *context.encode(None)]
        (tmp_path / name).write_bytes(b"".join(map(bytes, packets)))

    pixels = np.random.default_rng(0).integers(0, 65536, (6, 10, 3)).astype(np.uint16)
    save(pixels)
    np.testing.assert_array_equal(read_image(tmp_path / name), pixels >> 8)
    save(pixels // 16)
    with pytest.raises(ValueError, match="colours of 16 bits that use the lowest 12 alone"):
        read_image(tmp_path / name)


def test_whole_numbers_that_are_no_picture(tmp_path):
    for values in ([[0, 70000]], [[-1, 7]]):
        Image.fromarray(np.array(values, np.int32)).save(tmp_path / "a.tif")
        with pytest.raises(ValueError, match=r"a\.tif: expected numbers from 0 to 65535, found"):
            read_image(tmp_path / "a.tif")


# ---- Folders ---------------------------------------------------------------------------------


def test_folders_of_films(tmp_path):
    for name in ("b10.mp4", "b9.MKV", "notes.txt", ".hidden.mp4"):
        (tmp_path / name).write_bytes(b"")
    expected = [str(tmp_path / "b9.MKV"), str(tmp_path / "b10.mp4")]
    assert videos_in(str(tmp_path)) == expected
    assert videos_in(expected[0]) == [expected[0]]
    with pytest.raises(ValueError, match=r"films are named one by one, as .*b9\.MKV; covey batch"):
        covey.Video(tmp_path)
    Image.new("RGB", (6, 4)).save(tmp_path / "cover.jpg")
    with pytest.raises(ValueError, match="holds films and pictures; name which"):
        videos_in(str(tmp_path))
    (tmp_path / "above" / "inner").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"named one by one, as .*above/inner"):
        covey.Video(tmp_path / "above")


@pytest.mark.parametrize("kind", ["pictures", "film"])
def test_frames_of_other_sizes(tmp_path, kind, model_path, capsys):
    frames = [moving_square(1)[0], moving_square(1)[0][:30, :50], moving_square(1)[0]]
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    source = tmp_path
    if kind == "film":
        source = tmp_path / "a.webm"
        # As a call's recording has them: the size changes in the middle.
        with av.open(str(source), "w", format="matroska") as container:
            stream = container.add_stream("mjpeg", rate=25)
            stream.width, stream.height, stream.pix_fmt = 60, 40, "yuvj420p"
            for index, frame in enumerate(frames):
                packet = av.Packet(jpeg(frame))
                packet.pts = packet.dts = 40 * index
                packet.time_base = Fraction(1, 1000)
                packet.stream, packet.is_keyframe = stream, True
                container.mux(packet)
    assert [each.shape[:2] for each in covey.Video(source)] == [(40, 60), (30, 50), (40, 60)]
    assert {each.shape[:2] for each in covey.Video(source, resize=True)} == {(40, 60)}
    command = ["segment", str(source), "-o", str(tmp_path / "out"), "--model", str(model_path)]
    assert main(command) == 1
    assert "found 50x30; --resize makes it so" in capsys.readouterr().err
    assert main([*command, "--resize", "--sheet"]) == 0
    assert len(list((tmp_path / "out/masks").iterdir())) == 3


def jpeg(frame):
    import io

    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=95)
    return file.getvalue()


# ---- Sound -----------------------------------------------------------------------------------


def with_sound(path, frames, codec, seconds):
    """A film with a tone that rises."""
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 60, 40, "yuv420p"
        sound = container.add_stream(codec, rate=48000)
        sound.layout = "mono"
        for frame in frames:
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(picture.encode(None))
        format = sound.codec_context.format.name
        times = np.arange(int(seconds * 48000)) / 48000
        tone = (np.sin(2 * np.pi * (200 + 400 * times) * times) * 0.5).astype(np.float32)
        resampler = av.AudioResampler(format=format, layout="mono", rate=48000)
        for start in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, start : start + 1024], "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
            for each in resampler.resample(frame):
                container.mux(sound.encode(each))
        container.mux(sound.encode(None))
    return path


def heard(path):
    """Packets of sound: time in seconds, and what is in them."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        return [(float(packet.pts * packet.time_base), bytes(packet))
                for packet in container.demux(audio=0) if packet.size]  # fmt: skip


@pytest.mark.parametrize("options, first, last", [
    ([], 0, 50), (["--stream"], 0, 50), (["--every", "2"], 0, 50),
    (["--first", "10", "--last", "29"], 10, 30),
], ids=str)  # fmt: skip
def test_overlays_have_the_sound_of_the_film(tmp_path, model_path, options, first, last):
    frames = list(np.resize(moving_square(6), (50, 40, 60, 3)))
    film = with_sound(tmp_path / "a.mp4", frames, "aac", 2)
    command = ["segment", str(film), "-o", str(tmp_path / "out"), "--model", str(model_path)]
    assert main([*command, "--overlay", *options]) == 0
    before, after = heard(film), heard(tmp_path / "out/overlay.mp4")
    there = [(time, data) for time, data in before if first / 25 <= time < last / 25]
    assert [data for _, data in after] == [data for _, data in there]
    shifts = [now - then for (then, _), (now, _) in zip(there, after, strict=True)]
    np.testing.assert_allclose(shifts, -first / 25, atol=1e-3)  # as edit lists have it


@pytest.mark.parametrize("codec", ["pcm_s16le", None])
def test_overlays_without_sound(tmp_path, model_path, codec):
    frames = moving_square(4)
    film = tmp_path / "a.mkv"
    if codec is None:
        coded(film, frames)
    else:
        with_sound(film, frames, codec, 0.16)
    command = ["segment", str(film), "-o", str(tmp_path / "out"), "--model", str(model_path)]
    assert main([*command, "--overlay"]) == 0
    assert heard(tmp_path / "out/overlay.mp4") is None
    assert len(list(covey.Video(tmp_path / "out/overlay.mp4"))) == 4
