"""The peers: what is run for each, and with which environment.

A peer is a process that answers on its standard output: "ready" once it has
loaded and run a frame, and then, for a line "time", the seconds of one frame,
for "peak", VmHWM of /proc in MB.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Peer:
    """name: in tables and JSON.  needs: artefacts.  product: whose program it is.
    exact: it computes in fp32, so that an error of its keys above 1e-3 is a bug.
    quick: a headline row, part of QUICK=1."""

    name: str
    product: str
    needs: tuple[str, ...]
    exact: bool = False
    quick: bool = True


PEERS = (
    Peer("torch fp32, authors", "torch", ("weights",), exact=True, quick=False),
    Peer("torch fp32, SDPA", "torch", ("weights",), exact=True),
    Peer("ONNX Runtime fp32", "onnxruntime", ("onnx",), exact=True, quick=False),
    Peer("ONNX Runtime int8", "onnxruntime", ("onnx-int8",)),
    Peer("OpenVINO fp32", "openvino", ("openvino",), exact=True),
    Peer("OpenVINO bf16", "openvino", ("openvino",), quick=False),
    Peer("OpenVINO int8, f32", "openvino", ("openvino-int8",), quick=False),
    Peer("OpenVINO int8, bf16", "openvino", ("openvino-int8",)),
    Peer("covey fp32", "covey", ("weights",), exact=True),
    Peer("covey int8", "covey", ("covey-int8",)),
)

#: What ratios are of.
BASE = "covey int8"


def command(peer, folder, size, threads, warm_up, keys, build):
    """The process of a peer that measures.  Those in Python first write the keys
    of the timed frame, float32, to the file ``keys``."""
    if peer.product == "covey":
        return [*_encode(peer, folder, size, threads, build),
                "--warm-up", str(warm_up), "--serve"]
    return [
        sys.executable, str(HERE / "child.py"), peer.name, "--folder", str(folder),
        "--size", size, "--threads", str(threads), "--warm-up", str(warm_up),
        "--keys", str(keys),
    ]


def keys_command(peer, folder, size, threads, keys, build):
    """The process that writes the keys where that is one of its own, else None."""
    if peer.product != "covey":
        return None
    return [*_encode(peer, folder, size, threads, build), "--keys", str(keys)]


def _encode(peer, folder, size, threads, build):
    height, width = size.split("x")
    weights = "covey-q8.gguf" if peer.name == "covey int8" else "covey-f32.gguf"
    return [
        str(build / "encode"), str(folder / weights), "--height", height, "--width", width,
        "--threads", str(threads), "--frame", str(folder / size / "frame.rgb"),
    ]


def environment(threads, isa):
    """isa: None, or "avx2", which limits whoever can be limited (docs/BENCHMARKS.md
    says who cannot)."""
    variables = {
        **os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
    }
    if isa == "avx2":
        variables |= {
            "COVEY_ISA": "avx2",
            "OPENBLAS_CORETYPE": "Haswell",  # covey fp32
            "ONEDNN_MAX_CPU_ISA": "AVX2",  # OpenVINO; PyTorch where it uses oneDNN
            "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
            "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # PyTorch's matrix products
        }
    return variables


