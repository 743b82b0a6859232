"""Activation quantizers against ONNX Runtime's operators, closed forms and exhaustive search."""

from __future__ import annotations

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import Tensor

from yolo_qreg.quant.activations import (
    ActivationQuantizer,
    FixedActivation,
    LSQActivation,
    ObservedActivation,
    PACTActivation,
)
from yolo_qreg.quant.observed import BINS, Observed
from yolo_qreg.quant.registry import ACTIVATIONS, activation_class

EVERY = [(method, bits, grid) for method, spec in ACTIVATIONS.items() for grid in spec.grids for bits in (4, 8)]


def silu(seed: int = 0, size: int = 4096) -> Tensor:
    """Return what a SiLU gives for normal values."""
    x = torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 2
    return torch.nn.functional.silu(x)


def calibrated(method: str, bits: int, grid: str) -> ActivationQuantizer:
    """Return a quantizer that has seen such values, in eval mode."""
    made = activation_class(method).make(bits, grid)
    made(silu()[None])
    made.calibrate()
    return made.eval()


def in_onnx(x: np.ndarray, scale: float, zero: int, low: int, high: int) -> np.ndarray:
    """Return what ONNX Runtime's QuantizeLinear and DequantizeLinear make of values."""
    onnx = pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    kinds = {(-128, 127): "INT8", (0, 255): "UINT8", (-8, 7): "INT4", (0, 15): "UINT4"}
    kind = getattr(onnx.TensorProto, kinds[low, high])
    helper = onnx.helper
    constants = [
        helper.make_tensor("s", onnx.TensorProto.FLOAT, [], [scale]),
        helper.make_tensor("z", kind, [], [zero]),
    ]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(("method", "bits", "grid"), EVERY)
def test_values_are_those_of_onnx_bit_for_bit(method: str, bits: int, grid: str) -> None:
    """Inside, at all ties between levels and their neighbours, and far outside, in training as well as after it."""
    made = calibrated(method, bits, grid)
    scale, zero, low, high = made.qparams()
    ties = ((torch.arange(low - 2, high + 3).double() - zero + 0.5) * float(scale)).float()
    near = [torch.nextafter(ties, torch.tensor(end)) for end in (-torch.inf, torch.inf)]
    x = torch.cat([silu(1), ties, *near, torch.tensor([0.0, -1e3, 1e3, 3e38, -3e38, 1e-40])])
    wanted = torch.from_numpy(in_onnx(x.numpy(), float(scale), zero, low, high))
    assert torch.equal(made(x[None])[0].detach(), wanted)
    fixed = FixedActivation(bits, low, high, float(scale), zero)
    assert torch.equal(fixed(x), wanted)
    assert len(wanted.unique()) == high - low + 1
    assert 0 in wanted


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("grid", ["symmetric", "affine"])
def test_lsq_gradients_are_the_papers(grid: str, bits: int) -> None:
    """Inside the step has rint(v) - v and x passes; outside it has the integer, and the offset 1."""
    made = calibrated("lsq", bits, grid)
    assert isinstance(made, LSQActivation)
    scale, zero, low, high = made.qparams()
    x = (torch.randn(3, 2, 5, 7, generator=torch.Generator().manual_seed(0)).double() * 8).requires_grad_()
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).double()
    made.quantize(x).backward(grad)
    v = x.detach() / scale.double()
    below, above = v <= low - zero, v >= high - zero
    inside = ~below & ~above
    assert min(int(part.sum()) for part in (inside, below, above)) > 0
    assert x.grad is not None
    assert torch.equal(x.grad, grad * inside)
    factor = 1 / math.sqrt(2 * 5 * 7 * high)
    slope = torch.where(inside, v.round() - v, torch.where(below, float(low), float(high)))
    assert made.step.grad is not None
    assert float(made.step.grad) == pytest.approx(float((grad * slope).sum()) * factor, rel=1e-5)
    if made.offset is not None:
        assert made.offset.grad is not None
        assert float(made.offset.grad) == pytest.approx(float((grad * ~inside).sum()) * factor, rel=1e-5)


def test_pact_is_the_published_example() -> None:
    """With bound 2 at 2 bits values at or above it count for the bound, and only those between pass."""
    made = PACTActivation.make(2, "unsigned")
    made.load_state_dict({"bound": torch.tensor(2.0), "first": torch.tensor(2 / 3)})
    x = torch.tensor([-1, 0.2, 1.9, 2, 2.5, 9], requires_grad=True)
    y = made(x)
    y.sum().backward()
    assert y.tolist() == [0, 0, 2, 2, 2, 2]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 0, 0, 0]
    assert made.bound.grad == 3  # type: ignore[attr-defined]
    assert made.decays


