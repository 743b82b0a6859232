"""Ternary weights against the paper's equations in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from yolo_qreg.quant.ternary import TernaryQuantizer


@pytest.mark.parametrize("per_channel", [False, True])
def test_values_are_those_of_the_paper(per_channel: bool) -> None:
    """Zero up to 0.7 mean|w|; beyond, the sign times the mean magnitude of what is beyond; the gradient passes."""
    weight = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    weight = weight * torch.logspace(-1, 0, 5).view(5, 1, 1, 1)
    w = weight.double().numpy()
    wanted = np.zeros_like(w)
    for row in range(5) if per_channel else [slice(None)]:
        part = w[row]
        kept = np.abs(part) > 0.7 * np.abs(part).mean()
        wanted[row] = np.sign(part) * kept * np.abs(part)[kept].mean()
    quantizer = TernaryQuantizer.for_weight(weight, 2, per_channel=per_channel, init="")
    leaf, grad = weight.clone().requires_grad_(), torch.randn_like(weight)
    found = quantizer(leaf)
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-6, atol=0)
    assert quantizer.codes(weight).unique().tolist() == [0, 1, 2]
    (passed,) = torch.autograd.grad(found, leaf, grad)
    assert torch.equal(passed, grad)


def test_the_threshold_is_near_the_best() -> None:
    """On Gaussian weights no other threshold has a squared error more than 5% lower."""
    w = torch.randn(200_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def error(share: float) -> float:
        kept = w.abs() > share * w.abs().mean()
        return float((w.sign() * kept * w.abs()[kept].mean() - w).square().mean())

    assert error(0.7) < 1.05 * min(error(share / 20) for share in range(4, 30))
    weight = w.float().view(200, 1000, 1, 1)
    quantizer = TernaryQuantizer(2, per_channel=False)
    assert float((quantizer(weight) - weight).double().square().mean()) == pytest.approx(error(0.7), rel=1e-4)
