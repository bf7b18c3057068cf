"""Weight files against the gguf package, and against docs/FORMAT.md."""

import re
import struct
import zlib
from pathlib import Path

import gguf
import numpy as np
import pytest

import covey

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "Tests" / "golden"
NANO = ROOT / "models" / "covey-nano.gguf"

MATRICES = ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight")
#: F16 in int8 files.
STAYS_FLOAT = "correlator.attn.qkv.weight"
WRITTEN = ("general.file_type", "general.alignment", "covey.checksum.crc32")

FILES = [
    pytest.param(GOLDEN / "tiny-f32.gguf", id="tiny-f32"),
    pytest.param(GOLDEN / "tiny-f16.gguf", id="tiny-f16"),
    pytest.param(GOLDEN / "tiny-q8.gguf", id="tiny-q8"),
    pytest.param(
        NANO,
        id="covey-nano",
        marks=pytest.mark.skipif(not NANO.exists(), reason="models/covey-nano.gguf is not there"),
    ),
]


def metadata(path):
    """Keys, types and values of a file, but the counts that the package adds."""
    fields = gguf.GGUFReader(path).fields
    return {
        key: ([int(kind) for kind in field.types], field.contents())
        for key, field in fields.items()
        if not key.startswith("GGUF.")
    }


def tensors(path):
    return {
        tensor.name: np.array(tensor.data).reshape([int(n) for n in tensor.shape[::-1]])
        for tensor in gguf.GGUFReader(path).tensors
    }


# ---- docs/FORMAT.md, read by a machine -------------------------------------------


def documented_keys():
    """Key, type and whether it is required, from the table of the metadata."""
    text = (ROOT / "docs" / "FORMAT.md").read_text()
    section = text.split("## Metadata\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| (\S+) \| (.*?) \|", section, re.M)
    return {key: (kind, not re.search("optional|default", span)) for key, kind, span in rows}


def documented_tensors():
    """Pattern, shape and whether it is a matrix, from the table of the tensors."""
    text = (ROOT / "docs" / "FORMAT.md").read_text()
    section = text.split("## Tensors\n")[1].split("\n## ")[0]
    for cell, shape in re.findall(r"^\| (`.*?) \| \[(.*?)\] \|", section, re.M):
        names = re.findall(r"`([^`]+)`", cell)
        for name in names:
            if name.startswith("."):
                name = names[0].rsplit(".", 1)[0] + name
            yield re.escape(name).replace("I", r"\d+"), shape, "*M*" in cell


def shape_of(text, keys, correlator_width):
    """The shape that a line of the table gives for a file's metadata."""
    values = {
        "C": keys["covey.vit.embed_dim"][1],
        "F": keys["covey.vit.mlp_dim"][1],
        "G": keys["covey.vit.position_grid"][1],
        "p": keys["covey.vit.patch_size"][1],
        "R": keys.get("covey.vit.register_count", (None, 0))[1],
        "E": correlator_width,
    }
    sizes = []
    for part in text.split(","):
        part = re.sub(r"(\d)([A-Z])", r"\1*\2", part.strip())
        assert re.fullmatch(r"[CFGERp0-9+* ]+", part), part
        sizes.append(eval(part, {"__builtins__": {}}, values))
    return tuple(sizes)


TYPES = {
    "u32": [4], "f32": [6], "bool": [7], "string": [8], "f32[3]": [9, 6], "f32[n]": [9, 6],
}  # fmt: skip


@pytest.mark.parametrize("path", FILES)
def test_metadata_is_as_documented(path):
    keys = metadata(path)
    documented = documented_keys()
    assert len(documented) == 32  # the table was found
    for key, (kind, required) in documented.items():
        assert key in keys or not required, key
        if key in keys:
            assert keys[key][0] == TYPES[kind], key
            assert kind != "f32[3]" or len(keys[key][1]) == 3, key
    matrices = [name for name, value in tensors(path).items() if value.dtype == np.int8]
    errors = keys.get("covey.quantization.error", (None, []))[1]
    assert len(errors) == len(matrices)
    assert (len(matrices) > 0) == (keys["general.file_type"][1] == 7)
    unknown = [key for key in keys if key.startswith("covey.") and key not in documented]
    assert unknown == []


