"""Means over the seeds of a study, how far seeds scatter, and the 95% interval that both kinds of chance make.

A number of one training is uncertain in two ways: other pictures would give another one, and so would another seed.
Seeds see the same pictures, so their scatter is that of the training alone, and the two add as independent ones do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtrit

from yolo_qreg.evaluation.estimate import Estimate
from yolo_qreg.evaluation.results import Delta

COVERAGE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedMean(Estimate):
    """A mean over seeds.

    Its interval joins pictures and training in quadrature, what is known of them; there is none where neither is.

    Attributes:
        values: By seed.
    """

    values: tuple[tuple[int, float], ...]

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds (n - 1); None for one seed, which says nothing about others."""
        return stdev(value for _, value in self.values) if self.seeds > 1 else None


def over_seeds(values: Mapping[int, float]) -> SeedMean:
    """Return the mean of numbers that no pictures make uncertain, or whose uncertainty is not known."""
    return _mean_of(values, None)


def of_deltas(deltas: Mapping[int, Delta]) -> SeedMean:
    """Return the mean over seeds of what a model gains on the twin of its seed.

    The pictures' part of the interval is the mean of the seeds' own ones. Where pictures weigh alike in all seeds that
    is exact; where they do not it is too wide.
    """
    return _mean_of({seed: delta.value for seed, delta in deltas.items()}, _halves(deltas.values()))


def difference(first: Mapping[int, Delta], second: Mapping[int, Delta]) -> SeedMean | None:
    """Return how much more one model gains than another, over the seeds that have both; None where none has.

    Both gains are over the same twin on the same pictures, so what other pictures do to one they mostly do to the
    other. Their intervals are added as if that were not so, which is too wide unless they move against each other.
    """
    shared = first.keys() & second.keys()
    if not shared:
        return None
    one, other = (_halves([gains[seed] for seed in shared]) for gains in (first, second))
    halves = (math.hypot(one[0], other[1]), math.hypot(one[1], other[0])) if one and other else None
    return _mean_of({seed: first[seed].value - second[seed].value for seed in shared}, halves)


def _halves(deltas: Collection[Delta]) -> tuple[float, float] | None:
    """Return how far the intervals of deltas reach below and above them on average; None unless all have one."""
    known = [(delta.value - ends[0], ends[1] - delta.value) for delta in deltas if (ends := delta.interval)]
    if len(known) < len(deltas):
        return None
    below, above = zip(*known, strict=True)
    return max(fmean(below), 0.0), max(fmean(above), 0.0)


def _mean_of(values: Mapping[int, float], halves: tuple[float, float] | None) -> SeedMean:
    """Return the mean with its interval, from what is known of pictures (below, above) and of seeds."""
    numbers, mean = tuple(sorted(values.items())), fmean(values.values())
    seeds = len(numbers)
    if seeds < 2 and halves is None:
        return SeedMean(values=numbers, value=mean)
    training = t_quantile(seeds - 1) * stdev(values.values()) / math.sqrt(seeds) if seeds > 1 else 0.0
    below, above = (math.hypot(half, training) for half in halves or (0.0, 0.0))
    return SeedMean(values=numbers, value=mean, low=mean - below, high=mean + above)


def t_quantile(freedom: int, coverage: float = COVERAGE) -> float:
    """Return the t that Student's distribution stays within, on both sides of 0, with a probability.

    Example:
        >>> round(t_quantile(2), 3), round(t_quantile(1000), 3)
        (4.303, 1.962)
    """
    return float(stdtrit(freedom, (1 + coverage) / 2))
