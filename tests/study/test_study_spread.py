"""Means over seeds and their intervals, against numbers computed by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from yolo_qreg.evaluation.results import Delta
from yolo_qreg.findings.spread import difference, of_deltas, over_seeds


def delta(points: float, low: float, high: float) -> Delta:
    """Return a delta of some model."""
    return Delta(model="m", corruption="all", severity=0, value=points, low=low, high=high)


def test_a_mean_over_three_seeds() -> None:
    """Mean 2, standard deviation 1, standard error 1 / sqrt(3), a share s of the variance.

    The interval reaches sqrt((1 - s^1.8) 1.96^2 + s^1.8 4.3027^2) standard errors; 4.3027 is Student's for 3 seeds.
    """
    found = of_deltas({0: delta(1, 0.4, 1.2), 1: delta(2, 1.5, 2.4), 2: delta(3, 2.6, 3.9)})
    assert (found.value, found.sd, found.seeds) == (2, 1, 3)
    low, high = found.interval or (0, 0)
    for end, half in ((low, 0.5), (high, 0.5)):
        pictures = (half / 1.959964) ** 2
        share = (1 / 3 / (pictures + 1 / 3)) ** 1.8
        reach = ((1 - share) * 1.959964**2 + share * 4.302653**2) ** 0.5
        assert abs(end - 2) == pytest.approx(reach * (pictures + 1 / 3) ** 0.5, abs=1e-5)
    assert not found.decided and 2 < found.freedom < 3
    assert found.p_value > 0.05


def test_a_mean_without_pictures_is_the_t_test_of_its_seeds() -> None:
    """Interval and p value are those of scipy's one-sample test."""
    values = {0: 1.1, 1: 0.4, 2: 1.9, 3: 0.8}
    found, test = over_seeds(values), ttest_1samp(list(values.values()), 0)
    assert found.interval == pytest.approx(tuple(test.confidence_interval()))
    assert found.freedom == pytest.approx(3) and found.p_value == pytest.approx(test.pvalue)


def test_how_many_seeds_would_decide() -> None:
    """The fewest by which scipy's t of this mean and scatter is significant; pictures may forbid it."""
    found = over_seeds({0: -0.36, 1: -0.06, 2: 0.02})
    mean, sd = abs(found.value), found.sd or 0.0
    wanted = next(n for n in range(4, 100) if student.ppf(0.975, n - 1) * sd / n**0.5 < mean)
    assert found.seeds_needed == wanted == 12
    assert found.excess == pytest.approx(student.ppf(0.975, 2) * sd / 3**0.5 / mean)
    pictures = {seed: delta(value, value - 0.1, value + 0.5) for seed, value in found.values}
    assert of_deltas(pictures).seeds_needed is None  # their half, 0.5 above, is more than the mean
    assert of_deltas(pictures).takes_pictures and not found.takes_pictures
    narrow = {seed: delta(value, value - 0.5, value + 0.05) for seed, value in found.values}
    assert wanted < (of_deltas(narrow).seeds_needed or 0) < 20
    decided, alone = over_seeds({0: 1.0, 1: 1.1}), over_seeds({0: 1.0})
    assert (decided.decided, decided.excess, decided.seeds_needed) == (True, None, None)
    assert (alone.excess, alone.seeds_needed) == (None, None)
    assert over_seeds({0: 1.0, 1: -0.99}).seeds_needed is None  # thousands


@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_an_interval_over_seeds_covers_what_it_says(seeds: int) -> None:
    """93% to 97%, whatever pictures and trainings have in it, within what 2,000 studies can tell."""
    spec = importlib.util.spec_from_file_location("seeds", Path(__file__).parents[2] / "benchmarks" / "seeds.py")
    assert spec and spec.loader
    simulation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(simulation)
    rng = np.random.default_rng(seeds)
    for scatter in (0.0, 0.5, 1.0, 4.0, 16.0):
        assert abs(simulation.covered(seeds, scatter, 2000, rng)["study"] - 0.95) < 0.02 + 0.012, scatter


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
