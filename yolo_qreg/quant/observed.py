"""What values a tensor takes, counted batch by batch, and the grid that fits them best.

Letters: B bins on either side of zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 2048
LEAST = 1e-6
"""Largest magnitude of a tensor that is 0 everywhere."""
TRIED = torch.linspace(1, 0.05, 96, dtype=torch.float64)
"""Shares of the largest value, and of the least, at which a grid may end."""
TRIED_LOW = torch.linspace(1, 0, 9, dtype=torch.float64)


class Observed:
    """A histogram that doubles its range whenever a larger value comes, which moves no value to another place.

    Attributes:
        low: The least value, at most 0.
        high: The largest value, at least 0.
        width: Of a bin, a power of two: the same bins whatever came first.
        counts: Float64 [2 B]; zero lies in the middle.
    """

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self.width = 0.0
        self.counts = torch.zeros(2 * BINS, dtype=torch.float64)

    @torch.no_grad()
    def add(self, x: Tensor) -> None:
        """Count values of any shape; those that are not finite are passed over."""
        values = x.detach().float().flatten()
        values = values[values.isfinite()]
        if not values.numel():
            return
        low, high = (float(end) for end in values.aminmax())
        self.low, self.high = min(self.low, low), max(self.high, high)
        peak = max(-low, high, LEAST)
        if not self.width:
            self.width = _power_of_two(peak / BINS)
        while peak > self.width * BINS:
            halves = self.counts.view(-1, 2).sum(1)
            self.counts = torch.zeros_like(self.counts)
            self.counts[BINS // 2 : BINS // 2 + BINS] = halves
            self.width *= 2
        bins = (values / self.width).floor().long().clamp(-BINS, BINS - 1) + BINS
        self.counts += bins.bincount(minlength=2 * BINS).cpu()

    def symmetric(self, low: int, high: int) -> float:
        """Return the scale of integers low .. high, 0 at 0, that has the least squared error."""
        if not self.counts.any():
            return LEAST / high
        peak = max(self.high, -self.low if low else 0.0, LEAST)
        scales = TRIED * peak / high
        return float(scales[self._errors(scales, low, high).argmin()])

    def affine(self, levels: int) -> tuple[float, float]:
        """Return scale and lower end of integers 0 .. levels, one of them at 0, that have the least squared error."""
        if not self.counts.any():
            return LEAST / levels, 0.0
        highs = TRIED * max(self.high, LEAST)
        lows = TRIED_LOW * self.low
        best = (torch.inf, LEAST / levels, 0.0)
        for low in sorted(set(lows.tolist())):
            scales = (highs - low) / levels
            zeros = (-low / scales).round().clamp(0, levels)
            errors = self._errors(scales, -zeros, levels - zeros)
            at = int(errors.argmin())
            best = min(best, (float(errors[at]), float(scales[at]), low))
        return best[1], best[2]

    def _errors(self, scales: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
        """Return the squared error of each scale; the ends of the integers are numbers, or one for each scale."""
        seen = self.counts.nonzero().flatten()
        centres = (seen - BINS + 0.5) * self.width
        ends = [torch.as_tensor(end, dtype=torch.float64).expand_as(scales)[:, None] for end in (low, high)]
        wide = scales[:, None]
        rounded = wide * (centres / wide).round().clamp(*ends)
        return ((rounded - centres).square() * self.counts[seen]).sum(1)


def _power_of_two(value: float) -> float:
    """Return the least power of two that is not below a value."""
    return float(2.0 ** torch.tensor(value, dtype=torch.float64).log2().ceil())
