"""The errors of quantizers as noise, against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from yolo_qreg.analysis.noise import noise_of, quantization_noise
from yolo_qreg.quant.registry import METHODS, quantizer_class


@pytest.fixture(scope="module")
def weight() -> Tensor:
    """200,000 weights of a unit Gaussian."""
    return torch.randn(200, 10, 10, 10, generator=torch.Generator().manual_seed(0))


CLOSED = {2: (1.0484, 0.14943, -0.39, 5.8), 3: (0.6018, 0.04064, -0.20, 9.5), 4: (0.3386, 0.01186, -0.11, 17)}
"""Of a unit Gaussian on LSQ's grid: best step, mean square, correlation, kurtosis."""


@pytest.mark.parametrize("bits", CLOSED)
def test_a_gaussian_at_few_bits(weight: Tensor, bits: int) -> None:
    """The step of least squared error is that of the closed form; clipping makes the errors depend on the weights."""
    step, square, correlation, kurtosis = CLOSED[bits]
    quantizer = quantizer_class("lsq").for_weight(weight, bits, per_channel=False, init="mse")
    found, _ = quantization_noise(weight, quantizer, rescale=False)
    assert found.step == pytest.approx(step, rel=0.02)
    assert found.variance == pytest.approx(square, rel=0.02)
    assert found.relative == pytest.approx(square, rel=0.02)
    assert found.correlation == pytest.approx(correlation, abs=0.02)
    assert found.kurtosis == pytest.approx(kurtosis, rel=0.15)
    assert found.uniform is not None
    assert found.variance / found.uniform > 1.2


def test_fine_rounding_is_uniform(weight: Tensor) -> None:
    """Where nothing is clipped the classical model holds: s^2 / 12, kurtosis 1.8, no correlation."""
    quantizer = quantizer_class("fixed").for_weight(
        weight, 8, per_channel=False, init="", integer=3, variant="saturating"
    )
    found, _ = quantization_noise(weight, quantizer, rescale=False)
    assert found.step == 2**-4
    assert found.variance == pytest.approx(2**-8 / 12, rel=0.02)
    assert found.kurtosis == pytest.approx(1.8, rel=0.02)
    assert abs(found.correlation or 1) < 0.01


@pytest.mark.parametrize("method", ["dorefa", "lsq"])
def test_noise_follows_the_width(weight: Tensor, method: str) -> None:
    """Fewer bits are more noise, and it is what the bits leave of the best multiple of the quantized weights."""
    layer = 0.03 * weight
    rescale = not METHODS[method].keeps_scale
    sizes = []
    for bits in (8, 4, 2):
        quantizer = quantizer_class(method).for_weight(layer, bits, per_channel=False, init="mse")
        found, error = quantization_noise(layer, quantizer, rescale=rescale)
        sizes.append(found.relative)
        quantized = quantizer(layer).double()
        if rescale:  # least squares leave an error that is orthogonal to what was fitted
            assert abs(float((error.double() * quantized).sum())) < 1e-5 * float(quantized.square().sum())
        assert found.variance == pytest.approx(float(error.double().square().mean()))
    assert sizes == sorted(sizes)


def test_levels_that_are_not_even_have_no_step(weight: Tensor) -> None:
    """Errors without a step are described all the same, and constant ones have no correlation or kurtosis."""
    found = noise_of(weight, torch.full_like(weight, 0.5))
    assert (found.step, found.uniform, found.correlation, found.kurtosis) == (None, None, None, None)
    assert found.variance == 0.25
    assert noise_of(torch.zeros(3), torch.tensor([1.0, -1.0, 0.0])).relative == math.inf
