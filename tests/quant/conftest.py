"""Weights that quantizers meet, ordinary and not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

SHAPE = 6, 3, 2, 2  # O, I, K, K


def gaussian(scale: float = 1.0, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """Draw a weight, float32."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


WEIGHTS: dict[str, Callable[[], Tensor]] = {
    "ordinary": lambda: gaussian(0.05),
    "wide": lambda: gaussian(3.0),
    "tiny": lambda: gaussian(1e-20),
    "subnormal": lambda: gaussian(1e-40),
    "huge": lambda: gaussian(1e20),
    "all zero": lambda: torch.zeros(SHAPE),
    "negative zeros": lambda: torch.full(SHAPE, -0.0),
    "constant": lambda: torch.full(SHAPE, 0.3),
    "one channel zero": lambda: torch.cat([torch.zeros(1, 3, 2, 2), gaussian(0.1)[1:]]),
    "one outlier": lambda: torch.cat([gaussian(0.01)[1:], torch.full((1, 3, 2, 2), 40.0)]),
    "one element": lambda: torch.full((1, 1, 1, 1), -0.7),
}


@pytest.fixture(params=WEIGHTS)
def weight(request: pytest.FixtureRequest) -> Tensor:
    """Every weight of `WEIGHTS` in turn."""
    return WEIGHTS[request.param]()
