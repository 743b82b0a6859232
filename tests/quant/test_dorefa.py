"""DoReFa against its equations written out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolo_qreg.quant.dorefa import DoReFaQuantizer, dorefa, dorefa_codes

Array = NDArray[np.float64]
MULTIBIT = range(2, 9)
FLOAT32 = np.finfo(np.float32)


def draw(seed: int = 0, scale: float = 0.5, shape: tuple[int, ...] = (5, 3, 3, 3)) -> Tensor:
    """Draw a weight, float32."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def position(weight: Tensor, bits: int) -> Array:
    """Equation 9 before rounding, n q, in float64."""
    t = np.tanh(weight.double().numpy())
    return (2**bits - 1) * (t / (2 * np.abs(t).max()) + 0.5)


def surrogate(weight: Array, grad: Array) -> float:
    """The function whose gradient the straight-through estimator gives: sum g_j t_j / max|t|."""
    t = np.tanh(weight)
    return float((grad * t).sum() / np.abs(t).max())


def closed_form(weight: Tensor, grad: Tensor) -> Array:
    """Return (1 - t_i^2) (g_i - [i is the maximum] sign(t_i) sum_j g_j t_j / m) / m, m = max|t|, in float64."""
    t, g = np.tanh(weight.double().numpy()), grad.double().numpy()
    m = np.abs(t).max()
    through_max = (np.abs(t) == m) * np.sign(t) * (g * t).sum() / m
    result: Array = (1 - t**2) * (g - through_max) / m
    return result


def gradient(weight: Tensor, bits: int, grad: Tensor) -> Tensor:
    """Backpropagate `grad` through the quantizer."""
    leaf = weight.clone().requires_grad_()
    DoReFaQuantizer(bits)(leaf).backward(grad)
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("scale", [1e-3, 0.05, 2.0])
@pytest.mark.parametrize("bits", MULTIBIT)
def test_codes_are_the_rounded_positions(bits: int, scale: float) -> None:
    """Codes are round(n q) of the float64 equation; only a position at a tie may go either way."""
    weight = draw(scale=scale)
    exact = position(weight, bits)
    distance = np.abs(dorefa_codes(weight, bits).numpy() - exact)
    assert distance.max() <= 0.5 + 1e-4
    clear = np.abs(exact - np.floor(exact) - 0.5) > 1e-4
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(dorefa_codes(weight, bits).numpy()[clear], np.round(exact)[clear])


@pytest.mark.parametrize("bits", MULTIBIT)
def test_values_are_the_nearest_floats_to_the_grid(bits: int) -> None:
    """Each of the 2**bits values is 2 c / n - 1, correctly rounded to float32."""
    n = 2**bits - 1
    codes = torch.arange(n + 1, dtype=torch.uint8)
    exact = np.array([(2 * c - n) / n for c in range(n + 1)]).astype(np.float32)
    found = DoReFaQuantizer.values(codes, torch.ones(()), bits)
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), exact)


def test_eight_bit_values_are_odd_integers_over_255() -> None:
    """At 8 bits 255 times a value is an odd integer: there is no zero level, and both ends are reached."""
    found = 255 * dorefa(draw(shape=(64, 16, 3, 3)), 8).double()
    integers = found.round()
    assert (found - integers).abs().max() < 1e-4
    assert bool((integers.long() % 2 == 1).all())
    assert integers.abs().max() == 255


def test_the_largest_weight_takes_the_last_level() -> None:
    """The weight of largest magnitude maps to plus or minus 1, whatever the scale, and mirrored weights mirror."""
    weight = torch.tensor([-0.02, -0.01, 0.01, 0.02]).view(4, 1, 1, 1)
    assert dorefa(weight, 2).flatten().tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])


