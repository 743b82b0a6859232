"""LSQ against the equations of the paper written out in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolo_qreg.quant.lsq import SMALLEST_STEP, LSQQuantizer, clip_range, lsq, mse_step, paper_step

Array = NDArray[np.float64]
WIDTHS = range(2, 9)
SHAPE = 4, 3, 3, 3  # O, I, K, K


def draw(seed: int = 0, scale: float = 0.1) -> Tensor:
    """Draw a weight, float32."""
    return scale * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


def some_step(per_channel: bool) -> Tensor:
    """Return steps that clip a part of `draw`, for 2 bits and up."""
    return torch.tensor([0.013, 0.027, 0.04, 0.008]) if per_channel else torch.tensor(0.021)


def gradients(weight: Tensor, step: Tensor, bits: int, grad: Tensor) -> tuple[Array, Array]:
    """Backpropagate `grad`; return the gradients of weight and step."""
    w, s = weight.clone().requires_grad_(), step.clone().requires_grad_()
    lsq(w, s, bits).backward(grad)
    assert w.grad is not None and s.grad is not None
    assert s.grad.shape == step.shape
    return w.grad.double().numpy(), s.grad.double().numpy()


def reference(w: Array, s: float, bits: int, grad: Array) -> tuple[Array, Array, float]:
    """Equations 1, 2, 3 and 5 for weights that share one step, weight by weight."""
    qn, qp = 2 ** (bits - 1), 2 ** (bits - 1) - 1
    value, dw, ds = np.zeros_like(w), np.zeros_like(w), 0.0
    for i in np.ndindex(*w.shape):
        v = w[i] / s
        value[i] = s * np.round(np.clip(v, -qn, qp))
        if -qn < v < qp:
            dw[i] = grad[i]
            ds += grad[i] * (np.round(v) - v)
        else:
            ds += grad[i] * (-qn if v <= -qn else qp)
    return value, dw, ds / math.sqrt(w.size * qp)


@pytest.mark.parametrize("bits", WIDTHS)
def test_clip_range_is_that_of_signed_integers(bits: int) -> None:
    """Codes run over the 2**bits signed integers."""
    qn, qp = clip_range(bits)
    assert (-qn, qp) == (torch.iinfo(torch.int8).min >> (8 - bits), torch.iinfo(torch.int8).max >> (8 - bits))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", WIDTHS)
def test_values_and_gradients_are_those_of_the_paper(bits: int, per_channel: bool) -> None:
    """Values, weight gradients and step gradients (scaled by 1 / sqrt(N Qp), N the weights that share it) agree."""
    weight, grad, step = draw(1), draw(2, 1.0), some_step(per_channel)
    dw, ds = gradients(weight, step, bits, grad)
    value = lsq(weight, step, bits).double().numpy()
    w, g = weight.double().numpy(), grad.double().numpy()
    rows = range(len(w)) if per_channel else [slice(None)]
    for row in rows:
        shared = float(step[row]) if per_channel else float(step)
        expected = reference(w[row], shared, bits, g[row])
        np.testing.assert_allclose(value[row], expected[0], rtol=1e-6, atol=1e-9)
        np.testing.assert_array_equal(dw[row], expected[1])
        np.testing.assert_allclose(ds[row] if per_channel else ds, expected[2], rtol=1e-4, atol=1e-6)


def test_a_weight_at_the_boundary_counts_as_clipped() -> None:
    """At w / s = -Qn or Qp exactly, the weight's gradient is 0 and the step's is -Qn or Qp."""
    step, bits = torch.tensor(0.25), 3  # a power of two: the ratios are exact
    for ratio, slope in ((-4.0, -4.0), (3.0, 3.0), (-5.0, -4.0), (7.0, 3.0)):
        dw, ds = gradients(torch.full((1, 1, 1, 1), ratio * 0.25), step, bits, torch.ones(1, 1, 1, 1))
        assert dw.item() == 0
        assert ds.item() == pytest.approx(slope / math.sqrt(3))
    dw, ds = gradients(torch.full((1, 1, 1, 1), 2.875 * 0.25), step, bits, torch.ones(1, 1, 1, 1))
    assert dw.item() == 1
    assert ds.item() == pytest.approx(0.125 / math.sqrt(3))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [2, 8])
def test_second_derivatives_are_those_of_the_gradients(bits: int, per_channel: bool) -> None:
    """Both gradients, differentiated by weight, step and incoming gradient, agree with their finite differences."""
    weight, step, grad = draw(1).double(), some_step(per_channel).double(), draw(2, 1.0).double()

    def first(w: Tensor, s: Tensor, g: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(lsq(w, s, bits), (w, s), g, create_graph=True)

    inputs = tuple(x.requires_grad_() for x in (weight, step, grad))
    assert torch.autograd.gradcheck(first, inputs, eps=1e-8, atol=1e-3)
    plain = gradients(weight.detach(), step.detach(), bits, grad.detach())
    for found, expected in zip(first(*inputs), plain, strict=True):
        np.testing.assert_array_equal(found.detach().numpy(), expected)


def test_step_gradient_points_down_the_quantization_error() -> None:
    """With clipped weights only, where LSQ is exact, the step's gradient is the finite difference of the loss."""
    weight, bits, s = 10 + draw(3), 4, 0.05
    target = weight.double().numpy()

    def loss(step: float) -> float:
        return float(((step * 7 - target) ** 2).sum())

    _, ds = gradients(weight, torch.tensor(s), bits, 2 * (lsq(weight, torch.tensor(s), bits) - weight))
    numeric = (loss(s + 1e-6) - loss(s - 1e-6)) / 2e-6
    assert float(ds) * math.sqrt(weight.numel() * 7) == pytest.approx(numeric, rel=1e-4)


