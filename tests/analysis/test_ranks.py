"""Rank correlation against scipy's, and how often its interval holds the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from yolo_qreg.findings.ranks import rank_correlation


def test_the_coefficient_is_spearmans() -> None:
    """Ties share ranks."""
    x, y = [1.0, 2.0, 2.0, 3.0, 9.0, 4.0], [1.0, 5.0, 2.0, 2.0, 8.0, 0.0]
    found = rank_correlation(x, y)
    assert found is not None
    assert found.value == pytest.approx(spearmanr(x, y).statistic)
    assert found.interval is not None
    assert found.interval[0] < found.value < found.interval[1]


def test_a_perfect_order_has_an_interval() -> None:
    """Seven models in one order leave room below 1; few models, or equal ones, have no correlation."""
    found = rank_correlation(range(7), range(7))
    assert found is not None
    assert (found.value, found.high, found.decided) == (1, 1, True)
    assert found.low is not None
    assert 0.3 < found.low < 0.95
    assert rank_correlation(range(4), range(4)) is None
    assert rank_correlation([1.0] * 7, range(7)) is None


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_intervals_of_seven_models_cover_the_truth(correlation: float) -> None:
    """Of Gaussian pairs the interval holds the population's rank correlation in 93 to 99 of 100 draws."""
    rng, truth, held = np.random.default_rng(0), 6 / math.pi * math.asin(correlation / 2), 0
    draws = 500
    for _ in range(draws):
        x, noise = rng.normal(size=(2, 7))
        found = rank_correlation(x, correlation * x + math.sqrt(1 - correlation**2) * noise)
        assert found is not None
        assert found.interval is not None
        held += found.interval[0] <= truth <= found.interval[1]
    assert 0.93 <= held / draws <= 0.99
