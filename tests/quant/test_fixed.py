"""Fixed point weights against their closed form, LSQ at the same step, and what the U-Net code gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.quant.base import WeightQuantizer
from yolo_qreg.quant.fixed import FixedQuantizer, integer_bits
from yolo_qreg.quant.lsq import lsq


def make(weight: torch.Tensor, bits: int, integer: str | int = "auto", variant: str = "saturating") -> WeightQuantizer:
    """Make a quantizer for a weight."""
    return FixedQuantizer.for_weight(weight, bits, per_channel=False, init="", integer=integer, variant=variant)


@pytest.mark.parametrize("integer", [-3, 0, 2])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_values_and_gradients_are_the_closed_form(bits: int, integer: int) -> None:
    """Two's complement that saturates, in float64, equal in every bit: all are multiples of a power of two."""
    weight = 2.0**integer * torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(bits))
    n = bits - 1 - integer
    low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1
    scaled = weight.double().numpy() * 2.0**n
    quantizer = make(weight, bits, integer)
    leaf, grad = weight.clone().requires_grad_(), torch.randn_like(weight)
    found = quantizer(leaf)
    np.testing.assert_array_equal(found.detach().numpy(), np.clip(np.round(scaled), low, high) / 2.0**n)
    (passed,) = torch.autograd.grad(found, leaf, grad)
    np.testing.assert_array_equal(passed.numpy(), grad.numpy() * ((scaled > low) & (scaled < high)))
    assert torch.equal(found, lsq(weight, torch.tensor(2.0**-n), bits))


@pytest.mark.parametrize(("peak", "least"), [(1.0, 0), (1.01, 1), (0.5, -1), (0.51, 0), (0.03, -5), (4.0, 2), (0.0, 0)])
def test_the_range_is_the_smallest_that_holds_the_weights(peak: float, least: int) -> None:
    """2**m is the next power of two from the largest magnitude on, so no more than the last step is clipped."""
    weight = torch.tensor([peak, -peak / 3]).view(2, 1, 1, 1)
    assert float(integer_bits(weight)) == least
    assert float(make(weight, 8).scale(weight)) == 2.0 ** (least - 7)


def test_what_an_average_makes_of_the_fraction_is_rounded() -> None:
    """A moving average of a constant is off by an ulp, and the step stays a power of two."""
    quantizer = make(torch.tensor([0.03]).view(1, 1, 1, 1), 4)
    quantizer.fraction += 1e-5
    assert float(quantizer.scale(torch.zeros(1))) == 2.0**-8


def test_the_unet_variant_has_its_quirks() -> None:
    """Whole and fraction are clipped apart, a fraction may round up to 1, and Q0.4 has 33 values; identity backward."""
    weight = torch.tensor([1.0, -1.3, 0.99, 0.26, -0.5, 2.75]).view(6, 1, 1, 1)
    quantizer = make(weight, 5, 0, "unet")  # Q0.4 and the sign
    assert quantizer(weight).flatten().tolist() == [0.0, -0.3125, 1.0, 0.25, -0.5, 0.75]
    assert make(weight, 8, 2, "unet")(weight).flatten().tolist() == [1.0, -1.3125, 1.0, 0.25, -0.5, 2.75]
    dense = torch.linspace(-0.999, 0.999, 4001).view(-1, 1, 1, 1)
    assert len(quantizer(dense).unique()) == 33
    leaf = weight.clone().requires_grad_()
    quantizer(leaf).sum().backward()
    assert torch.equal(leaf.grad, torch.ones_like(weight))
    assert not quantizer.has_codes


def test_options_name_words_and_numbers() -> None:
    """`integer` is "auto" or a whole number; both stand in the label where they are not the default."""
    assert QuantConfig(method="fixed", bits=4).label == "fixed-4bit"
    assert QuantConfig(method="fixed", bits=4, options={"integer": "-2"}).label == "fixed-4bit-integer-2"
    with pytest.raises(InputError, match=r"integer='x' is not auto or a whole number of -16 to 7; correct it"):
        QuantConfig(method="fixed", bits=4, options={"integer": "x"})


@pytest.mark.parametrize("integer", [-2, 4])
def test_the_unet_variant_takes_counts_of_bits(integer: int) -> None:
    """With fewer than none before or after the point there would be other widths; saturating ranges may be anywhere."""
    options = {"integer": integer, "variant": "unet"}
    with pytest.raises(InputError, match=rf"integer={integer} leaves no sense to variant=unet at 4 bits; use 0-3, or"):
        QuantConfig(method="fixed", bits=4, options=options)
    with pytest.raises(InputError, match=rf"integer={integer} "):
        QuantConfig(method="fixed", bits=8, first_bits=4 if integer > 0 else None, options=options)
    QuantConfig(method="fixed", bits=32, options=options)
    QuantConfig(method="fixed", bits=4, options={"integer": integer})
