"""Rank correlation with an interval over models."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.stats import rankdata

from yolo_qreg.evaluation.estimate import Estimate, critical

FEWEST = 5
"""Models, below which an interval says nothing."""


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> Estimate | None:
    """Return Spearman's rank correlation of pairs; None of fewer than five, and where one side is constant.

    The interval is Fisher's, with the variance (1 + r^2 / 2) / (n - 3) of Bonett and Wright (2000): of seven
    Gaussian pairs it holds the truth in 95% to 98% of draws. It takes pairs for independent. A perfect order, whose
    transform is infinite, is taken for the next lower one there.

    Example:
        >>> found = rank_correlation([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 6, 5])
        >>> round(found.value, 3), found.decided
        (0.943, True)
    """
    pairs = len(x)
    if pairs < FEWEST or len(set(x)) == 1 or len(set(y)) == 1:
        return None
    mine, theirs = (rankdata(values) - (pairs + 1) / 2 for values in (x, y))
    value = float(mine @ theirs / math.sqrt((mine @ mine) * (theirs @ theirs)))
    value = max(-1.0, min(1.0, value))
    below_one = 1 - 12 / (pairs * (pairs**2 - 1))
    inside = max(-below_one, min(below_one, value))
    reach = critical() * math.sqrt((1 + inside**2 / 2) / (pairs - 3))
    low, high = (math.tanh(math.atanh(inside) + sign * reach) for sign in (-1, 1))
    return Estimate(value=value, low=min(low, value), high=max(high, value))
