"""Dynamic fixed point against the closed form of its authors' code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from yolo_qreg.quant.dynamic_fixed import (
    DynamicFixedActivation,
    DynamicFixedQuantizer,
    Range,
    half_away,
    levels,
    step,
)


def make(weight: torch.Tensor, bits: int = 8, **options: float) -> DynamicFixedQuantizer:
    """Make a quantizer for a weight."""
    given = {"updates": 12, "period": 3, "limit": 1e-4, **options}
    return DynamicFixedQuantizer.for_weight(weight, bits, per_channel=False, init="", **given)


def closed_form(x: np.ndarray, bits: int, power: int) -> np.ndarray:
    """Return F(x; B, R) in float64."""
    most = 2 ** (bits - 1) - 1
    scaled = x * 2.0 ** (bits - 1 - power)
    return np.clip(np.sign(scaled) * np.floor(np.abs(scaled) + 0.5), -most, most) * 2.0 ** (power - bits + 1)


def test_halves_are_rounded_away_from_zero() -> None:
    """As the authors' framework does, also just below a half."""
    x = torch.tensor([0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, 0.0, -1.2])
    assert half_away(x).tolist() == [1, -1, 2, 3, -3, 0, 0, -1]


def test_the_format_is_that_of_the_readme() -> None:
    """B = 9 and R = 5 make steps of 0.0625 up to 31.9375: 1023 values."""
    power = torch.tensor(5.0)
    assert float(step(10, power)) == 0.0625
    found = levels(torch.linspace(-40, 40, 100_001), 10, power) * step(10, power)
    assert float(found.max()) == 31.9375 == -float(found.min())
    assert len(found.unique()) == 1023


@pytest.mark.parametrize("bits", [3, 5, 8])
def test_weights_are_the_closed_form(bits: int) -> None:
    """Equal in every bit at the range that holds the largest weight; stored weights at the width of updates."""
    weight = 0.1 * torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(bits))
    quantizer = make(weight, bits, updates=10)
    power = math.ceil(math.log2(float(weight.abs().max())))
    exact = weight.double().numpy()
    np.testing.assert_array_equal(quantizer(weight).detach().numpy(), closed_form(exact, bits, power))
    assert int(quantizer.codes(weight).min()) >= 1
    stored = weight.clone()
    quantizer.after_step(stored)
    np.testing.assert_array_equal(stored.numpy(), closed_form(exact, 10, power))


def test_gradients_have_the_width_of_propagations() -> None:
    """The gradient of the weight is rounded in the range that the first one has; in eval mode it passes."""
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    grad = 1e-3 * torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    quantizer = make(weight, 6)
    (found,) = torch.autograd.grad(quantizer(weight), weight, grad)
    power = math.ceil(math.log2(float(grad.abs().max())))
    np.testing.assert_array_equal(found.numpy(), closed_form(grad.double().numpy(), 6, power))
    quantizer.eval()
    (passed,) = torch.autograd.grad(quantizer(weight), weight, grad)
    assert torch.equal(passed, grad)


@pytest.mark.parametrize("first", [0.0, math.inf, math.nan])
def test_gradients_that_tell_nothing_of_a_range_pass(first: float) -> None:
    """Zeros, and what overflows while the loss is scaled: it stays visible, and the range is that of the next one."""
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    grad = 1e-3 * torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    quantizer, same = make(weight, 6, period=1), make(weight, 6, period=1)
    odd = torch.zeros_like(grad)
    odd[0, 0, 0, 0] = first
    (found,) = torch.autograd.grad(quantizer(weight), weight, odd)
    torch.testing.assert_close(found, odd, rtol=0, atol=0, equal_nan=True)
    for given in (grad, odd, grad) if first else (grad,):
        (found,) = torch.autograd.grad(quantizer(weight), weight, given)
    for _ in range(2 if first else 1):
        (expected,) = torch.autograd.grad(same(weight), weight, grad)
    assert torch.equal(found, expected)
    assert float(quantizer.gradients.power) == float(same.gradients.power)


@pytest.mark.parametrize("start", [-6.0, 0.0, 9.0])
@pytest.mark.parametrize("size", [0.3, 1.0, 3.3, 20.0])
def test_a_range_settles_at_the_least_that_holds_the_numbers(size: float, start: float) -> None:
    """Fed with numbers of one size at B = 7, R ends at the least whose largest number exceeds it, from both sides."""
    power, most = Range(torch.tensor(start)), 2**7 - 1
    for _ in range(100):
        end = float(most * step(8, power.whole()))
        power.observe(torch.tensor([size, -size]).clamp(-end, end), 8, 2, 0.0)
    wanted = next(r for r in range(-9, 9) if most * 2.0 ** (r - 7) > size)
    assert float(power.whole()) == wanted
    assert float(power.steps) < 2


def test_a_range_changes_after_its_period_alone() -> None:
    """Shares of overflows are averaged over the period; a share up to the limit is none."""
    numbers = torch.full((1000,), 0.6)
    numbers[0] = 5.0
    tight, loose = Range(torch.tensor(0.0)), Range(torch.tensor(0.0))
    for turn in range(3):
        assert float(tight.whole()) == float(loose.whole()) == 0, turn
        tight.observe(numbers, 8, 3, 0.0005)
        loose.observe(numbers, 8, 3, 0.002)
    assert float(tight.whole()) == 1 and float(loose.whole()) == 0


def test_activations_are_the_closed_form_and_so_are_their_gradients() -> None:
    """In the least range that holds what was seen; the gradient passes saturated values, rounded to its own range."""
    numbers = torch.Generator().manual_seed(0)
    seen = torch.randn(4, 3, 5, 5, generator=numbers).clamp(-3.9, 3.9)
    made = DynamicFixedActivation.make(6, "symmetric")
    made(seen)
    made.calibrate()
    x = (2 * torch.randn(4, 3, 5, 5, generator=numbers)).requires_grad_()
    grad = 1e-3 * torch.randn(x.shape, generator=numbers)
    made.loss_scaled(2.0**10)
    y = made(x)
    y.backward(grad * 2.0**10)
    exact = x.detach().double().numpy()
    wanted = np.clip(np.rint(exact * 2.0**3), -32, 31) / 2.0**3  # R = 2, B = 5
    np.testing.assert_array_equal(y.detach().numpy(), wanted)
    assert (wanted == 31 / 8).any()
    power = math.ceil(math.log2(float(grad.abs().max())))
    assert x.grad is not None
    np.testing.assert_array_equal(x.grad.numpy() / 2.0**10, closed_form(grad.double().numpy(), 6, power))
    assert float(made.gradients.power) == power


@pytest.mark.parametrize("size", [0.3, 1.0, 3.3, 20.0])
def test_ranges_of_activations_follow_what_they_meet(size: float) -> None:
    """They settle at the least range whose largest value is beyond, and rest in eval mode."""
    made = DynamicFixedActivation.make(8, "symmetric")
    made(torch.full((1, 1, 2, 2), 2.5))
    made.calibrate()
    made.eval()(torch.full((1, 1, 2, 2), size))
    assert float(made.range.power) == 2
    made.train()
    made.period = 1
    for _ in range(8):
        made(torch.full((1, 1, 2, 2), size))
    powers = range(-4, 8)
    assert float(made.range.power) == next(r for r in powers if 127 * 2.0 ** (r - 7) > size)
    assert made.qparams().scale == 2.0 ** (float(made.range.power) - 7)
