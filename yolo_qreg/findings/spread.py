"""Means over the seeds of a study, how far seeds scatter, and the 95% interval that both kinds of chance make.

A number of one training is uncertain in two ways: other pictures would give another one, and so would another seed.
Seeds see the same pictures, so their scatter is that of the training alone, and the two add as independent ones do.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.special import stdtridf

from yolo_qreg.evaluation.estimate import LEVEL, Estimate, critical
from yolo_qreg.evaluation.results import Delta

SHARE_POWER = 1.8
"""How fast the scatter of seeds takes over; see `joined`."""
MOST_SEEDS = 100
"""More are not worth asking for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedMean(Estimate):
    """A mean over seeds.

    Its interval joins pictures and training, what is known of them; there is none where neither is.

    Attributes:
        values: By seed.
        pictures: How far the interval over pictures alone reaches below and above; None where none is known.
    """

    values: tuple[tuple[int, float], ...]
    pictures: tuple[float, float] | None = None

    @property
    def seeds(self) -> int:
        """How many there are."""
        return len(self.values)

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds (n - 1); None for one seed, which says nothing about others."""
        return stdev(value for _, value in self.values) if self.seeds > 1 else None

    @property
    def excess(self) -> float | None:
        """How many times as narrow the interval would have to be to decide; None where that is not the question."""
        if self.interval is None or self.decided or not self.value:
            return None
        return (self.value - self.interval[0] if self.value > 0 else self.interval[1] - self.value) / abs(self.value)

    @property
    def takes_pictures(self) -> bool:
        """Whether the pictures alone leave open what is undecided, so that no number of seeds would decide it."""
        return self.excess is not None and self._half_of_pictures >= abs(self.value)

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds would decide, if mean and scatter stayed; None if `MOST_SEEDS` would not, or nobody knows."""
        if self.excess is None or self.sd is None:
            return None
        half, counts = self._half_of_pictures, range(self.seeds + 1, MOST_SEEDS + 1)
        return next((n for n in counts if joined(half, self.sd / math.sqrt(n), n)[0] < abs(self.value)), None)

    @property
    def _half_of_pictures(self) -> float:
        """How far the interval over pictures alone reaches towards 0."""
        return (self.pictures or (0.0, 0.0))[0 if self.value > 0 else 1]


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
    if seeds < 2:
        below, above = halves or (None, None)
        low, high = (None if below is None else mean - below), (None if above is None else mean + above)
        return SeedMean(values=numbers, value=mean, low=low, high=high, pictures=halves)
    error = stdev(values.values()) / math.sqrt(seeds)
    below, above = halves or (0.0, 0.0)
    (down, _), (up, _), (_, freedom) = (joined(half, error, seeds) for half in (below, above, (below + above) / 2))
    return SeedMean(values=numbers, value=mean, low=mean - down, high=mean + up, freedom=freedom, pictures=halves)


def joined(half: float, error: float, seeds: int) -> tuple[float, float]:
    """Return half of the 95% interval that pictures and seeds make together, and its degrees of freedom.

    Variances add. How many standard errors the interval reaches lies between the normal distribution's 1.96, where the
    scatter of seeds is no part of the variance, and Student's t of few seeds, where it is all of it. To join two
    intervals in quadrature covers 98.7% with two seeds, Welch and Satterthwaite's degrees of freedom 87%; by the power
    `SHARE_POWER` of the share it is 93% to 97% for 2 to 8 seeds (`python benchmarks/seeds.py`).

    Args:
        half: Of the interval over pictures.
        error: Standard error of the mean over seeds, by their scatter.
        seeds: How many there are, 2 or more.
    """
    pictures, training = (half / critical()) ** 2, error**2
    if not training:
        return half, math.inf
    share = (training / (pictures + training)) ** SHARE_POWER
    reach = math.sqrt((1 - share) * critical() ** 2 + share * critical(seeds - 1) ** 2)
    return reach * math.sqrt(pictures + training), float(stdtridf((1 + LEVEL) / 2, reach))