@pytest.mark.parametrize("scale", [0.5, 1e-3, 1e-10, 1e-19, 1e-30, 1e-37])
@pytest.mark.parametrize("bits", MULTIBIT)
def test_gradient_is_the_closed_form(bits: int, scale: float) -> None:
    """The gradient flows through tanh and through the maximum, straight-through at the rounding, at any scale."""
    weight, grad = draw(1, scale), draw(2, 1.0)
    expected = closed_form(weight, grad)
    assert np.abs(expected).max() < FLOAT32.max
    np.testing.assert_allclose(gradient(weight, bits, grad), expected, rtol=2e-5, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("size", [1.0, 1e3, 1e30])
def test_a_gradient_beyond_float32_is_the_largest_float(size: float) -> None:
    """Where weights are so small that the closed form exceeds float32, the gradient ends at the largest float."""
    weight, grad = draw(1, 2 * FLOAT32.tiny), draw(2, size)
    expected = np.clip(closed_form(weight, grad), -FLOAT32.max, FLOAT32.max)
    assert size == 1 or np.abs(expected).max() == FLOAT32.max
    np.testing.assert_allclose(gradient(weight, 8, grad), expected, rtol=2e-5, atol=2e-6 * np.abs(expected).max())


@pytest.mark.parametrize("weight", [0 * draw(), draw(1, 1e-40), draw(1, 1e-45)], ids=["0", "1e-40", "1e-45"])
@pytest.mark.parametrize("bits", MULTIBIT)
def test_a_layer_without_a_normal_float_takes_the_gradient_as_it_comes(bits: int, weight: Tensor) -> None:
    """Zeros and subnormal numbers have no scale: all lie in the middle, and the gradient passes unchanged."""
    assert weight.abs().max() < FLOAT32.tiny
    grad = draw(2, 1.0)
    assert torch.equal(gradient(weight, bits, grad), grad)
    codes = dorefa_codes(weight, bits).unique()
    assert codes.numel() == 1 and abs(float(codes) - (2**bits - 1) / 2) == 0.5
    assert float(dorefa(weight, bits).abs().max()) == pytest.approx(1 / (2**bits - 1))


def test_second_derivatives_are_those_of_the_gradient() -> None:
    """The gradient, differentiated by weight and by incoming gradient, agrees with its finite differences."""
    weight, grad = draw(3).double(), draw(4, 1.0).double()

    def first(w: Tensor, g: Tensor) -> Tensor:
        (found,) = torch.autograd.grad(dorefa(w, 8), w, g, create_graph=True)
        return found

    assert torch.equal(first(weight.requires_grad_(), grad), gradient(weight.detach(), 8, grad))
    assert torch.autograd.gradcheck(first, (weight, grad.requires_grad_()))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_gradient_is_that_of_the_unrounded_function(sign: float) -> None:
    """Finite differences of t / max|t| give the same gradient, also where the maximum is a negative weight."""
    weight, grad = draw(3, shape=(2, 2, 2, 1)), draw(4, 1.0, shape=(2, 2, 2, 1))
    weight[1, 0, 1, 0] = sign * 1.5
    w, g = weight.double().numpy(), grad.double().numpy()
    numeric = np.zeros_like(w)
    for index in np.ndindex(*w.shape):
        step = np.zeros_like(w)
        step[index] = 1e-6
        numeric[index] = (surrogate(w + step, g) - surrogate(w - step, g)) / 2e-6
    np.testing.assert_allclose(gradient(weight, 4, grad).numpy(), numeric, rtol=1e-4, atol=1e-5)


def test_equal_maxima_share_the_gradient() -> None:
    """Where k weights attain the maximum, each gets 1/k of the gradient through it."""
    weight = torch.tensor([0.8, -0.8, 0.8, 0.1]).view(4, 1, 1, 1)
    grad = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(4, 1, 1, 1)
    t, g = np.tanh(weight.double().numpy()), grad.double().numpy()
    m = np.abs(t).max()
    share = (np.abs(t) > 0.5) * np.sign(t) / 3 * (g * t).sum() / m**2
    np.testing.assert_allclose(gradient(weight, 8, grad).numpy(), (1 - t**2) * (g / m - share), rtol=1e-5)


def test_one_bit_is_the_sign_times_the_mean_magnitude() -> None:
    """At 1 bit weights become sign(w) mean|w| with sign(0) = +1."""
    weight = torch.tensor([0.0, -0.0, 1.0, -3.0]).view(4, 1, 1, 1)
    assert DoReFaQuantizer(1)(weight).flatten().tolist() == [1.0, 1.0, 1.0, -1.0]


def test_one_bit_passes_the_gradient_unchanged() -> None:
    """At 1 bit the gradient is the identity: none flows through mean|w|, none is clipped."""
    weight, grad = draw(5, 4.0), draw(6)
    assert torch.equal(gradient(weight, 1, grad), grad)


def test_nothing_is_learned() -> None:
    """DoReFa has neither parameters nor buffers, so it adds no key to a checkpoint."""
    quantizer = DoReFaQuantizer.for_weight(draw(), 4, per_channel=False, init="")
    assert not quantizer.state_dict()
    assert quantizer.steps() == []
    assert quantizer.step_lr_factor() == 1.0


@pytest.mark.parametrize("bits", [1, 2, 8])
def test_by_channel_each_is_a_layer_of_its_own(bits: int) -> None:
    """With a maximum (at 1 bit: a mean) for each output channel, values and gradients are those of channels."""
    weight, grad = draw(7) * torch.logspace(-1, 0, 5).view(5, 1, 1, 1), draw(8, 1.0)
    leaf = weight.clone().requires_grad_()
    quantizer = DoReFaQuantizer.for_weight(weight, bits, per_channel=True, init="")
    found = quantizer(leaf)
    found.backward(grad)
    assert leaf.grad is not None
    for row in range(5):
        alone = weight[row : row + 1]
        assert torch.equal(found[row : row + 1], DoReFaQuantizer(bits)(alone))
        torch.testing.assert_close(leaf.grad[row : row + 1], gradient(alone, bits, grad[row : row + 1]))
    if bits == 2:
        double, incoming = weight.double().requires_grad_(), grad.double().requires_grad_()

        def first(w: Tensor, g: Tensor) -> Tensor:
            (slope,) = torch.autograd.grad(dorefa(w, bits, per_channel=True), w, g, create_graph=True)
            return slope

        assert torch.autograd.gradcheck(first, (double, incoming))
