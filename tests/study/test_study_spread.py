"""Means over seeds and their intervals, against numbers computed by hand."""

from __future__ import annotations

import pytest

from yolo_qreg.evaluation.results import Delta
from yolo_qreg.findings.spread import difference, of_deltas, over_seeds, t_quantile

T_TABLE = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 9: 2.2622, 10: 2.2281, 29: 2.0452, 30: 2.0423}
"""Two-sided 95%, as printed in tables."""


def delta(points: float, low: float, high: float) -> Delta:
    """Return a delta of some model."""
    return Delta(model="m", corruption="all", severity=0, value=points, low=low, high=high)


@pytest.mark.parametrize("freedom", T_TABLE)
def test_quantiles_of_t_are_those_of_the_tables(freedom: int) -> None:
    """To the digits that tables have, for odd and even degrees of freedom; other coverages too."""
    assert t_quantile(freedom) == pytest.approx(T_TABLE[freedom], abs=6e-5)
    assert t_quantile(2, 0.99) == pytest.approx(9.9248, abs=6e-5)


def test_t_approaches_the_normal_distribution() -> None:
    """With many degrees of freedom."""
    assert t_quantile(100_000) == pytest.approx(1.95996, abs=1e-4)


def test_a_mean_over_three_seeds() -> None:
    """Mean 2, standard deviation 1; the interval joins t x sd / sqrt(3) = 2.484 and the pictures' mean halves."""
    found = of_deltas({0: delta(1, 0.4, 1.2), 1: delta(2, 1.5, 2.4), 2: delta(3, 2.6, 3.9)})
    assert (found.value, found.sd, found.seeds) == (2, 1, 3)
    below, above = (0.6 + 0.5 + 0.4) / 3, (0.2 + 0.4 + 0.9) / 3
    training = 4.3027 / 3**0.5
    low, high = found.interval or (0, 0)
    assert low == pytest.approx(2 - (below**2 + training**2) ** 0.5, abs=1e-4)
    assert high == pytest.approx(2 + (above**2 + training**2) ** 0.5, abs=1e-4)
    assert not found.decided


def test_seeds_that_agree_leave_the_pictures() -> None:
    """Without scatter the interval is that of the pictures; what it excludes is decided."""
    found = of_deltas({seed: delta(1.0, 0.5, 1.7) for seed in range(4)})
    assert found.sd == 0 and found.interval == pytest.approx((0.5, 1.7)) and found.decided
    assert of_deltas({0: delta(-1.0, -1.5, -0.1), 1: delta(-1.0, -1.5, -0.1)}).decided


def test_one_seed_has_the_interval_of_its_pictures() -> None:
    """And no standard deviation."""
    found = of_deltas({5: delta(0.3, -0.2, 0.9)})
    assert (found.value, found.sd, found.values) == (0.3, None, ((5, 0.3),))
    assert found.interval == pytest.approx((-0.2, 0.9)) and not found.decided


def test_numbers_without_pictures() -> None:
    """Their interval is over seeds alone: 5 +- 12.706 x sqrt(2) / sqrt(2); one seed has none and decides nothing."""
    found = over_seeds({1: 6.0, 0: 4.0})
    assert found.values == ((0, 4.0), (1, 6.0)) and found.sd == pytest.approx(2**0.5)
    assert found.interval == pytest.approx((5 - 12.7062, 5 + 12.7062), abs=1e-4)
    assert over_seeds({0: 4.0}).interval is None and not over_seeds({0: 4.0}).decided


def test_a_difference_is_paired_by_seed() -> None:
    """Over the seeds that both have; the lower end takes the first's lower half and the second's upper one."""
    first = {0: delta(1.0, 0.7, 1.1), 1: delta(2.0, 1.7, 2.1), 2: delta(9.0, 8.0, 10.0)}
    second = {0: delta(-1.0, -1.2, -0.6), 1: delta(0.0, -0.2, 0.4)}
    found = difference(first, second)
    assert found is not None and found.values == ((0, 2.0), (1, 2.0)) and found.sd == 0
    assert found.interval == pytest.approx((2 - 0.5, 2 + (0.1**2 + 0.2**2) ** 0.5))
    assert difference(first, {7: delta(0, 0, 0)}) is None
