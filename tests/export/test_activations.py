from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from quantized_detectors import Trained

from yolo_qreg.config import RANGES
from yolo_qreg.errors import InputError
from yolo_qreg.export.activations import ReadLayout, WholeLayout, activation_groups
from yolo_qreg.export.ranges import BINS, LEVELS, PICTURE, PICTURE_GRID, UNSIGNED_LEVELS, Grid, Histogram, calibrate
from yolo_qreg.quant.activations import FixedActivation

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
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
    from yolo_qreg.export.folding import convolutions, float_model, read_source

    exact = float_model(read_source(trained("lsq-2bit").path), tmp_path, imgsz=SIDE)
    model = exact.graph()
    convs = convolutions(model, exact.integers(model))
    layout = ReadLayout(model, convs, "/model.24/")
    groups = layout.groups
    assert len(convs) == len(exact.weights.coded)
    assert PICTURE in groups
    assert len(set(groups.values())) < len(groups) <= len(convs)
    pictures = list(exact.pictures())
    grids = calibrate(model, layout, pictures, "minmax")
    assert grids == calibrate(model, layout, pictures[::-1], "minmax")
    assert grids.pop(PICTURE) == PICTURE_GRID
    assert all(grid.signed and grid.zero == 0 for grid in grids.values())
    assert all(grids[one] == grids[other] for one in grids for other in grids if groups[one] == groups[other])


def test_onnx_runtime_gets_all_between_two_convolutions() -> None:
    """SiLU's factors and sums too, one grid around what passes values on; what float operators make stays float."""
    model = graph(
        ("Conv", [PICTURE, "w0"], ["c"]),
        ("Sigmoid", ["c"], ["s"]),
        ("Mul", ["c", "s"], ["silu"]),
        ("MaxPool", ["silu"], ["pooled"]),
        ("Concat", ["silu", "pooled"], ["joined"]),
        ("Conv", ["joined", "w1"], ["d"]),
        ("Add", ["d", "joined"], ["sum"]),
        ("Softmax", ["sum"], ["float"]),
        ("Add", ["float", "sum"], ["mixed"]),
        ("Conv", ["mixed", "w2"], ["e"]),
        ("Conv", ["e", "w3"], ["answer"]),
        ("Sigmoid", ["answer"], ["scores"]),
    )
    layout = WholeLayout(model, [n for n in model.graph.node if n.op_type == "Conv" and n.output[0] != "answer"])
    found = layout.groups
    assert set(found) == {PICTURE, "c", "s", "silu", "pooled", "joined", "d", "sum", "mixed", "e"}
    assert found["silu"] == found["pooled"] == found["joined"]
    assert len(set(found.values())) == len(found) - 2
    assert set(layout.fixed) == {PICTURE, "s"}


def test_unsigned_grids_hold_zero_exactly() -> None:
    """As ONNX asks for: what is padded with 0 is not moved; ranges on one side of 0 reach it."""
    for low, high in ((-0.278, 5.1), (0.2, 3.0), (-4.0, -1.0), (0.0, 0.0)):
        grid = Grid.unsigned(low, high)
        assert 0 <= grid.zero <= UNSIGNED_LEVELS
        least, most = (grid.scale * (q - grid.zero) for q in (0, UNSIGNED_LEVELS))
        assert least <= min(low, 0) + grid.scale / 2
        assert most >= max(high, 0) - grid.scale / 2


def test_bounds_are_those_of_numpy() -> None:
    """Of what was counted on either side of 0; below the floor nothing counts."""
    values = np.random.default_rng(0).normal(1, 2, 200_000).astype(np.float32)
    found = Histogram()
    found.add(values)
    assert found.bounds("minmax") == (values.min(), values.max())
    assert found.bounds("minmax", floor=-1.5) == (-1.5, values.max())
    wanted = np.percentile(values, [0.01, 99.99])
    assert found.bounds("percentile") == pytest.approx(tuple(wanted), abs=2 * found.width)

    def error(low: float, high: float) -> float:
        grid = Grid.unsigned(low, high)
        q = np.clip(np.rint(values.astype(np.float64) / grid.scale) + grid.zero, 0, UNSIGNED_LEVELS)
        return float((((q - grid.zero) * grid.scale - values) ** 2).mean())

    shares = np.linspace(0.2, 1, 200)
    best = min(error(values.min() * share, values.max() * share) for share in shares)
    assert error(*found.bounds("mse")) < 1.01 * best


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
    assert np.abs(found.counts.sum(0) - wanted).sum() <= 2  # float32 division at a bin's edge
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


@pytest.mark.parametrize(("signed", "zero", "ends"), [(True, 0, (-8, 7)), (False, 3, (0, 15)), (True, 0, (-127, 127))])
def test_a_grid_of_fewer_levels_is_clipped_first(signed: bool, zero: int, ends: tuple[int, int]) -> None:
    """What a convolution reads in ONNX Runtime is what the training computed, for both layouts of integers."""
    grid = Grid(0.11, zero, signed, ends)
    x = np.random.default_rng(0).normal(0, 1, (1, 1, 40, 40)).astype(np.float32) * 6
    ties = ((np.arange(ends[0] - 2, ends[1] + 3) - zero + 0.5) * np.float32(0.11)).astype(np.float32)
    x[0, 0].flat[: len(ties)] = ties
    wanted = FixedActivation(4, *ends, 0.11, zero)(torch.from_numpy(x)).numpy()
    for made in (grid, grid.shifted()):
        model = graph(("Neg", [PICTURE], ["a"]), ("Conv", ["a", "w"], ["x"]))
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "w"))
        shape = list(x.shape)
        model.graph.input.append(onnx.helper.make_tensor_value_info(PICTURE, onnx.TensorProto.FLOAT, shape))
        model.graph.output.append(onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape))
        model.ir_version = 8
        model.opset_import[0].version = 18
        layout = ReadLayout(model, [model.graph.node[1]], "/head/", learned={"x": made})
        layout.apply(model, layout.fixed)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, {PICTURE: -x})[0], wanted)
