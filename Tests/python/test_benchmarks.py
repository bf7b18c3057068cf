"""What the benchmarks do with their figures: no clock in here."""

import importlib.util
from pathlib import Path

import pytest

import oracles
import reference
import scenes

FOLDER = Path(__file__).resolve().parents[2] / "Benchmarks"


def load(name):
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(peer, median, **more):
    return {
        "name": peer, "peer": peer, "size": "192x384", "threads": 2, "median_s": median,
        "min_s": median, "peak_mb": 12.4, **more,
    }


def test_report_shows_what_was_measured_and_says_why_the_rest_was_not():
    rows = [
        row("slow", 0.5, ratio=2.5, ratio_to="covey int8", error=1.5e-3, error_centred=0.5),
        {**row("absent", None), "min_s": None, "peak_mb": None, "note": "not written yet"},
    ]
    text = load("report").render(rows)
    assert "### 192x384, 2 threads" in text
    assert "of covey int8" in text
    assert "| slow | 0.500 | 0.500 | 2.50 | 12 | 1.5e-03 | 5.0e-01 |" in text
    assert "| absent" not in text
    assert "* absent: not written yet" in text


def test_report_of_kernels_gives_the_share_of_the_peak():
    kernel = {"kernel": "gemm", "size": "192x384", "shape": "scores", "count": 6, "m": 10,
              "n": 20, "k": 30, "gops": 50.0, "peak_gops": 200.0, "peak": "avx2"}
    text = load("report").render([], kernels=[kernel])
    assert "| gemm, 192x384, scores | 6 x 10 x 20 x 30 | 50 | 25 % | 200 (avx2) |" in text


def clustering_row(peer, seed, **more):
    return {
        "peer": peer, "size": "12x24x48", "kind": "easy", "seed": seed, "median_s": 1.0,
        "peak_mb": 10.0, "clusters": 3, "ari_truth": 0.9, **more,
    }


def test_report_of_the_clustering_gives_medians_and_the_worst():
    rows = []
    for seed, ratio in enumerate((0.1, 0.3, 0.11)):
        rows += [
            clustering_row("authors", seed, time_ratio=1.0, memory_ratio=1.0, ari_authors=1.0,
                           ari_truth=0.8),
            clustering_row("covey reference", seed, time_ratio=ratio, memory_ratio=ratio / 2,
                           ari_authors=1 - ratio / 100),
        ]
    rows.append(clustering_row("covey edge", 1, per_frame_s=0.01, backbone_s=0.5, of_backbone=0.02))
    text = load("report").render([], clustering=rows)
    assert ("| covey reference, 12x24x48, easy | 3 | 0.110 (0.300) | 0.055 (0.150) "
            "| 0.9989 (0.9970) | 0.900 | 0.800 |") in text
    assert "| covey edge, 12x24x48 | 0.0100 | 0.500 | 2.0 % |" in text


def test_report_of_a_training_step():
    run = {
        "channels": 384, "threads": 2, "tokens": 3459, "ratio": 0.31, "ratio_min": 0.3,
        "ratio_max": 0.35,
        "rows": [
            {"name": name, "median_s": seconds, "min_s": seconds, "max_s": seconds,
             "peak_mb": 2 * memory, "step_mb": memory}
            for name, seconds, memory in (("covey", 1.25, 200.0), ("torch", 4.0, 2000.0))
        ],
    }
    text = load("report").render([], training=[run])
    assert "| covey, C 384, 2 threads | 1.25 | 1.25 | 0.31 (0.30 to 0.35) | 200 | 400 |" in text
    assert "| torch, C 384, 2 threads | 4.00 | 4.00 | 1 | 2000 | 4000 |" in text


def test_report_of_the_adaptation():
    quality = [{"scale": scale, "j": j, "clusters": 5.0}
               for scale, j in ((0.7, 0.4), (1.0, 0.45), (1.4, 0.41))]
    rows = [
        {"case": "shipped", "step": 0, "tau": 1.0, "quality": quality, "semantic": None,
         "motion": None},
        {"case": "model", "step": 200, "tau": 1.234, "quality": quality, "semantic": 0.3,
         "motion": 0.1},
    ]
    text = load("report").render([], adaptation=rows)
    j = "0.400 / 0.450 / 0.410 | 5.0 / 5.0 / 5.0"
    assert f"| shipped | 0 | 1 | {j} | - | - |" in text
    assert f"| model | 200 | 1.23 | {j} | 0.300 | 0.100 |" in text


def test_the_authors_clustering_is_the_method():
    """Against the oracle of the other tests, which is in float64."""
    torch = oracles.load("torch")
    queries, keys, _ = scenes.maps_scene("cluttered", 1, 7, 8, 12, 32, 4)
    keys = keys[::3].reshape(-1, 32)
    expected = reference.cluster(queries, keys, 4)
    found = load("authors").cluster(torch.from_numpy(queries), torch.from_numpy(keys), 4)
    assert expected.count > 5
    assert reference.adjusted_rand_index(found.numpy(), expected.labels) >= 0.999


def test_report_replaces_what_stands_between_the_marks():
    report = load("report")
    page = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"
    once = report.replaced(page, "new\n")
    assert once == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    assert report.replaced(once, "new\n") == once
    with pytest.raises(ValueError, match="figures: begin"):
        report.replaced("a page without marks", "new")


def test_callgrind_counts_what_functions_do_themselves():
    costs = load("instructions").parse([
        "events: Ir", "ob=/lib/a.so", "fl=a.c", "fn=outer", "10 5", "cob=/lib/b.so", "cfn=inner",
        "calls=2 20", "11 1000", "12 7", "", "ob=/lib/b.so", "fn=inner", "20 1000",
    ])
    assert costs == {("outer", "/lib/a.so"): 12, ("inner", "/lib/b.so"): 1000}


@pytest.mark.parametrize(("function", "where", "group"), [
    ("sgemm_kernel_HASWELL", "/usr/lib/libopenblas.so.0", "matrix products, fp32"),
    ("layer_norm_avx2", "libcovey.so", "layer norm"),
    ("main", "encode", "everything else"),
])
def test_functions_fall_into_groups(function, where, group):
    assert load("instructions").group_of(function, where) == group