@pytest.mark.parametrize("path", FILES)
def test_tensors_are_as_documented(path):
    keys, found = metadata(path), tensors(path)
    lines = list(documented_tensors())
    assert len(lines) == 30  # the table was found
    fc1 = found.get("correlator.mlp.fc1.weight")
    width = 4 * keys["covey.vit.embed_dim"][1] if fc1 is None else fc1.shape[0]
    types = {0: np.float32, 1: np.float16, 7: np.int8}
    for name, value in found.items():
        if name.removesuffix(".scale") in found and name.endswith(".scale"):
            # Of an int8 matrix, as the section about them has it.
            assert value.shape == found[name.removesuffix(".scale")].shape[:1], name
            assert value.dtype == np.float32 and (value > 0).all(), name
            assert found[name.removesuffix(".scale")].dtype == np.int8, name
            continue
        matching = [line for line in lines if re.fullmatch(line[0], name)]
        assert len(matching) == 1, name
        _, shape, is_matrix = matching[0]
        assert value.shape == shape_of(shape, keys, width), name
        assert is_matrix == name.endswith(MATRICES), name
        kind = types[keys["general.file_type"][1]] if is_matrix else np.float32
        if kind == np.int8 and name == STAYS_FLOAT:
            kind = np.float16
        assert value.dtype == kind, name
        assert np.isfinite(value).all(), name
        assert kind != np.int8 or value.min() >= -127, name
        assert kind != np.int8 or f"{name}.scale" in found, name


def test_version_2_is_as_documented(tmp_path):
    from conftest import random_state
    from safetensors.numpy import save_file

    from covey.checkpoints.convert import Settings, convert

    state = {f"blocks.{i}.ls{j}.gamma": np.ones(48, np.float32) for i in (0, 1) for j in (1, 2)}
    state |= {"register_tokens": np.ones((1, 3, 48), np.float32)}
    state |= {n: v for n, v in random_state().items() if not n.startswith("temporal_")}
    save_file(state, tmp_path / "a.safetensors")
    for dtype in ("f32", "q8"):
        path = tmp_path / f"{dtype}.gguf"
        convert(tmp_path / "a.safetensors", path, dtype, Settings(heads=2))
        keys = metadata(path)
        assert keys["covey.format_version"][1] == 2
        assert keys["covey.vit.register_count"][1] == 3
        assert keys["covey.vit.position_resize"][1] == "bicubic_antialias"
        assert keys["covey.correlator.trained"][1] is False
        test_metadata_is_as_documented(path)
        test_tensors_are_as_documented(path)


# tiny-f16 has none: it is optional.
@pytest.mark.parametrize("path", [each for each in FILES if each.id != "tiny-f16"])
def test_checksum(path):
    keys = metadata(path)
    start = gguf.GGUFReader(path).data_offset
    assert zlib.crc32(path.read_bytes()[start:]) == keys["covey.checksum.crc32"][1]


@pytest.mark.parametrize("path", FILES)
def test_layout_in_bytes(path):
    """A reader written from docs/FORMAT.md alone finds what the package finds."""
    data = path.read_bytes()
    place = 0

    def take(form):
        nonlocal place
        (value,) = struct.unpack_from("<" + form, data, place)
        place += struct.calcsize("<" + form)
        return value

    def string():
        return take(f"{take('Q')}s").decode()

    forms = dict(enumerate(["B", "b", "H", "h", "I", "i", "f", "?", None, None, "Q", "q", "d"]))

    def value(kind):
        if kind == 8:
            return string()
        if kind == 9:
            element, count = take("I"), take("Q")
            return [value(element) for _ in range(count)]
        return take(forms[kind])

    assert take("4s") == b"GGUF" and take("I") == 3
    tensor_count, entry_count = take("Q"), take("Q")
    entries = {}
    for _ in range(entry_count):
        key = string()
        entries[key] = value(take("I"))
    records = [
        (string(), [take("Q") for _ in range(take("I"))], take("I"), take("Q"))
        for _ in range(tensor_count)
    ]
    alignment = entries.get("general.alignment", 32)
    start = (place + alignment - 1) // alignment * alignment

    assert entries == {key: found for key, (_, found) in metadata(path).items()}
    expected = tensors(path)
    assert [record[0] for record in records] == list(expected)
    for name, sizes, kind, offset in records:
        assert offset % alignment == 0
        shape = sizes[::-1]
        form = {0: "<f4", 1: "<f2", 24: "i1"}[kind]
        found = np.frombuffer(data, form, int(np.prod(shape)), start + offset)
        assert np.array_equal(found.reshape(shape), expected[name]), name