def test_a_signed_bound_moves_both_ends() -> None:
    """What is clipped below counts against the bound, in proportion to the integers of the two ends."""
    made = PACTActivation.make(4, "symmetric")
    made.load_state_dict({"bound": torch.tensor(7.0), "first": torch.tensor(1.0)})
    x = torch.tensor([-20.0, -8, -7.9, 6.9, 7, 30], requires_grad=True)
    made(x).backward(torch.tensor([1.0, 10, 100, 1000, 10_000, 100_000]))
    assert made.bound.grad == pytest.approx(110_000 - 11 * 8 / 7)  # type: ignore[attr-defined]


@pytest.mark.parametrize("grid", ["symmetric", "affine"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_first_grid_has_nearly_the_least_error(grid: str, bits: int) -> None:
    """Within 2% of the best of a fine search over scales and lower ends, on the values themselves."""
    made = calibrated("lsq", bits, grid)
    scale, zero, low, high = made.qparams()
    x = silu().double()

    def error(s: float, z: int) -> float:
        return float((s * ((x / s).round().clamp(low - z, high - z)) - x).square().mean())

    widest = float(x.abs().max()) / (high - (high if grid == "affine" else 0) or high)
    scales = np.geomspace(widest / 40, widest * 1.01, 400)
    zeros = range(high // 3 + 1) if grid == "affine" else (0,)
    best = min(error(s, z) for s in scales for z in zeros)
    assert error(float(scale), zero) < 1.02 * best + 1e-12


def test_counts_do_not_depend_on_the_order() -> None:
    """Batches of unlike sizes in any order give the same histogram, whose bins are numpy's."""
    pieces = [silu(seed) * size for seed, size in enumerate((0.01, 1.0, 30.0))]
    found = []
    for order in (pieces, pieces[::-1]):
        seen = Observed()
        for piece in order:
            seen.add(piece)
        found.append(seen)
    assert torch.equal(found[0].counts, found[1].counts)
    every = torch.cat(pieces).numpy()
    end = found[0].width * BINS
    wanted, _ = np.histogram(every, bins=2 * BINS, range=(-end, end))
    assert np.abs(found[0].counts.numpy() - wanted).sum() <= 4  # values at the edge of a bin
    assert (found[0].low, found[0].high) == (every.min(), every.max())
    found[0].add(torch.tensor([torch.nan, torch.inf]))
    assert torch.equal(found[0].counts, found[1].counts)


def test_an_observed_range_follows_slowly() -> None:
    """It begins at the calibration's ends and moves a hundredth of the way in training mode only."""
    made = ObservedActivation.make(8, "affine")
    made(torch.tensor([[-1.0, 3.0]]))
    made.calibrate()
    assert made.ends.tolist() == [-1, 3]  # type: ignore[attr-defined]
    made.eval()(torch.tensor([[-9.0, 9.0]]))
    assert made.ends.tolist() == [-1, 3]  # type: ignore[attr-defined]
    made.train()(torch.tensor([[-2.0, 13.0]]))
    assert made.ends.tolist() == pytest.approx([-1.01, 3.1])  # type: ignore[attr-defined]
    assert not made.steps()


@pytest.mark.parametrize(("method", "bits", "grid"), EVERY)
def test_state_outlives_casts_and_copies(method: str, bits: int, grid: str) -> None:
    """A model in half precision keeps float32 ranges and gives half precision; loaded and copied ones are alike."""
    made = calibrated(method, bits, grid)
    x = silu(2)[None]
    wanted, before = made(x).detach(), made.qparams()
    made.half()
    assert made.qparams() == before
    assert torch.equal(made(x.half()), made.quantize(x.half().float()).half())
    other = activation_class(method).make(bits, grid).eval()
    assert torch.equal(other(x), x), "before calibration nothing is changed"
    other.load_state_dict(made.state_dict())
    assert torch.equal(other(x), wanted)
    assert torch.equal(deepcopy(other)(x), wanted)


def test_what_several_read_is_quantized_once() -> None:
    """The same tensor gives the same result while that is in use, and a new one after a step was learned."""
    made = calibrated("lsq", 8, "symmetric")
    x = silu(3)[None].requires_grad_()
    y = made(x)
    assert made(x) is y
    assert made(y) is y
    assert made(x.clone()) is not y
    y = made(x)
    with torch.no_grad():
        made.steps()[0].mul_(2)
    assert made(x) is not y
    assert not torch.equal(made(x), y)
