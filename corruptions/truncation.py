"""From computed values to grey levels: the reference drops fractions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from corruptions.pixels import Field, Image

UNIT = np.arange(256) / 255

ALMOST_HALF = 0.499
"""Subtracted before OpenCV rounds, so that it truncates; .001 short of a half, so that whole numbers stay."""

SLACK = 0.0005
"""How near to a whole number a float32 sum of grey levels may be that stands for it."""

_MANY = 0.004
"""Share of means near whole numbers from which on it pays to look at what they are means of; .001 are so by chance."""


def truncate(values: Field) -> Image:
    """Clip to 0..255 and drop the fraction; rounding would brighten by half a level. `values` is overwritten."""
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)


def truncate_means(means: Field, extremes: Callable[[], tuple[Image, Image]] | None = None) -> Image:
    """Drop the fraction of weighted means of grey levels.

    In float32 a mean of equal values, with a speck of another at the rim of the kernel, is that value; what counts is
    on which side of it the mean really lies, and that the extremes tell. A mean of equal values alone is that value.
    In the reference it may be one lower: its weights sum to 1 - 1e-16 or the like, so that some levels of a flat wall
    get lost. Which ones hangs on the last bits of float64, and is no part of a corruption.

    Args:
        means: [H, W] or [H, W, 3].
        extremes: Computes the least and the largest value among those that have a weight in each mean. Without it,
            means near whole numbers are taken for these.
    """
    floors = means + np.float32(SLACK)
    np.floor(floors, out=floors)
    whole = floors.astype(np.uint8)
    if extremes is None:
        return whole
    near_whole = np.subtract(means, floors, out=floors) < np.float32(SLACK)
    if np.count_nonzero(near_whole) <= _MANY * whole.size:
        return whole
    near = np.flatnonzero(near_whole)
    flat = whole.reshape(-1)
    levels = flat[near]
    least, largest = (extreme.reshape(-1)[near] for extreme in extremes())
    flat[near] -= (least < levels) & ((largest <= levels) | (means.reshape(-1)[near] < levels))
    return whole
