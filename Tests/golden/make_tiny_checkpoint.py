"""Makes tiny-f32.gguf, tiny-f16.gguf and tiny-q8.gguf beside this script.

They are written by the gguf package, which shares no code with covey, and hold
random weights: `python make_tiny_checkpoint.py`, with gguf 0.10 or newer.
tiny-f32.gguf has every tensor a file may have; tiny-f16.gguf only those that
inference needs, no checksum and no optional key; tiny-q8.gguf is tiny-f32.gguf
with its matrices as int8, but for the correlator's attn.qkv.weight, which is F16.
"""

import zlib
from pathlib import Path

import gguf
import numpy as np

C, P, DEPTH, HEADS, GRID, F = 24, 8, 2, 3, 4, 48


def tensors(whole):
    """Names and random values of every tensor, or of the required ones."""
    random = np.random.default_rng(20231117)

    def made(*shape):
        return (random.standard_normal(shape) * 0.1).astype(np.float32)

    def block(prefix, runs, qkv_bias, mlp):
        yield f"{prefix}.norm1.weight", 1 + made(C)
        yield f"{prefix}.norm1.bias", made(C)
        yield f"{prefix}.attn.qkv.weight", made(3 * C, C)
        if qkv_bias:
            yield f"{prefix}.attn.qkv.bias", made(3 * C)
        if whole or runs:
            yield f"{prefix}.attn.proj.weight", made(C, C)
            yield f"{prefix}.attn.proj.bias", made(C)
            yield f"{prefix}.norm2.weight", 1 + made(C)
            yield f"{prefix}.norm2.bias", made(C)
            yield f"{prefix}.mlp.fc1.weight", made(mlp, C)
            yield f"{prefix}.mlp.fc1.bias", made(mlp)
            yield f"{prefix}.mlp.fc2.weight", made(C, mlp)
            yield f"{prefix}.mlp.fc2.bias", made(C)

    yield "encoder.cls_token", made(C)
    yield "encoder.pos_embed", made(1 + GRID * GRID, C)
    yield "encoder.patch_embed.proj.weight", made(C, 3, P, P)
    yield "encoder.patch_embed.proj.bias", made(C)
    for index in range(DEPTH):
        yield from block(f"encoder.blocks.{index}", index < DEPTH - 1, True, F)
    if whole:
        yield "encoder.norm.weight", 1 + made(C)
        yield "encoder.norm.bias", made(C)
    yield from block("correlator", False, False, 4 * C)


def is_matrix(name):
    return name.endswith(
        ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight")
    )


#: Multiplied in fp32 whatever the other matrices are.
STAYS_FLOAT = "correlator.attn.qkv.weight"


def quantized(matrix):
    """int8 values, the scale of each row, and the relative error of the matrix."""
    scale = np.abs(matrix).max(axis=1) / np.float32(127)
    scale = np.where(scale > 0, scale, np.float32(1))
    exact = matrix.astype(np.float64)
    values = np.rint(exact / scale[:, None].astype(np.float64)).clip(-127, 127)
    lost = exact - values * scale[:, None].astype(np.float64)
    error = np.linalg.norm(lost) / np.linalg.norm(exact)
    return values.astype(np.int8), scale, error


def stored(half, int8):
    """Names and numbers as they stand in the file, and the errors of quantising."""
    found, errors = [], []
    for name, value in tensors(whole=not half):
        if int8 and is_matrix(name) and name != STAYS_FLOAT:
            values, scale, error = quantized(value)
            found += [(name, values), (f"{name}.scale", scale)]
            errors.append(float(error))
        else:
            narrow = is_matrix(name) if half else int8 and name == STAYS_FLOAT
            found.append((name, value.astype(np.float16) if narrow else value))
    return found, errors


def write(path, half, int8, checksum):
    """Writes the file; `checksum` is of the data section, known from a first pass."""
    found, errors = stored(half, int8)
    writer = gguf.GGUFWriter(path, "covey")
    writer.add_custom_alignment(64)
    writer.add_file_type(1 if half else 7 if int8 else 0)
    writer.add_uint32("covey.format_version", 1)
    writer.add_uint32("covey.vit.patch_size", P)
    writer.add_uint32("covey.vit.embed_dim", C)
    writer.add_uint32("covey.vit.depth", DEPTH)
    writer.add_uint32("covey.vit.heads", HEADS)
    writer.add_uint32("covey.vit.mlp_dim", F)
    writer.add_uint32("covey.vit.position_grid", GRID)
    writer.add_float32("covey.vit.layer_norm_eps", 1e-6)
    writer.add_bool("covey.vit.cls_saliency", half)
    writer.add_uint32("covey.correlator.heads", 2)
    writer.add_float32("covey.correlator.layer_norm_eps", 1e-5)
    writer.add_array("covey.input.mean", [0.485, 0.456, 0.406])
    writer.add_array("covey.input.std", [0.229, 0.224, 0.225])
    writer.add_uint32("covey.input.height", 32)
    writer.add_uint32("covey.input.width", 48)
    writer.add_float32("covey.clustering.tau", 0.75)
    writer.add_uint32("covey.clustering.window", 3)
    writer.add_uint32("covey.clustering.key_stride", 10)
    writer.add_uint32("covey.clustering.key_pool", 2)
    if not half:
        writer.add_name("tiny")
        writer.add_license("CC0-1.0")
        writer.add_description("random weights, for tests")
        writer.add_string("covey.provenance", "Tests/golden/make_tiny_checkpoint.py")
        writer.add_uint32("covey.checksum.crc32", checksum)
        # Of every type that GGUF has, to be kept and shown.
        writer.add_uint8("test.u8", 200)
        writer.add_int8("test.i8", -100)
        writer.add_uint16("test.u16", 60000)
        writer.add_int16("test.i16", -30000)
        writer.add_int32("test.i32", -2000000000)
        writer.add_uint64("test.u64", 2**64 - 1)
        writer.add_int64("test.i64", -(2**63))
        writer.add_float64("test.f64", 0.1)
        writer.add_array("test.many", list(range(20)))
        writer.add_array("test.words", ["Ein", "schöner", "Schwarm"])
    if int8:
        writer.add_array("covey.quantization.error", errors)
    for name, value in found:
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    folder = Path(__file__).parent
    for name in ("f32", "f16", "q8"):
        path = folder / f"tiny-{name}.gguf"
        checksum = 0
        for _ in range(2):
            write(path, name == "f16", name == "q8", checksum)
            data = gguf.GGUFReader(path).data_offset
            checksum = zlib.crc32(path.read_bytes()[data:])
        print(path.name, path.stat().st_size)