@pytest.mark.parametrize("name", ["tiny-f32", "tiny-q8"])
def test_example_of_the_document(name):
    """The Python example runs, and what it asserts holds."""
    text = (ROOT / "docs" / "FORMAT.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    assert "models/covey-nano.gguf" in example
    path = str(GOLDEN / f"{name}.gguf")
    names = {}
    exec(example.replace("models/covey-nano.gguf", path), names)
    assert names["weights"]["encoder.blocks.0.attn.qkv.weight"].shape == (72, 24)
    expected = dequantized(tensors(path))
    assert list(names["weights"]) == list(expected)
    for tensor, value in expected.items():
        assert value.dtype == (np.float16 if "q8" in path and tensor == STAYS_FLOAT else np.float32)
        np.testing.assert_array_equal(names["weights"][tensor], value, tensor)
    assert names["found"] == names["settings"]["covey.checksum.crc32"]


# ---- Through the library ---------------------------------------------------------


def dequantized(found):
    """The tensors of an int8 file as the numbers they stand for; others as they are."""
    return {
        name: value
        if value.dtype != np.int8
        else value.astype(np.float32) * found[f"{name}.scale"][:, None]
        for name, value in found.items()
        if name.removesuffix(".scale") == name
    }


@pytest.mark.parametrize("path", FILES)
def test_save_as_f32_and_f16(tmp_path, path):
    model = covey.Model(path)
    before, keys = dequantized(tensors(path)), metadata(path)
    keys.pop("covey.quantization.error", None)
    for dtype, kind in (("f32", np.float32), ("f16", np.float16)):
        saved = tmp_path / f"{dtype}.gguf"
        model.save(saved, dtype)
        after = tensors(saved)
        assert list(after) == list(before)
        for name, value in before.items():
            expected = value.astype(kind if name.endswith(MATRICES) else np.float32)
            assert after[name].dtype == expected.dtype, name
            # NumPy rounds to the nearest, ties to even, as the library must.
            assert np.array_equal(after[name], expected), name
        found = metadata(saved)
        assert found["general.file_type"] == ([4], int(dtype == "f16"))
        assert found["general.alignment"] == ([4], 64)
        reader = gguf.GGUFReader(saved)
        assert found["covey.checksum.crc32"] == (
            [4],
            zlib.crc32(saved.read_bytes()[reader.data_offset :]),
        )
        assert all(tensor.data_offset % 64 == 0 for tensor in reader.tensors)
        for key in WRITTEN:
            found.pop(key)
        assert found == {key: value for key, value in keys.items() if key not in WRITTEN}
        # A second round changes nothing.
        again = tmp_path / "again.gguf"
        covey.Model(saved).save(again, dtype)
        assert again.read_bytes() == saved.read_bytes()


def with_entries(path, entries):
    """The bytes of a file with these metadata entries, packed, before its own."""
    data = Path(path).read_bytes()
    reader = gguf.GGUFReader(path)
    tensors, count = struct.unpack_from("<QQ", data, 8)
    end = max(field.offset + sum(part.nbytes for part in field.parts)
              for field in [*reader.fields.values(), *(t.field for t in reader.tensors)]
              if not field.name.startswith("GGUF."))
    head = data[:8] + struct.pack("<QQ", tensors, count + len(entries))
    head += b"".join(entries) + data[24:end]
    return head + bytes(-len(head) % int(reader.alignment)) + data[reader.data_offset:]


def entry(key, kind, value):
    return struct.pack("<Q", len(key)) + key + struct.pack("<I", kind) + value


def text(count):
    return struct.pack("<Q", count) + b"a" * count


def array(kind, element, count):
    return struct.pack("<IQ", kind, count) + element * count


@pytest.mark.parametrize(
    "kind, value",
    [
        (8, lambda n: text(n - 8)),
        (9, lambda n: array(0, b"\0", n)),
        (9, lambda n: array(6, b"\0\0\0\0", n // 4)),
        (9, lambda n: array(8, text(8), n // 16)),
    ],
    ids=["string", "bytes", "floats", "strings"],
)
def test_sizes_of_metadata(tmp_path, kind, value):
    """Texts are made of values, and files written with them: both are bounded."""
    path = tmp_path / "made.gguf"
    largest = 64 << 10
    path.write_bytes(with_entries(GOLDEN / "tiny-f32.gguf", [entry(b"x.y", kind, value(largest))]))
    with covey.Model(path) as model:
        assert "x.y" in model.metadata
        model.save(tmp_path / "again.gguf", "f32")
        assert metadata(tmp_path / "again.gguf")["x.y"] == metadata(path)["x.y"]
    for count in (largest + 16, 60_000_000):
        path.write_bytes(
            with_entries(GOLDEN / "tiny-f32.gguf", [entry(b"x.y", kind, value(count))]))
        with pytest.raises(covey.FormatError, match=r"x\.y: expected .* 65536 bytes, found"):
            covey.Model(path)
    many = [entry(b"x.%d" % i, kind, value(largest)) for i in range(16)]
    path.write_bytes(with_entries(GOLDEN / "tiny-f32.gguf", many))
    with pytest.raises(covey.FormatError, match="metadata: expected .* 1048576 bytes"):
        covey.Model(path)


def test_sizes_of_errors(tmp_path):
    """Its length is checked before it is read, whatever the file says of it."""
    path = tmp_path / "made.gguf"
    value = array(6, b"\0\0\0\0", 16_000)
    path.write_bytes(with_entries(
        GOLDEN / "tiny-f32.gguf", [entry(b"covey.quantization.error", 9, value)]))
    with pytest.raises(covey.FormatError, match=r"expected f32\[0\], found f32\[16000\]"):
        covey.Model(path)


def test_files_of_others_are_told_by_name(tmp_path):
    """With metadata as language models have it, the first thing to say is what it is."""
    writer = gguf.GGUFWriter(tmp_path / "llm.gguf", "llama")
    writer.add_array("tokenizer.ggml.tokens", ["token"] * 100_000)
    writer.add_tensor("output.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(covey.FormatError, match="expected covey, found llama"):
        covey.Model(tmp_path / "llm.gguf")


@pytest.mark.parametrize("where", ["between", "behind"])
@pytest.mark.parametrize("count", [64, 1 << 20])
def test_nothing_lies_between_tensors_or_behind(tmp_path, where, count):
    path = GOLDEN / "tiny-f32.gguf"
    reader = gguf.GGUFReader(path)
    data = bytearray(path.read_bytes())
    gap = count // int(reader.alignment) * int(reader.alignment)
    if where == "between":
        last = max(reader.tensors, key=lambda tensor: tensor.data_offset)
        data[last.data_offset:last.data_offset] = bytes(gap)
        at = last.field.offset + sum(part.nbytes for part in last.field.parts) - 8
        (before,) = struct.unpack_from("<Q", data, at)
        assert before + reader.data_offset == last.data_offset
        struct.pack_into("<Q", data, at, before + gap)
    else:
        data += bytes(gap)
    (tmp_path / "made.gguf").write_bytes(data)
    message = "begin where padding ends" if where == "between" else "end with the tensors"
    with pytest.raises(covey.FormatError, match=message):
        covey.Model(tmp_path / "made.gguf")


def test_library_sees_damage(tmp_path):
    data = bytearray((GOLDEN / "tiny-f32.gguf").read_bytes())
    data[-1000] ^= 4
    path = tmp_path / "damaged.gguf"
    path.write_bytes(data)
    with pytest.raises(covey.FormatError, match="covey.checksum.crc32"):
        covey.Model(path)
