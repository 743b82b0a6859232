from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from quantized_detectors import Trained

from yolo_qreg.config import RANGES
from yolo_qreg.errors import InputError
from yolo_qreg.export.activations import BINS, LEVELS, PICTURE, Histogram, activation_groups, calibrate

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxslim")

SIDE = 64


def graph(*nodes: tuple[str, list[str], list[str]]) -> onnx.ModelProto:
    """Return a model of operators given as (type, inputs, outputs)."""
    made = [onnx.helper.make_node(kind, inputs, outputs, name=outputs[0]) for kind, inputs, outputs in nodes]
    return onnx.helper.make_model(onnx.helper.make_graph(made, "g", [], []))


def test_what_meets_in_a_concat_is_one_group() -> None:
    """Also through pooling and enlarging, and across several joins; what a float layer reads is left."""
    model = graph(
        ("Sigmoid", [PICTURE], ["a"]),
        ("Sigmoid", [PICTURE], ["b"]),
        ("Sigmoid", [PICTURE], ["c"]),
        ("Sigmoid", [PICTURE], ["alone"]),
        ("MaxPool", ["a"], ["pooled"]),
        ("Resize", ["b", "", "scales"], ["large"]),
        ("Concat", ["pooled", "large"], ["ab"]),
        ("Concat", ["b", "c"], ["bc"]),
        ("Conv", ["ab", "w1"], ["x"]),
        ("Conv", ["bc", "w2"], ["y"]),
        ("Conv", ["alone", "w3"], ["z"]),
        ("Conv", [PICTURE, "w4"], ["float"]),
    )
    found = activation_groups(model, [node for node in model.graph.node if node.output[0] in ("x", "y", "z")])
    assert set(found) == {"a", "b", "c", "alone"}
    assert found["a"] == found["b"] == found["c"] != found["alone"]


def test_a_detector_shares_the_scales_of_its_joins(trained: Callable[[str], Trained], tmp_path: Path) -> None:
    """Each quantized convolution reads a tensor of a group, and groups are fewer than tensors."""
    from yolo_qreg.export.folding import convolutions, float_model

    exact = float_model(trained("lsq-2bit").path, tmp_path, imgsz=SIDE)
    model = exact.graph()
    convs = convolutions(model, exact.integers(model))
    groups = activation_groups(model, convs)
    assert len(convs) == len(exact.weights.coded)
    assert PICTURE in groups
    assert len(set(groups.values())) < len(groups) <= len(convs)
    pictures = list(exact.pictures())
    scales = calibrate(model, groups, pictures, "minmax")
    assert scales == calibrate(model, groups, pictures[::-1], "minmax")
    assert scales[PICTURE] == 1 / 255
    assert all(scales[one] == scales[other] for one in groups for other in groups if groups[one] == groups[other])


def test_counting_doubles_the_range_without_moving_a_value() -> None:
    """Values that come in small and large pieces are counted as numpy counts them all at once."""
    rng = np.random.default_rng(0)
    pieces = [rng.normal(0, sigma, 1000).astype(np.float32) for sigma in (0.1, 1, 30, 0.5)]
    found = Histogram()
    for piece in pieces:
        found.add(piece)
    every = np.abs(np.concatenate(pieces))
    wanted, _ = np.histogram(every, bins=BINS, range=(0, found.width * BINS))
    assert found.counts.sum() == every.size
    assert np.abs(found.counts - wanted).sum() <= 2  # float32 division at a bin's edge
    assert found.peak == every.max()


@pytest.mark.parametrize("ranges", RANGES)
def test_the_order_of_pictures_does_not_matter(ranges: str) -> None:
    """The first picture does not set the bins of all others."""
    rng = np.random.default_rng(0)
    pieces = [rng.normal(0, sigma, 5000).astype(np.float32) for sigma in (0.37, 1.9, 5.3, 0)]
    found = set()
    for order in permutations(pieces):
        histogram = Histogram()
        for piece in order:
            histogram.add(piece)
        found.add(histogram.limit(ranges))
    assert len(found) == 1


def test_ranges_are_what_they_are_called() -> None:
    """Against numpy: the maximum, the 99.99th percentile, and the least squared error among all ranges."""
    values = np.random.default_rng(0).laplace(0, 1, 200_000).astype(np.float32)
    found = Histogram()
    found.add(values)
    sizes = np.abs(values).astype(np.float64)
    assert found.limit("minmax") == sizes.max()
    assert found.limit("percentile") == pytest.approx(np.percentile(sizes, 99.99), abs=2 * found.width)

    def error(limit: float) -> float:
        scale = limit / LEVELS
        return float(((scale * np.clip(np.round(sizes / scale), 0, LEVELS) - sizes) ** 2).mean())

    best = min(error(limit) for limit in np.linspace(sizes.max() / 5, sizes.max(), 400))
    assert error(found.limit("mse")) < 1.01 * best
    assert found.limit("mse") < sizes.max()


def test_zeros_and_nan() -> None:
    """A tensor of zeros has a range all the same; values that are not finite are an error."""
    found = Histogram()
    found.add(np.zeros((2, 3), np.float32))
    assert all(found.limit(ranges) > 0 for ranges in ("minmax", "percentile", "mse"))
    with pytest.raises(InputError, match="not finite"):
        found.add(np.array([np.nan], np.float32))
