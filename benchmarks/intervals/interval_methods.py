"""Six 95% intervals from the same resamples.

Each method is given the estimate, the resampled ones [B] and the jackknife's [J].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

LEVEL = 0.95
TAILS = (1 - LEVEL) / 2, (1 + LEVEL) / 2
Ends = tuple[float, float]


def percentile(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """Efron's: the quantiles of the resampled differences."""
    low, high = np.quantile(resampled, TAILS)
    return float(low), float(high)


def basic(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """The same, reflected at the estimate."""
    low, high = percentile(estimate, resampled, left_out)
    return 2 * estimate - high, 2 * estimate - low


def centred(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """The quantiles, shifted by the bias that the bootstrap sees in itself."""
    low, high = percentile(estimate, resampled, left_out)
    bias = float(resampled.mean()) - estimate
    return low - bias, high - bias


def normal(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """The estimate and 1.96 of the bootstrap's standard deviations."""
    half = float(ndtri(TAILS[1]) * resampled.std(ddof=1))
    return estimate - half, estimate + half


def bias_corrected(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """BC: quantiles moved as far as the estimate is from the median of the resampled (Efron 1981)."""
    return _corrected(estimate, resampled, 0.0)


def accelerated(estimate: float, resampled: NDArray[np.float64], left_out: NDArray[np.float64]) -> Ends:
    """BCa: and for skewness, from a jackknife (Efron 1987)."""
    influence = left_out.mean() - left_out
    spread = float((influence**2).sum())
    return _corrected(estimate, resampled, float((influence**3).sum()) / (6 * spread**1.5) if spread else 0.0)


def _corrected(estimate: float, resampled: NDArray[np.float64], acceleration: float) -> Ends:
    below = ((resampled < estimate).mean() + (resampled <= estimate).mean()) / 2
    half = 0.5 / len(resampled)
    shift = ndtri(np.clip(below, half, 1 - half))
    moved = shift + ndtri(TAILS)
    low, high = np.quantile(resampled, ndtr(shift + moved / (1 - acceleration * moved)))
    return float(low), float(high)


METHODS: Mapping[str, Callable[[float, NDArray[np.float64], NDArray[np.float64]], Ends]] = {
    "percentile": percentile,
    "basic": basic,
    "centred": centred,
    "normal": normal,
    "BC": bias_corrected,
    "BCa": accelerated,
}
