"""The one number with an interval: whatever is judged or printed with one is an `Estimate`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number, and the 95% interval that says what other pictures or trainings might have given.

    Attributes:
        value: The number, in whatever unit.
        low: Lower end of the interval; None, as `high`, where none is known.
        high: Upper end.

    Example:
        >>> Estimate(value=1.2, low=0.8, high=1.6).decided, Estimate(value=1.2).decided
        (True, False)
    """

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends; None where no interval is known."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    @property
    def decided(self) -> bool:
        """Whether there is an interval, and it excludes 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)
