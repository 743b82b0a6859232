"""BinaryConnect against what its paper and its authors' code say."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yolo_qreg.config import QuantConfig
from yolo_qreg.patch import bake, quantize_convs
from yolo_qreg.quant.binaryconnect import BinaryConnectQuantizer, glorot_limit
from yolo_qreg.quant.dorefa import DoReFaQuantizer

DEFAULTS = {"draws": "deterministic", "test": "binary", "rates": "glorot", "networks": 8}


def make(**options: Any) -> BinaryConnectQuantizer:
    """Make a quantizer in training mode."""
    return BinaryConnectQuantizer.for_weight(torch.zeros(1), 1, per_channel=False, init="", **{**DEFAULTS, **options})


def test_deterministic_weights_are_signs() -> None:
    """Plus one where w >= 0, zero included, with the codes of DoReFa at 1 bit."""
    weight = torch.tensor([0.0, -0.0, 0.3, -1e-9, 1.0, -1.0]).view(6, 1, 1, 1)
    quantizer = make()
    assert quantizer(weight).flatten().tolist() == [1, 1, 1, -1, 1, -1]
    assert torch.equal(quantizer.codes(weight), DoReFaQuantizer(1).codes(weight))


def test_stochastic_weights_have_the_latents_as_their_mean() -> None:
    """Of 200,000 draws of a weight w, the mean is w and the variance 1 - w^2; both ends are certain."""
    torch.manual_seed(0)
    latents = torch.tensor([-1.0, -0.6, 0.0, 0.25, 0.9, 1.0])
    weight = latents.repeat(200_000, 1)
    found = make(draws="stochastic")(weight).double()
    assert set(found.unique().tolist()) == {-1.0, 1.0}
    torch.testing.assert_close(found.mean(0), latents.double(), atol=0.01, rtol=0)
    torch.testing.assert_close(found.var(0), 1 - latents.double() ** 2, atol=0.01, rtol=0)


@pytest.mark.parametrize("draws", ["deterministic", "stochastic"])
def test_the_gradient_passes_unmasked(draws: str) -> None:
    """That of the binary weight is applied to the latent, also at the ends and beyond."""
    weight = torch.linspace(-1.5, 1.5, 12).view(3, 4, 1, 1).requires_grad_()
    grad = torch.randn(3, 4, 1, 1)
    (found,) = torch.autograd.grad(make(draws=draws)(weight), weight, grad)
    assert torch.equal(found, grad)


def test_eval_mode_has_the_weights_that_are_tested() -> None:
    """Binary ones without draws, or the latents: these are no 1-bit model, have no codes, and say so in their label."""
    weight = torch.tensor([0.2, -0.4]).view(2, 1, 1, 1)
    assert make(draws="stochastic").eval()(weight).flatten().tolist() == [1, -1]
    real = make(draws="stochastic", test="real").eval()
    assert real(weight) is weight and not real.has_codes
    config = QuantConfig(method="binaryconnect", bits=1, options={"draws": "stochastic", "test": "real"})
    assert not config.has_codes and config.label == "binaryconnect-1bit-stochastic-real"


@pytest.mark.parametrize(("shape", "factor"), [((32, 16, 3, 3), 16.97), ((256, 256, 3, 3), 55.43)])
def test_updates_grow_by_glorots_scale(shape: tuple[int, ...], factor: float) -> None:
    """The rate of a layer is 1 / sqrt(1.5 / (fan in + fan out)) times the others'."""
    weight = torch.zeros(shape)
    fans = math.prod(shape[2:]) * (shape[0] + shape[1])
    assert make().weight_lr_factor(weight) == pytest.approx(math.sqrt(fans / 1.5)) == pytest.approx(factor, rel=1e-3)
    assert glorot_limit(weight) == pytest.approx(math.sqrt(6 / fans) / 2)
    assert make(rates="same").weight_lr_factor(weight) == 1


def test_latents_stay_in_the_interval_and_begin_by_filling_it() -> None:
    """A trained weight is scaled until its largest is 1, signs kept; after a step none is beyond 1."""
    conv = nn.Conv2d(3, 8, 3, bias=False)
    before = conv.weight.detach().clone()
    model = nn.Sequential(conv)
    quantize_convs(model, {"0": 1}, QuantConfig(method="binaryconnect", bits=1))
    latent = model[0].weight.detach()
    torch.testing.assert_close(latent, before / before.abs().max())
    wide = 4 * torch.randn(8, 3, 3, 3)
    clipped = wide.clone()
    model[0].quantizer.after_step(clipped)
    assert torch.equal(clipped, wide.clamp(-1, 1))
    assert set(bake(model)[0].weight.unique().tolist()) == {-1.0, 1.0}


def test_weights_without_a_scale_stay() -> None:
    """Zeros cannot be scaled."""
    zeros: Tensor = torch.zeros(2, 2, 1, 1)
    assert torch.equal(make().first_weight(zeros), zeros)
