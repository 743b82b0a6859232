"""What an estimate decides."""

from __future__ import annotations

import math

import pytest

from yolo_qreg.evaluation.estimate import Estimate


@pytest.mark.parametrize(
    ("low", "high", "decided"),
    [
        (0.1, 2, True),
        (-2, -0.1, True),
        (-1, 1, False),
        (0, 2, False),
        (-2, 0, False),
        (math.nan, math.nan, False),
        (None, None, False),
    ],
)
def test_an_interval_with_0_decides_nothing(low: float | None, high: float | None, decided: bool) -> None:
    """Its ends belong to it, and where none is known nothing is decided."""
    found = Estimate(value=1, low=low, high=high)
    assert found.decided is decided
    assert found.interval == (None if low is None else (low, high))
