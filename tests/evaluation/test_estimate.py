"""What an estimate decides."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm, t

from yolo_qreg.evaluation.estimate import Estimate, critical, decided_together


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


T_TABLE = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 9: 2.2622, 10: 2.2281, 29: 2.0452, 30: 2.0423}
"""Two-sided 95%, as printed in tables."""


def test_intervals_reach_as_far_as_the_tables_say() -> None:
    """For few degrees of freedom and for infinitely many; other coverages too."""
    assert {freedom: round(critical(freedom), 4) for freedom in T_TABLE} == T_TABLE
    assert critical() == pytest.approx(1.959964, abs=1e-6) and critical(2, 0.99) == pytest.approx(9.9248, abs=6e-5)


@pytest.mark.parametrize("freedom", [1, 2.5, 30, math.inf])
@pytest.mark.parametrize("value", [-3.0, -0.4, 0.0, 0.2, 1.7])
def test_p_values_and_intervals_are_of_one_test(value: float, freedom: float) -> None:
    """The p value is that of the distribution the interval was made by, so it is below .05 where 0 is excluded."""
    error, law = 0.5, norm if math.isinf(freedom) else t(freedom)
    half = law.ppf(0.975) * error
    found = Estimate(value=value, low=value - half, high=value + half, freedom=freedom)
    assert found.p_value == pytest.approx(2 * law.sf(abs(value) / error))
    assert (found.p_value < 0.05) == found.decided


def test_no_interval_is_no_evidence() -> None:
    """Its p value is 1, and so is that of an interval of nothing around nothing."""
    assert Estimate(value=3).p_value == Estimate(value=3, low=math.nan, high=math.nan).p_value == 1
    assert Estimate(value=0, low=0, high=0).p_value == 1
    assert Estimate(value=2, low=2, high=2).p_value == 0


def with_p(p: float) -> Estimate:
    """Return an estimate with a p value."""
    return Estimate(value=norm.isf(p / 2), low=norm.isf(p / 2) - critical(), high=99)


def test_many_estimates_are_judged_together() -> None:
    """The table of Benjamini and Hochberg's paper of 1995: of 15 p values 9 are below .05, and 4 stand."""
    table = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528]
    found = [with_p(p) for p in [*table, 0.7590, 1.0]]
    assert sum(one.decided for one in found) == 9
    assert decided_together(found) == (True,) * 4 + (False,) * 11
    assert decided_together([None, found[0], Estimate(value=1), *found[1:]])[:4] == (False, True, False, True)
    assert decided_together([]) == () and decided_together([None]) == (False,)


def test_chance_colours_few_maps() -> None:
    """Of maps of 20 true zeros about 5% get any colour; judged one by one 64% would."""
    rng = np.random.default_rng(0)
    maps = [
        [Estimate(value=v, low=v - critical(), high=v + critical()) for v in rng.normal(0, 1, 20)] for _ in range(400)
    ]
    assert np.mean([any(decided_together(one)) for one in maps]) == pytest.approx(0.05, abs=0.03)
    assert np.mean([any(found.decided for found in one) for one in maps]) == pytest.approx(1 - 0.95**20, abs=0.07)
