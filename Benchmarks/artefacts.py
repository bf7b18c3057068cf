"""What the peers load, made once and kept in build/bench: weights, frames, graphs.

    python Benchmarks/artefacts.py WHAT --folder build/bench --size HxW [--tails heavy]

Each is made in a process of its own, by the parent of the benchmark, so that no
exporter's memory is in any peer's peak.  WHAT:

    weights         state.npz, covey-f32.gguf
    covey-int8      covey-q8.gguf
    frame           HxW/frame.rgb, input.npy; calibration.npy
    reference       HxW/reference.npy: the keys in float64
    onnx            HxW/vit.onnx
    onnx-int8       HxW/vit-int8.onnx, dynamic quantisation by ONNX Runtime
    openvino        HxW/vit.xml, fp32
    openvino-int8   HxW/vit-int8.xml, post-training quantisation by NNCF
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import scenes
import weights


def parse_size(text):
    """"192x384" as (192, 384): height, width."""
    height, width = (int(side) for side in text.split("x"))
    return height, width


def load_state(folder):
    # Not mapped, as .safetensors would be: tensor by tensor, so that no weight is
    # twice in the memory of who loads it.
    with np.load(folder / "state.npz") as file:
        return {name: file[name] for name in file.files}


def make_weights(folder, size, tails):
    state = weights.random_vit(0, tails)
    np.savez(folder / "state.npz", **state)
    weights.write_weight_file(state, folder / "covey-f32.gguf", "f32")


def make_covey_int8(folder, size, tails):
    """Raises where the library does not write int8; the message says why."""
    import covey

    with covey.Model(folder / "covey-f32.gguf") as model:
        model.save(folder / "covey-q8.gguf", "q8")


def make_frame(folder, size, tails):
    at, (height, width) = folder / size, parse_size(size)
    picture = scenes.frame(height, width, scenes.TIMED)
    (at / "frame.rgb").write_bytes(picture.tobytes())
    np.save(at / "input.npy", scenes.planes(picture))
    calibration = [
        scenes.planes(scenes.frame(height, width, seed)) for seed in scenes.CALIBRATION
    ]
    np.save(at / "calibration.npy", np.stack(calibration))


def make_reference(folder, size, tails):
    import vit

    at = folder / size
    np.save(at / "reference.npy", vit.reference(load_state(folder), np.load(at / "input.npy")))


def make_onnx(folder, size, tails):
    import torch

    import vit

    at = folder / size
    network = vit.Vit(load_state(folder), *parse_size(size))
    image = torch.from_numpy(np.load(at / "input.npy"))
    program = torch.onnx.export(
        network, (image,), dynamo=True, input_names=["image"], output_names=["keys"],
        external_data=False, verbose=False,
    )
    program.save(at / "vit.onnx", external_data=False)


def make_onnx_int8(folder, size, tails):
    """QInt8 weights per output channel, activations quantised as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    at = folder / size
    prepared = at / "prepared.onnx"
    quant_pre_process(at / "vit.onnx", prepared, skip_symbolic_shape=True)
    quantize_dynamic(prepared, at / "vit-int8.onnx", weight_type=QuantType.QInt8,
                     per_channel=True)
    prepared.unlink()


def make_openvino(folder, size, tails):
    import openvino as ov

    at = folder / size
    model = ov.convert_model(at / "vit.onnx")
    ov.save_model(model, at / "vit.xml", compress_to_fp16=False)


def make_openvino_int8(folder, size, tails):
    import nncf
    import openvino as ov

    at = folder / size
    model = ov.Core().read_model(at / "vit.xml")
    frames = nncf.Dataset(list(np.load(at / "calibration.npy")))
    quantised = nncf.quantize(
        model, frames, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(scenes.CALIBRATION)
    )
    ov.save_model(quantised, at / "vit-int8.xml", compress_to_fp16=False)


#: What is made, by its name: (function, files, names of what is needed before).
ARTEFACTS = {
    "weights": (make_weights, ("../covey-f32.gguf", "../state.npz"), ()),
    "covey-int8": (make_covey_int8, ("../covey-q8.gguf",), ("weights",)),
    "frame": (make_frame, ("frame.rgb", "input.npy", "calibration.npy"), ()),
    "reference": (make_reference, ("reference.npy",), ("weights", "frame")),
    "onnx": (make_onnx, ("vit.onnx",), ("weights", "frame")),
    "onnx-int8": (make_onnx_int8, ("vit-int8.onnx",), ("onnx",)),
    "openvino": (make_openvino, ("vit.xml", "vit.bin"), ("onnx",)),
    "openvino-int8": (
        make_openvino_int8, ("vit-int8.xml", "vit-int8.bin"), ("openvino", "frame"),
    ),
}


def missing(folder, size, what):
    """The names of what has to be made for ``what``, in order."""
    _, files, needs = ARTEFACTS[what]
    names = [name for need in needs for name in missing(folder, size, need)]
    if not all((folder / size / file).exists() for file in files):
        names.append(what)
    return list(dict.fromkeys(names))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=ARTEFACTS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--size", required=True)
    parser.add_argument("--tails", default="normal")
    options = parser.parse_args()
    (options.folder / options.size).mkdir(parents=True, exist_ok=True)
    try:
        ARTEFACTS[options.what][0](options.folder, options.size, options.tails)
    except Exception as error:
        # One line for the parent; the rest above it.
        import traceback

        traceback.print_exc()
        print(f"{type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
