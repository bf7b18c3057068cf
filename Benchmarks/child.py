"""One Python peer in a process of its own: see peers.py for what it answers.

    python Benchmarks/child.py "OpenVINO fp32" --folder build/bench/normal \\
        --size 192x384 --threads 1 [--warm-up N] [--keys FILE]

Only the peer's own package and NumPy are imported, so that its peak memory is its
own.  The input is made beforehand: resampling is nobody's.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np


def torch_peer(authors):
    def load(folder, size, threads):
        import torch

        import artefacts
        import vit

        torch.set_num_threads(threads)
        torch.set_num_interop_threads(1)
        network = vit.Vit(artefacts.load_state(folder), *artefacts.parse_size(size), authors)

        def run(image):
            with torch.inference_mode():
                return network(torch.from_numpy(image)).numpy()

        return run

    return load


def onnxruntime_peer(file):
    def load(folder, size, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(
            folder / size / file, options, providers=["CPUExecutionProvider"]
        )
        return lambda image: session.run(None, {"image": image})[0]

    return load


def openvino_peer(file, precision):
    def load(folder, size, threads):
        import openvino as ov

        compiled = ov.Core().compile_model(folder / size / file, "CPU", {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        })
        request = compiled.create_infer_request()

        def run(image):
            # The input is not copied: what is given stays where it is.
            request.set_input_tensor(ov.Tensor(image, shared_memory=True))
            request.infer()
            return request.get_output_tensor().data

        return run

    return load


LOADERS = {
    "torch fp32, authors": torch_peer(authors=True),
    "torch fp32, SDPA": torch_peer(authors=False),
    "ONNX Runtime fp32": onnxruntime_peer("vit.onnx"),
    "ONNX Runtime int8": onnxruntime_peer("vit-int8.onnx"),
    "OpenVINO fp32": openvino_peer("vit.xml", "f32"),
    "OpenVINO bf16": openvino_peer("vit.xml", "bf16"),
    "OpenVINO int8, f32": openvino_peer("vit-int8.xml", "f32"),
    "OpenVINO int8, bf16": openvino_peer("vit-int8.xml", "bf16"),
}


def peak_mb():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def serve(run, image, warm_up):
    print("ready", flush=True)
    for line in sys.stdin:
        if line.strip() == "peak":
            print(f"{peak_mb():.3f}", flush=True)
            continue
        for _ in range(warm_up):
            run(image)
        start = time.perf_counter()
        run(image)
        print(f"{time.perf_counter() - start:.9f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=LOADERS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--size", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--keys", type=Path)
    options = parser.parse_args()
    run = LOADERS[options.peer](options.folder, options.size, options.threads)
    image = np.load(options.folder / options.size / "input.npy")
    keys = run(image)
    if options.keys:
        np.ascontiguousarray(keys, np.float32).tofile(options.keys)
    del keys
    serve(run, image, options.warm_up)


if __name__ == "__main__":
    main()
