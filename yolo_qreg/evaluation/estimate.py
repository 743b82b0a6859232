"""The one number with an interval: whatever is judged or printed with one is an `Estimate`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

LEVEL = 0.95
"""Of every interval."""
FALSE_SHARE = 0.05
"""Of what is said to differ, the share that may do so by chance where many estimates are judged together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number, and the 95% interval that says what other pictures or trainings might have given.

    Attributes:
        value: The number, in whatever unit.
        low: Lower end of the interval; None, as `high`, where none is known.
        high: Upper end.
        freedom: Degrees of freedom of Student's t by which the interval was made; infinite for the normal distribution.

    Example:
        >>> Estimate(value=1.2, low=0.8, high=1.6).decided, Estimate(value=1.2).decided
        (True, False)
    """

    value: float
    low: float | None = None
    high: float | None = None
    freedom: float = math.inf

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends; None where no interval is known."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def decided(self) -> bool:
        """Whether there is an interval, and it excludes 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    @property
    def p_value(self) -> float:
        """How often a true difference of 0 would give a number so far from it; below .05 where it is decided."""
        if self.interval is None or math.isnan(sum(self.interval)):
            return 1.0
        half = self.value - self.interval[0] if self.value > 0 else self.interval[1] - self.value
        if half <= 0:
            return 0.0 if self.decided else 1.0
        deviations = abs(self.value) / half * critical(self.freedom)
        return float(2 * (ndtr(-deviations) if math.isinf(self.freedom) else stdtr(self.freedom, -deviations)))


def critical(freedom: float = math.inf, level: float = LEVEL) -> float:
    """Return how many standard errors an interval reaches to either side: a quantile of Student's t.

    Example:
        >>> round(critical(), 3), round(critical(2), 3)
        (1.96, 4.303)
    """
    tail = (1 + level) / 2
    return float(ndtri(tail) if math.isinf(freedom) else stdtrit(freedom, tail))


def decided_together(estimates: Sequence[Estimate | None], false_share: float = FALSE_SHARE) -> tuple[bool, ...]:
    """Return which of many estimates differ from 0 when all are judged at once; None is none of them.

    Each judged by its interval, one of twenty true zeros is decided by chance. Here the share of chance among those
    that are decided is at most `false_share` on average (Benjamini and Hochberg 1995), also where they depend on the
    same pictures. It is never more than `decided` says.
    """
    from scipy.stats import false_discovery_control  # takes half a second

    known = [number for number, found in enumerate(estimates) if found is not None and found.interval is not None]
    answers = np.zeros(len(estimates), bool)
    if known:
        adjusted = false_discovery_control([found.p_value for found in estimates if found and found.interval])
        answers[known] = adjusted <= false_share
    return tuple(bool(answer and found and found.decided) for answer, found in zip(answers, estimates, strict=True))
