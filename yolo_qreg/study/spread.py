"""Means over the seeds of a study, how far seeds scatter, and the 95% interval that both kinds of chance make.

A number of one training is uncertain in two ways: other pictures would give another one, and so would another seed.
Seeds see the same pictures, so their scatter is that of the training alone, and the two add as independent ones do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from yolo_qreg.evaluation.results import Delta

COVERAGE = 0.95
TOLERANCE = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over seeds.

    Attributes:
        values: By seed.
        below: From the mean down to the interval that says what other pictures might have given.
        above: From the mean up to its other end.
    """

    values: tuple[tuple[int, float], ...]
    below: float = 0.0
    above: float = 0.0

    @property
    def mean(self) -> float:
        """The mean of the values."""
        return math.fsum(value for _, value in self.values) / len(self.values)

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds (n - 1); None for one seed, which says nothing about others."""
        if self.seeds < 2:
            return None
        return math.sqrt(math.fsum((value - self.mean) ** 2 for _, value in self.values) / (self.seeds - 1))

    @property
    def training_half(self) -> float | None:
        """Half of the 95% interval of the mean over seeds, from their scatter alone; None for one seed."""
        return None if self.sd is None else t_quantile(self.seeds - 1) * self.sd / math.sqrt(self.seeds)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95% interval: pictures and training in quadrature, what is known of them; None where neither is."""
        half = self.training_half or 0.0
        if self.training_half is None and not (self.below or self.above):
            return None
        return self.mean - math.hypot(self.below, half), self.mean + math.hypot(self.above, half)

    @property
    def decided(self) -> bool:
        """Whether there is an interval, and it excludes 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]

    def delta(self, model: str, corruption: str, severity: int) -> Delta:
        """Return it in the form of a single evaluation's; no interval is one without width."""
        low, high = self.interval or (self.mean, self.mean)
        return Delta(model=model, corruption=corruption, severity=severity, points=self.mean, low=low, high=high)


def over_seeds(values: Mapping[int, float]) -> Estimate:
    """Return the mean of numbers that no pictures make uncertain, or whose uncertainty is not known."""
    return Estimate(values=tuple(sorted(values.items())))


def of_deltas(deltas: Mapping[int, Delta]) -> Estimate:
    """Return the mean over seeds of what a model gains on the twin of its seed.

    The pictures' part of the interval is the mean of the seeds' own ones. Where pictures weigh alike in all seeds that
    is exact; where they do not it is too wide.
    """
    ends = [(delta.points - delta.low, delta.high - delta.points) for delta in deltas.values()]
    below, above = (math.fsum(side) / len(ends) for side in zip(*ends, strict=True))
    return Estimate(
        values=tuple(sorted((seed, delta.points) for seed, delta in deltas.items())),
        below=max(below, 0.0),
        above=max(above, 0.0),
    )


def difference(first: Mapping[int, Delta], second: Mapping[int, Delta]) -> Estimate | None:
    """Return how much more one model gains than another, over the seeds that have both; None where none has.

    Both gains are over the same twin on the same pictures, so what other pictures do to one they mostly do to the
    other. Their intervals are added as if that were not so, which is too wide unless they move against each other.
    """
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return None
    one, other = (of_deltas({seed: found[seed] for seed in shared}) for found in (first, second))
    return Estimate(
        values=tuple((seed, first[seed].points - second[seed].points) for seed in shared),
        below=math.hypot(one.below, other.above),
        above=math.hypot(one.above, other.below),
    )


@cache
def t_quantile(freedom: int, coverage: float = COVERAGE) -> float:
    """Return the t that Student's distribution stays within, on both sides of 0, with a probability.

    Example:
        >>> round(t_quantile(2), 3), round(t_quantile(1000), 3)
        (4.303, 1.962)
    """
    low, high = 0.0, 1.0
    while _within(high, freedom) < coverage:
        high *= 2
    while high - low > TOLERANCE * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < coverage else (low, middle)
    return (low + high) / 2


def _within(t: float, freedom: int) -> float:
    """Return the probability of |T| <= t: Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan(t / math.sqrt(freedom))
    term = math.cos(angle) if freedom % 2 else 1.0
    terms = [term] if freedom > 1 else []
    for power in range(3 if freedom % 2 else 2, freedom - 1, 2):
        term *= math.cos(angle) ** 2 * (power - 1) / power
        terms.append(term)
    series = math.sin(angle) * math.fsum(terms)
    return (angle + series) * 2 / math.pi if freedom % 2 else series