@pytest.mark.parametrize("start", [0.0, SMALLEST_STEP / 10, -0.05])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_step_below_the_smallest_comes_back(start: float, per_channel: bool) -> None:
    """A step that became negligible, zero or negative is used as `SMALLEST_STEP`, and descent makes it useful again."""
    weight = draw(4)
    quantizer = LSQQuantizer(4, torch.full((4,) if per_channel else (), start))
    assert bool((quantizer.scale(weight) == SMALLEST_STEP).all())
    assert torch.isfinite(quantizer(weight)).all()
    optimizer = torch.optim.SGD(quantizer.steps(), lr=0.02)
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        error = (quantizer(weight) - weight).square().sum()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert bool((quantizer.step > 1e-3).all())
    assert errors[-1] < 0.2 * errors[0]


@pytest.mark.parametrize("bits", WIDTHS)
def test_paper_step(bits: int) -> None:
    """The paper's first step is 2 mean|w| / sqrt(Qp), over the layer or over each output channel."""
    weight = draw(5).double()
    magnitude = weight.abs().numpy()
    root = math.sqrt(2 ** (bits - 1) - 1)
    assert float(paper_step(weight, bits, per_channel=False)) == pytest.approx(2 * magnitude.mean() / root, rel=1e-12)
    by_channel = paper_step(weight, bits, per_channel=True).numpy()
    np.testing.assert_allclose(by_channel, [2 * channel.mean() / root for channel in magnitude], rtol=1e-12)


@pytest.mark.parametrize("bits", WIDTHS)
def test_mse_step_is_as_good_as_an_exhaustive_search(bits: int) -> None:
    """The "mse" step errs at most 2% more than the best of 200 fractions of max|w| / Qp, in each channel."""
    weight = draw(6)
    qn, qp = 2 ** (bits - 1), 2 ** (bits - 1) - 1

    def error(w: Array, s: float) -> float:
        return float(((s * np.clip(np.round(w / s), -qn, qp) - w) ** 2).sum())

    layer = weight.double().numpy()
    parts = [layer, *layer]
    steps = [float(mse_step(weight, bits, per_channel=False)), *mse_step(weight, bits, per_channel=True).tolist()]
    for part, step in zip(parts, steps, strict=True):
        peak = np.abs(part).max() / qp
        best = min(error(part, peak * k / 200) for k in range(1, 201))
        assert error(part, step) <= 1.02 * best


@pytest.mark.parametrize("per_channel", [False, True])
def test_mse_beats_the_paper_at_eight_bits(per_channel: bool) -> None:
    """At 8 bits the "mse" step has a smaller error than the paper's and uses many more of the 256 levels."""
    weight = draw(7)
    errors, levels = {}, {}
    for init in ("paper", "mse"):
        quantizer = LSQQuantizer.for_weight(weight, 8, per_channel=per_channel, init=init)
        errors[init] = (quantizer(weight) - weight).square().sum().item()
        levels[init] = len(quantizer.codes(weight).unique())
    assert errors["mse"] < 0.5 * errors["paper"]
    assert levels["mse"] > 1.5 * levels["paper"]


@pytest.mark.parametrize(("per_channel", "shape"), [(False, ()), (True, (4,))])
def test_state_has_its_final_shape_at_construction(per_channel: bool, shape: tuple[int, ...]) -> None:
    """A step has 0 or 1 dimension, is the only parameter, and its first value is kept beside it."""
    quantizer = LSQQuantizer.for_weight(draw(), 4, per_channel=per_channel, init="paper")
    assert [name for name, _ in quantizer.named_parameters()] == ["step"]
    assert quantizer.steps() == [quantizer.step]
    assert quantizer.step.shape == shape
    with torch.no_grad():
        quantizer.step.mul_(2)
    assert torch.equal(quantizer.state_dict()["first_step"] * 2, quantizer.state_dict()["step"])


def test_the_step_is_independent_of_the_weight_it_was_made_from() -> None:
    """Changing the weight afterwards moves neither step, and no graph leads back to the weight."""
    weight = draw().requires_grad_()
    quantizer = LSQQuantizer.for_weight(weight, 4, per_channel=True, init="mse")
    before = quantizer.step.detach().clone()
    with torch.no_grad():
        weight.mul_(3)
    assert torch.equal(quantizer.step, before)
    assert quantizer.step.is_leaf


@pytest.mark.parametrize(("step", "factor"), [(5.0, 1.0), (0.1, 1.0), (0.02, 1 / 4), (0.005, 1 / 16), (1e-3, 1 / 64)])
def test_adam_factor_is_a_power_of_four_near_ten_steps(step: float, factor: float) -> None:
    """The learning-rate factor is at most 1, a power of four, and near ten times the first step."""
    quantizer = LSQQuantizer(4, torch.tensor(step))
    assert quantizer.step_lr_factor() == factor


def test_adam_factor_depends_on_the_first_step_alone() -> None:
    """A step that moved keeps its factor, so that a resumed run makes the same groups."""
    quantizer = LSQQuantizer(4, torch.tensor([0.001, 0.003]))
    before = quantizer.step_lr_factor()
    with torch.no_grad():
        quantizer.step.mul_(100)
    assert quantizer.step_lr_factor() == before == 4.0 ** round(math.log(0.02, 4))
