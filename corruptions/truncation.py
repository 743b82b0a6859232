"""From computed values to grey levels, with the reference's truncation, down to its rounding errors.

The reference drops fractions. Where a picture is even - an overexposed sky, a black border - a blur should return the
grey level itself, but in floating point the weights sum to 1 - 1e-16 or the like, and truncation makes that one level
less: for some levels and some widths of blur, whole areas darken by one. Where the reference computes in float64, which
levels those are hangs on the last bits of its weights, so they are data here, as the pinned reference gives them
(`tools/corruption_reference.py` prints them); where it computes in float32, they are computed in the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from corruptions.pixels import Field, Image

Shortfall: TypeAlias = NDArray[np.uint8]
"""1 for each grey level [256] that comes out one lower where a picture is even, else 0."""

UNIT = np.arange(256) / 255

ALMOST_HALF = 0.499
"""Subtracted before OpenCV rounds, so that it truncates; .001 short of a half, so that whole numbers stay."""

SLACK = 0.0005
"""How near to a whole number a float32 sum of grey levels may be that stands for it."""


def truncate(values: Field) -> Image:
    """Clip to 0..255 and drop the fraction; rounding would brighten by half a level. `values` is overwritten."""
    np.clip(values, 0, 255, out=values)
    return values.astype(np.uint8)


_MANY = 0.004
"""Share of means near whole numbers from which on it pays to look at what they are means of; .001 are so by chance."""


def truncate_means(
    means: Field, shortfall: Shortfall, extremes: Callable[[], tuple[Image, Image]] | None = None
) -> Image:
    """Truncate weighted means of grey levels as float64 would, rounding errors included.

    In float32 a mean of equal values, with a speck of another at the rim of the kernel, is that value; what counts is
    on which side of it the mean really lies, and that the extremes tell.

    Args:
        means: [H, W] or [H, W, 3].
        shortfall: What becomes of even areas.
        extremes: Computes the least and the largest value among those that have a weight in each mean. Without it,
            means near whole numbers are taken for even areas.
    """
    floors = means + np.float32(SLACK)
    np.floor(floors, out=floors)
    whole = floors.astype(np.uint8)
    near_whole = np.subtract(means, floors, out=floors) < np.float32(SLACK)
    if np.count_nonzero(near_whole) <= _MANY * whole.size:
        return whole
    near = np.flatnonzero(near_whole)
    flat = whole.reshape(-1)
    levels = flat[near]
    lost = shortfall[levels] > 0
    if extremes is not None:
        least, largest = (extreme.reshape(-1)[near] for extreme in extremes())
        below = (least < levels) & ((largest <= levels) | (means.reshape(-1)[near] < levels))
        lost = below | (lost & (least == levels) & (largest == levels))
    flat[near] -= lost
    return whole


def _shortfall(even: NDArray[Any]) -> Shortfall:
    """Compare what an even area of each grey level becomes, in grey levels, with the level itself."""
    return (np.arange(256) - np.clip(even, 0, 255).astype(np.uint8)).clip(0, 1).astype(np.uint8)


_GAUSSIAN_LOST: dict[float, str] = {
    0.7: "0000000000000000000000000000000000000000000000000000000000000000",
    0.9: "00402001080040020090040024000408000083000020000008200040012000c0",
    1: "0000000000000000000000100000000000000000040007400000000001000040",
    1.1: "120811d50646e672102c302cbd3d2e1802100db00b5008e08ee20fb208f816d1",
    1.5: "0000000000040000000000200010000400000000000008000000020000000020",
    2: "00000000000004000000000000300000000000000400000000000e0001000000",
    3: "0000000400000020000000000000084000000000040004000004004000c02000",
    4: "0000000000000000000000000000000000000000000000000000000000000000",
    6: "0000000000000000000000000000000000000000000000100000000000000000",
}
"""Levels that Gaussian blur loses, by sigma: 256 bits, the first for level 0."""

_LINE_LOST: dict[tuple[int, float], str] = {
    (10, 3): "04752e7319fc3e1e0697ebb11fec52bd5439c66af9ce8b1652eabde16358dff6",
    (15, 5): "0000100002000000001800000000000000000280400000001400000000000000",
    (15, 8): "6df3ee1efced53edbeb0b9e3635becb69fbc9f44cf92fd1f7d5f339fbde5db7c",
    (15, 12): "7bceb4f99b24fa86c2de5971fed9c16ce009e3fd23827a07baf9b793f00728f0",
    (20, 15): "131f06fe4039fab824110fd7ead8cfc11860431640abb32bfc98f291e0bfa556",
}
"""Levels that motion blur loses, by radius and sigma."""


def _stored(bits: str | None) -> Shortfall:
    return np.unpackbits(np.frombuffer(bytes.fromhex(bits or "00" * 32), np.uint8))


@lru_cache(maxsize=32)
def gaussian_shortfall(sigma: float) -> Shortfall:
    """What the reference's float64 Gaussian loses; nothing for widths that it does not use."""
    return _stored(_GAUSSIAN_LOST.get(sigma))


@lru_cache(maxsize=32)
def line_shortfall(radius: int, sigma: float) -> Shortfall:
    """What the reference's float64 motion blur loses; nothing for lines that it does not use."""
    return _stored(_LINE_LOST.get((radius, sigma)))


def kernel_shortfall(kernel: Field) -> Shortfall:
    """A kernel in float32 whose weights sum to a little less than 1."""
    return _shortfall(UNIT * kernel.sum(dtype=np.float64) * 255)


@lru_cache(maxsize=32)
def mean_shortfall(layers: int) -> Shortfall:
    """A picture and so many layers, added up one by one and divided, in float32."""
    unit = UNIT.astype(np.float32)
    total = np.zeros(256, np.float32)
    for _ in range(layers):
        total = total + unit
    return _shortfall((unit + total) / np.float32(layers + 1) * np.float32(255))
