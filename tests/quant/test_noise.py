"""Noise controls against the errors that they stand for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from yolo_qreg.config import QuantConfig
from yolo_qreg.errors import InputError
from yolo_qreg.quant.dorefa import dorefa
from yolo_qreg.quant.noise import NoiseQuantizer

KINDS = ("gaussian", "uniform", "permuted")


def draw(seed: int = 0, scale: float = 0.03) -> Tensor:
    """Draw a weight, float32."""
    return scale * torch.randn(32, 16, 5, 5, generator=torch.Generator().manual_seed(seed))


def control(kind: str, like: str = "dorefa", bits: int = 2, weight: Tensor | None = None) -> NoiseQuantizer:
    """Make the noise of a quantizer."""
    weight = draw() if weight is None else weight
    return NoiseQuantizer.for_weight(weight, bits, per_channel=False, init="", kind=kind, like=like)


def dorefa_error(weight: Tensor, bits: int) -> Tensor:
    """Return a q - w with a = <w, q> / <q, q>, in float64."""
    w, q = weight.double(), dorefa(weight, bits).double()
    return (w * q).sum() / (q * q).sum() * q - w


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_variance_is_that_of_the_errors(bits: int, kind: str) -> None:
    """The noise of a layer has the mean square of DoReFa's errors there, within the 1% that so many draws allow."""
    torch.manual_seed(5)
    weight = draw()
    quantizer = control(kind, bits=bits)
    wanted = float(dorefa_error(weight, bits).square().mean())
    assert float(quantizer.sigma) ** 2 == pytest.approx(wanted, rel=1e-4)
    found = torch.stack([quantizer(weight) - weight for _ in range(8)]).double()
    assert float(found.square().mean()) == pytest.approx(wanted, rel=0.01)
    assert abs(float(found.mean())) < 0.02 * math.sqrt(wanted) + 1e-6


@pytest.mark.parametrize(("bits", "error"), [(2, 0.14943), (4, 0.01186), (8, 0.000088)])
def test_lsq_noise_is_the_least_error_of_its_grid(bits: int, error: float) -> None:
    """On Gaussian weights it is what the closed form says of the best step of that grid; nothing is rescaled."""
    weight = torch.randn(300, 400, 1, 1, generator=torch.Generator().manual_seed(0))
    assert float(control("gaussian", "lsq", bits, weight).sigma) ** 2 == pytest.approx(error, rel=0.03)


def test_kinds_have_their_distribution() -> None:
    """Uniform noise is bounded and flat, Gaussian is not bounded, and the permuted errors are the true ones."""
    torch.manual_seed(5)
    weight = draw()
    noises = {kind: (control(kind)(weight) - weight).double() for kind in KINDS}
    sigma = float(control("uniform").sigma)
    assert float(noises["uniform"].abs().max()) <= math.sqrt(3) * sigma * (1 + 1e-4)
    kurtosis = {kind: float(x.pow(4).mean() / x.square().mean() ** 2) for kind, x in noises.items()}
    assert kurtosis["uniform"] == pytest.approx(1.8, rel=0.03) and kurtosis["gaussian"] == pytest.approx(3, rel=0.08)
    errors = dorefa_error(weight, 2)
    torch.testing.assert_close(noises["permuted"].flatten().sort()[0], errors.flatten().sort()[0], atol=1e-6, rtol=0)

    def correlation(noise: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([noise.flatten(), weight.double().flatten()]))[0, 1])

    assert all(abs(correlation(noise)) < 0.04 for noise in noises.values())
    assert correlation(errors) < -0.2


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_fresh_in_training_and_absent_in_eval_mode(kind: str) -> None:
    """Each forward pass draws anew, the gradient is the identity, and eval mode gives the weight itself."""
    weight, grad = draw().requires_grad_(), draw(1)
    quantizer = control(kind)
    first, second = quantizer(weight), quantizer(weight)
    assert not torch.equal(first, second)
    (found,) = torch.autograd.grad(first, weight, grad)
    assert torch.equal(found, grad)
    assert quantizer.eval()(weight) is weight
    assert not quantizer.has_codes and not QuantConfig(method="noise", bits=2).has_codes


def test_errors_are_measured_anew_when_an_epoch_begins() -> None:
    """Weights that grew get more noise: a network cannot escape it by growing."""
    weight = draw()
    quantizer = control("permuted", bits=4)
    before = float(quantizer.sigma)
    quantizer.begin_epoch(3 * weight, 0.5)
    assert float(quantizer.sigma) == pytest.approx(3 * before, rel=0.05)
    torch.manual_seed(5)
    assert float((quantizer(weight) - weight).square().mean().sqrt()) == pytest.approx(3 * before, rel=0.05)


def test_what_is_imitated_has_to_exist() -> None:
    """An unknown method, kind or width is one line."""
    with pytest.raises(InputError, match="options: like='sign' is unknown; choose one of dorefa, lsq"):
        QuantConfig(method="noise", options={"like": "sign"})
    assert QuantConfig(method="noise", options={"like": "lsq", "kind": "permuted"}).label == "noise-8bit-lsq-permuted"
